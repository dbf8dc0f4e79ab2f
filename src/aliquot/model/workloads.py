"""Owners of pods that say how many belong together: Jobs, and Kubernetes' own Workload and PodGroup.

Sources: batch/v1; scheduling.k8s.io v1alpha1 (1.35), v1alpha2 (1.36) and v1beta1 (1.37), KEP-4671.
"""

from typing import TypeAlias

from aliquot.model.meta import Condition, KubernetesObject, Record


class JobSpec(Record, frozen=True):
    """parallelism pods run at a time until `completions` have succeeded (None: until any one has)."""

    parallelism: int = 1
    completions: int | None = None
    suspend: bool = False
    completion_mode: str = "NonIndexed"
    active_deadline_seconds: int | None = None


class JobStatus(Record, frozen=True):
    active: int = 0
    succeeded: int = 0
    failed: int = 0
    conditions: tuple[Condition, ...] = ()


class Job(KubernetesObject, frozen=True, tag_field="kind", tag="Job"):
    spec: JobSpec = JobSpec()
    status: JobStatus = JobStatus()


class GangSchedulingPolicy(Record, frozen=True):
    """min_count: how many pods must be placeable at once before any of them starts."""

    min_count: int = 1


class SchedulingPolicy(Record, frozen=True):
    """Exactly one of the two is set; `basic` means one pod at a time."""

    basic: dict[str, str] | None = None
    gang: GangSchedulingPolicy | None = None


class TopologyKey(Record, frozen=True):
    """A node label: the pods of the group must be on nodes with one value of it."""

    key: str = ""


class SchedulingConstraints(Record, frozen=True):
    """v1alpha2 and later (KEP-5732)."""

    topology: tuple[TopologyKey, ...] = ()


DisruptionMode: TypeAlias = str | dict[str, dict[str, str]] | None
"""How pods of a group can be disrupted (KEP-5710): in v1alpha2 the word Pod or PodGroup, later an object with
the one key `single` or `all`."""


def all_together(mode: DisruptionMode) -> bool:
    """Whether the pods of the group are disrupted together or not at all."""
    return mode == "PodGroup" if isinstance(mode, str) else mode is not None and "all" in mode


class PodGroupTemplate(Record, frozen=True):
    """An entry of a Workload; v1alpha1 calls the policy `policy`, later versions `schedulingPolicy`."""

    name: str = ""
    policy: SchedulingPolicy | None = None
    scheduling_policy: SchedulingPolicy | None = None
    scheduling_constraints: SchedulingConstraints | None = None

    @property
    def effective_policy(self) -> SchedulingPolicy | None:
        return self.scheduling_policy or self.policy


class WorkloadSpec(Record, frozen=True):
    """v1alpha1 keeps the groups in `podGroups`, later versions in `podGroupTemplates`."""

    pod_groups: tuple[PodGroupTemplate, ...] = ()
    pod_group_templates: tuple[PodGroupTemplate, ...] = ()


class Workload(KubernetesObject, frozen=True, tag_field="kind", tag="Workload"):
    spec: WorkloadSpec = WorkloadSpec()


class PodGroupResourceClaim(Record, frozen=True):
    name: str = ""
    resource_claim_name: str = ""
    resource_claim_template_name: str = ""


class PodGroupSpec(Record, frozen=True):
    scheduling_policy: SchedulingPolicy | None = None
    scheduling_constraints: SchedulingConstraints | None = None
    disruption_mode: DisruptionMode = None
    resource_claims: tuple[PodGroupResourceClaim, ...] = ()
    priority: int | None = None
    priority_class_name: str = ""


class PodGroupResourceClaimStatus(Record, frozen=True):
    """Names the claim made for spec.resourceClaims[name]; no claim name means that none was needed."""

    name: str = ""
    resource_claim_name: str = ""


class PodGroupStatus(Record, frozen=True):
    conditions: tuple[Condition, ...] = ()
    resource_claim_statuses: tuple[PodGroupResourceClaimStatus, ...] = ()


class PodGroup(KubernetesObject, frozen=True, tag_field="kind", tag="PodGroup"):
    spec: PodGroupSpec = PodGroupSpec()
    status: PodGroupStatus = PodGroupStatus()
