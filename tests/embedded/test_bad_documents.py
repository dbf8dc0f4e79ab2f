"""Whatever is sent, the answer is a Status of Kubernetes, never a crash, and nothing half-done remains."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from documents import VALID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aliquot.embedded.http.tables import table_for
from aliquot.embedded.registry import SYSTEM, Registry
from aliquot.embedded.status import StatusError
from aliquot.embedded.storage import Store

Object = dict[str, Any]
NOW = datetime(2026, 1, 1, tzinfo=UTC)

ODD = st.sampled_from(
    [
        None,
        True,
        0,
        -1,
        2**40,
        1.5,
        "",
        "x",
        "Ünï cødé",
        "a" * 300,
        [],
        [None],
        {},
        {"a": "b"},
        [{}],
        ["x"],
        [[]],
    ]
)


def refused(error: StatusError) -> None:
    """The fault is the client's, and the answer says so."""
    assert 400 <= error.code < 500, error.message


def fresh() -> Registry:
    count = iter(range(1, 10_000))
    return Registry(Store(), lambda: NOW, lambda: f"u{next(count)}")


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from places(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from places(item, (*path, index))


def changed(document: Object, path: tuple[Any, ...], value: Any) -> Object:
    made = copy.deepcopy(document)
    inner: Any = made
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return made


@pytest.mark.parametrize("name", sorted(VALID))
def test_the_document_of_each_kind_is_accepted_shown_and_kept_as_it_is(api: Any, name: str) -> None:
    made = api.create(name, VALID[name])
    resource = api.resource(name)
    assert api.update(name, made)["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    assert table_for(resource).cells(made, NOW)


@pytest.mark.parametrize("name", sorted(VALID))
@given(data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_one_odd_value_anywhere_is_stored_or_refused_with_a_status(name: str, data: st.DataObject) -> None:
    registry = fresh()
    plural, _, group = name.partition(".")
    resource = registry.resources.named(plural, group)
    document = VALID[name]
    path = data.draw(st.sampled_from(list(places(document))))
    odd = changed(document, path, data.draw(ODD))
    namespace = "default" if resource.namespaced else None
    before = registry.version
    try:
        made = registry.create(resource, namespace, odd, SYSTEM, field_manager="m", field_validation="Warn")
    except StatusError as error:
        refused(error)
        assert registry.version == before
    else:
        assert table_for(resource).cells(made, NOW)
        assert registry.get(resource, namespace, made["metadata"]["name"]) == made
    registry = fresh()
    made = registry.create(resource, namespace, document, SYSTEM, field_manager="m")
    for kind in ("merge", "strategic", "apply"):
        for subresource in (None, "status"):
            if subresource and not resource.has_status:
                continue
            body = odd | {"apiVersion": resource.api_version, "kind": resource.kind}
            try:
                registry.patch(
                    resource,
                    namespace,
                    made["metadata"]["name"],
                    kind,
                    body,
                    SYSTEM,
                    field_manager="n",
                    subresource=subresource,
                )
            except StatusError as error:
                refused(error)


@given(
    status=st.recursive(
        ODD,
        lambda inner: st.dictionaries(
            st.sampled_from(
                ["conditions", "phase", "allocation", "reservedFor", "devices", "results", "replicas", "uid"]
            ),
            inner,
            max_size=3,
        ),
    )
)
@settings(max_examples=150, deadline=None)
def test_odd_status_is_stored_or_refused_with_a_status(status: Any) -> None:
    registry = fresh()
    for name in ("pods", "resourceclaims.resource.k8s.io", "jobs.batch", "nodes"):
        plural, _, group = name.partition(".")
        resource = registry.resources.named(plural, group)
        namespace = "default" if resource.namespaced else None
        if registry.find(resource, namespace, "a") is None:
            registry.create(resource, namespace, VALID[name], SYSTEM)
        try:
            made = registry.patch(
                resource, namespace, "a", "merge", {"status": status}, SYSTEM, subresource="status"
            )
        except StatusError as error:
            refused(error)
        else:
            assert table_for(resource).cells(made, NOW)
