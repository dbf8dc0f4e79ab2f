"""The claims that kube-scheduler makes for extended resources backed by device classes (KEP-5004)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from aliquot.dra.allocator import allocate
from aliquot.dra.fleet import Fleet
from aliquot.dra.outcome import Allocated
from aliquot.dra.usage import Usage
from aliquot.embedded.hooks import Object
from aliquot.embedded.standins.device_taints import RULES, SLICES
from aliquot.embedded.standins.node_table import NodeEntry
from aliquot.embedded.standins.pod_requests import Amounts
from aliquot.embedded.standins.resource_claims import CLAIMS, FINALIZER, pod_reservation
from aliquot.embedded.standins.standin import Cluster
from aliquot.embedded.standins.view import Key, owner_reference
from aliquot.model.core import Node, Pod
from aliquot.model.kinds import convert, encode_json
from aliquot.model.meta import KubernetesObject
from aliquot.model.resource import DeviceClass, DeviceTaintRule, ResourceClaim, ResourceSlice
from aliquot.scheduling.extended import backing_classes, device_requests, imagined_claim

CLASSES = "deviceclasses.resource.k8s.io"
ANNOTATION = "resource.kubernetes.io/extended-resource-claim"

T = TypeVar("T", bound=KubernetesObject)


@dataclass(frozen=True, slots=True)
class SpecialClaim:
    """What serves a pod on one node. claim: to be created; status: its status then; mappings: for the pod."""

    claim: Object
    status: Object
    mappings: list[Object]


class ExtendedResources:
    """Which classes stand for extended resources, and what serves a pod that asks for them on a node."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._view = cluster.view
        self._classes: dict[str, str] | None = None
        self._fleet: Fleet | None = None
        self._view.watch(SLICES, self._fleet_changed)
        self._view.watch(RULES, self._fleet_changed)
        self._view.on(CLASSES, self._classes_changed)

    def _fleet_changed(self, key: Key, after: Object | None) -> None:
        self._fleet = None

    def _classes_changed(self, key: Key, before: Object | None, after: Object | None) -> None:
        self._classes = self._fleet = None

    def classes(self, requests: Amounts) -> dict[str, str]:
        """The class of each resource requested that one stands for."""
        if self._classes is None:
            self._classes = backing_classes(_typed(self._view.objects(CLASSES), DeviceClass))
        return {
            name: self._classes[name] for name, amount in requests.items() if amount and name in self._classes
        }

    def left_over(self, pod: Object) -> Object | None:
        """The claim made for the pod in an attempt that did not end in binding it."""
        for claim in self._view.controlled_by(pod["metadata"]["uid"], CLAIMS):
            if (claim["metadata"].get("annotations") or {}).get(ANNOTATION) == "true":
                return claim
        return None

    def serve(self, pod: Object, classes: dict[str, str], entry: NodeEntry) -> SpecialClaim | None:
        """A claim with its devices on the node, for what the node's device plugin does not offer."""
        wanted = {name: found for name, found in classes.items() if not entry.allocatable.get(name)}
        item = convert({"kind": "Pod"} | pod, Pod)
        claim = imagined_claim(item, wanted)
        fleet = self._known_fleet()
        usage = Usage.of(fleet, _typed(self._view.objects(CLAIMS), ResourceClaim))
        node = convert({"kind": "Node"} | entry.node, Node)
        found = allocate(fleet, usage, node, [claim], mode="strict")
        if not isinstance(found, Allocated):
            return None
        name, space = pod["metadata"]["name"], pod["metadata"]["namespace"]
        document = {
            "apiVersion": "resource.k8s.io/v1",
            "kind": "ResourceClaim",
            "metadata": {
                "generateName": f"{name[:38]}-extended-resources-",
                "namespace": space,
                "annotations": {ANNOTATION: "true"},
                "finalizers": [FINALIZER],
                "ownerReferences": [owner_reference({"apiVersion": "v1", "kind": "Pod"} | pod)],
            },
            "spec": _document(claim.spec),
        }
        allocation: dict[str, Any] = _document(found.results[0])
        allocation["allocationTimestamp"] = self._cluster.timestamp()
        mappings = [
            {"containerName": container, "resourceName": resource, "requestName": request}
            for container, resource, request in device_requests(item.spec, wanted)[1]
        ]
        return SpecialClaim(
            document, {"allocation": allocation, "reservedFor": [pod_reservation(pod)]}, mappings
        )

    def _known_fleet(self) -> Fleet:
        if self._fleet is None:
            slices = self._cluster.registry.list(self._view.resource(SLICES), None)[0]
            rules = self._cluster.registry.list(self._view.resource(RULES), None)[0]
            self._fleet = Fleet.of(
                _typed(slices, ResourceSlice),
                _typed(self._view.objects(CLASSES), DeviceClass),
                _typed(rules, DeviceTaintRule),
            )
        return self._fleet


def _document(value: object) -> Any:
    """Any typed value as the JSON document that a client would send."""
    return msgspec.json.decode(encode_json(value))


def _typed(objects: Any, kind: type[T]) -> tuple[T, ...]:
    return tuple(convert({"kind": kind.kind()} | obj, kind) for obj in objects)
