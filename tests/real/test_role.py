"""The role is enough and not more than that. Runs after the other tests of this folder (see conftest.py)."""

import json
from pathlib import Path

import pytest
from tests.real.cluster import Cluster, Controller

from aliquot import manifests

USER = manifests.CONTROLLER_USER


def test_nothing_was_forbidden(controller: Controller) -> None:
    assert controller.forbidden == []


def test_the_audit_log_knows_of_no_refusal(audit_log: Path, controller: Controller) -> None:
    refused = [
        (entry["verb"], entry["requestURI"], entry["annotations"].get("authorization.k8s.io/reason"))
        for entry in entries(audit_log)
        if entry["annotations"].get("authorization.k8s.io/decision") == "forbid"
    ]
    assert refused == []


def test_what_the_role_allows_is_used(audit_log: Path, controller: Controller) -> None:
    """Verbs on what is written. What is read depends on what a cluster serves."""
    used = {(entry["verb"], resource(entry)) for entry in entries(audit_log)}
    written = {
        verb_and_resource
        for verb_and_resource in used
        if verb_and_resource[0] not in ("get", "list", "watch")
    }
    allowed = {
        (verb, f"{name}.{group}" if group else name)
        for obj in manifests.load()
        if obj["kind"] in ("ClusterRole", "Role")
        for rule in obj["rules"]
        for group in rule["apiGroups"]
        for name in rule["resources"]
        for verb in rule["verbs"]
        # Asked for besides resourceclaims/status when an allocation is set; no request has this name.
        if verb not in ("get", "list", "watch") and name != "resourceclaims/binding"
    }
    assert written <= allowed
    if unused := sorted(allowed - written):
        pytest.skip(f"allowed and not used in this run: {', '.join(' '.join(pair) for pair in unused)}")


def test_only_its_own_namespace_is_written_to_beyond_claims_pods_and_events(
    audit_log: Path, controller: Controller, real: Cluster
) -> None:
    elsewhere = {
        (entry["verb"], resource(entry))
        for entry in entries(audit_log)
        if entry["verb"] not in ("get", "list", "watch")
        and entry["objectRef"].get("namespace") != manifests.NAMESPACE
    }
    kinds = {name.partition("/")[0].partition(".")[0] for _, name in elsewhere}
    assert kinds <= {"pods", "resourceclaims", "events", "queues"}


def entries(path: Path) -> list[dict]:
    with path.open() as lines:
        found = [json.loads(line) for line in lines if f'"{USER}"' in line]
    return [one for one in found if one["user"]["username"] == USER and one["stage"] == "ResponseComplete"]


def resource(entry: dict) -> str:
    ref = entry.get("objectRef") or {}
    name = ref.get("resource", "") + (f"/{ref['subresource']}" if ref.get("subresource") else "")
    group = ref.get("apiGroup", "")
    return f"{name}.{group}" if group else name
