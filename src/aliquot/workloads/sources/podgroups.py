"""Pod groups that people or controllers made: Kubernetes' Workload and PodGroup (KEP-4671, scheduling.k8s.io
v1alpha1 in 1.35, v1alpha2 in 1.36, v1beta1 in 1.37), KAI-Scheduler's, Volcano's, the scheduler plugins', and
Kueue's plain pod groups, which are labels alone.
"""

from aliquot.model.core import Pod
from aliquot.model.podgroups import (
    CoschedulingPodGroup,
    KaiPodGroup,
    KaiSubGroup,
    KaiTopologyConstraint,
    VolcanoPodGroup,
)
from aliquot.model.verdicts import Fact
from aliquot.model.workloads import (
    PodGroup,
    SchedulingConstraints,
    SchedulingPolicy,
    Workload,
    all_together,
)
from aliquot.workloads import labels
from aliquot.workloads.lookup import Lookup
from aliquot.workloads.sources.source import (
    Group,
    GroupKey,
    Membership,
    Shape,
    Source,
    nobody,
    number,
    owned_by,
    size_setting,
    unknown_owner,
)
from aliquot.workloads.subgroups import SubGroup, TopologyConstraint, constrained, together, without

DEEPEST = 8


def in_pod_group(pod: Pod, lookup: Lookup) -> Membership | None:
    """spec.schedulingGroup (v1alpha2 and later). The policy `basic` places each pod on its own; they are one
    gang nevertheless where they are disrupted together."""
    group = pod.spec.scheduling_group
    assert group is not None
    namespace = pod.metadata.namespace
    found = lookup.find("PodGroup", namespace, group.pod_group_name)
    if isinstance(found, PodGroup) and not _is_gang(found.spec.scheduling_policy):
        basic = found.spec.scheduling_policy is not None
        if not basic or not all_together(found.spec.disruption_mode):
            return None
    return Membership(("PodGroup", namespace, group.pod_group_name))


def in_workload(pod: Pod, lookup: Lookup) -> Membership | None:
    """spec.workloadRef (v1alpha1): one gang per pod group and replica key."""
    reference = pod.spec.workload_ref
    assert reference is not None
    namespace = pod.metadata.namespace
    found = lookup.find("Workload", namespace, reference.name)
    policy = _workload_policy(found, reference.pod_group) if isinstance(found, Workload) else None
    if policy is not None and not _is_gang(policy):
        return None
    key = ("Workload", namespace, reference.name, reference.pod_group, reference.pod_group_replica_key)
    return Membership(key)


def _is_gang(policy: SchedulingPolicy | None) -> bool:
    return policy is not None and policy.gang is not None


def _workload_policy(workload: Workload, group: str) -> SchedulingPolicy | None:
    for template in (*workload.spec.pod_groups, *workload.spec.pod_group_templates):
        if template.name == group:
            return template.effective_policy or SchedulingPolicy()
    return None


def _closeness(constraints: SchedulingConstraints | None) -> TopologyConstraint | None:
    """The API asks for one domain of a node label; of several keys the first counts."""
    for entry in constraints.topology if constraints is not None else ():
        if entry.key:
            return TopologyConstraint(required=entry.key)
    return None


def _pod_group_shape(group: Group) -> Shape:
    found = group.owners[0] if group.owners else None
    policy = found.spec.scheduling_policy if isinstance(found, PodGroup) else None
    constraints = found.spec.scheduling_constraints if isinstance(found, PodGroup) else None
    if policy is not None and policy.gang is None:
        return Shape(without(SubGroup("", 1, _closeness(constraints)), group.succeeded()))
    return _gang_shape(group, policy, constraints)


def _workload_shape(group: Group) -> Shape:
    found = group.owners[0] if group.owners else None
    policy = _workload_policy(found, group.key[3]) if isinstance(found, Workload) else None
    constraints = None
    if isinstance(found, Workload):
        for template in found.spec.pod_group_templates:
            if template.name == group.key[3]:
                constraints = template.scheduling_constraints
    return _gang_shape(group, policy, constraints)


def _gang_shape(
    group: Group, policy: SchedulingPolicy | None, constraints: SchedulingConstraints | None
) -> Shape:
    if policy is None or policy.gang is None:
        return Shape(SubGroup("", 1), problem=unknown_owner(group.key))
    root = SubGroup("", policy.gang.min_count, _closeness(constraints))
    return Shape(without(root, group.succeeded()))


def in_kai_pod_group(pod: Pod, lookup: Lookup) -> Membership | None:
    """The annotation that KAI-Scheduler's pod grouper writes; without the PodGroup it says nothing."""
    namespace, name = pod.metadata.namespace, pod.metadata.annotations[labels.KAI_POD_GROUP]
    found = lookup.find("KaiPodGroup", namespace, name)
    if not isinstance(found, KaiPodGroup):
        return None
    leaf = pod.metadata.labels.get(labels.KAI_SUBGROUP, "default") if found.spec.sub_groups else ""
    return Membership(("KaiPodGroup", namespace, name), leaf)


