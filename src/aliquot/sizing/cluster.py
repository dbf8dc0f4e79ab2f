"""Profiles of the workloads of a cluster, and the devices it has, with the mode in force on each."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache

from aliquot.catalog.accelerators import Accelerator, accelerators
from aliquot.inventory import devices as inventory
from aliquot.inventory.devices import DeviceState
from aliquot.inventory.layout import Part as PublishedPart
from aliquot.inventory.report import Report
from aliquot.model.core import Pod
from aliquot.model.index import SnapshotIndex
from aliquot.model.meta import KubernetesObject, ObjectRef
from aliquot.model.owners import Deployment, StatefulSet
from aliquot.model.snapshot import Snapshot
from aliquot.model.workloads import Job
from aliquot.scheduling.plan import Plan
from aliquot.scheduling.policy import Policy
from aliquot.sizing.choosing import Offer
from aliquot.sizing.edits import Asks
from aliquot.sizing.kinds import ISOLATION_LABEL, kind_of
from aliquot.sizing.parts import Isolation, Mode, Part, exclusive, parts_of, whole_memory
from aliquot.sizing.policy import SizingPolicy, isolation_of_word
from aliquot.sizing.profiles import Profile, Use, profile_of, shape_of
from aliquot.usage.metrics import BUSY, Metric
from aliquot.usage.series import Series, Subject
from aliquot.workloads.lookup import Lookup

_SEPARATORS = re.compile(r"[^a-z0-9]+")

_MODES = {
    inventory.EXCLUSIVE: Mode.EXCLUSIVE,
    inventory.DEVICE_PLUGIN: Mode.EXCLUSIVE,
    inventory.MIG: Mode.MIG,
    inventory.TIME_SLICING: Mode.TIME_SLICING,
    inventory.MPS: Mode.MPS,
    inventory.CONSUMABLE: Mode.CONSUMABLE,
    inventory.SHARED: Mode.TIME_SLICING,
    inventory.VGPU: Mode.VGPU,
    inventory.PARTITIONED: Mode.AMD_PARTITION,
}
"""Several pods on one claim take turns; vfio devices are whole and not named here."""

SERVERS = frozenset({Metric.REQUESTS_RUNNING, Metric.REQUESTS_WAITING, Metric.KV_CACHE_USED})


@dataclass(frozen=True, slots=True)
class InForce:
    """How a workload has its devices now: the mode that the node really has, and the part."""

    mode: str
    part: Part | None


@dataclass(frozen=True, slots=True, eq=False)
class Fleet:
    """What a cluster has. offers: by model, with how many. devices: their states. unknown: products that the
    catalogue does not know, with how many. in_force: by pod (namespace, name)."""

    offers: tuple[Offer, ...]
    devices: tuple[DeviceState, ...]
    unknown: Mapping[str, int]
    in_force: Mapping[tuple[str, str], InForce]


@cache
def _products() -> Mapping[str, Accelerator]:
    found = {}
    for item in accelerators().values():
        found[_plain(item.product_name)] = item
        found[_plain(item.id)] = item
    return found


def _plain(product: str) -> str:
    return _SEPARATORS.sub("-", product.lower()).strip("-")


def accelerator_of(product: str) -> Accelerator | None:
    """The model of a product name as a driver or a node label writes it: `NVIDIA A100-SXM4-80GB`,
    `NVIDIA-A100-SXM4-80GB-SHARED`, `NVIDIA-A100-SXM4-80GB-MIG-1g.10gb`; None where it is not known."""
    plain = _plain(product)
    for name in (plain, plain.removesuffix("-shared"), plain.partition("-mig-")[0]):
        if name in _products():
            return _products()[name]
    return None


def fleet_of(
    report: Report, prices: Mapping[str, int] | None = None, modes: frozenset[Mode] | None = None
) -> Fleet:
    """The devices of a cluster. prices: micro-units of money per hour of one device, by model.

    modes: in which devices may be given out. None: whole, and as partitions where the model has them; shares
    (MPS, turns, consumable) only of models of which a device is shared so now, because these need the
    node's driver to be set up for it.
    """
    counts: Counter[str] = Counter()
    unknown: Counter[str] = Counter()
    in_force: dict[tuple[str, str], InForce] = {}
    offered: dict[str, set[Mode]] = {}
    for state in report.devices.devices:
        if not state.board.accelerator:
            continue
        model = accelerator_of(state.board.product)
        if model is None:
            unknown[state.board.product or "unnamed"] += 1
            continue
        counts[model.id] += 1
        offered.setdefault(model.id, set()).update(_offered(state))
        for held in state.parts:
            for holder in held.holders:
                if holder.admin:
                    continue
                part = part_in_force(state, held.part, holder.share, model)
                for pod in holder.pods:
                    in_force[pod.namespace, pod.name] = InForce(state.mode, part)
    offers = tuple(
        Offer(
            accelerators()[name],
            count,
            (prices or {}).get(name),
            frozenset(offered[name]) if modes is None else modes,
        )
        for name, count in sorted(counts.items())
    )
    return Fleet(offers, report.devices.devices, dict(unknown), in_force)


def _offered(state: DeviceState) -> Iterable[Mode]:
    yield from (Mode.EXCLUSIVE, Mode.MIG, Mode.AMD_PARTITION)
    mode = _MODES.get(state.mode)
    if mode is not None:
        yield mode
    if any(part.part.shareable for part in state.parts):
        yield Mode.CONSUMABLE


def part_in_force(
    state: DeviceState, published: PublishedPart, share: Fraction, model: Accelerator
) -> Part | None:
    """The catalogue's part that is held; None where the catalogue has none like it."""
    mode = _MODES.get(state.mode)
    if mode is None:
        return None
    if mode is Mode.EXCLUSIVE:
        return exclusive(model)
    for part in parts_of(model, [mode]):
        if part.name == published.profile:
            return part
    if mode in (Mode.MPS, Mode.TIME_SLICING, Mode.CONSUMABLE):
        share = share or Fraction(1)
        return Part(
            model,
            mode,
            str(share),
            int(whole_memory(model) * share),
            share,
            share,
            share,
            Isolation.MEMORY if mode is Mode.MPS else Isolation.NONE,
            elastic=mode is not Mode.MPS,
        )
    return exclusive(model) if published.whole else None


