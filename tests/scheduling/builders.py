"""Small clusters for scheduling tests: nodes with GPUs, claims, pods, gangs and queues, in few words."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from aliquot.cel.quantity import Quantity
from aliquot.dra.nodeselection import names_node
from aliquot.model.core import (
    MANAGED_LABEL,
    PLACEMENT_GATE,
    Affinity,
    Container,
    Namespace,
    Node,
    NodeSpec,
    NodeStatus,
    Pod,
    PodResourceClaim,
    PodResourceClaimStatus,
    PodSchedulingGate,
    PodSchedulingGroup,
    PodSpec,
    PodStatus,
    ResourceRequirements,
    Taint,
    Toleration,
)
from aliquot.model.meta import KubernetesObject, ObjectMeta, OwnerReference
from aliquot.model.queue import Queue, QueueResource, QueueSpec
from aliquot.model.resource import (
    AllocationResult,
    CapacityRequirements,
    CELDeviceSelector,
    ConsumerReference,
    Device,
    DeviceAllocationResult,
    DeviceAttribute,
    DeviceCapacity,
    DeviceClaim,
    DeviceClass,
    DeviceClassSpec,
    DeviceConstraint,
    DeviceRequest,
    DeviceRequestAllocationResult,
    DeviceSelector,
    DeviceTaint,
    ExactDeviceRequest,
    ResourceClaim,
    ResourceClaimSpec,
    ResourceClaimStatus,
    ResourcePool,
    ResourceSlice,
    ResourceSliceSpec,
)
from aliquot.model.snapshot import Snapshot
from aliquot.model.workloads import (
    DisruptionMode,
    GangSchedulingPolicy,
    Job,
    JobSpec,
    PodGroup,
    PodGroupSpec,
    SchedulingPolicy,
)

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
DRIVER = "gpu.example.com"
CLASS = "gpu"
TEAM = "team"


def q(text: str) -> Quantity:
    return Quantity.parse(text)


def quantities(**amounts: str | int) -> dict[str, Quantity]:
    return {name.replace("__", "/").replace("_", "-"): q(str(amount)) for name, amount in amounts.items()}


def at(minute: int) -> datetime:
    """A time of creation."""
    return NOW - timedelta(hours=1) + timedelta(minutes=minute)


def node(
    name: str,
    *,
    cpu: str | int = 64,
    memory: str = "256Gi",
    pods: int = 110,
    labels: dict[str, str] | None = None,
    taints: Iterable[Taint] = (),
    unschedulable: bool = False,
    **resources: str | int,
) -> Node:
    return Node(
        metadata=ObjectMeta(name=name, labels={"kubernetes.io/hostname": name, **(labels or {})}),
        spec=NodeSpec(taints=tuple(taints), unschedulable=unschedulable),
        status=NodeStatus(allocatable=quantities(cpu=cpu, memory=memory, pods=pods, **resources)),
    )


def gpus(
    node_name: str,
    count: int,
    *,
    model: str = "h100",
    memory: str = "80Gi",
    shareable: bool = False,
    taint: DeviceTaint | None = None,
    per_root: int = 4,
) -> ResourceSlice:
    """The node's GPUs as one slice. per_root: how many GPUs sit on one PCIe root."""
    devices = tuple(
        Device(
            name=f"gpu-{number}",
            attributes={
                "model": DeviceAttribute(string=model),
                "root": DeviceAttribute(string=f"{node_name}-{number // per_root}"),
            },
            capacity={"memory": DeviceCapacity(value=q(memory))},
            allow_multiple_allocations=True if shareable else None,
            taints=(taint,) if taint is not None else (),
        )
        for number in range(count)
    )
    return ResourceSlice(
        metadata=ObjectMeta(name=f"{node_name}-{DRIVER}"),
        spec=ResourceSliceSpec(
            driver=DRIVER,
            node_name=node_name,
            pool=ResourcePool(name=node_name, generation=1, resource_slice_count=1),
            devices=devices,
        ),
    )


