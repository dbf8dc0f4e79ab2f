"""The workloads of a cluster that hold devices, as culling looks at them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from aliquot.inventory.report import Report
from aliquot.model.core import Pod
from aliquot.model.index import SnapshotIndex, live
from aliquot.model.meta import KubernetesObject, ObjectRef
from aliquot.model.owners import Deployment, LeaderWorkerSet, ReplicaSet, StatefulSet
from aliquot.model.snapshot import Snapshot
from aliquot.sizing.culling import CullingPolicy, Holder
from aliquot.sizing.idleness import Idleness, idleness
from aliquot.sizing.kinds import Kind, kind_of
from aliquot.usage.metrics import WHOLE_PPM
from aliquot.usage.provenance import Provenance
from aliquot.usage.series import Series
from aliquot.workloads.lookup import Lookup


@dataclass(slots=True)
class _Found:
    ref: ObjectRef
    queue: str
    priority: int
    minimum: int
    chain: tuple[KubernetesObject, ...]
    pods: list[Pod] = field(default_factory=list)
    said: dict[str, str] = field(default_factory=dict)


def holders_of(
    snapshot: Snapshot, report: Report, held: Iterable[Series], policy: CullingPolicy, now_ms: int
) -> tuple[Holder, ...]:
    """Every workload with pods that hold devices, sorted by namespace and name. A workload is the topmost
    owner of its pods; pods that came last would leave first. One without series is not known to be idle.

    held: series by who held the devices (`usage.joining.Usage.held`).
    """
    series: dict[tuple[str, str], list[Series]] = {}
    for item in held:
        if item.owner.pod is not None:
            series.setdefault((item.owner.pod.namespace, item.owner.pod.name), []).append(item)
    found = _workloads(snapshot, report)
    holders = [_holder(item, series, policy, now_ms) for item in found.values()]
    return tuple(sorted(holders, key=lambda item: (item.key[1], item.key[2], item.key[0])))


def _workloads(snapshot: Snapshot, report: Report) -> Mapping[tuple[str, str, str], _Found]:
    holding = {
        (pod.namespace, pod.name)
        for state in report.devices.devices
        if state.board.accelerator
        for holder in state.holders
        if not holder.admin
        for pod in holder.pods
    }
    lookup = Lookup(SnapshotIndex.of(snapshot))
    found: dict[tuple[str, str, str], _Found] = {}
    for pod in snapshot.pods:
        gang = report.owners.of_pod.get(pod.key)
        if pod.key not in holding or not live(pod) or gang is None:
            continue
        chain = lookup.chain(pod).objects
        ref = chain[-1].ref if chain else pod.ref
        key = (ref.kind, ref.namespace, ref.name)
        known = found.setdefault(key, _Found(ref, gang.queue, gang.priority, gang.minimum, chain))
        known.pods.append(pod)
        known.priority = max(known.priority, gang.priority)
        for item in (pod, *chain):
            for texts in (item.metadata.annotations, item.metadata.labels):
                for name, text in texts.items():
                    known.said.setdefault(name, text)
    return found


def _holder(
    found: _Found,
    series: Mapping[tuple[str, str], list[Series]],
    policy: CullingPolicy,
    now_ms: int,
) -> Holder:
    kind, _ = kind_of(tuple(item.kind() for item in reversed(found.chain)), found.said)
    pods = sorted(found.pods, key=lambda pod: pod.metadata.name)
    pods.sort(key=lambda pod: -(created.timestamp() if (created := pod.metadata.creation_timestamp) else 0.0))
    return Holder(
        workload=found.ref,
        queue=found.queue,
        kind=kind,
        priority=found.priority,
        idleness=_idleness(found, kind, series, policy, now_ms),
        pods=tuple(pod.ref for pod in pods),
        minimum=found.minimum,
        replicas=_replicas(found),
        said=found.said,
    )


def _replicas(found: _Found) -> int | None:
    top = found.chain[-1] if found.chain else None
    if isinstance(top, Deployment | StatefulSet | ReplicaSet | LeaderWorkerSet):
        return top.spec.replicas if top.spec.replicas is not None else 1
    return None


def _idleness(
    found: _Found,
    kind: Kind,
    series: Mapping[tuple[str, str], list[Series]],
    policy: CullingPolicy,
    now_ms: int,
) -> Idleness:
    """Of all pods together: one that nothing measures makes it unknown."""
    rule = policy.rule(found.queue, kind)
    if rule is None:
        return Idleness(None, provenance=Provenance.UNKNOWN, why="no rule is about it")
    every: list[Series] = []
    for pod in found.pods:
        own = [item for item in series.get(pod.key, ()) if item.metric.busy]
        if not own:
            why = f"nothing measures how busy pod {pod.metadata.name} is"
            return Idleness(None, provenance=Provenance.UNKNOWN, why=why)
        every += own
    return idleness(every, rule.busy_percent * WHOLE_PPM // 100, now_ms)
