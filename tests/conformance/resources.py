"""Where resources are served, and a namespace to make objects in."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.conformance.server import Answer, Api, Object

SPACE = "SPACE"
"""Stands for the namespace's name in what is asked and answered."""

PATCHES = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
    "yaml": "application/yaml",
}


@dataclass(frozen=True, slots=True)
class Resource:
    api_version: str
    kind: str
    namespaced: bool = True


RESOURCES = {
    "configmaps": Resource("v1", "ConfigMap"),
    "secrets": Resource("v1", "Secret"),
    "pods": Resource("v1", "Pod"),
    "services": Resource("v1", "Service"),
    "serviceaccounts": Resource("v1", "ServiceAccount"),
    "resourcequotas": Resource("v1", "ResourceQuota"),
    "events": Resource("events.k8s.io/v1", "Event"),
    "nodes": Resource("v1", "Node", False),
    "namespaces": Resource("v1", "Namespace", False),
    "deployments": Resource("apps/v1", "Deployment"),
    "replicasets": Resource("apps/v1", "ReplicaSet"),
    "statefulsets": Resource("apps/v1", "StatefulSet"),
    "jobs": Resource("batch/v1", "Job"),
    "leases": Resource("coordination.k8s.io/v1", "Lease"),
    "poddisruptionbudgets": Resource("policy/v1", "PodDisruptionBudget"),
    "priorityclasses": Resource("scheduling.k8s.io/v1", "PriorityClass", False),
    "resourceclaims": Resource("resource.k8s.io/v1", "ResourceClaim"),
    "resourceclaimtemplates": Resource("resource.k8s.io/v1", "ResourceClaimTemplate"),
    "resourceslices": Resource("resource.k8s.io/v1", "ResourceSlice", False),
    "deviceclasses": Resource("resource.k8s.io/v1", "DeviceClass", False),
    "customresourcedefinitions": Resource("apiextensions.k8s.io/v1", "CustomResourceDefinition", False),
    "validatingadmissionpolicies": Resource(
        "admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy", False
    ),
    "validatingadmissionpolicybindings": Resource(
        "admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding", False
    ),
    "mutatingadmissionpolicies": Resource(
        "admissionregistration.k8s.io/v1", "MutatingAdmissionPolicy", False
    ),
    "mutatingadmissionpolicybindings": Resource(
        "admissionregistration.k8s.io/v1", "MutatingAdmissionPolicyBinding", False
    ),
    "clusterroles": Resource("rbac.authorization.k8s.io/v1", "ClusterRole", False),
    "roles": Resource("rbac.authorization.k8s.io/v1", "Role"),
}


class Space:
    """A namespace of a server. Cluster-wide objects have its name in theirs, so that tests keep apart."""

    def __init__(self, api: Api, name: str) -> None:
        self.api = api
        self.name = name
        self._cluster_wide: list[str] = []

    def open(self, seconds: float) -> None:
        """Create it; pods can be created in it from then on."""
        made = self.do("POST namespaces", {"metadata": {"name": self.name}})
        assert made.code == 201, made.content
        self.until(lambda: self.do("GET serviceaccounts/default").code == 200, seconds)

    def close(self) -> None:
        """Remove it, and what was made cluster-wide in its name."""
        for path in reversed(self._cluster_wide):
            self.api.request("DELETE", path)
        self.do(f"DELETE namespaces/{self.name}")

    @staticmethod
    def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"not so after {seconds} s")
            time.sleep(0.05)

    def path(self, what: str) -> str:
        """`configmaps/a` as a URL path; a path that begins with "/" stays as it is."""
        if what.startswith("/"):
            return what.replace(SPACE, self.name)
        plural, _, rest = what.partition("/")
        known = RESOURCES[plural]
        root = f"/apis/{known.api_version}" if "/" in known.api_version else f"/api/{known.api_version}"
        scope = f"/namespaces/{self.name}" if known.namespaced else ""
        path = f"{root}{scope}/{plural}" + (f"/{rest}" if rest else "")
        return path.replace(SPACE, self.name)

    def do(
        self,
        what: str,
        body: Any = None,
        *,
        form: str = "",
        query: str = "",
        accept: str = "",
        bare: bool = False,
    ) -> Answer:
        """`POST configmaps`, `PATCH configmaps/a`: one request.

        form: the kind of patch, or of body. bare: send the body without adding apiVersion and kind.
        """
        method, _, target = what.partition(" ")
        path = self.path(target)
        known = RESOURCES.get(target.partition("/")[0])
        sent = _named(body, self.name)
        whole = target.count("/") < 2 and (method in ("POST", "PUT") or form == "apply")
        if whole and known is not None and not bare and isinstance(sent, dict):
            sent = {"apiVersion": known.api_version, "kind": known.kind} | sent
        answer = self.api.request(
            method,
            path,
            sent,
            content_type=PATCHES.get(form, form) or "application/json",
            accept=accept or "application/json",
            query=query.replace(SPACE, self.name),
        )
        if method == "POST" and answer.code == 201 and known is not None and not known.namespaced:
            name = answer.body.get("metadata", {}).get("name", "")
            if name != self.name:
                self._cluster_wide.append(f"{path}/{name}")
        return answer

    def create(self, what: str, body: Object) -> Object:
        """A new object; the answer must be 201."""
        answer = self.do(f"POST {what}", body)
        assert answer.code == 201, answer.content
        made: Object = answer.body
        return made

    def get(self, what: str) -> Object:
        answer = self.do(f"GET {what}")
        assert answer.code == 200, answer.content
        found: Object = answer.body
        return found

    def gone(self, what: str, seconds: float = 60.0) -> None:
        """Return once there is no such object."""
        with contextlib.suppress(ConnectionError):
            self.until(lambda: self.do(f"GET {what}").code == 404, seconds)


def _named(value: Any, name: str) -> Any:
    if isinstance(value, str):
        return value.replace(SPACE, name)
    if isinstance(value, bytes):
        return value.replace(SPACE.encode(), name.encode())
    if isinstance(value, dict):
        return {_named(key, name): _named(item, name) for key, item in value.items()}
    if isinstance(value, list):
        return [_named(item, name) for item in value]
    return value
