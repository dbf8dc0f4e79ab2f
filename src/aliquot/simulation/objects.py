"""The pods and claims that a workload stands for, in the form in which the cluster hands out its devices."""

from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from aliquot.catalog.openb import DRIVER as OPENB_CLASS
from aliquot.catalog.openb import SHARE
from aliquot.cel.quantity import Quantity
from aliquot.fractions.groups import GROUPS_ANNOTATION
from aliquot.fractions.resources import WHOLE_DEVICES
from aliquot.model.core import (
    MANAGED_LABEL,
    PLACEMENT_GATE,
    QUEUE_LABELS,
    Affinity,
    Container,
    ContainerClaim,
    Namespace,
    NodeAffinity,
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    Pod,
    PodResourceClaim,
    PodResourceClaimStatus,
    PodSchedulingGate,
    PodSpec,
    PodStatus,
    ResourceRequirements,
)
from aliquot.model.meta import ObjectMeta, OwnerReference
from aliquot.model.resource import (
    CapacityRequirements,
    CELDeviceSelector,
    DeviceClaim,
    DeviceRequest,
    DeviceSelector,
    ExactDeviceRequest,
    ResourceClaim,
    ResourceClaimSpec,
)
from aliquot.model.snapshot import Snapshot
from aliquot.scheduling.affinity import as_new
from aliquot.simulation.workload import WHOLE_DEVICE, Workload
from aliquot.workloads import labels

GPU_CLASSES = (OPENB_CLASS, "gpu.nvidia.com", "gpu.amd.com", "gpu.intel.com", "tpu.google.com")
"""DeviceClasses of whole accelerators, the first that a cluster has is its usual one."""

FRACTION = "aliquot.dev/gpu-fraction"
PRODUCT_LABEL = "nvidia.com/gpu.product"


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """How a cluster hands out devices. usual: the DeviceClass or extended resource for workloads that name
    none. classes: the DeviceClasses there are. share: by class, the capacity of which a part of a device
    takes a part, and how much of it a whole device has, in billionths; drivers: by class, the driver of its
    attributes."""

    usual: str
    classes: frozenset[str] = frozenset()
    shares: dict[str, tuple[str, int]] = {}

    @staticmethod
    def of(snapshot: Snapshot) -> "Form":
        """What the cluster's DeviceClasses and nodes say."""
        classes = frozenset(item.name for item in snapshot.device_classes)
        published = {item.spec.driver for item in snapshot.resource_slices}
        usual = next((name for name in GPU_CLASSES if name in classes and name in published), "")
        if not usual:
            usual = next(
                (
                    name
                    for node in snapshot.nodes
                    for name in sorted(node.status.allocatable)
                    if WHOLE_DEVICES.match(name)
                ),
                next(iter(sorted(classes)), "nvidia.com/gpu"),
            )
        shares: dict[str, tuple[str, int]] = {}
        for item in snapshot.resource_slices:
            if item.spec.driver not in classes:
                continue
            name = SHARE if item.spec.driver == OPENB_CLASS else "memory"
            for device in item.spec.devices:
                capacity = device.capacity.get(name)
                if device.allow_multiple_allocations and capacity is not None:
                    known = shares.get(item.spec.driver)
                    if known is None or capacity.value.nano < known[1]:
                        shares[item.spec.driver] = (name, capacity.value.nano)
        return Form(usual=usual, classes=classes, shares=shares)


class FormError(Exception):
    """A workload that cannot be expressed on this cluster. workload: its key; problem, fix: text."""

    def __init__(self, workload: tuple[str, str], problem: str, fix: str) -> None:
        super().__init__(workload, problem, fix)
        self.workload = workload
        self.problem = problem
        self.fix = fix

    def __str__(self) -> str:
        return f"workload {'/'.join(self.workload)}: {self.problem}; {self.fix}"


def check(workload: Workload, form: Form) -> None:
    """Raises FormError for a workload that cannot be expressed on this cluster."""
    if workload.objects or workload.part == WHOLE_DEVICE or not workload.devices:
        return
    device = workload.device or form.usual
    if device in form.classes and device not in form.shares:
        raise FormError(
            workload.key,
            f"asks for a part of a device of class {device}, which no device shares",
            "let the fleet's devices be shared (`shares: memory`), or ask for whole devices",
        )


def namespaces(workloads: Iterable[Workload], snapshot: Snapshot) -> list[Namespace]:
    """Managed namespaces for the workloads whose namespace is not in the snapshot."""
    known = {item.name for item in snapshot.namespaces}
    missing = sorted({workload.namespace for workload in workloads} - known)
    return [
        Namespace(metadata=ObjectMeta(name=name, uid=f"ns-{name}", labels={MANAGED_LABEL: "true"}))
        for name in missing
    ]


