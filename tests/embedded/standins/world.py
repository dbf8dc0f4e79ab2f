"""A registry in memory with stand-ins and a clock that only moves when told to."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from aliquot import manifests
from aliquot.embedded.admission import Admission
from aliquot.embedded.hooks import SYSTEM, Object, User
from aliquot.embedded.registry import Registry
from aliquot.embedded.standins import StandIns
from aliquot.embedded.storage import Store

CONTROLLER = User(manifests.CONTROLLER_USER)
FINALIZER = "resource.kubernetes.io/delete-protection"


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


def uids() -> Callable[[], str]:
    numbers = itertools.count(1)
    return lambda: str(uuid.UUID(int=next(numbers)))


class World:
    """``path``: the file that keeps the state, for tests that restart everything."""

    def __init__(self, path: Path | None = None, *, policies: bool = False, **options: float) -> None:
        self.clock = Clock()
        self.uid = uids()
        self.path = path
        self.options = options
        self._open()
        if policies:
            for obj in manifests.load():
                self.create(obj)

    def _open(self) -> None:
        self.registry = Registry(Store(self.path), self.clock, self.uid)
        self.registry.admission = Admission(self.registry)
        self.standins = StandIns(self.registry, **self.options)

    def restart(self) -> None:
        """Begin anew with what the file holds."""
        assert self.path is not None
        self.registry.close()
        self.registry.store.close()
        self._open()

    def settle(self) -> None:
        self.standins.settle()

    def pass_time(self, seconds: float) -> None:
        """Let time pass, with everything done at the time it is due."""
        end = self.clock.now + timedelta(seconds=seconds)
        self.settle()
        while (due := self.standins.next_time()) is not None and due <= end.timestamp():
            self.clock.now = max(self.clock.now, datetime.fromtimestamp(due, UTC))
            self.settle()
        self.clock.now = end
        self.settle()

    # Objects

    def _resource(self, plural: str) -> Any:
        name, _, group = plural.partition(".")
        return self.registry.resources.named(name, group)

    def create(self, obj: Object | str, user: User = SYSTEM) -> Object:
        """Create from a document or its YAML; the namespace is ``default`` where it names none."""
        document: Object = yaml.safe_load(obj) if isinstance(obj, str) else obj
        resource = self.registry.resources.find_kind(document["apiVersion"], document["kind"])
        assert resource is not None, document["kind"]
        namespace = (document["metadata"].get("namespace") or "default") if resource.namespaced else None
        return self.registry.create(resource, namespace, document, user)

    def find(self, plural: str, name: str, namespace: str = "default") -> Object | None:
        return self.registry.find(self._resource(plural), namespace, name)

    def get(self, plural: str, name: str, namespace: str = "default") -> Object:
        return self.registry.get(self._resource(plural), namespace, name)

    def list(self, plural: str, namespace: str | None = None) -> list[Object]:
        return self.registry.list(self._resource(plural), namespace)[0]

    def names(self, plural: str, namespace: str | None = None) -> list[str]:
        return [one["metadata"]["name"] for one in self.list(plural, namespace)]

    def edit(
        self,
        plural: str,
        name: str,
        change: Callable[[Object], Any],
        *,
        namespace: str = "default",
        subresource: str | None = None,
        user: User = SYSTEM,
    ) -> Object:
        obj = self.get(plural, name, namespace)
        change(obj)
        return self.registry.update(
            self._resource(plural), namespace, name, obj, user, subresource=subresource
        )

    def delete(
        self, plural: str, name: str, namespace: str = "default", *, propagation: str | None = "Background"
    ) -> None:
        self.registry.delete(self._resource(plural), namespace, name, SYSTEM, propagation=propagation)

    # Things most tests need

    def node(self, name: str, cpu: str = "8", pods: str = "110", **spec: Any) -> None:
        labels = spec.pop("labels", {})
        self.create(
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name} | labels},
                "spec": spec,
            }
        )
        size = {"cpu": cpu, "memory": "64Gi", "pods": pods}
        self.edit("nodes", name, lambda obj: obj.update(status={"allocatable": size}), subresource="status")

    def pod(self, name: str, *, cpu: str = "1", namespace: str = "default", **parts: Any) -> Object:
        """``annotations`` and ``labels`` go into the metadata, other keywords into the spec."""
        metadata: Object = {"name": name, "namespace": namespace}
        for part in ("annotations", "labels"):
            if part in parts:
                metadata[part] = parts.pop(part)
        container = {"name": "main", "image": "work", "resources": {"requests": {"cpu": cpu}}}
        spec = {"containers": [container]} | parts
        return self.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})

    def template(self, name: str, namespace: str = "default") -> None:
        request = {"name": "gpu", "exactly": {"deviceClassName": "gpu.nvidia.com"}}
        self.create(
            {
                "apiVersion": "resource.k8s.io/v1",
                "kind": "ResourceClaimTemplate",
                "metadata": {"name": name, "namespace": namespace},
                "spec": {"spec": {"devices": {"requests": [request]}}},
            }
        )

    def claim(self, name: str, namespace: str = "default") -> None:
        request = {"name": "gpu", "exactly": {"deviceClassName": "gpu.nvidia.com"}}
        self.create(
            {
                "apiVersion": "resource.k8s.io/v1",
                "kind": "ResourceClaim",
                "metadata": {"name": name, "namespace": namespace},
                "spec": {"devices": {"requests": [request]}},
            }
        )

    def allocate(
        self,
        claim: str,
        node: str,
        *pods: str,
        namespace: str = "default",
        device: str = "gpu-0",
        allocated: str = "",
        **about: Any,
    ) -> None:
        """What Aliquot's controller does: finalizer, allocation, reservations; node "" is any node.

        ``about`` goes into the result for the device; ``allocated`` is the time of allocation.
        """
        plural = "resourceclaims.resource.k8s.io"

        def protect(obj: Object) -> None:
            obj["metadata"]["finalizers"] = [FINALIZER]

        def place(obj: Object) -> None:
            result = {
                "request": "gpu",
                "driver": "gpu.nvidia.com",
                "pool": node or "network",
                "device": device,
            } | about
            allocation: Object = {"devices": {"results": [result]}}
            if allocated:
                allocation["allocationTimestamp"] = allocated
            if node:
                term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
                allocation["nodeSelector"] = {"nodeSelectorTerms": [term]}
            obj["status"] = {
                "allocation": allocation,
                "reservedFor": [
                    {
                        "resource": "pods",
                        "name": pod,
                        "uid": self.get("pods", pod, namespace)["metadata"]["uid"],
                    }
                    for pod in pods
                ],
            }

        self.edit(plural, claim, protect, namespace=namespace, user=CONTROLLER)
        self.edit(plural, claim, place, namespace=namespace, subresource="status", user=CONTROLLER)

    def phase(self, pod: str, namespace: str = "default") -> str | None:
        found = self.find("pods", pod, namespace)
        return None if found is None else (found.get("status") or {}).get("phase")

    def place_of(self, pod: str, namespace: str = "default") -> str | None:
        place: str | None = self.get("pods", pod, namespace)["spec"].get("nodeName")
        return place

    def scheduled(self, pod: str, namespace: str = "default") -> tuple[str, str, str]:
        """Status, reason and message of the condition PodScheduled."""
        for one in self.get("pods", pod, namespace)["status"].get("conditions") or ():
            if one["type"] == "PodScheduled":
                return one["status"], one.get("reason", ""), one.get("message", "")
        return "", "", ""


CLAIMS = "resourceclaims.resource.k8s.io"
GATE = [{"name": "aliquot.dev/placement"}]


def wanting(template: str) -> list[Object]:
    return [{"name": "gpu", "resourceClaimTemplateName": template}]


def using(claim: str) -> list[Object]:
    return [{"name": "gpu", "resourceClaimName": claim}]
