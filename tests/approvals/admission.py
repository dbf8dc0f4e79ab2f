"""A registry in memory with Aliquot's manifests, two namespaces and a roster of approved models."""

import itertools
import uuid
from datetime import UTC, datetime
from typing import Any

from aliquot import manifests
from aliquot.approvals.model import Access, ApprovedModel, Isolation, Needs, State, Weights
from aliquot.approvals.roster import NAME, roster
from aliquot.embedded.admission import Admission
from aliquot.embedded.hooks import SYSTEM, User
from aliquot.embedded.registry import Registry
from aliquot.embedded.storage import Store

Object = dict[str, Any]

REVISION = "0123456789abcdef0123456789abcdef01234567"
OTHER = "f" * 40
DIGEST = "sha256:" + "a" * 64

LLAMA = ApprovedModel(
    name="llama-3.1-8b",
    model="llama-3.1-8b",
    version="1",
    weights=Weights(
        source="hf://meta-llama/Llama-3.1-8B", revision=REVISION, adapters=("hf://team/sql-lora",)
    ),
    state=State.APPROVED,
    run=Access(namespaces=("serving",)),
)
SHELF = ApprovedModel(
    name="shelf",
    model="shelf",
    version="1",
    weights=Weights(source="file:///models/shelf"),
    state=State.DEPRECATED,
    run=Access(namespaces=("*",)),
)
ARTEFACT = ApprovedModel(
    name="artefact",
    model="artefact",
    version="1",
    weights=Weights(source="oci://registry.example/models/one", digest=DIGEST),
    state=State.APPROVED,
    run=Access(namespaces=("serving",)),
)
CAGED = ApprovedModel(
    name="caged",
    model="caged",
    version="1",
    weights=Weights(source="hf://wild/Model", revision=REVISION),
    state=State.APPROVED,
    run=Access(namespaces=("serving", "sandbox")),
    needs=Needs(isolation=Isolation.SANDBOX),
)
ELSEWHERE = ApprovedModel(
    name="elsewhere",
    model="elsewhere",
    version="1",
    weights=Weights(source="hf://else/where", revision=REVISION),
    state=State.APPROVED,
    run=Access(namespaces=("sandbox",)),
)
REVOKED = ApprovedModel(
    name="revoked",
    model="revoked",
    version="1",
    weights=Weights(source="hf://bad/model", revision=REVISION),
    state=State.REVOKED,
    run=Access(namespaces=("*",)),
)
MODELS = (LLAMA, SHELF, ARTEFACT, CAGED, ELSEWHERE, REVOKED)


class Server:
    """Applies documents as the API server does."""

    def __init__(self) -> None:
        numbers = itertools.count(1)
        self.registry = Registry(
            Store(), lambda: datetime(2026, 1, 1, tzinfo=UTC), lambda: str(uuid.UUID(int=next(numbers)))
        )
        self.registry.admission = Admission(self.registry)
        for document in manifests.load():
            self.create(document)
        self.namespace("serving", **{"aliquot.dev/models": "enforced"})
        self.namespace(
            "sandbox", **{"aliquot.dev/models": "strict", "aliquot.dev/isolation": "VirtualMachine"}
        )
        self.namespace("free")
        self.publish(MODELS)

    def namespace(self, name: str, **labels: str) -> None:
        self.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})

    def publish(self, models: tuple[ApprovedModel, ...]) -> None:
        resource = self.registry.resources.named("configmaps", "")
        document = self.registry.get(resource, "aliquot-system", NAME)
        document["data"] = roster(models)
        self.registry.update(resource, "aliquot-system", NAME, document, SYSTEM)

    def create(self, document: Object, user: User = SYSTEM) -> Object:
        resource = self.registry.resources.find_kind(document["apiVersion"], document["kind"])
        assert resource is not None, document["kind"]
        namespace = document["metadata"].get("namespace") or "default" if resource.namespaced else None
        return self.registry.create(resource, namespace, document, user)

    def update(self, document: Object, user: User = SYSTEM) -> Object:
        resource = self.registry.resources.find_kind(document["apiVersion"], document["kind"])
        assert resource is not None
        meta = document["metadata"]
        return self.registry.update(resource, meta.get("namespace"), meta["name"], document, user)


def container(
    *words: str, image: str = "vllm/vllm-openai:v0.9", env: dict[str, Any] | None = None, **fields: Any
) -> Object:
    """env: values, or where they come from."""
    made: Object = {"name": "main", "image": image, "args": list(words), **fields}
    if env is not None:
        made["env"] = [
            {"name": name, "value": value} if isinstance(value, str) else {"name": name, "valueFrom": value}
            for name, value in env.items()
        ]
    return made


def pod(
    *containers: Object, namespace: str = "serving", label: str = "", name: str = "p", **spec: Any
) -> Object:
    """Containers get names of their own."""
    named = [{**one, "name": f"c{number}"} for number, one in enumerate(containers)]
    labels = {"aliquot.dev/model": label} if label else {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"containers": named, **spec},
    }


def in_template(kind: str, made: Object) -> Object:
    """A workload of that kind with this pod as its template."""
    labels = {"app": "x", **made["metadata"]["labels"]}
    template: Object = {"metadata": {"labels": labels}, "spec": made["spec"]}
    versions = {"Job": "batch/v1", "CronJob": "batch/v1"}
    spec: Object
    if kind == "Job":
        spec = {"template": {**template, "spec": {**made["spec"], "restartPolicy": "Never"}}}
    elif kind == "CronJob":
        never = {**template, "spec": {**made["spec"], "restartPolicy": "Never"}}
        spec = {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": never}}}
    else:
        spec = {"selector": {"matchLabels": {"app": "x"}}, "template": template}
    if kind == "StatefulSet":
        spec["serviceName"] = "x"
    return {
        "apiVersion": versions.get(kind, "apps/v1"),
        "kind": kind,
        "metadata": {"name": "w", "namespace": made["metadata"]["namespace"]},
        "spec": spec,
    }
