"""From files to a Snapshot: what `plan` reads."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from aliquot.catalog.fleet import FleetError, expand, parse_fleet
from aliquot.cli import annotations, expansion, manifests, strictness
from aliquot.cli.manifests import Document, InputError
from aliquot.model.kinds import KINDS, ObjectError, decode
from aliquot.model.meta import KubernetesObject
from aliquot.model.snapshot import Snapshot
from aliquot.queues.tree import QueueTree

Json = dict[str, Any]

MOST_TOLD = 5
"""So many annotations that are not understood are told of; a saved cluster may have one on each pod."""

_WITHOUT_PODS = ("Node", "Namespace", "ResourceSlice", "DeviceClass", "Queue", "Topology")


class ClusterInput(msgspec.Struct, frozen=True, kw_only=True):
    """What was read. ignored: objects that a plan does not depend on, by kind; notes: for people."""

    snapshot: Snapshot
    ignored: Counter[str]
    notes: tuple[str, ...]


def load(names: Sequence[str], now: datetime, *, kubernetes: tuple[int, int] = (1, 36)) -> ClusterInput:
    """Read files, folders and standard input. Raises InputError, for the first file that is wrong."""
    read = manifests.read(names)
    if not read:
        raise InputError(", ".join(names), "", "holds no manifests", "give files with Kubernetes objects")
    documents: list[Json] = []
    places: dict[tuple[str, str, str], Document] = {}
    ignored: Counter[str] = Counter()
    doubtful: list[str] = []
    again: list[str] = []
    for number, written in enumerate(read):
        document = written.named(number)
        if document.value.get("kind") == strictness.FLEET:
            documents.extend(fleet_objects(document, kubernetes))
            continue
        checked = strictness.check(document)
        if checked is None:
            ignored[str(document.value.get("kind"))] += 1
            continue
        documents.append(checked)
        if checked["kind"] not in _WITHOUT_PODS:
            doubtful.extend(map(str, annotations.doubts(document)))
        metadata = checked["metadata"]
        key = (checked["kind"], metadata.get("namespace", ""), metadata["name"])
        if key in places:
            again.append(f"{document.place()}: {key[0]} {key[2]} is there twice; this one counts")
        places[key] = document
    notes = _first(doubtful, "annotations and labels are not understood") + _first(again, "are there twice")
    implied = expansion.implied_namespaces(documents)
    if implied:
        several = len(implied) > 1
        notes.append(
            f"{'namespaces' if several else 'namespace'} {', '.join(implied)}"
            f" {'are' if several else 'is'} not in the input and taken as managed"
        )
    objects = [_typed(item, places) for item in expansion.expand(documents, now) if item["kind"] in KINDS]
    snapshot = Snapshot.of(objects)
    _check_queues(snapshot, places)
    return ClusterInput(snapshot=snapshot, ignored=ignored, notes=tuple(notes))


def _first(told: list[str], what: str) -> list[str]:
    more = len(told) - MOST_TOLD
    return told[:MOST_TOLD] + ([f"{more} more {what}"] if more > 0 else [])


def fleet_objects(document: Document, kubernetes: tuple[int, int]) -> Iterable[Json]:
    """The objects of a fleet document. Raises InputError."""
    text = document.text
    if not text:
        raise document.error(
            "kind", "a fleet shares its file with other documents", "give it a file of its own"
        )
    try:
        return list(expand(parse_fleet(text, document.source), kubernetes))
    except FleetError as error:
        place = document.source if error.line is None else f"{document.source}:{error.line}"
        raise InputError(place, error.path, error.problem, error.fix) from None


def _typed(item: Json, places: dict[tuple[str, str, str], Document]) -> KubernetesObject:
    try:
        return decode(item)
    except ObjectError as error:
        metadata = item["metadata"]
        key = (item["kind"], metadata.get("namespace", ""), metadata.get("name", ""))
        document = places.get(key) or places.get((key[0], "", key[2]))
        if document is None:
            raise InputError(f"{error.kind} {error.name}", error.path, error.problem, "correct it") from None
        raise strictness.failure(document, error.kind, error.path, error.problem) from None


def _check_queues(snapshot: Snapshot, places: dict[tuple[str, str, str], Document]) -> None:
    """A queue with a broken chain of parents is an error of the input, not something to plan with."""
    tree = QueueTree.of(snapshot.queues)
    for name, problem in sorted(tree.problems.items()):
        document = places.get(("Queue", "", name))
        if document is None:
            continue
        if problem.kind == "cycle":
            chain = [name]
            while (parent := tree.queues[chain[-1]].spec.parent) not in chain:
                chain.append(parent)
            shown = " -> ".join([*chain, parent])
            raise document.error(
                "spec.parent", f"the queues are cyclic: {shown}", "let one of them have no parent"
            )
        raise document.error(
            "spec.parent", f"there is no queue {problem.subject!r}", "add it, or remove spec.parent"
        )