def fleet_report(snapshot: Snapshot, policy: Policy | None = None) -> Report:
    """The tables of a snapshot as it is, without deciding anything."""
    return Report.of(snapshot, Plan(), policy or Policy())


@dataclass(slots=True)
class _Found:
    """What is known of one workload while its series are gathered."""

    ref: ObjectRef
    owners: tuple[str, ...] = ()
    said: dict[str, str] = field(default_factory=dict)
    queue: str = ""
    serves: bool = False
    cache: int | None = None
    pods: set[tuple[str, str]] = field(default_factory=set)
    series: dict[tuple[str, Subject], dict[Metric, Series]] = field(default_factory=dict)


def profiles_of(
    snapshot: Snapshot,
    fleet: Fleet,
    report: Report,
    held: Iterable[Series],
    policy: SizingPolicy,
    servers: Iterable[Series] = (),
) -> tuple[Profile, ...]:
    """Profiles by workload, sorted by namespace and name. A workload is the topmost owner of its pods; of
    pods that are gone, what has pods of such names.

    held: series of devices and parts by who held them (`usage.joining.Usage.held`). servers: those of model
    servers, and of containers that are measured without their devices. A label that names no isolation is
    passed over, and the profile says so.
    """
    gathering = _Gathering(snapshot, report)
    for series in held:
        if len(series) and (series.owner.pod is not None or series.owner.workload is not None):
            found = gathering.workload(series)
            pod = series.owner.pod.name if series.owner.pod is not None else ""
            known = found.series.setdefault((pod, series.subject), {})
            if series.metric not in known or len(known[series.metric]) < len(series):
                known[series.metric] = series
    for series in servers:
        if series.owner.pod is None or not len(series):
            continue
        found = gathering.workload(series)
        if series.metric in SERVERS:
            found.serves = True
            if series.metric is Metric.KV_CACHE_USED:
                found.cache = max(found.cache or 0, series.maximum().value or 0)
        elif series.metric is Metric.MEMORY_USED or series.metric.busy:
            found.series.setdefault((series.owner.pod.name, series.subject), {}).setdefault(
                series.metric, series
            )
    now = _now(snapshot, fleet)
    profiles = [
        _profile(item, fleet, policy, now.get(key, _Now()))
        for key, item in gathering.found.items()
        if item.series
    ]
    kept = [item for item in profiles if item is not None]
    return tuple(sorted(kept, key=lambda item: (item.name, item.workload.kind)))


_ENDINGS = {Deployment: r"-[a-z0-9]{5,10}-[a-z0-9]{5}", StatefulSet: r"-[0-9]{1,9}", Job: r"-[a-z0-9]{5}"}
"""How the names of pods end after the name of what made them (Deployments: the ReplicaSet's hash, then the
pod's own)."""


def _makers(snapshot: Snapshot) -> Mapping[str, tuple[tuple[re.Pattern[str], ObjectRef], ...]]:
    """By namespace what makes pods, with the names that these have; longer names first."""
    found: dict[str, list[tuple[re.Pattern[str], ObjectRef]]] = {}
    for item in (*snapshot.deployments, *snapshot.stateful_sets, *snapshot.jobs):
        if item.metadata.controller is None:
            pattern = re.compile(re.escape(item.name) + _ENDINGS[type(item)])
            found.setdefault(item.namespace, []).append((pattern, item.ref))
    return {
        space: tuple(sorted(items, key=lambda item: (-len(item[1].name), item[1].kind)))
        for space, items in found.items()
    }


