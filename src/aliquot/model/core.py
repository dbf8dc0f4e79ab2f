"""Nodes, pods, namespaces and priority classes (core/v1, scheduling.k8s.io/v1)."""

from datetime import datetime
from typing import Any

import msgspec

from aliquot.cel.quantity import Quantity
from aliquot.model.meta import Condition, KubernetesObject, LabelSelector, Record

PLACEMENT_GATE = "aliquot.dev/placement"
"""The scheduling gate that holds a pod back until Aliquot has placed its gang."""

MANAGED_LABEL = "aliquot.dev/managed"
"""A namespace with this label set to "true" takes part in queues and gates."""

QUEUE_LABELS = ("aliquot.dev/queue", "kueue.x-k8s.io/queue-name", "kai.scheduler/queue")
"""Labels that name a workload's queue, the first present wins; on the pod, else on its namespace."""


DRIVERS_CONFIG_MAP = ("aliquot-system", "aliquot-drivers")
"""Namespace and name of the ConfigMap whose keys are the DRA drivers that Aliquot allocates. The admission
policies read the same object, so that a driver changes hands by one write."""


class Taint(Record, frozen=True):
    """A node taint; effect is NoSchedule, PreferNoSchedule or NoExecute."""

    key: str = ""
    value: str = ""
    effect: str = ""


class Toleration(Record, frozen=True):
    """A pod's toleration of taints. operator: Equal (the default) or Exists; an empty effect covers all."""

    key: str = ""
    operator: str = ""
    value: str = ""
    effect: str = ""
    toleration_seconds: int | None = None


class NodeSelectorRequirement(Record, frozen=True):
    """key, operator (In, NotIn, Exists, DoesNotExist, Gt, Lt) and values."""

    key: str = ""
    operator: str = ""
    values: tuple[str, ...] = ()


class NodeSelectorTerm(Record, frozen=True):
    """Expressions and fields are ANDed; a term with neither matches no node."""

    match_expressions: tuple[NodeSelectorRequirement, ...] = ()
    match_fields: tuple[NodeSelectorRequirement, ...] = ()


class NodeSelector(Record, frozen=True):
    """Terms are ORed."""

    node_selector_terms: tuple[NodeSelectorTerm, ...] = ()


class NodeSpec(Record, frozen=True):
    unschedulable: bool = False
    taints: tuple[Taint, ...] = ()
    provider_id: str = msgspec.field(name="providerID", default="")


class NodeStatus(Record, frozen=True):
    """capacity is what the machine has, allocatable what pods may use; both by resource name."""

    capacity: dict[str, Quantity] = {}
    allocatable: dict[str, Quantity] = {}
    conditions: tuple[Condition, ...] = ()


class Node(KubernetesObject, frozen=True, tag_field="kind", tag="Node"):
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()


class ContainerClaim(Record, frozen=True):
    """A container's use of a claim of its pod, or of one request of that claim."""

    name: str = ""
    request: str = ""


class ResourceRequirements(Record, frozen=True):
    requests: dict[str, Quantity] = {}
    limits: dict[str, Quantity] = {}
    claims: tuple[ContainerClaim, ...] = ()


class ContainerPort(Record, frozen=True):
    container_port: int = 0
    host_port: int = 0
    protocol: str = "TCP"
    host_ip: str = msgspec.field(name="hostIP", default="")


class Container(Record, frozen=True):
    """restart_policy "Always" on an init container makes it a sidecar."""

    name: str = ""
    image: str = ""
    resources: ResourceRequirements = ResourceRequirements()
    ports: tuple[ContainerPort, ...] = ()
    restart_policy: str = ""


class PodResourceClaim(Record, frozen=True):
    """A claim used by a pod: an existing one by name, or one to be made from a template."""

    name: str = ""
    resource_claim_name: str = ""
    resource_claim_template_name: str = ""


class PodSchedulingGate(Record, frozen=True):
    name: str = ""


class PodSchedulingGroup(Record, frozen=True):
    """spec.schedulingGroup (scheduling.k8s.io v1alpha2 and later): the PodGroup that the pod belongs to."""

    pod_group_name: str = ""


