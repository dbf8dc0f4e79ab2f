"""One request as admission sees it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from aliquot.embedded.hooks import Object, Operation, User
from aliquot.embedded.resources import Resource
from aliquot.embedded.status import Cause, StatusError, forbidden


@dataclass(frozen=True, slots=True)
class AdmissionRequest:
    """``obj`` is None for DELETE, ``old`` for CREATE; ``namespace_object`` for cluster-scoped objects."""

    operation: Operation
    resource: Resource
    subresource: str
    namespace: str
    name: str
    obj: Object | None
    old: Object | None
    user: User
    namespace_object: Object | None
    dry_run: bool

    def with_object(self, obj: Object | None) -> AdmissionRequest:
        return replace(self, obj=obj)

    @property
    def shown_name(self) -> str:
        """The name in messages: the object's, or the prefix of a name that is not generated yet."""
        meta = (self.obj or {}).get("metadata") or {}
        return self.name or meta.get("name") or meta.get("generateName") or "Unknown"

    def forbidden(self, why: str) -> StatusError:
        """403 in the words of a Kubernetes API server: ``pods "a" is forbidden: why``."""
        return forbidden(self.resource.plural, self.resource.group, self.shown_name, why)

    def refused(self, message: str, reason: str, code: int, causes: list[Cause]) -> StatusError:
        return StatusError(
            code,
            reason,
            message,
            name=self.shown_name,
            group=self.resource.group,
            kind=self.resource.plural,
            causes=causes,
        )

    def variable(self) -> dict[str, Any]:
        """The variable ``request`` of expressions (admission.k8s.io/v1 AdmissionRequest)."""
        subresource = self.resource.subresource(self.subresource) if self.subresource else None
        kind = {
            "group": subresource.group if subresource else self.resource.group,
            "version": (subresource.version if subresource else "") or self.resource.version,
            "kind": subresource.kind if subresource else self.resource.kind,
        }
        if subresource is not None and not subresource.version:
            kind["group"] = self.resource.group
        resource = {
            "group": self.resource.group,
            "version": self.resource.version,
            "resource": self.resource.plural,
        }
        shown: dict[str, Any] = {
            "kind": kind,
            "resource": resource,
            "requestKind": kind,
            "requestResource": resource,
            "name": self.name,
            "namespace": self.namespace,
            "operation": self.operation,
            "userInfo": {"username": self.user.name, "groups": list(self.user.groups)},
            "dryRun": self.dry_run,
        }
        if self.subresource:
            shown["subResource"] = shown["requestSubResource"] = self.subresource
        return shown