class _Gathering:
    def __init__(self, snapshot: Snapshot, report: Report) -> None:
        self._makers = _makers(snapshot)
        self._pods = {pod.key: pod for pod in snapshot.pods}
        self._lookup = Lookup(SnapshotIndex.of(snapshot))
        self._report = report
        self.found: dict[tuple[str, str, str], _Found] = {}

    def workload(self, series: Series) -> _Found:
        """The workload that a series belongs to."""
        owner = series.owner
        pod = self._pods.get((owner.pod.namespace, owner.pod.name)) if owner.pod is not None else None
        chain = self._lookup.chain(pod).objects if pod is not None else ()
        if chain:
            ref = chain[-1].ref
        else:
            ref = owner.workload or owner.pod or ObjectRef()
            if pod is None and ref.kind == "Pod":
                ref = self._maker(ref)
        key = (ref.kind, ref.namespace, ref.name)
        known = self.found.get(key)
        if known is None:
            known = self.found[key] = _Found(ref, queue=owner.queue)
        if pod is not None and pod.key not in known.pods:
            self._note(known, pod, chain)
        return known

    def _maker(self, pod: ObjectRef) -> ObjectRef:
        """What made a pod that is gone, by its name: pods of a Deployment are others after each of its
        changes, and their use is its history all the same. The pod itself where nothing fits."""
        for pattern, maker in self._makers.get(pod.namespace, ()):
            if pattern.fullmatch(pod.name):
                return maker
        return pod

    def _note(self, known: _Found, pod: Pod, chain: tuple[KubernetesObject, ...]) -> None:
        known.pods.add(pod.key)
        known.owners = known.owners or tuple(item.kind() for item in reversed(chain))
        for item in (pod, *chain):
            for texts in (item.metadata.annotations, item.metadata.labels):
                for name, text in texts.items():
                    known.said.setdefault(name, text)
        gang = self._report.owners.of_pod.get(pod.key)
        if gang is not None and not known.queue:
            known.queue = gang.queue


@dataclass(slots=True)
class _Now:
    """What the pods of a workload have now: parts by label, and how they ask for them."""

    parts: dict[str, Part] = field(default_factory=dict)
    asks: set[Asks] = field(default_factory=set)


def _now(snapshot: Snapshot, fleet: Fleet) -> Mapping[tuple[str, str, str], _Now]:
    lookup = Lookup(SnapshotIndex.of(snapshot))
    found: dict[tuple[str, str, str], _Now] = {}
    for pod in snapshot.pods:
        force = fleet.in_force.get(pod.key)
        if force is None:
            continue
        chain = lookup.chain(pod).objects
        ref = chain[-1].ref if chain else pod.ref
        known = found.setdefault((ref.kind, ref.namespace, ref.name), _Now())
        known.asks.add(Asks.CLAIM if pod.spec.resource_claims else Asks.RESOURCE)
        if force.part is not None:
            known.parts[force.part.label] = force.part
    return found


def _profile(found: _Found, fleet: Fleet, policy: SizingPolicy, now: _Now) -> Profile | None:
    uses = []
    by_pod: Counter[str] = Counter()
    for (pod, _), metrics in found.series.items():
        if Metric.MEMORY_USED not in metrics:
            continue
        by_pod[pod] += 1
        force = fleet.in_force.get((found.ref.namespace, pod))
        uses.append(_use(metrics, force.part if force is not None else None))
    gone = all(use.had is None for use in uses)
    isolation = policy.isolation_in(found.queue)
    rule = "policy"
    written = found.said.get(ISOLATION_LABEL, "")
    if written:
        try:
            isolation, rule = isolation_of_word(written), f"label {ISOLATION_LABEL}"
        except ValueError as error:
            rule = f"policy; label {ISOLATION_LABEL}: {error}"
    kind = kind_of(found.owners, found.said, serves=found.serves, shape=shape_of(uses))
    return profile_of(
        found.ref,
        uses,
        queue=found.queue,
        kind=kind,
        isolation=(isolation, rule),
        devices=max(by_pod.values(), default=1),
        pods=max(len(found.pods), 1),
        cache=found.cache,
        has=next(iter(now.parts.values())) if gone and len(now.parts) == 1 else None,
        asks=next(iter(now.asks)) if len(now.asks) == 1 else None,
        policy=policy,
    )


def _use(metrics: Mapping[Metric, Series], part: Part | None) -> Use:
    peers = 0
    for metric in (Metric.NVLINK_RECEIVED, Metric.NVLINK_SENT):
        if metric in metrics:
            peers = max(peers, metrics[metric].maximum().value or 0)
    return Use(
        memory=metrics[Metric.MEMORY_USED],
        busy=next((metrics[metric] for metric in BUSY if metric in metrics), None),
        bandwidth=metrics.get(Metric.DRAM_BUSY),
        peers=peers,
        had=part,
    )
