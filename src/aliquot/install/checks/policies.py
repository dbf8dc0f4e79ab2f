"""The admission policies: there, and as this version ships them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from aliquot import manifests
from aliquot.install.cluster import Cluster
from aliquot.install.findings import Finding, error, ok, warning

Json = dict[str, Any]

_ADMISSION = "admissionregistration.k8s.io"


async def check(cluster: Cluster) -> AsyncIterator[Finding]:
    """Presence and contents."""
    version = await gates_version(cluster)
    missing, other, broken = [], [], []
    documents = [one for one in manifests.load() if one["kind"].endswith(("Policy", "PolicyBinding"))]
    for document in documents:
        if document["kind"].startswith("Mutating"):
            if not version:
                continue
            document["apiVersion"] = f"{_ADMISSION}/{version}"
    stored = await asyncio.gather(*(cluster.stored(document) for document in documents))
    for document, found in zip(documents, stored, strict=True):
        name = f"{document['kind']} {document['metadata']['name']}"
        if document["kind"].startswith("Mutating") and not version:
            continue
        if found is None:
            missing.append(name)
        elif not covers(found["spec"], document["spec"]):
            other.append(name)
        elif complaints := _complaints(found):
            broken.append(f"{name}: {complaints[0]}")
    if missing:
        text = f"{len(missing)} policies or bindings are missing, such as {missing[0]}"
        fix = "`aliquot install`; until then two allocators may give one device to two claims"
        yield error("policies/present", text, fix, missing=missing)
    else:
        yield ok("policies/present", "all policies and bindings are there")
    if other:
        fix = "`aliquot install --plan` shows the differences, `aliquot install` takes them away"
        text = f"not as this version has them: {', '.join(other[:4])}"
        yield warning("policies/contents", text, fix, policies=other)
    if broken:
        text = f"the API server complains about {broken[0]}"
        yield warning("policies/contents", text, "report this with the server's version", complaints=broken)


async def gates_version(cluster: Cluster) -> str:
    """The version in which MutatingAdmissionPolicy is served; "" if it is not."""
    for version in ("v1", "v1beta1"):
        if await cluster.serves(f"{_ADMISSION}/{version}", "MutatingAdmissionPolicy"):
            return version
    return ""


def _complaints(policy: Json) -> list[str]:
    checking = (policy.get("status") or {}).get("typeChecking") or {}
    return [
        f"{one.get('fieldRef', '')}: {one.get('warning', '')}"[:200]
        for one in checking.get("expressionWarnings") or ()
    ]


def covers(stored: object, shipped: object) -> bool:
    """Whether everything that is shipped is stored so; servers add defaults, and order lists by key."""
    if isinstance(shipped, dict) and isinstance(stored, dict):
        return all(key in stored and covers(stored[key], value) for key, value in shipped.items())
    if isinstance(shipped, list) and isinstance(stored, list):
        return len(shipped) == len(stored) and all(
            covers(one, other) for one, other in zip(stored, shipped, strict=True)
        )
    return stored == shipped
