"""Which objects an installation consists of: the packaged manifests, for one cluster and with its choices."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from aliquot import __version__, manifests

Json = dict[str, Any]

IMAGE = f"aliquot:{__version__}"
"""The image that the manifests name; the Dockerfile builds it."""

SUPPORTED = (34, 37)
"""Minor versions of Kubernetes 1 that Aliquot is made for: the oldest and the newest."""

_ADMISSION = "admissionregistration.k8s.io"

ORDER = (
    "Namespace",
    "CustomResourceDefinition",
    "PriorityClass",
    "ServiceAccount",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "ConfigMap",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "Service",
    "NetworkPolicy",
    "PodDisruptionBudget",
    "Deployment",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
)
"""Kinds in the order in which they are applied; others come last. A parameter before the policy that reads
it; policies before the controller, so that nobody else allocates once it does; gates last, so that somebody
is there to lift them."""


class Gates(StrEnum):
    """The version in which a cluster serves MutatingAdmissionPolicy; none: it does not (KEP-3962)."""

    V1 = "v1"
    V1BETA1 = "v1beta1"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Options:
    """What can be chosen.

    minor: of Kubernetes 1. gates: how the cluster serves the policies that put gates on. image: of the
    controller. replicas: of the controller. drivers: the managed DRA drivers with their extended resources
    (separated by blanks); None leaves the manifests' list. deployment, monitoring, automation: whether those
    parts belong to it.
    """

    minor: int = 36
    gates: Gates = Gates.V1
    image: str = IMAGE
    replicas: int | None = None
    drivers: Mapping[str, str] | None = None
    deployment: bool = True
    monitoring: bool = False
    automation: bool = False


def gates_of(minor: int) -> Gates:
    """How Kubernetes 1.`minor` serves MutatingAdmissionPolicy unless somebody switched something."""
    return Gates.V1 if minor >= 36 else Gates.NONE


def wanted(options: Options) -> tuple[Json, ...]:
    """The objects in the order in which they are applied, each a fresh document."""
    documents = manifests.load()
    if options.deployment:
        documents += manifests.load(part=manifests.DEPLOYMENT)
    if options.monitoring:
        documents += manifests.load(part=manifests.MONITORING)
    if options.automation:
        documents += manifests.load(part=manifests.AUTOMATION)
    chosen = [_chosen(document, options) for document in documents]
    return tuple(sorted((one for one in chosen if one is not None), key=_place))


def _place(document: Json) -> tuple[int, str, str]:
    kind = document["kind"]
    place = ORDER.index(kind) if kind in ORDER else len(ORDER)
    return place, document["metadata"].get("namespace", ""), document["metadata"]["name"]


def _chosen(document: Json, options: Options) -> Json | None:
    kind, name = document["kind"], document["metadata"]["name"]
    if kind.startswith("MutatingAdmissionPolicy"):
        if options.gates is Gates.NONE:
            return None
        document["apiVersion"] = f"{_ADMISSION}/{options.gates.value}"
    elif kind == "ConfigMap" and name == manifests.DRIVERS and options.drivers is not None:
        document["data"] = dict(options.drivers)
    elif kind == "Deployment":
        spec = document["spec"]
        if options.replicas is not None:
            spec["replicas"] = options.replicas
        pod = spec["template"]["spec"]
        for container in [*pod.get("initContainers", ()), *pod["containers"]]:
            if container["image"] == IMAGE:
                container["image"] = options.image
    return document
