"""Manifests that are not in a cluster yet, as the objects that they would become in it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from aliquot.cli import annotations, expansion, manifests, strictness
from aliquot.cli.manifests import Document, InputError
from aliquot.model.core import Namespace
from aliquot.model.kinds import KINDS, ObjectError, decode, encode
from aliquot.model.meta import KubernetesObject
from aliquot.model.resource import ResourceClaimTemplate
from aliquot.model.snapshot import Snapshot

Json = dict[str, Any]


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """objects: what the manifests become, pods and claims of theirs included; notes: for people."""

    objects: tuple[KubernetesObject, ...]
    notes: tuple[str, ...] = ()


def read(names: Sequence[str], snapshot: Snapshot, now: datetime) -> Submission:
    """Read manifests for a cluster that has these objects. Raises InputError.

    Namespaces and templates of the cluster are those that the manifests speak of; a namespace that neither
    has is taken as managed.
    """
    places: dict[tuple[str, str, str], Document] = {}
    documents: list[Json] = []
    doubtful: list[str] = []
    for number, written in enumerate(manifests.read(names)):
        document = written.named(number)
        kind = document.value.get("kind")
        if kind == strictness.FLEET:
            raise document.error("kind", "a fleet is no workload", "add it with --change add=FILE")
        if kind == "Change":
            raise document.error("kind", "a change is no workload", "give it with --change FILE")
        checked = strictness.check(document)
        if checked is None:
            continue
        metadata = checked["metadata"]
        documents.append(checked)
        doubtful.extend(map(str, annotations.doubts(document)))
        places[checked["kind"], metadata.get("namespace", ""), metadata["name"]] = document
    if not documents:
        raise InputError(", ".join(names), "", "holds no manifests", "give files with Kubernetes objects")
    own = {(item["kind"], item["metadata"]["name"]) for item in documents}
    there = [
        encode(item)
        for item in (*snapshot.namespaces, *snapshot.resource_claim_templates)
        if isinstance(item, (Namespace, ResourceClaimTemplate)) and (item.kind(), item.name) not in own
    ]
    implied = expansion.implied_namespaces([*there, *documents])
    notes = [f"namespace {name} is not in the cluster and taken as managed" for name in implied]
    notes += doubtful
    known = {item.key: item for item in snapshot.pods}
    kept = {(item["kind"], item["metadata"].get("namespace", ""), item["metadata"]["name"]) for item in there}
    found: list[KubernetesObject] = []
    for item in expansion.expand([*there, *documents], now):
        metadata = item["metadata"]
        key = (item["kind"], metadata.get("namespace", ""), metadata["name"])
        if key in kept or item["kind"] not in KINDS:
            continue
        if item["kind"] == "Pod" and key[1:] in known:
            notes.append(f"pod {key[1]}/{key[2]} is in the cluster already; it stays as it is")
            continue
        found.append(_typed(item, places))
    return Submission(objects=tuple(found), notes=tuple(notes))


def _typed(item: Json, places: dict[tuple[str, str, str], Document]) -> KubernetesObject:
    try:
        return decode(item)
    except ObjectError as error:
        metadata = item["metadata"]
        key = (item["kind"], metadata.get("namespace", ""), metadata["name"])
        document = places.get(key) or places.get((key[0], "", key[2]))
        if document is None:
            raise InputError(f"{error.kind} {error.name}", error.path, error.problem, "correct it") from None
        raise strictness.failure(document, error.kind, error.path, error.problem) from None
