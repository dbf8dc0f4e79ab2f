"""A registry in memory with admission."""

from __future__ import annotations

import itertools
import uuid
from datetime import UTC, datetime
from typing import Any

import yaml

from aliquot import manifests
from aliquot.embedded.admission import Admission
from aliquot.embedded.hooks import SYSTEM, Object, User
from aliquot.embedded.registry import Registry
from aliquot.embedded.storage import Store

ALIQUOT = User(manifests.CONTROLLER_USER)
SCHEDULER = User("system:kube-scheduler")
CLAIM_CONTROLLER = User("system:serviceaccount:kube-system:resource-claim-controller")
PEOPLE = User("admin", ("system:masters",))
CLAIMS = "resourceclaims.resource.k8s.io"


class Cluster:
    def __init__(self) -> None:
        numbers = itertools.count(1)
        self.registry = Registry(
            Store(), lambda: datetime(2026, 1, 1, tzinfo=UTC), lambda: str(uuid.UUID(int=next(numbers)))
        )
        self.registry.admission = Admission(self.registry)

    def install(self) -> None:
        for obj in manifests.load():
            self.create(obj)

    def resource(self, plural: str) -> Any:
        name, _, group = plural.partition(".")
        return self.registry.resources.named(name, group)

    def create(self, obj: Object | str, user: User = SYSTEM, *, dry_run: bool = False) -> Object:
        """Create one document, refusing unknown fields."""
        document: Object = yaml.safe_load(obj) if isinstance(obj, str) else obj
        resource = self.registry.resources.find_kind(document["apiVersion"], document["kind"])
        assert resource is not None, document["kind"]
        namespace = (document["metadata"].get("namespace") or "default") if resource.namespaced else None
        return self.registry.create(
            resource, namespace, document, user, dry_run=dry_run, field_validation="Strict"
        )

    def create_all(self, text: str) -> None:
        for document in yaml.safe_load_all(text):
            self.create(document)

    def get(self, plural: str, name: str, namespace: str = "default") -> Object:
        return self.registry.get(self.resource(plural), namespace, name)

    def update(
        self,
        plural: str,
        obj: Object,
        user: User = SYSTEM,
        *,
        subresource: str | None = None,
        namespace: str = "default",
    ) -> Object:
        name = obj["metadata"]["name"]
        return self.registry.update(
            self.resource(plural), namespace, name, obj, user, subresource=subresource
        )

    def delete(self, plural: str, name: str, user: User = SYSTEM, namespace: str = "default") -> None:
        self.registry.delete(self.resource(plural), namespace, name, user)

    def namespace(self, name: str, labels: dict[str, str] | None = None) -> None:
        self.create(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels or {}}}
        )

    def pod(self, name: str = "p", namespace: str = "default", **spec: Any) -> Object:
        containers = [{"name": "main", "image": "work"}]
        return self.create(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "namespace": namespace},
                "spec": {"containers": containers} | spec,
            }
        )

    def config(self, name: str, user: User = SYSTEM, namespace: str = "default", **data: str) -> Object:
        return self.create(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": name, "namespace": namespace},
                "data": data,
            },
            user,
        )

    def claim(
        self, name: str = "c", annotations: dict[str, str] | None = None, user: User = SYSTEM
    ) -> Object:
        metadata: Object = {"name": name, "namespace": "default"}
        if annotations:
            metadata["annotations"] = annotations
        request = {"name": "gpu", "exactly": {"deviceClassName": "gpu.nvidia.com"}}
        return self.create(
            {
                "apiVersion": "resource.k8s.io/v1",
                "kind": "ResourceClaim",
                "metadata": metadata,
                "spec": {"devices": {"requests": [request]}},
            },
            user,
        )


def asking(resource: str) -> list[Object]:
    """Containers that ask for one of an extended resource."""
    return [{"name": "main", "image": "work", "resources": {"limits": {resource: "1"}}}]


def allocation(driver: str = "gpu.nvidia.com", device: str = "gpu-0") -> Object:
    results = [{"request": "gpu", "driver": driver, "pool": "n1", "device": device}]
    return {"devices": {"results": results}}
