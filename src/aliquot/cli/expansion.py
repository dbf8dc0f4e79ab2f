"""What controllers would make of manifests: pods of Jobs and Deployments, claims of templates, gates.

Pure: documents in, documents out. Names are the owner's with a number, so the same manifests always give the
same pods. Pods and claims that are in the input already (as in a saved cluster) are taken into account.
"""

import copy
import hashlib
import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from aliquot.model.core import MANAGED_LABEL, PLACEMENT_GATE

Json = dict[str, Any]
Key = tuple[str, str, str]

OWNERS = ("Job", "Deployment", "ReplicaSet", "StatefulSet")
"""Kinds whose pods are made here."""

_ACCELERATOR = (
    "nvidia.com/",
    "amd.com/gpu",
    "gpu.intel.com/",
    "intel.com/gaudi",
    "habana.ai/gaudi",
    "google.com/tpu",
)
_CLASS_RESOURCE = "deviceclass.resource.kubernetes.io/"
_FINISHED = ("Succeeded", "Failed")


def expand(documents: Iterable[Json], now: datetime) -> list[Json]:
    """Documents of Kubernetes objects as a cluster would come to hold them soon after they were applied.

    Adds namespaces that are only mentioned (as managed ones), the pods of owners, the claims of templates,
    and Aliquot's gate on pods of managed namespaces that ask for accelerators and have no node. Objects that
    have no creation time get one in the order of the input, up to `now`. The documents stay as they are;
    what is made of them shares the parts that are the same.
    """
    objects = [_own(document) for document in documents]
    for document in objects:
        if document["kind"] in _NAMESPACED:
            document["metadata"].setdefault("namespace", "default")
    _add_namespaces(objects)
    _set_identity(objects, now)
    objects += [pod for owner in objects if owner["kind"] in OWNERS for pod in _pods(owner, objects)]
    templates = {_key(item): item for item in objects if item["kind"] == "ResourceClaimTemplate"}
    claims = {_key(item) for item in objects if item["kind"] == "ResourceClaim"}
    namespaces = {item["metadata"]["name"]: item for item in objects if item["kind"] == "Namespace"}
    for pod in [item for item in objects if item["kind"] == "Pod"]:
        objects += _claims(pod, templates, claims)
        if _managed(namespaces[pod["metadata"]["namespace"]]):
            _gate(pod)
    return objects


_NAMESPACED = frozenset(
    {"Pod", "ResourceClaim", "ResourceClaimTemplate", "Job", "PodGroup", "Workload", *OWNERS}
)


def _own(document: Json) -> Json:
    """A copy as deep as what is changed here: pods as a whole, of everything else the metadata."""
    if document["kind"] == "Pod":
        return {"metadata": {}, **copy.deepcopy(document)}
    return {**document, "metadata": {**document.get("metadata", {})}}


def _key(document: Json) -> Key:
    metadata = document["metadata"]
    return (document["kind"], metadata.get("namespace", ""), metadata.get("name", ""))


def _managed(namespace: Json) -> bool:
    labels = namespace["metadata"].get("labels") or {}
    return labels.get(MANAGED_LABEL) == "true"


def implied_namespaces(documents: Iterable[Json]) -> list[str]:
    """The namespaces that objects are in and that are not among the documents."""
    documents = list(documents)
    there = {item["metadata"].get("name") for item in documents if item["kind"] == "Namespace"}
    used = {
        (item.get("metadata") or {}).get("namespace", "default")
        for item in documents
        if item["kind"] in _NAMESPACED
    }
    return sorted(used - there)


def _add_namespaces(objects: list[Json]) -> None:
    for name in implied_namespaces(objects):
        metadata = {"name": name, "labels": {MANAGED_LABEL: "true"}}
        objects.append({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})


def identity(kind: str, namespace: str, name: str) -> str:
    """A uid that is always the same for the same kind, namespace and name."""
    digest = hashlib.sha256(f"{kind}/{namespace}/{name}".encode()).digest()
    return str(uuid.UUID(bytes=digest[:16], version=4))