def device_class(name: str = CLASS) -> DeviceClass:
    selector = DeviceSelector(cel=CELDeviceSelector(expression=f'device.driver == "{DRIVER}"'))
    return DeviceClass(metadata=ObjectMeta(name=name), spec=DeviceClassSpec(selectors=(selector,)))


def namespace(name: str = TEAM, *, managed: bool = True, **labels: str) -> Namespace:
    marks = {MANAGED_LABEL: "true"} if managed else {}
    return Namespace(metadata=ObjectMeta(name=name, labels={**marks, **labels}))


def queue(
    name: str,
    parent: str = "",
    *,
    priority: int = 100,
    limits: dict[str, str] | None = None,
    quota: dict[str, str] | None = None,
) -> Queue:
    names = [*(limits or {}), *(name for name in (quota or {}) if name not in (limits or {}))]
    resources = tuple(
        QueueResource(
            name=resource,
            limit=q((limits or {})[resource]) if resource in (limits or {}) else None,
            quota=q((quota or {})[resource]) if resource in (quota or {}) else None,
        )
        for resource in names
    )
    return Queue(
        metadata=ObjectMeta(name=name),
        spec=QueueSpec(parent=parent, priority=priority, resources=resources),
    )


def request(
    count: int = 1,
    *,
    selector: str = "",
    memory: str = "",
    name: str = "gpu",
    device_class_name: str = CLASS,
) -> DeviceRequest:
    return DeviceRequest(
        name=name,
        exactly=ExactDeviceRequest(
            device_class_name=device_class_name,
            count=count,
            selectors=(DeviceSelector(cel=CELDeviceSelector(expression=selector)),) if selector else (),
            capacity=CapacityRequirements(requests={"memory": q(memory)}) if memory else None,
        ),
    )


def claim(
    name: str,
    *requests: DeviceRequest,
    ns: str = TEAM,
    owner: Pod | None = None,
    match: str = "",
    node_name: str = "",
    devices: Iterable[str] = (),
    consumers: Iterable[Pod] = (),
    deleting: bool = False,
) -> ResourceClaim:
    """A claim; with node_name it is allocated there: those devices, for those consumers."""
    allocation = None
    wanted = requests or (request(),)
    if node_name:
        results = tuple(
            DeviceRequestAllocationResult(
                request=wanted[0].name, driver=DRIVER, pool=node_name, device=device
            )
            for device in devices
        )
        allocation = AllocationResult(
            devices=DeviceAllocationResult(results=results), node_selector=names_node(node_name)
        )
    owners = (
        (OwnerReference(kind="Pod", name=owner.name, uid=owner.metadata.uid, controller=True),)
        if owner is not None
        else ()
    )
    return ResourceClaim(
        metadata=ObjectMeta(
            name=name,
            namespace=ns,
            uid=f"uid-{ns}-{name}",
            resource_version="7",
            owner_references=owners,
            deletion_timestamp=NOW if deleting else None,
        ),
        spec=ResourceClaimSpec(
            devices=DeviceClaim(
                requests=tuple(wanted),
                constraints=(DeviceConstraint(match_attribute=match),) if match else (),
            )
        ),
        status=ResourceClaimStatus(
            allocation=allocation,
            reserved_for=tuple(
                ConsumerReference(resource="pods", name=pod.name, uid=pod.metadata.uid) for pod in consumers
            ),
        ),
    )


