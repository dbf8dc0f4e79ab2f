"""What Aliquot installs in a cluster: its resources, its identity, its policies, and what runs.

The YAML files beside this module are the only source: ``kubectl apply -k``, the Helm chart, ``aliquot
install`` and the embedded cluster take the same files. Those of the folder itself make a cluster Aliquot's
(custom resources, roles, admission policies); ``deployment`` runs the controller; ``monitoring`` needs
Prometheus's operator and Grafana; ``automation`` holds rights that only changing workloads without being
asked needs.
"""

from __future__ import annotations

import functools
import json
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

import yaml

NAMESPACE = "aliquot-system"
SERVICE_ACCOUNT = "aliquot-controller"
#: The user name that the policies know Aliquot's controller by.
CONTROLLER_USER = f"system:serviceaccount:{NAMESPACE}:{SERVICE_ACCOUNT}"
#: ConfigMap in NAMESPACE: one key per managed driver, its value the extended resources of the driver.
DRIVERS = "aliquot-drivers"

#: Folders of files beside those that every cluster needs.
DEPLOYMENT = "deployment"
MONITORING = "monitoring"
AUTOMATION = "automation"

_LOADER: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_ADMISSION = "admissionregistration.k8s.io"
_KUSTOMIZATION = "kustomization.yaml"


def names(part: str = "") -> list[str]:
    """The file names of one part in the order in which they are applied; part: "" or a folder."""
    return sorted(
        entry.name
        for entry in _folder(part).iterdir()
        if entry.name.endswith(".yaml") and entry.name != _KUSTOMIZATION
    )


def text(name: str, part: str = "") -> str:
    """One file as it is."""
    return _folder(part).joinpath(name).read_text(encoding="utf-8")


def load(minor: int = 36, part: str = "") -> list[dict[str, Any]]:
    """All objects of one part, each a fresh document, for Kubernetes 1.``minor``.

    Before 1.36 MutatingAdmissionPolicy is served as v1beta1 only (KEP-3962), so those documents name that
    version.
    """
    documents: list[dict[str, Any]] = json.loads(_parsed(part))
    for document in documents:
        if minor < 36 and document["kind"].startswith("MutatingAdmissionPolicy"):
            document["apiVersion"] = f"{_ADMISSION}/v1beta1"
    return documents


@functools.cache
def _parsed(part: str) -> str:
    """All documents of one part as JSON, which is read much faster than YAML."""
    texts = [text(name, part) for name in names(part)]
    return json.dumps([document for one in texts for document in yaml.load_all(one, Loader=_LOADER)])


def _folder(part: str) -> Traversable:
    folder = resources.files(__package__)
    return folder.joinpath(part) if part else folder