def _set_identity(objects: list[Json], now: datetime) -> None:
    for place, document in enumerate(objects):
        metadata = document["metadata"]
        metadata.setdefault("uid", identity(*_key(document)))
        if not metadata.get("creationTimestamp"):
            created = now - timedelta(milliseconds=len(objects) - place)
            metadata["creationTimestamp"] = created.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _pods(owner: Json, objects: list[Json]) -> list[Json]:
    """The pods that the owner would still make."""
    kind, namespace, name = _key(owner)
    spec = owner.get("spec") or {}
    template = spec.get("template") or {}
    wanted = _wanted(owner, spec)
    chain = {owner["metadata"]["uid"]}
    if kind == "Deployment":
        # Between a Deployment and its pods stands a ReplicaSet, also in a saved cluster.
        chain |= {
            item["metadata"]["uid"]
            for item in objects
            if item["kind"] == "ReplicaSet" and _owned(item, chain)
        }
    elif kind == "ReplicaSet" and any(reference.get("controller") for reference in _owners(owner)):
        return []
    present = [
        item
        for item in objects
        if item["kind"] == "Pod"
        and _owned(item, chain)
        and (item.get("status") or {}).get("phase") not in _FINISHED
    ]
    taken = {item["metadata"].get("name") for item in present}
    pods: list[Json] = []
    number = 0
    while len(present) + len(pods) < wanted:
        pod_name = f"{name}-{number}"
        number += 1
        if pod_name not in taken:
            pods.append(_pod(owner, template, namespace, pod_name))
    return pods


def _wanted(owner: Json, spec: Json) -> int:
    if owner["kind"] != "Job":
        replicas = spec.get("replicas")
        return 1 if replicas is None else int(replicas)
    if spec.get("suspend"):
        return 0
    status = owner.get("status") or {}
    if any(
        item.get("type") in ("Complete", "Failed") and item.get("status") == "True"
        for item in status.get("conditions") or []
    ):
        return 0
    parallelism = spec.get("parallelism")
    wanted = 1 if parallelism is None else int(parallelism)
    completions = spec.get("completions")
    if completions is None:
        return wanted
    return max(0, min(wanted, int(completions) - int(status.get("succeeded") or 0)))


def _owners(document: Json) -> list[Json]:
    return document["metadata"].get("ownerReferences") or []


def _owned(document: Json, uids: set[str]) -> bool:
    return any(
        reference.get("controller") and reference.get("uid") in uids for reference in _owners(document)
    )


def _pod(owner: Json, template: Mapping[str, Any], namespace: str, name: str) -> Json:
    metadata = template.get("metadata") or {}
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": identity("Pod", namespace, name),
            "creationTimestamp": owner["metadata"]["creationTimestamp"],
            "labels": dict(metadata.get("labels") or {}),
            "annotations": dict(metadata.get("annotations") or {}),
            "ownerReferences": [reference],
        },
        "spec": copy.deepcopy(template.get("spec") or {}),
    }


def _claims(pod: Json, templates: Mapping[Key, Json], claims: set[Key]) -> list[Json]:
    """The claims that would be made for the pod from templates; the pod's status names them."""
    if (pod.get("status") or {}).get("phase") in _FINISHED:
        return []
    namespace, pod_name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    made: list[Json] = []
    for entry in (pod.get("spec") or {}).get("resourceClaims") or []:
        template_name = entry.get("resourceClaimTemplateName")
        status = pod.setdefault("status", {})
        statuses = status.setdefault("resourceClaimStatuses", [])
        if not template_name or any(item.get("name") == entry.get("name") for item in statuses):
            continue
        template = templates.get(("ResourceClaimTemplate", namespace, template_name))
        if template is None:
            continue
        name = f"{pod_name}-{entry.get('name')}"
        statuses.append({"name": entry.get("name"), "resourceClaimName": name})
        if ("ResourceClaim", namespace, name) not in claims:
            made.append(_claim(pod, entry["name"], name, template))
    return made


def _claim(pod: Json, entry: str, name: str, template: Json) -> Json:
    inner = template.get("spec") or {}
    metadata = inner.get("metadata") or {}
    namespace = pod["metadata"]["namespace"]
    reference = {
        "apiVersion": "v1",
        "kind": "Pod",
        "name": pod["metadata"]["name"],
        "uid": pod["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    return {
        "apiVersion": template["apiVersion"],
        "kind": "ResourceClaim",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": identity("ResourceClaim", namespace, name),
            "creationTimestamp": pod["metadata"]["creationTimestamp"],
            "labels": dict(metadata.get("labels") or {}),
            "annotations": {
                **(metadata.get("annotations") or {}),
                "resource.kubernetes.io/pod-claim-name": entry,
            },
            "ownerReferences": [reference],
        },
        "spec": copy.deepcopy(inner.get("spec") or {}),
    }


def _gate(pod: Json) -> None:
    spec = pod.setdefault("spec", {})
    if spec.get("nodeName") or not _asks_for_accelerators(spec):
        return
    gates = spec.setdefault("schedulingGates", [])
    if not any(gate.get("name") == PLACEMENT_GATE for gate in gates):
        gates.append({"name": PLACEMENT_GATE})


def _asks_for_accelerators(spec: Json) -> bool:
    if spec.get("resourceClaims"):
        return True
    containers = [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]
    return any(
        name.startswith((*_ACCELERATOR, _CLASS_RESOURCE)) or "neuron" in name
        for container in containers
        for name in ((container.get("resources") or {}).get("limits") or {})
    )
