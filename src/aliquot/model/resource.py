"""Dynamic Resource Allocation objects (resource.k8s.io/v1; DeviceTaintRule from v1beta2).

Source of all field meanings: the Kubernetes API reference and KEPs 4381, 4815 (partitionable devices),
4816 (prioritized list), 5018 (admin access), 5055 (device taints), 5075 (consumable capacity),
5007 (binding conditions).
"""

from datetime import datetime
from typing import Any

import msgspec

from aliquot.cel.quantity import Quantity
from aliquot.model.core import NodeSelector
from aliquot.model.meta import Condition, KubernetesObject, Record

DELETE_PROTECTION = "resource.kubernetes.io/delete-protection"
"""The finalizer that keeps an allocated claim from vanishing under its pod."""

MAX_CONSUMERS = 256
"""status.reservedFor holds at most this many consumers (API limit)."""


class DeviceAttribute(Record, frozen=True):
    """Exactly one field is set. `version` is a semantic version; plural fields are lists (1.36, alpha)."""

    int_: int | None = msgspec.field(name="int", default=None)
    bool_: bool | None = msgspec.field(name="bool", default=None)
    string: str | None = None
    version: str | None = None
    ints: tuple[int, ...] | None = None
    bools: tuple[bool, ...] | None = None
    strings: tuple[str, ...] | None = None
    versions: tuple[str, ...] | None = None


class CapacityRange(Record, frozen=True):
    """Valid amounts: min, min+step, min+2*step, ... up to max."""

    min: Quantity | None = None
    max: Quantity | None = None
    step: Quantity | None = None


class CapacityRequestPolicy(Record, frozen=True):
    """How much of a shareable capacity a request takes: the default, and the amounts it is rounded up to."""

    default: Quantity | None = None
    valid_values: tuple[Quantity, ...] = ()
    valid_range: CapacityRange | None = None


class DeviceCapacity(Record, frozen=True):
    value: Quantity = Quantity.of(0)
    request_policy: CapacityRequestPolicy | None = None


class Counter(Record, frozen=True):
    value: Quantity = Quantity.of(0)


class CounterSet(Record, frozen=True):
    """What a physical device has, to be drawn on by its partitions."""

    name: str = ""
    counters: dict[str, Counter] = {}


class DeviceCounterConsumption(Record, frozen=True):
    """What one device draws from a counter set of its pool while it is allocated."""

    counter_set: str = ""
    counters: dict[str, Counter] = {}


class DeviceTaint(Record, frozen=True):
    """effect: None (informs only), NoSchedule or NoExecute."""

    key: str = ""
    value: str = ""
    effect: str = ""
    time_added: datetime | None = None


class Device(Record, frozen=True):
    """A device of a slice. Unqualified attribute and capacity names belong to the driver's domain."""

    name: str = ""
    attributes: dict[str, DeviceAttribute] = {}
    capacity: dict[str, DeviceCapacity] = {}
    consumes_counters: tuple[DeviceCounterConsumption, ...] = ()
    node_name: str | None = None
    node_selector: NodeSelector | None = None
    all_nodes: bool | None = None
    taints: tuple[DeviceTaint, ...] = ()
    binds_to_node: bool = False
    binding_conditions: tuple[str, ...] | None = None
    binding_failure_conditions: tuple[str, ...] | None = None
    allow_multiple_allocations: bool | None = None


class ResourcePool(Record, frozen=True):
    """A pool is complete when `resource_slice_count` slices of its newest generation are there."""

    name: str = ""
    generation: int = 0
    resource_slice_count: int = 0


class ResourceSliceSpec(Record, frozen=True):
    driver: str = ""
    pool: ResourcePool = ResourcePool()
    node_name: str | None = None
    node_selector: NodeSelector | None = None
    all_nodes: bool | None = None
    per_device_node_selection: bool | None = None
    devices: tuple[Device, ...] = ()
    shared_counters: tuple[CounterSet, ...] = ()


class ResourceSlice(KubernetesObject, frozen=True, tag_field="kind", tag="ResourceSlice"):
    spec: ResourceSliceSpec = ResourceSliceSpec()


class CELDeviceSelector(Record, frozen=True):
    expression: str = ""


class DeviceSelector(Record, frozen=True):
    cel: CELDeviceSelector | None = None


class OpaqueDeviceConfiguration(Record, frozen=True):
    """Parameters that only the driver understands; passed on unread."""

    driver: str = ""
    parameters: Any = None


class DeviceClassConfiguration(Record, frozen=True):
    opaque: OpaqueDeviceConfiguration | None = None


class DeviceClassSpec(Record, frozen=True):
    selectors: tuple[DeviceSelector, ...] = ()
    config: tuple[DeviceClassConfiguration, ...] = ()
    extended_resource_name: str | None = None


class DeviceClass(KubernetesObject, frozen=True, tag_field="kind", tag="DeviceClass"):
    spec: DeviceClassSpec = DeviceClassSpec()


class DeviceToleration(Record, frozen=True):
    key: str = ""
    operator: str = ""
    value: str = ""
    effect: str = ""
    toleration_seconds: int | None = None


