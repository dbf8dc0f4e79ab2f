"""What running workloads use of their queues."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from aliquot.fractions.charges import device_charge
from aliquot.fractions.devices import NONE, NodeDevices, node_devices
from aliquot.fractions.requests import GpuRequest
from aliquot.model.core import Node, Pod
from aliquot.model.index import Key, Remembered, SnapshotIndex
from aliquot.model.resource import AllocationResult, ResourceClaim
from aliquot.queues.amounts import Amount, Charge
from aliquot.queues.ledger import Ledger
from aliquot.queues.tree import QueueTree
from aliquot.scheduling.allocating import DeviceAllocator
from aliquot.scheduling.claims import GROUP_API, GROUPS
from aliquot.scheduling.facts import PodTraits
from aliquot.scheduling.holdings import pod_charge
from aliquot.scheduling.memory import Memory
from aliquot.scheduling.nodes import Demand
from aliquot.scheduling.policy import Policy


@dataclass(frozen=True, slots=True)
class Holding:
    """A pod (with the claims charged to it) that counts in a queue."""

    queue: str
    pod: Pod
    charge: Charge


def running_usage(
    index: SnapshotIndex,
    tree: QueueTree,
    devices: DeviceAllocator,
    placed: Iterable[tuple[Pod, str, Demand | None]],
    terms: Callable[[Pod], tuple[str, bool]],
    traits: Callable[[Pod], PodTraits],
    gpus: Callable[[Pod, str], Amount],
    known: Remembered | None = None,
) -> tuple[Ledger, list[Holding]]:
    """The use of every queue by pods that have their node and by allocated claims, and who uses what.

    A claim counts once, in the queue of the first of its consumers that is there; so does the claim of a pod
    that still waits, once it is written. Pods outside managed namespaces count nowhere, nor do those that
    are being deleted: what they hold is about to be free. terms: the queue of a pod and whether it may be
    preempted. traits: what follows from a pod. gpus: what a pod on a node has of the devices that a
    device plugin hands out. known: charges of claims found before with the same fleet.
    """
    usage = Ledger(tree)
    holdings: list[Holding] = []
    if not tree.queues:
        return usage, holdings
    for pod, node, demand in placed:
        name, preemptible = terms(pod)
        if name and pod.metadata.deletion_timestamp is None:
            own = demand or traits(pod).demand
            charge = pod_charge(own.requests, gpus(pod, node))
            usage.add(name, charge, preemptible)
            holdings.append(Holding(name, pod, charge))
    pods = {pod.key: pod for pod in index.snapshot.pods}
    groups = _first_of_groups(index)
    for claim in index.snapshot.resource_claims:
        allocation = claim.status.allocation
        holder = _first_consumer(claim, pods, groups) if allocation is not None else None
        if allocation is None or holder is None or holder.metadata.deletion_timestamp is not None:
            continue
        name, preemptible = terms(holder)
        if name:
            charge = _charge(claim, allocation, devices, known)
            usage.add(name, charge, preemptible)
            holdings.append(Holding(name, holder, charge))
    return usage, holdings


def _charge(
    claim: ResourceClaim, allocation: AllocationResult, devices: DeviceAllocator, known: Remembered | None
) -> Charge:
    found = known.get(claim) if known is not None else None
    if isinstance(found, dict):
        return found
    charge = devices.charge(claim, allocation)
    if known is not None:
        known.put(claim, charge)
    return charge


def _first_of_groups(index: SnapshotIndex) -> dict[Key, Pod]:
    """A pod of each PodGroup that has claims of its own."""
    found: dict[Key, Pod] = {}
    if any(group.spec.resource_claims for group in index.pod_groups.values()):
        for pod in index.snapshot.pods:
            if pod.spec.scheduling_group is not None:
                found.setdefault((pod.metadata.namespace, pod.spec.scheduling_group.pod_group_name), pod)
    return found


def _first_consumer(claim: ResourceClaim, pods: dict[Key, Pod], groups: dict[Key, Pod]) -> Pod | None:
    for reference in claim.status.reserved_for:
        key = (claim.metadata.namespace, reference.name)
        if reference.resource == GROUPS and reference.api_group == GROUP_API:
            if key in groups:
                return groups[key]
            continue
        pod = pods.get(key)
        if pod is not None and reference.resource == "pods" and pod.metadata.uid == reference.uid:
            return pod
    return None


def plugin_charges(memory: Memory, nodes: Mapping[str, Node], policy: Policy) -> Callable[[Pod, str], Amount]:
    """A function from a pod and its node to what the pod has of devices that a device plugin hands out, in
    billionths of an accelerator."""
    known: dict[str, NodeDevices] = {}

    def charge(pod: Pod, node: str) -> Amount:
        request = memory.traits(pod).gpus
        if not isinstance(request, GpuRequest):
            return 0
        devices = known.get(node)
        if devices is None:
            found = nodes.get(node)
            devices = known[node] = NONE if found is None else node_devices(found)
        return device_charge(request, devices, slices_as_devices=policy.slices_as_devices)

    return charge