def pod(
    name: str,
    *,
    ns: str = TEAM,
    claims: Iterable[str] = (),
    generated: Iterable[str] = (),
    not_made: Iterable[str] = (),
    cpu: str | int = 1,
    memory: str = "1Gi",
    gated: bool = True,
    gates: Iterable[str] = (),
    node_name: str = "",
    phase: str = "",
    job: str = "",
    owner: str = "",
    group: str = "",
    priority: int = 0,
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    created: int = 0,
    deleting: bool = False,
    selector: dict[str, str] | None = None,
    tolerations: Iterable[Toleration] = (),
    affinity: Affinity | None = None,
    status: PodStatus | None = None,
    **resources: str | int,
) -> Pod:
    """A pod. claims: by name; generated: claims made for it, by their names; not_made: templates whose claim
    is not there yet. job, owner: the Job or ReplicaSet that controls it."""
    claims, generated, not_made = list(claims), list(generated), list(not_made)
    uses = [PodResourceClaim(name=f"c{n}", resource_claim_name=item) for n, item in enumerate(claims)]
    uses += [PodResourceClaim(name=f"t{n}", resource_claim_template_name="t") for n in range(len(generated))]
    uses += [PodResourceClaim(name=item, resource_claim_template_name="t") for item in not_made]
    made = tuple(
        PodResourceClaimStatus(name=f"t{n}", resource_claim_name=item) for n, item in enumerate(generated)
    )
    held = [PLACEMENT_GATE] if gated and not node_name else []
    owners = ()
    if job:
        owners = (OwnerReference(kind="Job", name=job, uid=f"uid-{job}", controller=True),)
    elif owner:
        owners = (OwnerReference(kind="ReplicaSet", name=owner, uid=f"uid-{owner}", controller=True),)
    shown = phase or ("Running" if node_name else "Pending")
    return Pod(
        metadata=ObjectMeta(
            name=name,
            namespace=ns,
            uid=f"uid-{ns}-{name}",
            labels=labels or {},
            annotations=annotations or {},
            creation_timestamp=at(created),
            deletion_timestamp=NOW if deleting else None,
            owner_references=owners,
        ),
        spec=PodSpec(
            node_name=node_name,
            containers=(
                Container(
                    name="main",
                    resources=ResourceRequirements(requests=quantities(cpu=cpu, memory=memory, **resources)),
                ),
            ),
            resource_claims=tuple(uses),
            scheduling_gates=tuple(PodSchedulingGate(name=item) for item in (*held, *gates)),
            scheduling_group=PodSchedulingGroup(pod_group_name=group) if group else None,
            priority=priority,
            node_selector=selector or {},
            tolerations=tuple(tolerations),
            affinity=affinity,
        ),
        status=status or PodStatus(phase=shown, resource_claim_statuses=made),
    )


def with_claim(name: str, *requests: DeviceRequest, match: str = "", **options):  # type: ignore[no-untyped-def]
    """A pod and the claim made for it."""
    made = pod(name, generated=[f"{name}-gpu"], **options)
    return [made, claim(f"{name}-gpu", *requests, owner=made, ns=made.namespace, match=match)]


def job(name: str, parallelism: int, completions: int | None = None, ns: str = TEAM, **labels: str) -> Job:
    return Job(
        metadata=ObjectMeta(
            name=name, namespace=ns, uid=f"uid-{name}", labels=labels, creation_timestamp=at(0)
        ),
        spec=JobSpec(parallelism=parallelism, completions=completions),
    )


def pod_group(
    name: str, min_count: int | None, ns: str = TEAM, disruption_mode: DisruptionMode = None
) -> PodGroup:
    gang = GangSchedulingPolicy(min_count=min_count) if min_count is not None else None
    policy = SchedulingPolicy(gang=gang, basic=None if gang is not None else {})
    return PodGroup(
        metadata=ObjectMeta(name=name, namespace=ns, uid=f"uid-pg-{name}", creation_timestamp=at(0)),
        spec=PodGroupSpec(scheduling_policy=policy, disruption_mode=disruption_mode),
    )


Objects: TypeAlias = "KubernetesObject | Iterable[Objects]"


def cluster(*objects: Objects) -> Snapshot:
    """A snapshot with the managed namespace `team`, class `gpu`, and these objects, however nested."""
    return Snapshot.of([namespace(), device_class(), *_flat(objects)])


def _flat(objects: Iterable[Objects]) -> Iterator[KubernetesObject]:
    for item in objects:
        if isinstance(item, KubernetesObject):
            yield item
        else:
            yield from _flat(item)


def gpu_node(name: str, count: int = 8, **options):  # type: ignore[no-untyped-def]
    """A node with GPUs."""
    about = {key: options.pop(key) for key in ("model", "shareable", "taint", "per_root") if key in options}
    return [node(name, **options), gpus(name, count, **about)]
