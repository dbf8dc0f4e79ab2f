"""Kubernetes JSON becomes typed objects, and back."""

from datetime import UTC, datetime

import pytest

from aliquot.cel.quantity import Quantity
from aliquot.model.core import Node, Pod
from aliquot.model.kinds import API_VERSIONS, ObjectError, decode, decoder, encode, encode_json
from aliquot.model.resource import ResourceClaim, ResourceSlice


def claim_document(**spec: object) -> dict[str, object]:
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {"name": "claim", "namespace": "team", "uid": "u1"},
        "spec": {"devices": spec},
    }


def test_quantities_are_exact_whether_written_as_text_or_number() -> None:
    node = decode(
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": "n"},
            "status": {"allocatable": {"cpu": "63500m", "memory": 1024, "gpus": 0.5}},
        }
    )

    assert isinstance(node, Node)
    assert node.status.allocatable["cpu"] == Quantity.parse("63.5")
    assert node.status.allocatable["memory"] == Quantity.of(1024)
    assert node.status.allocatable["gpus"] == Quantity.parse("500m")


def test_times_are_aware() -> None:
    pod = decode(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "p", "creationTimestamp": "2026-05-01T10:00:00Z"},
        }
    )

    assert pod.metadata.creation_timestamp == datetime(2026, 5, 1, 10, tzinfo=UTC)


def test_an_object_survives_encoding_and_decoding() -> None:
    document = claim_document(
        requests=[
            {
                "name": "gpu",
                "firstAvailable": [
                    {
                        "name": "big",
                        "deviceClassName": "a",
                        "count": 2,
                        "capacity": {"requests": {"m": "1Gi"}},
                    },
                    {"name": "small", "deviceClassName": "b", "allocationMode": "All"},
                ],
            }
        ],
        constraints=[{"requests": ["gpu"], "matchAttribute": "resource.kubernetes.io/pcieRoot"}],
        config=[{"opaque": {"driver": "d", "parameters": {"deep": [{"x": 1}]}}}],
    )

    claim = decode(document)

    assert isinstance(claim, ResourceClaim)
    assert decode(encode(claim)) == claim
    assert encode(claim)["apiVersion"] == "resource.k8s.io/v1"
    assert encode(claim)["kind"] == "ResourceClaim"


def test_list_items_without_kind_and_version_decode_from_bytes() -> None:
    text = b'{"metadata":{"name":"s"},"spec":{"devices":[{"name":"x","attributes":{"a":{"int":3}}}]}}'

    found = decoder(ResourceSlice).decode(text)

    assert found.spec.devices[0].attributes["a"].int_ == 3


@pytest.mark.parametrize(
    ("document", "path", "problem"),
    [
        ({"kind": "Sandwich", "apiVersion": "v1"}, "kind", "is none of"),
        ({"kind": "Pod", "apiVersion": "v2"}, "apiVersion", "must be v1"),
        ({}, "kind", "is none of"),
        (claim_document(requests=[{"name": "gpu", "exactly": {"count": "1"}}]), "count", "int"),
        (
            {
                "kind": "Node",
                "apiVersion": "v1",
                "metadata": {"name": "n"},
                "status": {"allocatable": {"cpu": "4q"}},
            },
            "status.allocatable",
            "4q",
        ),
    ],
)
def test_a_malformed_document_names_the_field_and_the_problem(
    document: dict[str, object], path: str, problem: str
) -> None:
    with pytest.raises(ObjectError) as caught:
        decode(document)

    assert path in caught.value.path
    assert problem in caught.value.problem


def test_equal_objects_give_equal_bytes() -> None:
    first = Pod(
        metadata=decode(
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": {"a": "1", "b": "2"}}}
        ).metadata
    )
    second = Pod(
        metadata=decode(
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": {"b": "2", "a": "1"}}}
        ).metadata
    )

    assert encode_json(first) == encode_json(second)


def test_every_kind_knows_its_versions() -> None:
    for kind, versions in API_VERSIONS.items():
        assert decode({"kind": kind.kind(), "apiVersion": versions[0], "metadata": {"name": "x"}}).name == "x"