class WorkloadReference(Record, frozen=True):
    """spec.workloadRef (scheduling.k8s.io v1alpha1, Kubernetes 1.35): a pod group inside a Workload."""

    name: str = ""
    pod_group: str = ""
    pod_group_replica_key: str = ""


class PreferredSchedulingTerm(Record, frozen=True):
    weight: int = 0
    preference: NodeSelectorTerm = NodeSelectorTerm()


class NodeAffinity(Record, frozen=True):
    required: NodeSelector | None = msgspec.field(
        name="requiredDuringSchedulingIgnoredDuringExecution", default=None
    )
    preferred: tuple[PreferredSchedulingTerm, ...] = msgspec.field(
        name="preferredDuringSchedulingIgnoredDuringExecution", default=()
    )


class PodAffinityTerm(Record, frozen=True):
    label_selector: LabelSelector | None = None
    topology_key: str = ""
    namespaces: tuple[str, ...] = ()
    namespace_selector: LabelSelector | None = None


class PodAffinity(Record, frozen=True):
    required: tuple[PodAffinityTerm, ...] = msgspec.field(
        name="requiredDuringSchedulingIgnoredDuringExecution", default=()
    )


class Affinity(Record, frozen=True):
    node_affinity: NodeAffinity | None = None
    pod_affinity: PodAffinity | None = None
    pod_anti_affinity: PodAffinity | None = None


class PodSpec(Record, frozen=True):
    node_name: str = ""
    node_selector: dict[str, str] = {}
    affinity: Affinity | None = None
    tolerations: tuple[Toleration, ...] = ()
    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()
    overhead: dict[str, Quantity] = {}
    resources: ResourceRequirements | None = None
    resource_claims: tuple[PodResourceClaim, ...] = ()
    scheduling_gates: tuple[PodSchedulingGate, ...] = ()
    scheduling_group: PodSchedulingGroup | None = None
    workload_ref: WorkloadReference | None = None
    scheduler_name: str = "default-scheduler"
    priority: int = 0
    priority_class_name: str = ""
    preemption_policy: str = ""
    runtime_class_name: str = ""
    service_account_name: str = ""
    active_deadline_seconds: int | None = None


class PodResourceClaimStatus(Record, frozen=True):
    """Names the claim made for spec.resourceClaims[name]; no claim name means that none was needed."""

    name: str = ""
    resource_claim_name: str = ""


class ExtendedResourceClaimStatus(Record, frozen=True):
    """The claim that the scheduler made for extended resources backed by DRA."""

    resource_claim_name: str = ""


class PodStatus(Record, frozen=True):
    """phase: Pending, Running, Succeeded, Failed or Unknown."""

    nominated_node_name: str = ""
    phase: str = "Pending"
    conditions: tuple[Condition, ...] = ()
    resource_claim_statuses: tuple[PodResourceClaimStatus, ...] = ()
    extended_resource_claim_status: ExtendedResourceClaimStatus | None = None
    start_time: datetime | None = None
    reason: str = ""
    message: str = ""


class Pod(KubernetesObject, frozen=True, tag_field="kind", tag="Pod"):
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def finished(self) -> bool:
        """The pod has ended for good and holds nothing any more."""
        return self.status.phase in ("Succeeded", "Failed")

    @property
    def gated(self) -> bool:
        """The pod still waits behind a scheduling gate, Aliquot's or another's."""
        return bool(self.spec.scheduling_gates)


class Namespace(KubernetesObject, frozen=True, tag_field="kind", tag="Namespace"):
    status: dict[str, Any] = {}

    @property
    def managed(self) -> bool:
        return self.metadata.labels.get(MANAGED_LABEL) == "true"


class ConfigMap(KubernetesObject, frozen=True, tag_field="kind", tag="ConfigMap"):
    data: dict[str, str] = {}


class PriorityClass(KubernetesObject, frozen=True, tag_field="kind", tag="PriorityClass"):
    value: int = 0
    global_default: bool = False
    preemption_policy: str = "PreemptLowerPriority"
