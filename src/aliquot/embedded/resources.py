"""The table of resources the server serves: names, verbs, subresources."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from aliquot.embedded.hooks import ObjectSchema
from aliquot.embedded.schemas import kind_schema

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class Subresource:
    """One path under an object, such as ``status``; ``kind`` with its group and version is what it takes."""

    name: str
    kind: str
    verbs: tuple[str, ...]
    group: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class Resource:
    """One served resource of one API version."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    singular: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    subresources: tuple[Subresource, ...] = ()
    list_kind: str = ""
    #: True where ``metadata.generation`` counts changes outside metadata and status.
    generation: bool = False
    #: True for kinds that a CustomResourceDefinition added.
    custom: bool = False
    #: The key of the resource that keeps the objects, where that is another one (events.k8s.io keeps
    #: core Events).
    stored_as: str = ""
    #: ``apiVersion`` of stored documents, where it differs from that of this resource.
    stored_version: str = ""
    #: Further field paths that selectors may name (``selectableFields`` of a CustomResourceDefinition).
    selectable: tuple[str, ...] = ()
    #: ``additionalPrinterColumns`` of a CustomResourceDefinition.
    columns: tuple[dict[str, Any], ...] = field(default=(), compare=False, repr=False)
    #: ``openAPIV3Schema`` of a CustomResourceDefinition.
    openapi: dict[str, Any] | None = field(default=None, compare=False, repr=False)
    #: How documents look; None where the server keeps whatever it is given.
    schema: ObjectSchema | None = field(default=None, compare=False, repr=False)

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def key(self) -> str:
        """Where the objects are kept; one for all versions of a resource."""
        return self.stored_as or self.qualified

    @property
    def qualified(self) -> str:
        """``plural.group``, or the plural alone in the core group."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def list_name(self) -> str:
        return self.list_kind or f"{self.kind}List"

    @property
    def singular_name(self) -> str:
        return self.singular or self.kind.lower()

    @property
    def has_status(self) -> bool:
        return any(sub.name == "status" for sub in self.subresources)

    def subresource(self, name: str) -> Subresource | None:
        return next((sub for sub in self.subresources if sub.name == name), None)


def _status(kind: str) -> Subresource:
    return Subresource("status", kind, ("get", "patch", "update"))


def _scale() -> Subresource:
    return Subresource("scale", "Scale", ("get", "patch", "update"), "autoscaling", "v1")


def _built_in() -> Iterator[Resource]:
    core = ("", "v1")
    yield Resource(*core, "configmaps", "ConfigMap", short_names=("cm",))
    yield Resource(*core, "events", "Event", short_names=("ev",))
    finalize = Subresource("finalize", "Namespace", ("update",))
    yield Resource(
        *core,
        "namespaces",
        "Namespace",
        namespaced=False,
        short_names=("ns",),
        verbs=tuple(verb for verb in ALL_VERBS if verb != "deletecollection"),
        subresources=(finalize, _status("Namespace")),
    )
    yield Resource(
        *core, "nodes", "Node", namespaced=False, short_names=("no",), subresources=(_status("Node"),)
    )
    yield Resource(
        *core,
        "pods",
        "Pod",
        short_names=("po",),
        categories=("all",),
        generation=True,
        subresources=(
            Subresource("binding", "Binding", ("create",)),
            Subresource("eviction", "Eviction", ("create",), "policy", "v1"),
            Subresource("log", "Pod", ("get",)),
            _status("Pod"),
        ),
    )
    yield Resource(*core, "secrets", "Secret")
    yield Resource(*core, "serviceaccounts", "ServiceAccount", short_names=("sa",))
    yield Resource(
        *core,
        "services",
        "Service",
        short_names=("svc",),
        categories=("all",),
        subresources=(_status("Service"),),
    )
    apps = ("apps", "v1")
    for plural, kind, short in (
        ("deployments", "Deployment", "deploy"),
        ("replicasets", "ReplicaSet", "rs"),
        ("statefulsets", "StatefulSet", "sts"),
    ):
        yield Resource(
            *apps,
            plural,
            kind,
            short_names=(short,),
            categories=("all",),
            generation=True,
            subresources=(_scale(), _status(kind)),
        )
    yield Resource(
        *apps,
        "daemonsets",
        "DaemonSet",
        short_names=("ds",),
        categories=("all",),
        generation=True,
        subresources=(_status("DaemonSet"),),
    )
    yield Resource(
        "batch", "v1", "jobs", "Job", categories=("all",), generation=True, subresources=(_status("Job"),)
    )
    yield Resource(
        "batch",
        "v1",
        "cronjobs",
        "CronJob",
        short_names=("cj",),
        categories=("all",),
        generation=True,
        subresources=(_status("CronJob"),),
    )
    dra = ("resource.k8s.io", "v1")
    yield Resource(*dra, "deviceclasses", "DeviceClass", namespaced=False, generation=True)
    yield Resource(*dra, "resourceclaims", "ResourceClaim", subresources=(_status("ResourceClaim"),))
    yield Resource(*dra, "resourceclaimtemplates", "ResourceClaimTemplate")
    yield Resource(*dra, "resourceslices", "ResourceSlice", namespaced=False, generation=True)
    yield Resource(
        "resource.k8s.io",
        "v1beta2",
        "devicetaintrules",
        "DeviceTaintRule",
        namespaced=False,
        generation=True,
        subresources=(_status("DeviceTaintRule"),),
    )
    yield Resource(
        "scheduling.k8s.io",
        "v1",
        "priorityclasses",
        "PriorityClass",
        namespaced=False,
        short_names=("pc",),
        generation=True,
    )
    yield Resource("scheduling.k8s.io", "v1alpha2", "workloads", "Workload", generation=True)
    yield Resource(
        "scheduling.k8s.io",
        "v1alpha2",
        "podgroups",
        "PodGroup",
        generation=True,
        subresources=(_status("PodGroup"),),
    )
    yield Resource("coordination.k8s.io", "v1", "leases", "Lease")
    admission = ("admissionregistration.k8s.io", "v1")
    yield Resource(
        *admission,
        "validatingadmissionpolicies",
        "ValidatingAdmissionPolicy",
        namespaced=False,
        generation=True,
        categories=("api-extensions",),
        subresources=(_status("ValidatingAdmissionPolicy"),),
    )
    for plural, kind in (
        ("validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding"),
        ("mutatingadmissionpolicies", "MutatingAdmissionPolicy"),
        ("mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding"),
    ):
        yield Resource(
            *admission, plural, kind, namespaced=False, generation=True, categories=("api-extensions",)
        )
    yield Resource(
        "apiextensions.k8s.io",
        "v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        namespaced=False,
        short_names=("crd", "crds"),
        categories=("api-extensions",),
        generation=True,
        subresources=(_status("CustomResourceDefinition"),),
    )
    rbac = ("rbac.authorization.k8s.io", "v1")
    yield Resource(*rbac, "clusterroles", "ClusterRole", namespaced=False)
    yield Resource(*rbac, "clusterrolebindings", "ClusterRoleBinding", namespaced=False)
    yield Resource(*rbac, "roles", "Role")
    yield Resource(*rbac, "rolebindings", "RoleBinding")
    yield Resource(
        "events.k8s.io", "v1", "events", "Event", short_names=("ev",), stored_as="events", stored_version="v1"
    )
    yield Resource(
        "policy",
        "v1",
        "poddisruptionbudgets",
        "PodDisruptionBudget",
        short_names=("pdb",),
        generation=True,
        subresources=(_status("PodDisruptionBudget"),),
    )


BUILT_IN: tuple[Resource, ...] = tuple(
    replace(resource, schema=kind_schema(resource.group, resource.version, resource.kind))
    for resource in _built_in()
)


class ResourceTable:
    """Every resource served, by plural and by kind; CustomResourceDefinitions add to it and take away."""

    def __init__(self, resources: tuple[Resource, ...] = BUILT_IN) -> None:
        self._by_plural: dict[tuple[str, str, str], Resource] = {}
        self._by_kind: dict[tuple[str, str, str], Resource] = {}
        #: Counts changes; discovery documents are rebuilt when it moves.
        self.revision = 0
        for resource in resources:
            self.add(resource)

    def __iter__(self) -> Iterator[Resource]:
        return iter(tuple(self._by_plural.values()))

    def add(self, resource: Resource) -> None:
        """Add, or replace the resource of the same group, version and plural."""
        key = (resource.group, resource.version, resource.plural)
        replaced = self._by_plural.get(key)
        if replaced is not None:
            self._by_kind.pop((replaced.group, replaced.version, replaced.kind), None)
        self._by_plural[key] = resource
        self._by_kind[(resource.group, resource.version, resource.kind)] = resource
        self.revision += 1

    def remove(self, group: str, version: str, plural: str) -> None:
        resource = self._by_plural.pop((group, version, plural), None)
        if resource is not None:
            self._by_kind.pop((resource.group, resource.version, resource.kind), None)
            self.revision += 1

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        return self._by_plural.get((group, version, plural))

    def find_kind(self, api_version: str, kind: str) -> Resource | None:
        group, _, version = api_version.rpartition("/")
        return self._by_kind.get((group, version, kind))

    def named(self, plural: str, group: str = "") -> Resource:
        """The resource of this plural in any version; KeyError where there is none."""
        for resource in self._by_plural.values():
            if resource.plural == plural and resource.group == group:
                return resource
        raise KeyError((plural, group))

    def versions(self) -> dict[str, list[str]]:
        """Group to its versions, the preferred one first, in the order in which they were added."""
        found: dict[str, list[str]] = {}
        for group, version, _ in self._by_plural:
            versions = found.setdefault(group, [])
            if version not in versions:
                versions.append(version)
        return found
