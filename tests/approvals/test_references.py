"""What runs is recognised as the admission policy recognises it."""

from typing import Any

import pytest
from tests.approvals.admission import LLAMA, MODELS, SHELF, container, pod
from tests.approvals.test_admission import ADMITTED, HF, PIN, REFUSED

from aliquot.approvals.references import Serving, serving, workloads_of

HIDDEN = {
    "all variables from a ConfigMap",
    "file of settings",
    "other hub",
    "ModelScope",
    "adapters at run time",
    "model behind other flags",
    "server without a model",
    "strict namespace without a label",
}
"""Refused for another reason than the weights that are seen."""


def approved(found: Serving) -> bool:
    """Whether every reference is of a model that may run."""
    usable = [model for model in MODELS if model.usable]
    return all(
        any(
            Serving(references=(reference,), revisions=found.revisions).by(model)
            for model in usable
            if found.label in ("", model.name)
        )
        for reference in found.references
    )


@pytest.mark.parametrize("name", [name for name in ADMITTED if name != "another namespace"])
def test_what_is_admitted_is_seen_to_be_approved(name: str) -> None:
    assert approved(serving(ADMITTED[name]))


@pytest.mark.parametrize("name", [name for name in REFUSED if name not in HIDDEN])
def test_what_is_refused_for_its_weights_is_seen_to_be_others(name: str) -> None:
    document, word = REFUSED[name]
    found = serving(document)
    places = {"namespace not allowed", "not isolated enough"}
    labels = {"revoked label", "unknown label"}

    if name in labels:
        assert found.label in ("revoked", "nobody")
    elif name in places:
        assert any(word in reference for reference in found.references)
    else:
        assert not approved(found), found


def test_what_still_runs_is_told_by_workload() -> None:
    def replica(name: str, phase: str = "Running") -> dict[str, Any]:
        made = pod(container("--model", HF, PIN), name=name)
        owner = {"kind": "ReplicaSet", "name": "llama", "controller": True}
        made["metadata"]["ownerReferences"] = [owner]
        made["status"] = {"phase": phase}
        return made

    bare = pod(container(image="mine"), name="own", namespace="other", label=LLAMA.name)
    shelf = pod(container("--model", "/models/shelf"))
    pods = [replica("a"), replica("b"), replica("c", "Failed"), bare, shelf]

    found = workloads_of(LLAMA, pods)

    assert [(one.namespace, one.kind, one.name, one.pods) for one in found] == [
        ("other", "Pod", "own", 1),
        ("serving", "ReplicaSet", "llama", 2),
    ]
    assert [one.name for one in workloads_of(SHELF, pods)] == ["p"]


@pytest.mark.parametrize(
    "document", [{}, {"spec": None}, {"spec": {"containers": [1, None]}}, {"metadata": {"labels": None}}]
)
def test_odd_documents_serve_nothing(document: dict[str, Any]) -> None:
    assert serving(document) == Serving()
