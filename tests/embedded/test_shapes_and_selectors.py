"""Decoding by shape, selectors, and how people read times."""

from __future__ import annotations

from typing import Any

import pytest
from documents import VALID
from hypothesis import given
from hypothesis import strategies as st

from aliquot.embedded.http.tables.column import human_duration
from aliquot.embedded.resources import BUILT_IN
from aliquot.embedded.schemas import kind_schema, structs
from aliquot.embedded.selectors import (
    field_paths,
    label_selector_of,
    parse_field_selector,
    parse_label_selector,
)
from aliquot.embedded.status import StatusError


def test_every_built_in_kind_has_a_shape_and_a_test_document_conforms_to_it() -> None:
    for resource in BUILT_IN:
        assert resource.schema is not None, resource.key
        if resource.key in VALID and not resource.stored_as:
            conformed = resource.schema.conform(VALID[resource.key])
            assert (conformed.unknown, conformed.causes) == ([], []), resource.key


@pytest.mark.parametrize("name", sorted(VALID))
def test_conforming_twice_changes_nothing_more(name: str) -> None:
    schema = next(one.schema for one in BUILT_IN if one.key == name and not one.stored_as)
    assert schema is not None
    once = schema.conform(VALID[name]).obj
    assert schema.conform(once).obj == once


def test_protobuf_numbers_are_distinct_within_a_type() -> None:
    for struct in structs().values():
        inner = {name for one in struct.inlined.values() for name in one.fields}
        numbers = [one.number for name, one in struct.fields.items() if name not in inner]
        assert len(numbers) == len(set(numbers)), struct.name


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (
            "replicas",
            "3",
            "cannot unmarshal string into Go struct field Deployment.spec.replicas of type int32",
        ),
        ("replicas", 2**40, "of type int32"),
        ("replicas", 1.5, "of type int32"),
        ("paused", "yes", "of type bool"),
        ("selector", [], "cannot unmarshal array"),
        ("template", {"metadata": {"labels": {"a": 1}}}, "spec.template.metadata.labels.a of type string"),
        (
            "template",
            {"spec": {"containers": [{"resources": {"limits": {"cpu": "lots"}}}]}},
            "quantities must match the regular expression",
        ),
        ("template", {"metadata": {"creationTimestamp": "yesterday"}}, "is not a time such as"),
        ("template", {"spec": {"containers": {}}}, "cannot unmarshal object"),
    ],
)
def test_values_of_the_wrong_type_are_named(field: str, value: Any, message: str) -> None:
    schema = kind_schema("apps", "v1", "Deployment")
    assert schema is not None
    with pytest.raises(StatusError) as caught:
        schema.conform({"spec": {field: value}})
    assert caught.value.code == 400
    assert caught.value.message.startswith('Deployment in version "v1" cannot be handled as a Deployment')
    assert message in caught.value.message


LABELS = {"app": "web", "tier": "front", "empty": ""}


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("app=web", True),
        ("app==web,tier=front", True),
        ("app!=web", False),
        ("other!=x", True),
        ("app in (web, api)", True),
        ("app notin (web)", False),
        ("other notin (x)", True),
        ("tier", True),
        ("!tier", False),
        ("!other", True),
        ("empty=", True),
        ("app = web , tier", True),
    ],
)
def test_label_selectors(selector: str, expected: bool) -> None:
    parsed = parse_label_selector(selector)
    assert parsed is not None
    assert parsed.matches(LABELS) is expected


@pytest.mark.parametrize("selector", ["a b", "a in b", "=x", "a in (", "a,,b", "!", "a=b=c"])
def test_unreadable_label_selectors_are_bad_requests(selector: str) -> None:
    with pytest.raises(StatusError) as caught:
        parse_label_selector(selector)
    assert caught.value.code == 400


TEXT = st.text("abcxyz-_./", min_size=1, max_size=8).map(lambda text: text.strip("-_./") or "a")


@given(st.dictionaries(TEXT, TEXT, max_size=4), st.dictionaries(TEXT, TEXT, max_size=4))
def test_match_labels_and_text_select_the_same(wanted: dict[str, str], labels: dict[str, str]) -> None:
    text = parse_label_selector(",".join(f"{key}={value}" for key, value in wanted.items()))
    structured = label_selector_of({"matchLabels": wanted})
    expected = wanted.items() <= labels.items()
    assert structured.matches(labels) is expected
    assert (text is None or text.matches(labels)) is expected


def test_field_selectors_know_their_paths() -> None:
    paths = field_paths("pods")
    parsed = parse_field_selector("status.phase!=Running,spec.nodeName=", paths, "pods")
    assert parsed is not None
    assert parsed.matches({"status.phase": "Pending", "spec.nodeName": ""})
    assert not parsed.matches({"status.phase": "Running", "spec.nodeName": ""})
    with pytest.raises(StatusError, match=r"field label not supported: spec\.image"):
        parse_field_selector("spec.image=x", paths, "pods")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (330, "5m30s"),
        (3000, "50m"),
        (3 * 3600 + 1500, "3h25m"),
        (20 * 3600, "20h"),
        (51 * 3600, "2d3h"),
        (30 * 86400, "30d"),
        (740 * 86400, "2y10d"),
        (-5, "<invalid>"),
    ],
)
def test_durations_are_written_as_kubectl_does(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text
