"""Protobuf bodies: what kubectl sends, and whatever else somebody may send."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aliquot.embedded.http.protobuf import decode
from aliquot.embedded.status import StatusError


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value % 2**64)


def part(field: int, value: bytes | str) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(raw)) + raw


def envelope(api_version: str, kind: str, raw: bytes) -> bytes:
    return b"k8s\x00" + part(1, part(1, api_version) + part(2, kind)) + part(2, raw)


def test_a_config_map_with_a_map_and_an_empty_time() -> None:
    meta = part(1, "a") + part(8, b"") + part(11, part(1, "app") + part(2, "x"))
    body = envelope("v1", "ConfigMap", part(1, meta) + part(2, part(1, "k") + part(2, "v")))
    assert decode(body) == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "a", "labels": {"app": "x"}},
        "data": {"k": "v"},
    }


def test_zero_is_kept_where_it_differs_from_absence_and_dropped_elsewhere() -> None:
    port = part(1, "") + number(2, 0) + number(3, 80)
    container = part(1, "c") + part(6, port)
    template = part(2, part(2, container))
    body = envelope("apps/v1", "Deployment", part(2, number(1, 0) + part(3, template)))
    spec = decode(body)["spec"]
    assert spec["replicas"] == 0
    assert spec["template"]["spec"]["containers"] == [{"name": "c", "ports": [{"containerPort": 80}]}]


def test_messages_that_json_shows_inline_and_scalars_with_a_form_of_their_own() -> None:
    empty_dir = part(2, part(2, part(2, part(1, "1Gi"))))
    volume = part(1, part(1, "v") + empty_dir)
    grace = number(4, -1)
    body = envelope("v1", "Pod", part(2, volume + grace))
    spec = decode(body)["spec"]
    assert spec["volumes"] == [{"name": "v", "emptyDir": {"sizeLimit": "1Gi"}}]
    assert spec["terminationGracePeriodSeconds"] == -1
    budget = envelope("policy/v1", "PodDisruptionBudget", part(2, part(1, number(1, 1) + part(3, "50%"))))
    assert decode(budget)["spec"] == {"minAvailable": "50%"}
    budget = envelope("policy/v1", "PodDisruptionBudget", part(2, part(1, number(1, 0) + number(2, 2))))
    assert decode(budget)["spec"] == {"minAvailable": 2}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", 400),
        (b"{}", 400),
        (b"k8s\x00\xff", 400),
        (b"k8s\x00" + part(1, b"\xff\xff"), 400),
        (envelope("v1", "Pod", b"\x0a\xff\x01"), 400),
        (envelope("v1", "Pod", part(1, part(1, b"\xff\xfe"))), 400),
        (envelope("v1", "Pod", number(1, 5)), 400),
        (envelope("example.com/v1", "Thing", b""), 415),
        (envelope("", "", b""), 415),
    ],
)
def test_what_cannot_be_read_is_refused(body: bytes, code: int) -> None:
    with pytest.raises(StatusError) as caught:
        decode(body)
    assert caught.value.code == code


KINDS = st.sampled_from(
    [("v1", "Pod"), ("apps/v1", "Deployment"), ("v1", "DeleteOptions"), ("policy/v1", "Eviction")]
)


@st.composite
def messages(draw: st.DrawFn, depth: int = 0) -> bytes:
    out = b""
    for _ in range(draw(st.integers(0, 3))):
        field = draw(st.integers(1, 45))
        if depth < 5 and draw(st.booleans()):
            out += part(field, draw(messages(depth=depth + 1)))
        else:
            out += draw(
                st.one_of(
                    st.builds(part, st.just(field), st.binary(max_size=6)),
                    st.builds(number, st.just(field), st.integers(0, 2**64 - 1)),
                )
            )
    return out


@given(KINDS, messages() | st.binary(max_size=40))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_read_or_refused(kind: tuple[str, str], raw: bytes) -> None:
    made: Any = None
    try:
        made = decode(envelope(*kind, raw))
    except StatusError as error:
        code = error.code
    else:
        code = 200
        assert made["kind"] == kind[1]
    assert code in (200, 400, 415)