class Maker:
    """Makes pods and claims. Values that are equal between pods of a workload are shared."""

    def __init__(self, form: Form, start: datetime) -> None:
        self._form = form
        self._start = start
        self._quantities: dict[str, Quantity] = {}

    def objects(
        self, workload: Workload, number: int, slot: int, attempt: int
    ) -> tuple[Pod, tuple[ResourceClaim, ...]]:
        """A pod and the claims that are made for it. number: of the workload, which tells those apart that
        were submitted at the same second; slot: of the pod in it; attempt: how many there were before."""
        made = self._name(workload, slot, attempt)
        created = self._start + timedelta(seconds=workload.submitted, microseconds=number % 1_000_000)
        meta = ObjectMeta(
            name=made,
            namespace=workload.namespace,
            uid=f"{workload.namespace}/{made}",
            creation_timestamp=created,
            labels=self._labels(workload),
            annotations=self._annotations(workload),
        )
        device = workload.device or self._form.usual
        claims: tuple[ResourceClaim, ...] = ()
        requests: dict[str, Quantity] = {}
        if workload.cpu:
            requests["cpu"] = self._quantity(f"{workload.cpu}m")
        if workload.memory:
            requests["memory"] = self._quantity(f"{workload.memory}Mi")
        used: tuple[ContainerClaim, ...] = ()
        asked: tuple[PodResourceClaim, ...] = ()
        affinity = None
        if workload.devices and device in self._form.classes:
            claims = (self._claim(workload, meta, device),)
            used = (ContainerClaim(name="gpu"),)
            asked = (PodResourceClaim(name="gpu", resource_claim_name=claims[0].name),)
        elif workload.devices:
            if workload.part == WHOLE_DEVICE:
                requests[device] = self._quantity(str(workload.devices))
            affinity = _on_products(workload.models)
        limits = {name: amount for name, amount in requests.items() if "/" in name}
        container = Container(
            name="main", resources=ResourceRequirements(requests=requests, limits=limits, claims=used)
        )
        spec = PodSpec(
            containers=(container,),
            resource_claims=asked,
            scheduling_gates=_GATES,
            priority=workload.priority,
            affinity=affinity,
        )
        return Pod(metadata=meta, spec=spec), claims

    def again(
        self, pod: Pod, claims: Iterable[ResourceClaim], attempt: int
    ) -> tuple[Pod, tuple[ResourceClaim, ...]]:
        """What the owner of a pod makes when that has to leave: a pod like it that waits, and its claims."""
        old, base = pod.metadata, pod.metadata.name.partition(_AGAIN)[0]
        name = f"{base}{_AGAIN}{attempt}"
        uid = f"{old.namespace}/{name}"
        annotations = {key: text for key, text in old.annotations.items() if key not in _OF_ONE_STAY}
        meta = replace(old, name=name, uid=uid, annotations=annotations, deletion_timestamp=None)
        made = {item.name: item.resource_claim_name for item in pod.status.resource_claim_statuses}
        own, fresh = list(claims), list[ResourceClaim]()
        for claim in own:
            entry = next((use for use, named in made.items() if named == claim.name), claim.name)
            owners = tuple(
                replace(owner, name=name, uid=uid) if owner.uid == old.uid else owner
                for owner in claim.metadata.owner_references
            )
            renamed = f"{name}-{entry}"
            claim_meta = replace(
                claim.metadata,
                name=renamed,
                uid=f"{old.namespace}/{renamed}",
                owner_references=owners,
                finalizers=(),
                deletion_timestamp=None,
            )
            fresh.append(ResourceClaim(metadata=claim_meta, spec=claim.spec))
            if entry in made:
                made[entry] = renamed
        renamed_claims = {old.name: new.name for old, new in zip(own, fresh, strict=True)}
        spec = _undecided_spec(pod)
        uses = tuple(
            replace(
                use, resource_claim_name=renamed_claims.get(use.resource_claim_name, use.resource_claim_name)
            )
            for use in spec.resource_claims
        )
        statuses = tuple(
            PodResourceClaimStatus(name=use, resource_claim_name=named) for use, named in made.items()
        )
        status = PodStatus(resource_claim_statuses=statuses)
        return Pod(metadata=meta, spec=replace(spec, resource_claims=uses), status=status), tuple(fresh)

    @staticmethod
    def _name(workload: Workload, slot: int, attempt: int) -> str:
        name = workload.name if workload.pods == 1 else f"{workload.name}-{slot}"
        return f"{name}-r{attempt}" if attempt else name

    def _quantity(self, text: str) -> Quantity:
        found = self._quantities.get(text)
        if found is None:
            found = self._quantities[text] = Quantity.parse(text)
        return found

    @staticmethod
    def _labels(workload: Workload) -> dict[str, str]:
        return {QUEUE_LABELS[0]: workload.queue} if workload.queue else {}

    def _annotations(self, workload: Workload) -> dict[str, str]:
        found: dict[str, str] = {}
        if workload.pods > 1:
            found[labels.GANG] = workload.name
            found[labels.GANG_SIZE] = str(workload.pods)
            if workload.minimum != workload.pods:
                found[labels.GANG_MIN] = str(workload.minimum)
        if workload.preemptible is not None:
            found[labels.PREEMPTIBLE] = "true" if workload.preemptible else "false"
        if workload.checkpoint_seconds is not None:
            found[labels.CHECKPOINT_INTERVAL] = f"{workload.checkpoint_seconds}s"
        if workload.startup_seconds:
            found[labels.STARTUP_SECONDS] = str(workload.startup_seconds)
        if workload.expected_seconds is not None:
            found[labels.EXPECTED_SECONDS] = str(workload.expected_seconds)
        if workload.topology:
            found[labels.TOPOLOGY] = workload.topology
        if workload.topology_required:
            found[labels.TOPOLOGY_REQUIRED] = workload.topology_required
        if workload.topology_preferred:
            found[labels.TOPOLOGY_PREFERRED] = workload.topology_preferred
        device = workload.device or self._form.usual
        if workload.devices and workload.part != WHOLE_DEVICE and device not in self._form.classes:
            found[FRACTION] = f"{workload.part / WHOLE_DEVICE:g}"
            if workload.devices > 1:
                found[f"{FRACTION}-num-devices"] = str(workload.devices)
        return found

    def _claim(self, workload: Workload, pod: ObjectMeta, device: str) -> ResourceClaim:
        capacity = None
        share = self._form.shares.get(device)
        if share is not None:
            name, whole = share
            if workload.part != WHOLE_DEVICE or device == OPENB_CLASS:
                capacity = CapacityRequirements(
                    requests={name: Quantity(whole * workload.part // WHOLE_DEVICE)}
                )
        selectors: tuple[DeviceSelector, ...] = ()
        if workload.models:
            selectors = (DeviceSelector(cel=CELDeviceSelector(expression=_model_selector(device, workload))),)
        exactly = ExactDeviceRequest(
            device_class_name=device, count=workload.devices, selectors=selectors, capacity=capacity
        )
        owner = OwnerReference(api_version="v1", kind="Pod", name=pod.name, uid=pod.uid, controller=True)
        meta = ObjectMeta(
            name=f"{pod.name}-gpu",
            namespace=pod.namespace,
            uid=f"{pod.uid}-gpu",
            creation_timestamp=pod.creation_timestamp,
            owner_references=(owner,),
        )
        request = DeviceRequest(name="gpu", exactly=exactly)
        return ResourceClaim(metadata=meta, spec=ResourceClaimSpec(devices=DeviceClaim(requests=(request,))))


def undecided(objects: Iterable[Pod | ResourceClaim]) -> tuple[Pod | ResourceClaim, ...]:
    """Pods and claims as they were before anything was decided about them, under the same names."""
    return tuple(_undecided(item) if isinstance(item, Pod) else _unallocated(item) for item in objects)


def _undecided(pod: Pod) -> Pod:
    if not pod.spec.node_name and pod.metadata.deletion_timestamp is None:
        return pod
    meta = pod.metadata
    annotations = {key: text for key, text in meta.annotations.items() if key not in _OF_ONE_STAY}
    return replace(
        pod,
        metadata=replace(meta, annotations=annotations, deletion_timestamp=None),
        spec=_undecided_spec(pod),
        status=PodStatus(resource_claim_statuses=pod.status.resource_claim_statuses),
    )


def _undecided_spec(pod: Pod) -> PodSpec:
    spec = as_new(pod).spec
    # The node selector that an earlier placement left would tie it to that node.
    selector = {key: text for key, text in spec.node_selector.items() if key != HOSTNAME}
    return replace(spec, node_selector=selector, scheduling_gates=_GATES)


def _unallocated(claim: ResourceClaim) -> ResourceClaim:
    return ResourceClaim(metadata=replace(claim.metadata, finalizers=()), spec=claim.spec)


_AGAIN = "-again-"
HOSTNAME = "kubernetes.io/hostname"
_OF_ONE_STAY = frozenset({GROUPS_ANNOTATION, labels.STALE_SINCE})
"""Annotations that say what became of a pod, and that its owner does not write."""

_GATES = (PodSchedulingGate(name=PLACEMENT_GATE),)


def _on_products(models: tuple[str, ...]) -> Affinity | None:
    if not models:
        return None
    wanted = NodeSelectorRequirement(key=PRODUCT_LABEL, operator="In", values=models)
    selector = NodeSelector(node_selector_terms=(NodeSelectorTerm(match_expressions=(wanted,)),))
    return Affinity(node_affinity=NodeAffinity(required=selector))


def _model_selector(device: str, workload: Workload) -> str:
    names = ", ".join(f"'{model}'" for model in workload.models)
    return f"device.attributes['{device}'].productName in [{names}]"
