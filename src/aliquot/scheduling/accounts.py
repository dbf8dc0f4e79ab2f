"""What running workloads use of their queues."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from aliquot.fractions.charges import device_charge
from aliquot.fractions.devices import NONE, NodeDevices, node_devices
from aliquot.fractions.requests import GpuRequest
from aliquot.model.core import Node, Pod
from aliquot.model.index import Key, SnapshotIndex
from aliquot.model.resource import ResourceClaim
from aliquot.queues.amounts import Amount, Charge
from aliquot.queues.ledger import Ledger
from aliquot.queues.tree import QueueTree
from aliquot.scheduling.allocating import DeviceAllocator
from aliquot.scheduling.claims import GROUP_API, GROUPS
from aliquot.scheduling.facts import PodTraits
from aliquot.scheduling.holdings import pod_charge
from aliquot.scheduling.nodes import Demand
from aliquot.scheduling.policy import Policy


@dataclass(frozen=True, slots=True)
class Holding:
    """A pod (with the claims charged to it) that counts in a queue."""

    queue: str
    pod: Pod
    charge: Charge


class Charges:
    """What counts where, pod by pod and claim by claim.

    A claim counts once, in the queue of the first of its consumers that is there; so does the claim of a pod
    that still waits, once it is written. Pods outside managed namespaces count nowhere, nor do those that
    are being deleted: what they hold is about to be free.
    """

    def __init__(
        self,
        index: SnapshotIndex,
        traits: Callable[[Pod], PodTraits],
        devices: DeviceAllocator,
        policy: Policy,
    ) -> None:
        """traits: what follows from a pod."""
        self._devices = devices
        self._gpus = plugin_charges(traits, index.nodes, policy)
        self._firsts = _first_of_groups(index)
        self._of_groups: dict[Key, list[ResourceClaim]] = {}
        for claim in index.snapshot.resource_claims if self._firsts else ():
            for reference in claim.status.reserved_for:
                if reference.resource == GROUPS and reference.api_group == GROUP_API:
                    first = self._firsts.get((claim.metadata.namespace, reference.name))
                    if first is not None:
                        self._of_groups.setdefault(first.key, []).append(claim)

    def of(
        self,
        queue: str,
        placed: Iterable[tuple[Pod, str, Demand]],
        pods: Iterable[Pod],
        known: Mapping[Key, Pod],
        meant_for: Callable[[Key], Collection[ResourceClaim]],
    ) -> list[Holding]:
        """What some pods of a queue hold. placed: those that have their node, with what they take of it.
        known: all pods. meant_for: the claims that are reserved for a pod, and perhaps others."""
        found = [
            Holding(queue, pod, pod_charge(demand.requests, self._gpus(pod, node)))
            for pod, node, demand in placed
            if pod.metadata.deletion_timestamp is None
        ]
        for pod in pods:
            key = pod.key
            own, shared = meant_for(key), self._of_groups.get(key)
            if (not own and not shared) or pod.metadata.deletion_timestamp is not None:
                continue
            claims = {claim.key: claim for claim in (*own, *(shared or ()))}
            for _, claim in sorted(claims.items()):
                allocation = claim.status.allocation
                if allocation is not None and _first_consumer(claim, known, self._firsts) is pod:
                    found.append(Holding(queue, pod, self._devices.charge(claim, allocation)))
        return found


def running_usage(
    index: SnapshotIndex,
    tree: QueueTree,
    charges: Charges,
    placed: Iterable[tuple[Pod, str, Demand]],
    terms: Callable[[Pod], tuple[str, bool]],
) -> Ledger:
    """The use of every queue by pods that have their node and by allocated claims. terms: the queue of a pod
    and whether it may be preempted."""
    usage = Ledger(tree)
    pods = {pod.key: pod for pod in index.snapshot.pods}
    places = {pod.key: (pod, node, demand) for pod, node, demand in placed}
    reserved: dict[Key, list[ResourceClaim]] = {}
    for claim in index.snapshot.resource_claims:
        for reference in claim.status.reserved_for:
            reserved.setdefault((claim.metadata.namespace, reference.name), []).append(claim)

    def meant_for(key: Key) -> Collection[ResourceClaim]:
        return reserved.get(key, ())

    for pod in index.snapshot.pods:
        name, preemptible = terms(pod)
        if name:
            own = [places[pod.key]] if pod.key in places else []
            for holding in charges.of(name, own, [pod], pods, meant_for):
                usage.add(name, holding.charge, preemptible)
    return usage


def _first_of_groups(index: SnapshotIndex) -> dict[Key, Pod]:
    """A pod of each PodGroup that has claims of its own."""
    found: dict[Key, Pod] = {}
    if any(group.spec.resource_claims for group in index.pod_groups.values()):
        for pod in index.snapshot.pods:
            if pod.spec.scheduling_group is not None:
                found.setdefault((pod.metadata.namespace, pod.spec.scheduling_group.pod_group_name), pod)
    return found


def _first_consumer(claim: ResourceClaim, pods: Mapping[Key, Pod], groups: Mapping[Key, Pod]) -> Pod | None:
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


def plugin_charges(
    traits: Callable[[Pod], PodTraits], nodes: Mapping[str, Node], policy: Policy
) -> Callable[[Pod, str], Amount]:
    """A function from a pod and its node to what the pod has of devices that a device plugin hands out, in
    billionths of an accelerator."""
    known: dict[str, NodeDevices] = {}

    def charge(pod: Pod, node: str) -> Amount:
        request = traits(pod).gpus
        if not isinstance(request, GpuRequest):
            return 0
        devices = known.get(node)
        if devices is None:
            found = nodes.get(node)
            devices = known[node] = NONE if found is None else node_devices(found)
        return device_charge(request, devices, slices_as_devices=policy.slices_as_devices)

    return charge
