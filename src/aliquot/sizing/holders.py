"""The workloads of a cluster that hold devices, as culling looks at them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from aliquot.inventory.report import Report
from aliquot.model.core import Pod
from aliquot.model.index import SnapshotIndex, live
from aliquot.model.kinds import API_VERSIONS
from aliquot.model.meta import KubernetesObject, ObjectRef, OwnerReference
from aliquot.model.owners import Deployment, LeaderWorkerSet, ReplicaSet, StatefulSet
from aliquot.model.snapshot import Snapshot
from aliquot.sizing.culling import CullingPolicy, Holder
from aliquot.sizing.idleness import Idleness, idleness
from aliquot.sizing.kinds import Kind, kind_of
from aliquot.usage.metrics import WHOLE_PPM
from aliquot.usage.provenance import Provenance
from aliquot.usage.series import Series
from aliquot.workloads.lookup import Lookup

NOTEBOOK = "Notebook"
"""Kind of kubeflow.org, which owns a StatefulSet and decides over its replicas."""


@dataclass(slots=True)
class _Found:
    ref: ObjectRef
    queue: str
    priority: int
    minimum: int
    chain: tuple[KubernetesObject, ...]
    top: KubernetesObject
    ruler: OwnerReference | None
    pods: list[Pod] = field(default_factory=list)
    said: dict[str, str] = field(default_factory=dict)


def holders_of(
    snapshot: Snapshot, report: Report, held: Iterable[Series], policy: CullingPolicy, now_ms: int
) -> tuple[Holder, ...]:
    """Every workload with pods that hold devices, sorted by namespace and name. A workload is the topmost
    owner of its pods, a Kubeflow Notebook also where the snapshot has none (its own annotations are not known
    then); pods that came last would leave first. One without series is not known to be idle.

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
        top = chain[-1] if chain else pod
        ruler = top.metadata.controller
        ref = top.ref
        if ruler is not None and ruler.kind == NOTEBOOK:
            ref = ObjectRef(kind=NOTEBOOK, namespace=ref.namespace, name=ruler.name, uid=ruler.uid)
        key = (ref.kind, ref.namespace, ref.name)
        known = found.setdefault(key, _Found(ref, gang.queue, gang.priority, gang.minimum, chain, top, ruler))
        known.pods.append(pod)
        known.priority = max(known.priority, gang.priority)
        # Deployments copy their annotations to ReplicaSets and do not take them away there again.
        for item in (pod, *(one for one in chain if one is top or not isinstance(one, ReplicaSet))):
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
    notebook = found.ref.kind == NOTEBOOK
    owners = ([NOTEBOOK] if notebook else []) + [item.kind() for item in reversed(found.chain)]
    kind, _ = kind_of(tuple(owners), found.said)
    ruler = None if notebook else found.ruler
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
        api_version=found.ruler.api_version if notebook and found.ruler else API_VERSIONS[type(found.top)][0],
        own={} if notebook else found.top.metadata.annotations,
        ruler=f"{ruler.kind} {ruler.name}" if ruler is not None else "",
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
