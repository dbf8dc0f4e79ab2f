"""Pod groups of other schedulers, which people who come from there have.

Sources: scheduling.run.ai/v2alpha2 (KAI-Scheduler), scheduling.volcano.sh/v1beta1 (Volcano) and
scheduling.x-k8s.io/v1alpha1 (kubernetes-sigs/scheduler-plugins, coscheduling).
"""

import msgspec

from aliquot.model.meta import KubernetesObject, Record


class KaiTopologyConstraint(Record, frozen=True):
    """topology: the name of a Topology object; the levels are node labels."""

    topology: str = ""
    required_topology_level: str = ""
    preferred_topology_level: str = ""


class KaiSubGroup(Record, frozen=True):
    """A node of the tree of subgroups, below `parent` (None: at the top).

    min_member: pods that a leaf needs; min_sub_group: children that an inner node needs, all by default.
    """

    name: str = ""
    parent: str | None = None
    min_member: int | None = None
    min_sub_group: int | None = None
    topology_constraint: KaiTopologyConstraint | None = None


class KaiPodGroupSpec(Record, frozen=True):
    """preemptibility: preemptible, non-preemptible, or "" (priorities below 100 are preemptible).

    staleness_grace_period, preemption_delay: Go durations ("1m30s") or None.
    """

    min_member: int | None = None
    min_sub_group: int | None = None
    queue: str = ""
    priority_class_name: str = ""
    preemptibility: str = ""
    topology_constraint: KaiTopologyConstraint = KaiTopologyConstraint()
    sub_groups: tuple[KaiSubGroup, ...] = ()
    staleness_grace_period: str | None = None
    preemption_delay: str | None = None


class KaiPodGroup(KubernetesObject, frozen=True, tag_field="kind", tag="PodGroup"):
    spec: KaiPodGroupSpec = KaiPodGroupSpec()


class NetworkTopology(Record, frozen=True):
    """mode: hard or soft. highest_tier_allowed: the largest tier of Volcano's HyperNodes."""

    mode: str = ""
    highest_tier_allowed: int | None = None


class VolcanoPodGroupSpec(Record, frozen=True):
    """min_task_member: pods needed of each task (the pods' annotation volcano.sh/task-spec names theirs)."""

    min_member: int = 1
    min_task_member: dict[str, int] = {}
    queue: str = ""
    priority_class_name: str = ""
    network_topology: NetworkTopology | None = None


class VolcanoPodGroup(KubernetesObject, frozen=True, tag_field="kind", tag="PodGroup"):
    spec: VolcanoPodGroupSpec = VolcanoPodGroupSpec()


class CoschedulingPodGroupSpec(Record, frozen=True):
    min_member: int = 1
    schedule_timeout_seconds: int | None = msgspec.field(name="scheduleTimeoutSeconds", default=None)


class CoschedulingPodGroup(KubernetesObject, frozen=True, tag_field="kind", tag="PodGroup"):
    spec: CoschedulingPodGroupSpec = CoschedulingPodGroupSpec()


POD_GROUPS: dict[type[KubernetesObject], tuple[str, ...]] = {
    KaiPodGroup: ("scheduling.run.ai/v2alpha2",),
    VolcanoPodGroup: ("scheduling.volcano.sh/v1beta1",),
    CoschedulingPodGroup: ("scheduling.x-k8s.io/v1alpha1",),
}
"""The kinds of this module with the apiVersions they are read in."""
