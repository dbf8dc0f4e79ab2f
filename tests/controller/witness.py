"""Watches every change of a cluster and notes each broken promise about devices."""

from typing import Any

import msgspec

from aliquot.dra.checker import check_cluster
from aliquot.embedded.registry import Registry
from aliquot.model.core import Node, Pod
from aliquot.model.kinds import convert
from aliquot.model.meta import KubernetesObject
from aliquot.model.resource import ResourceClaim, ResourceSlice
from aliquot.model.snapshot import Snapshot
from aliquot.scheduling.affinity import matches_node

Key = tuple[str, str]


class Witness:
    """Sees changes synchronously, in the order in which the server stored them.

    broken: what was wrong, and at which resourceVersion. controller_writes: changes that only the controller
    makes (finalizer put on, allocation given, gate lifted); `on_write` is called after each.
    """

    def __init__(self, registry: Registry) -> None:
        self.broken: list[str] = []
        self.controller_writes = 0
        self.allocations = 0
        self.on_write: list[Any] = []
        self._claims: dict[Key, ResourceClaim] = {}
        self._pods: dict[Key, Pod] = {}
        self._nodes: dict[Key, Node] = {}
        self._slices: dict[Key, ResourceSlice] = {}
        self.ran: set[str] = set()
        for plural, group, kind, known in (
            ("resourceclaims", "resource.k8s.io", ResourceClaim, self._claims),
            ("resourceslices", "resource.k8s.io", ResourceSlice, self._slices),
            ("nodes", "", Node, self._nodes),
            ("pods", "", Pod, self._pods),
        ):
            self._follow(registry, plural, group, kind, known)

    def _follow(
        self, registry: Registry, plural: str, group: str, kind: type[KubernetesObject], known: dict[Key, Any]
    ) -> None:
        def changed(change: str, obj: dict[str, Any]) -> None:
            item = convert(obj, kind)
            before = known.get(item.key)
            if change == "DELETED":
                known.pop(item.key, None)
            else:
                known[item.key] = item
            if isinstance(item, ResourceClaim):
                self._claim_changed(before, None if change == "DELETED" else item, item)
            elif isinstance(item, Pod):
                self._pod_changed(before, item)

        resource = registry.resources.named(plural, group)
        present, _, _ = registry.list(resource)
        for obj in present:
            item = convert(obj, kind)
            known[item.key] = item
        registry.observe(resource, changed)

    def _claim_changed(
        self, before: ResourceClaim | None, after: ResourceClaim | None, last: ResourceClaim
    ) -> None:
        allocated_before = before is not None and before.status.allocation is not None
        allocated_after = after is not None and after.status.allocation is not None
        if allocated_after:
            assert after is not None
            snapshot = Snapshot.of([*self._claims.values(), *self._slices.values()])
            for violation in check_cluster(snapshot):
                self.broken.append(f"{last.metadata.resource_version}: {violation}")
            if allocated_before:
                assert before is not None
                if _devices(before) != _devices(after):
                    self.broken.append(f"{last.metadata.resource_version}: {after.key} was moved in place")
            elif after.metadata.deletion_timestamp is None and not after.metadata.finalizers:
                self.broken.append(f"{last.metadata.resource_version}: {after.key} is allocated unprotected")
        if after is None and allocated_before:
            self.broken.append(f"{last.metadata.resource_version}: {last.key} went away while allocated")
        if allocated_before and not allocated_after:
            assert before is not None
            for user in before.status.reserved_for:
                pod = self._pods.get((last.namespace, user.name))
                if (
                    pod is not None
                    and pod.metadata.uid == user.uid
                    and pod.spec.node_name
                    and not pod.finished
                ):
                    self.broken.append(
                        f"{last.metadata.resource_version}: {last.key} lost its devices under {pod.key}"
                    )
        if allocated_after and not allocated_before:
            self.allocations += 1
            self._wrote()
        elif (
            before is not None
            and after is not None
            and len(after.metadata.finalizers) > len(before.metadata.finalizers)
        ):
            self._wrote()

    def _pod_changed(self, before: Pod | None, after: Pod) -> None:
        if before is not None and before.metadata.uid != after.metadata.uid:
            before = None
        if before is not None and before.gated and not after.gated:
            self._wrote()
        if after.spec.node_name and (before is None or not before.spec.node_name):
            self._bound(after)
        if after.status.phase in ("Running", "Succeeded"):
            self.ran.add(after.metadata.uid)

    def _bound(self, pod: Pod) -> None:
        """At the moment of binding all claims are allocated, reserved for the pod, and usable on its node."""
        made = {status.name: status.resource_claim_name for status in pod.status.resource_claim_statuses}
        node = self._nodes[("", pod.spec.node_name)]
        for entry in pod.spec.resource_claims:
            name = entry.resource_claim_name or made.get(entry.name, "")
            claim = self._claims.get((pod.namespace, name))
            where = f"{pod.metadata.resource_version}: {pod.key} was bound to {node.name}"
            if claim is None or claim.status.allocation is None:
                self.broken.append(f"{where} without {name}")
                continue
            if all(user.uid != pod.metadata.uid for user in claim.status.reserved_for):
                self.broken.append(f"{where} without a reservation of {name}")
            selector = claim.status.allocation.node_selector
            if selector is not None and not matches_node(selector, node):
                self.broken.append(f"{where}, beside {name}")

    def _wrote(self) -> None:
        self.controller_writes += 1
        for listener in tuple(self.on_write):
            listener()


def _devices(claim: ResourceClaim) -> bytes:
    assert claim.status.allocation is not None
    return msgspec.json.encode(
        [(one.driver, one.pool, one.device) for one in claim.status.allocation.devices.results]
    )