def _kai_shape(group: Group) -> Shape:
    found = group.owners[0] if group.owners else None
    if not isinstance(found, KaiPodGroup):
        return Shape(SubGroup("", 1), problem=unknown_owner(group.key))
    spec = found.spec
    constraint = _kai_constraint(spec.topology_constraint)
    minimum = 1 if spec.min_member is None else max(0, spec.min_member)
    if not spec.sub_groups:
        return Shape(without(SubGroup("", minimum, constraint), group.succeeded()))
    children: dict[str, list[KaiSubGroup]] = {}
    names = {item.name for item in spec.sub_groups}
    for item in spec.sub_groups:
        if item.parent and item.parent not in names:
            return Shape(SubGroup("", 1), problem=_broken(found, item.name, "a parent that exists"))
        children.setdefault(item.parent or "", []).append(item)
    found_tree = _kai_children(children, "", 0)
    # Names that differ and parents that exist leave one thing to go wrong: a circle, which nothing leads to.
    complete = found_tree is not None and sum(map(_size, found_tree)) == len(spec.sub_groups)
    if found_tree is None or not complete or len(names) != len(spec.sub_groups) or "" in names:
        return Shape(SubGroup("", 1), problem=_broken(found, "", "a tree with distinct names"))
    needed = len(found_tree) if spec.min_sub_group is None else min(spec.min_sub_group, len(found_tree))
    return Shape(without(SubGroup("", needed, constraint, found_tree), group.succeeded()))


def _kai_children(
    children: dict[str, list[KaiSubGroup]], parent: str, depth: int
) -> tuple[SubGroup, ...] | None:
    """The subgroups below `parent`; None if there is nothing at the top or it goes deeper than is allowed."""
    if depth > DEEPEST or (not depth and not children.get("")):
        return None
    found: list[SubGroup] = []
    for item in children.get(parent, ()):
        below = _kai_children(children, item.name, depth + 1)
        if below is None:
            return None
        own = item.min_sub_group if below else item.min_member
        if own is None:
            own = len(below) if below else 1
        constraint = _kai_constraint(item.topology_constraint)
        least = min(max(0, own), len(below)) if below else max(0, own)
        found.append(SubGroup(item.name, least, constraint, below))
    return tuple(found)


def _size(group: SubGroup) -> int:
    return 1 + sum(map(_size, group.children))


def _kai_constraint(found: KaiTopologyConstraint | None) -> TopologyConstraint | None:
    if found is None:
        return None
    return constrained(found.required_topology_level, found.preferred_topology_level, found.topology)


def _broken(found: KaiPodGroup, name: str, wanted: str) -> Fact:
    return Fact(test="subgroups", subject=str(found.ref), wanted=wanted, available=name)


def in_volcano_pod_group(pod: Pod, lookup: Lookup) -> Membership | None:
    """The annotation `scheduling.k8s.io/group-name`; without the PodGroup it says nothing."""
    meta = pod.metadata
    name = meta.annotations[labels.VOLCANO_POD_GROUP]
    found = lookup.find("VolcanoPodGroup", meta.namespace, name)
    if not isinstance(found, VolcanoPodGroup):
        return None
    leaf = ""
    if found.spec.min_task_member:
        leaf = meta.annotations.get(labels.VOLCANO_TASK) or meta.labels.get(labels.VOLCANO_TASK) or "rest"
    return Membership(("VolcanoPodGroup", meta.namespace, name), leaf)


def _volcano_shape(group: Group) -> Shape:
    found = group.owners[0] if group.owners else None
    if not isinstance(found, VolcanoPodGroup):
        return Shape(SubGroup("", 1), problem=unknown_owner(group.key))
    tasks = found.spec.min_task_member
    if tasks:
        root = together(SubGroup(name, max(0, tasks[name])) for name in sorted(tasks))
    else:
        root = SubGroup("", max(1, found.spec.min_member))
    return Shape(without(root, group.succeeded()))


def in_coscheduling_pod_group(pod: Pod, lookup: Lookup) -> Membership | None:
    """The label `scheduling.x-k8s.io/pod-group`; without the PodGroup it says nothing."""
    meta = pod.metadata
    name = meta.labels[labels.COSCHEDULING_POD_GROUP]
    found = lookup.find("CoschedulingPodGroup", meta.namespace, name)
    return Membership(("CoschedulingPodGroup", meta.namespace, name)) if found is not None else None


def _coscheduling_shape(group: Group) -> Shape:
    found = group.owners[0] if group.owners else None
    if not isinstance(found, CoschedulingPodGroup):
        return Shape(SubGroup("", 1), problem=unknown_owner(group.key))
    return Shape(without(SubGroup("", max(1, found.spec.min_member)), group.succeeded()))


def in_kueue_pod_group(pod: Pod, lookup: Lookup) -> Membership | None:
    """The label `kueue.x-k8s.io/pod-group-name`; pods with different role hashes are subgroups."""
    meta = pod.metadata
    index = number(meta.labels.get(labels.KUEUE_POD_INDEX)) or 0
    return Membership(("KueuePodGroup", meta.namespace, meta.labels[labels.KUEUE_POD_GROUP]), index=index)


def _kueue_shape(group: Group) -> Shape:
    """All of `pod-group-total-count` pods start together; where admission is fast, each as it comes."""
    if group.settings.get(labels.KUEUE_FAST_ADMISSION) == "true":
        return Shape(SubGroup("", 1))
    size = size_setting(group.settings, labels.KUEUE_POD_GROUP_TOTAL)
    if size is None:
        return Shape(SubGroup("", 1))
    if isinstance(size, Fact):
        return Shape(SubGroup("", 1), problem=size)
    return Shape(without(SubGroup("", size), group.succeeded()))


def _workload_name(key: GroupKey) -> str:
    return "/".join(part for part in key[2:] if part)


SOURCES = (
    Source("PodGroup", owned_by("PodGroup"), _pod_group_shape),
    Source("Workload", owned_by("Workload"), _workload_shape, _workload_name),
    Source("KaiPodGroup", owned_by("KaiPodGroup"), _kai_shape),
    Source("VolcanoPodGroup", owned_by("VolcanoPodGroup"), _volcano_shape),
    Source("CoschedulingPodGroup", owned_by("CoschedulingPodGroup"), _coscheduling_shape),
    Source("KueuePodGroup", nobody, _kueue_shape),
)
