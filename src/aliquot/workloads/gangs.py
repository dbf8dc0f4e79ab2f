"""How gangs are formed: pods that must be placed together or not at all. A pod on its own is a gang of one.

What makes pods a gang is told in `aliquot.workloads.membership`, how much of it must start together by its
source (`aliquot.workloads.sources`) and by settings (`aliquot.workloads.labels`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from aliquot.model.core import PLACEMENT_GATE, Pod
from aliquot.model.index import Key, SnapshotIndex, live
from aliquot.model.meta import KubernetesObject, ObjectRef
from aliquot.model.owners import TrainingJob
from aliquot.model.podgroups import KaiPodGroup, VolcanoPodGroup
from aliquot.model.workloads import PodGroup, all_together
from aliquot.queues.tree import QueueTree
from aliquot.workloads import labels, settings
from aliquot.workloads.gang import Gang, GangRules
from aliquot.workloads.lookup import Chain, Lookup, gather
from aliquot.workloads.membership import SOURCES, membership
from aliquot.workloads.queue_names import queue_name, queue_of_owners
from aliquot.workloads.settings import NO_COST
from aliquot.workloads.sources.source import Group, GroupKey, Member, Shape
from aliquot.workloads.subgroups import ALONE
from aliquot.workloads.trees import finished_shape

GANG_ANNOTATION = labels.GANG
GANG_SIZE_ANNOTATION = labels.GANG_SIZE


def group_key(pod: Pod, index: SnapshotIndex) -> GroupKey:
    """What the pod is grouped by; pods with equal keys form one gang."""
    return membership(pod, Lookup(index)).key


def gangs(
    index: SnapshotIndex,
    tree: QueueTree,
    keys: Mapping[GroupKey, Iterable[Pod]],
    default_queue: str,
    rules: GangRules | None = None,
) -> list[Gang]:
    """The gangs of pods grouped by `group_key`. Pods that ended or are being deleted are not members."""
    rules = replace(rules or GangRules(), default_queue=default_queue)
    lookup = Lookup(index)
    return [
        gang_of(key, [Member(pod, membership(pod, lookup)) for pod in pods], lookup, tree, rules)
        for key, pods in keys.items()
    ]


def gang_of(key: GroupKey, members: list[Member], lookup: Lookup, tree: QueueTree, rules: GangRules) -> Gang:
    """The gang of all pods with this key, those that ended included."""
    first = members[0].pod
    if key[0] == "Pod" and _says_nothing(first):
        chain = lookup.chain(first)
        if not chain.said:
            return _alone(first, chain, lookup.index, tree, rules)
    if len(members) > 1:
        members.sort(key=_name)
        first = members[0].pod
    source = SOURCES[key[0]]
    standing = source.owner(key, lookup)
    owners = lookup.chain(first).objects
    if standing is not None and standing not in owners:
        owners = (standing, *owners)
    said = gather([member.pod for member in members], owners, labels.SETTINGS)
    group = Group(key, members, owners, lookup, said)
    shape, placed = finished_shape(group, source.shape(group))
    if _one_by_one(lookup.index, members):
        shape = Shape(ALONE)
        placed = [Member(item.pod, replace(item.membership, leaf="")) for item in placed]
    leaf_of = {member.pod.key: member.membership.leaf for member in placed if live(member.pod)}
    minimum = max(1, shape.root.least)
    if len(placed) > 1:
        by_priority, leaders_first = rules.by_member_priority, rules.leaders_first
        placed = sorted(placed, key=lambda item: settings.task_order(item, by_priority, leaders_first))
    alive = tuple([member.pod for member in placed if live(member.pod)])
    priority = _priority(lookup.index, members, owners, said)
    started, stale_since = _times(alive, minimum, standing, said)
    grace, delay = _bounds(standing, said)
    return Gang(
        ref=_ref(key, standing, first),
        members=alive,
        minimum=minimum,
        created=_created(standing, members),
        priority=priority,
        queue=queue_name(lookup.index, tree, first, queue_of_owners(owners), rules.default_queue),
        problem=shape.problem,
        root=shape.root,
        leaf_of=leaf_of,
        maximum=shape.maximum,
        preemptible=settings.preemptible(said, owners, priority, rules.preemptible_below),
        together=isinstance(standing, PodGroup) and all_together(standing.spec.disruption_mode),
        started=started,
        stale_since=stale_since,
        cost=settings.restart_cost(said) if said else NO_COST,
        staleness_grace_seconds=grace,
        preemption_delay_seconds=delay,
    )


def _one_by_one(index: SnapshotIndex, members: Sequence[Member]) -> bool:
    """Whether the pods are placed as they come: in a namespace that is not managed, of which none has or had
    Aliquot's gate, the scheduler binds each as soon as it can.
    """
    first = members[0].pod
    namespace = index.namespaces.get(first.metadata.namespace)
    if namespace is None or namespace.managed:
        return False
    return not any(
        labels.ADMITTED_AT in member.pod.metadata.annotations
        or any(gate.name == PLACEMENT_GATE for gate in member.pod.spec.scheduling_gates)
        for member in members
    )


def _name(member: Member) -> str:
    return member.pod.metadata.name


def _says_nothing(pod: Pod) -> bool:
    meta = pod.metadata
    annotations = meta.annotations
    return (
        labels.SETTINGS.isdisjoint(meta.labels)
        and labels.SETTINGS.isdisjoint(annotations)
        and labels.SUBGROUP_SETTINGS.isdisjoint(annotations)
    )


def _alone(pod: Pod, chain: Chain, index: SnapshotIndex, tree: QueueTree, rules: GangRules) -> Gang:
    """The gang of a pod on its own of which nothing is said."""
    meta = pod.metadata
    alive = live(pod)
    priority = index.priority(pod)
    below = rules.preemptible_below
    return Gang(
        ref=ObjectRef(kind="Pod", namespace=meta.namespace, name=meta.name, uid=meta.uid),
        members=(pod,) if alive else (),
        minimum=1,
        created=meta.creation_timestamp or settings.LONG_AGO,
        priority=priority,
        queue=queue_name(index, tree, pod, chain.queue, rules.default_queue),
        leaf_of={(meta.namespace, meta.name): ""} if alive else {},
        preemptible=below is None or priority < below,
        started=settings.started((pod,), 1) if alive and pod.spec.node_name else None,
    )


def _ref(key: GroupKey, standing: KubernetesObject | None, first: Pod) -> ObjectRef:
    if key[0] == "Pod":
        return first.ref
    uid = standing.metadata.uid if standing is not None else ""
    return ObjectRef(kind=key[0], namespace=key[1], name=SOURCES[key[0]].shown(key), uid=uid)


def _created(standing: KubernetesObject | None, members: Sequence[Member]) -> datetime:
    if standing is not None and standing.metadata.creation_timestamp is not None:
        return standing.metadata.creation_timestamp
    return min(member.pod.metadata.creation_timestamp or settings.LONG_AGO for member in members)


def _priority(
    index: SnapshotIndex,
    members: Sequence[Member],
    owners: Sequence[KubernetesObject],
    said: Mapping[str, str],
) -> int:
    """What a pod group says, else the class that a label names, else the highest among the pods."""
    named = []
    for owner in owners:
        if isinstance(owner, PodGroup) and owner.spec.priority is not None:
            return owner.spec.priority
        if isinstance(owner, (PodGroup, KaiPodGroup, VolcanoPodGroup)):
            named.append(owner.spec.priority_class_name)
        elif isinstance(owner, TrainingJob) and owner.spec.run_policy.scheduling_policy is not None:
            named.append(owner.spec.run_policy.scheduling_policy.priority_class)
    if said:
        named += [said.get(labels.KAI_PRIORITY_CLASS, ""), said.get(labels.RAY_PRIORITY_CLASS, "")]
    for name in named:
        if name in index.priority_classes:
            return index.priority_classes[name].value
    return max([index.priority(member.pod) for member in members])


def _times(
    alive: Sequence[Pod], minimum: int, standing: KubernetesObject | None, said: Mapping[str, str]
) -> tuple[datetime | None, datetime | None]:
    started = settings.started(alive, minimum)
    stale = settings.moment(said.get(labels.STALE_SINCE)) if said else None
    if isinstance(standing, KaiPodGroup):
        annotations = standing.metadata.annotations
        stale = stale or settings.moment(annotations.get(labels.KAI_STALE_SINCE))
        if started is not None:
            started = settings.moment(annotations.get(labels.KAI_STARTED)) or started
    return started, stale


def _bounds(standing: KubernetesObject | None, said: Mapping[str, str]) -> tuple[int | None, int | None]:
    """How long it may be stale, and how long it waits before it takes places from others, in seconds."""
    if not said and standing is None:
        return None, None
    grace = said.get(labels.STALENESS_GRACE, said.get(labels.KAI_STALENESS_GRACE))
    delay = said.get(labels.PREEMPTION_DELAY, said.get(labels.KAI_PREEMPTION_DELAY))
    if isinstance(standing, KaiPodGroup):
        grace = grace or standing.spec.staleness_grace_period
        delay = delay or standing.spec.preemption_delay
    return settings.seconds(grace), settings.seconds(delay)


def queues_of_gangs(index: SnapshotIndex, tree: QueueTree, default_queue: str) -> Callable[[Pod], str]:
    """A function from any pod of the snapshot to the queue of its gang."""
    lookup = Lookup(index)
    first: dict[GroupKey, Pod] = {}
    keys: dict[Key, GroupKey] = {}
    for pod in index.snapshot.pods:
        key = membership(pod, lookup).key
        if key[0] != "Pod":
            keys[pod.key] = key
            known = first.get(key)
            if known is None or pod.metadata.name < known.metadata.name:
                first[key] = pod
    found: dict[GroupKey, str] = {}

    def queue(pod: Pod) -> str:
        key = keys.get(pod.key)
        if key is None:
            return queue_name(index, tree, pod, lookup.chain(pod).queue, default_queue)
        known = found.get(key)
        if known is None:
            standing = SOURCES[key[0]].owner(key, lookup)
            owners = lookup.chain(first[key]).objects
            if standing is not None and standing not in owners:
                owners = (standing, *owners)
            named = queue_of_owners(owners)
            known = found[key] = queue_name(index, tree, first[key], named, default_queue)
        return known

    return queue
