"""Who serves the extended resources of a cluster's pods: the device plugin of a node, or a device class."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta

from aliquot.model.core import Node, Pod
from aliquot.model.index import SnapshotIndex
from aliquot.model.resource import ResourceClaim
from aliquot.model.verdicts import PLACED, Fact, Reason, Verdict
from aliquot.scheduling.extended import SINCE, backing_classes
from aliquot.scheduling.repairs import Managed, Repair

HOSTNAME = "kubernetes.io/hostname"


class ExtendedResources:
    """What one snapshot says about extended resources that classes stand for."""

    def __init__(
        self,
        index: SnapshotIndex,
        kubernetes: tuple[int, int],
        special_claims: Mapping[str, ResourceClaim] | None = None,
    ) -> None:
        """special_claims: allocated claims that the scheduler made, by the uid of each one's pod."""
        self._index = index
        classes = index.snapshot.device_classes if kubernetes >= SINCE else ()
        self._classes = backing_classes(classes)
        self.special_claims: Mapping[str, ResourceClaim] = {} if special_claims is None else special_claims
        self._plugins: frozenset[str] | None = None
        self._by_hostname: dict[str, str] | None = None

    @property
    def any(self) -> bool:
        """Whether any class stands for extended resources."""
        return bool(self._classes)

    def classes(self, requests: Mapping[str, int]) -> dict[str, str]:
        """The class of each resource requested that a class stands for."""
        if not self._classes:
            return {}
        return {
            name: self._classes[name] for name, wanted in requests.items() if wanted and name in self._classes
        }

    @property
    def plugins(self) -> frozenset[str]:
        """Resources that the device plugin of any node offers, of those that classes stand for."""
        if self._plugins is None:
            self._plugins = frozenset(
                name
                for node in self._index.snapshot.nodes
                for name in node.status.allocatable
                if name in self._classes and offers(node, name)
            )
        return self._plugins

    def by_class(self, requests: Mapping[str, int], node_name: str) -> frozenset[str]:
        """The resources requested that a claim serves on this node."""
        classes = self.classes(requests)
        if not classes:
            return frozenset()
        node = self._index.nodes.get(node_name)
        return frozenset(name for name in classes if node is None or not offers(node, name))

    def pinned(self, pod: Pod) -> str | None:
        """The node that the pod's node selector names, if it names one."""
        hostname = pod.spec.node_selector.get(HOSTNAME)
        if not hostname:
            return None
        if self._by_hostname is None:
            nodes = self._index.nodes.items()
            self._by_hostname = {node.metadata.labels.get(HOSTNAME, name): name for name, node in nodes}
        return self._by_hostname.get(hostname)


def offers(node: Node, name: str) -> bool:
    """Whether the node's device plugin offers some of the resource."""
    amount = node.status.allocatable.get(name)
    return amount is not None and amount.nano > 0


def given_up(pod: Pod, now: datetime, patience: int) -> bool:
    """The scheduler had so many seconds for an unbound pod since it was let go, and found no way."""
    conditions = {condition.type: condition for condition in pod.status.conditions}
    scheduled, placed = conditions.get("PodScheduled"), conditions.get(PLACED)
    if scheduled is None or (scheduled.status, scheduled.reason) != ("False", "Unschedulable"):
        return False
    if placed is None or placed.status != "True" or placed.last_transition_time is None:
        return False
    return placed.last_transition_time + timedelta(seconds=patience) < now


def abandoned(in_flight: Iterable[tuple[Pod, str]], now: datetime, patience: int) -> Iterator[Repair]:
    """Pods let go with extended resources that the scheduler cannot serve on their node."""
    for pod, node in in_flight:
        if not pod.spec.node_name and given_up(pod, now, patience):
            fact = Fact(test="unschedulable", subject=node, wanted=f"{patience}s")
            verdict = Verdict(reason=Reason.NODE_UNFIT, facts=(fact,))
            yield Repair(pod, verdict, pod.metadata.controller is not None)


def held_twice(index: SnapshotIndex, resources: ExtendedResources, managed: Managed) -> Iterator[Repair]:
    """Pods for which the scheduler chose a device that another claim holds.

    Both wrote without knowing of the other. The scheduler's choice gives way: the other claim's pod was there
    by a decision for its whole gang.
    """
    special = resources.special_claims
    if not special:
        return
    owners = {claim.key: uid for uid, claim in special.items()}
    held: dict[tuple[str, str, str], list[ResourceClaim]] = {}
    for claim in index.snapshot.resource_claims:
        allocation = claim.status.allocation
        for result in allocation.devices.results if allocation is not None else ():
            if not result.admin_access and result.share_id is None:
                held.setdefault((result.driver, result.pool, result.device), []).append(claim)
    for device, claims in sorted(held.items()):
        if len(claims) < 2:
            continue
        choices = sorted((claim for claim in claims if claim.key in owners), key=lambda claim: claim.key)
        others = [claim for claim in claims if claim.key not in owners]
        for claim in choices if others else choices[1:]:
            if managed(claim):
                other = next(item for item in (*others, *choices) if item is not claim)
                pod = _pod(index, claim, owners[claim.key])
                if pod is not None:
                    fact = Fact(test="heldTwice", subject="/".join(device), available=other.name)
                    yield Repair(pod, Verdict(reason=Reason.DEVICE_HELD_TWICE, facts=(fact,)), True)


def _pod(index: SnapshotIndex, claim: ResourceClaim, uid: str) -> Pod | None:
    names = {owner.name for owner in claim.metadata.owner_references if owner.uid == uid}
    return next(
        (
            pod
            for pod in index.snapshot.pods
            if pod.metadata.uid == uid
            and pod.metadata.name in names
            and pod.metadata.deletion_timestamp is None
        ),
        None,
    )