class CapacityRequirements(Record, frozen=True):
    requests: dict[str, Quantity] = {}


class ExactDeviceRequest(Record, frozen=True):
    """allocation_mode: ExactCount (also when empty; then count, 1 if not given, devices) or All."""

    device_class_name: str = ""
    selectors: tuple[DeviceSelector, ...] = ()
    allocation_mode: str = ""
    count: int | None = None
    admin_access: bool | None = None
    tolerations: tuple[DeviceToleration, ...] = ()
    capacity: CapacityRequirements | None = None


class DeviceSubRequest(Record, frozen=True):
    """One alternative of a firstAvailable request."""

    name: str = ""
    device_class_name: str = ""
    selectors: tuple[DeviceSelector, ...] = ()
    allocation_mode: str = ""
    count: int | None = None
    tolerations: tuple[DeviceToleration, ...] = ()
    capacity: CapacityRequirements | None = None


class DeviceRequest(Record, frozen=True):
    """Either `exactly` or `first_available` (alternatives in order of preference)."""

    name: str = ""
    exactly: ExactDeviceRequest | None = None
    first_available: tuple[DeviceSubRequest, ...] = ()


class DeviceConstraint(Record, frozen=True):
    """Holds for the named requests ("name" or "name/subrequest"), for all of the claim if none is named."""

    requests: tuple[str, ...] = ()
    match_attribute: str | None = None
    distinct_attribute: str | None = None


class DeviceClaimConfiguration(Record, frozen=True):
    requests: tuple[str, ...] = ()
    opaque: OpaqueDeviceConfiguration | None = None


class DeviceClaim(Record, frozen=True):
    requests: tuple[DeviceRequest, ...] = ()
    constraints: tuple[DeviceConstraint, ...] = ()
    config: tuple[DeviceClaimConfiguration, ...] = ()


class ResourceClaimSpec(Record, frozen=True):
    devices: DeviceClaim = DeviceClaim()


class DeviceRequestAllocationResult(Record, frozen=True):
    """One device (or share of one) given to one request. `request` is "name" or "name/subrequest"."""

    request: str = ""
    driver: str = ""
    pool: str = ""
    device: str = ""
    admin_access: bool | None = None
    tolerations: tuple[DeviceToleration, ...] = ()
    binding_conditions: tuple[str, ...] = ()
    binding_failure_conditions: tuple[str, ...] = ()
    share_id: str | None = msgspec.field(name="shareID", default=None)
    consumed_capacity: dict[str, Quantity] = {}


class DeviceAllocationConfiguration(Record, frozen=True):
    """source: FromClass or FromClaim."""

    source: str = ""
    requests: tuple[str, ...] = ()
    opaque: OpaqueDeviceConfiguration | None = None


class DeviceAllocationResult(Record, frozen=True):
    results: tuple[DeviceRequestAllocationResult, ...] = ()
    config: tuple[DeviceAllocationConfiguration, ...] = ()


class AllocationResult(Record, frozen=True):
    """node_selector says where the devices can be used; None means everywhere."""

    devices: DeviceAllocationResult = DeviceAllocationResult()
    node_selector: NodeSelector | None = None
    allocation_timestamp: datetime | None = None


class ConsumerReference(Record, frozen=True):
    """Who may use an allocated claim: a pod ("" / pods) or a PodGroup."""

    api_group: str = ""
    resource: str = ""
    name: str = ""
    uid: str = ""


class AllocatedDeviceStatus(Record, frozen=True):
    driver: str = ""
    pool: str = ""
    device: str = ""
    share_id: str | None = msgspec.field(name="shareID", default=None)
    conditions: tuple[Condition, ...] = ()


class ResourceClaimStatus(Record, frozen=True):
    allocation: AllocationResult | None = None
    reserved_for: tuple[ConsumerReference, ...] = ()
    devices: tuple[AllocatedDeviceStatus, ...] = ()


class ResourceClaim(KubernetesObject, frozen=True, tag_field="kind", tag="ResourceClaim"):
    spec: ResourceClaimSpec = ResourceClaimSpec()
    status: ResourceClaimStatus = ResourceClaimStatus()


class ResourceClaimTemplateSpec(Record, frozen=True):
    spec: ResourceClaimSpec = ResourceClaimSpec()


class ResourceClaimTemplate(KubernetesObject, frozen=True, tag_field="kind", tag="ResourceClaimTemplate"):
    spec: ResourceClaimTemplateSpec = ResourceClaimTemplateSpec()


class DeviceTaintSelector(Record, frozen=True):
    driver: str | None = None
    pool: str | None = None
    device: str | None = None


class DeviceTaintRuleSpec(Record, frozen=True):
    device_selector: DeviceTaintSelector | None = None
    taint: DeviceTaint = DeviceTaint()


class DeviceTaintRule(KubernetesObject, frozen=True, tag_field="kind", tag="DeviceTaintRule"):
    spec: DeviceTaintRuleSpec = DeviceTaintRuleSpec()
