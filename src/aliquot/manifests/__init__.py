"""What Aliquot installs in a cluster: its resource, its identity, its policies.

The YAML files beside this module are the whole installation: ``kubectl apply -f`` of the folder and the
embedded cluster take the same files. They are applied in the order of their names.
"""

from __future__ import annotations

from importlib import resources
from typing import Any

import yaml

NAMESPACE = "aliquot-system"
SERVICE_ACCOUNT = "aliquot-controller"
#: The user name that the policies know Aliquot's controller by.
CONTROLLER_USER = f"system:serviceaccount:{NAMESPACE}:{SERVICE_ACCOUNT}"
#: ConfigMap in NAMESPACE: one key per managed driver, its value the extended resources of the driver.
DRIVERS = "aliquot-drivers"

_ADMISSION = "admissionregistration.k8s.io"


def names() -> list[str]:
    """The file names in the order in which they are applied."""
    folder = resources.files(__package__)
    return sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def text(name: str) -> str:
    """One file as it is."""
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def load(minor: int = 36) -> list[dict[str, Any]]:
    """All objects, each a fresh document, for Kubernetes 1.``minor``.

    Before 1.36 MutatingAdmissionPolicy is served as v1beta1 only (KEP-3962), so those documents name that
    version.
    """
    documents: list[dict[str, Any]] = []
    for name in names():
        for document in yaml.safe_load_all(text(name)):
            if minor < 36 and document["kind"].startswith("MutatingAdmissionPolicy"):
                document["apiVersion"] = f"{_ADMISSION}/v1beta1"
            documents.append(document)
    return documents
