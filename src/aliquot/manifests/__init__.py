"""What Aliquot installs in a cluster: its resources, its identity, its policies, and what runs.

The YAML files beside this module are the only source: ``kubectl apply -k``, the Helm chart, ``aliquot
install`` and the embedded cluster take the same files. Those of the folder itself make a cluster Aliquot's
(custom resources, roles, admission policies); ``deployment`` runs the controller; ``monitoring`` needs
Prometheus's operator and Grafana.
"""

from __future__ import annotations

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
    documents: list[dict[str, Any]] = []
    for name in names(part):
        for document in yaml.safe_load_all(text(name, part)):
            if minor < 36 and document["kind"].startswith("MutatingAdmissionPolicy"):
                document["apiVersion"] = f"{_ADMISSION}/v1beta1"
            documents.append(document)
    return documents


def _folder(part: str) -> Traversable:
    folder = resources.files(__package__)
    return folder.joinpath(part) if part else folder
