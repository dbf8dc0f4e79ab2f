"""Pods and their owners in few words, as the controllers of each kind make them."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from aliquot.model.core import Namespace, Pod, PriorityClass
from aliquot.model.index import SnapshotIndex
from aliquot.model.kinds import decode
from aliquot.model.meta import KubernetesObject, ObjectMeta
from aliquot.model.snapshot import Snapshot
from aliquot.queues.tree import QueueTree
from aliquot.workloads.gang import Gang, GangRules
from aliquot.workloads.grouping import Grouping
from aliquot.workloads.subgroups import SubGroup

NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
TEAM = "team"
NO_QUEUES = QueueTree.of(())


def at(minute: float) -> str:
    """A time so many minutes after noon, in RFC 3339."""
    return (NOON + timedelta(minutes=minute)).isoformat().replace("+00:00", "Z")


def owner(kind: str, version: str, name: str) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "name": name, "uid": f"uid-{name}", "controller": True}


def obj(kind: str, version: str, name: str, **fields: Any) -> KubernetesObject:
    """Any object; labels, annotations, owner and created go to its metadata, the rest stays."""
    metadata: dict[str, Any] = {"name": name, "namespace": TEAM, "uid": f"uid-{name}"}
    metadata["creationTimestamp"] = at(fields.pop("created", 0))
    for key in ("labels", "annotations"):
        if key in fields:
            metadata[key] = fields.pop(key)
    if "owner" in fields:
        metadata["ownerReferences"] = [fields.pop("owner")]
    return decode({"apiVersion": version, "kind": kind, "metadata": metadata, **fields})


def pod(
    name: str,
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    node: str = "",
    phase: str = "",
    started: float | None = None,
    ready: bool = False,
    spec: dict[str, Any] | None = None,
    **fields: Any,
) -> Pod:
    status: dict[str, Any] = {"phase": phase or ("Running" if node else "Pending")}
    if started is not None:
        status["startTime"] = at(started)
    if ready:
        status["conditions"] = [{"type": "Ready", "status": "True"}]
    made = obj(
        "Pod",
        "v1",
        name,
        labels=labels or {},
        annotations=annotations or {},
        spec={"nodeName": node, "containers": [], **(spec or {})},
        status=status,
        **fields,
    )
    assert isinstance(made, Pod)
    return made


def priority_class(name: str, value: int) -> PriorityClass:
    return PriorityClass(metadata=ObjectMeta(name=name), value=value)


def index_of(objects: Iterable[KubernetesObject], **namespace_labels: str) -> SnapshotIndex:
    labels = {"aliquot.dev/managed": "true", **namespace_labels}
    namespace = Namespace(metadata=ObjectMeta(name=TEAM, labels=labels))
    return SnapshotIndex.of(Snapshot.of([namespace, *objects]))


def grouped(objects: Iterable[KubernetesObject], **rules: Any) -> Grouping:
    return Grouping.of(index_of(objects), NO_QUEUES, GangRules(**rules))


def gangs_of(objects: Iterable[KubernetesObject], **rules: Any) -> dict[str, Gang]:
    """Every gang of these objects, by the name of what stands for it."""
    found = grouped(objects, **rules)
    return {str(found.gang(key).ref): found.gang(key) for key in found.groups()}


def only(objects: Iterable[KubernetesObject], **rules: Any) -> Gang:
    """The one gang that all pods belong to."""
    found = gangs_of(objects, **rules)
    assert len(found) == 1, sorted(found)
    return next(iter(found.values()))


Shown = int | dict[str, "Shown"]


def shown(group: SubGroup) -> Shown:
    """A tree in short: the minimum of a leaf, the children of an inner node that needs all of them, with
    `/N` behind the name of one that needs fewer."""
    if not group.children:
        return group.minimum
    found: dict[str, Shown] = {}
    for child in group.children:
        fewer = child.children and child.minimum != len(child.children)
        found[f"{child.name}/{child.minimum}" if fewer else child.name] = shown(child)
    return found


def constraints(group: SubGroup) -> dict[str, tuple[str, str, str]]:
    """The constraints in a tree by the names of the subgroups: topology, required and preferred level."""
    found: dict[str, tuple[str, str, str]] = {}
    if group.constraint is not None:
        limit = group.constraint
        found[group.name] = (limit.topology, limit.required, limit.preferred)
    for child in group.children:
        found |= constraints(child)
    return found
