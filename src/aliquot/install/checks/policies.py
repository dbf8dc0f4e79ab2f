"""The admission policies: there, and as this version ships them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from aliquot import manifests
from aliquot.install.cluster import Cluster
from aliquot.install.findings import Finding, error, ok, warning

Json = dict[str, Any]

_ADMISSION = "admissionregistration.k8s.io"


SAFETY = ("one-allocator.aliquot.dev", "extended-claims.aliquot.dev")
"""Policies without which a device can be given to two claims; the others keep order, not safety."""


async def check(cluster: Cluster) -> AsyncIterator[Finding]:
    """Presence and contents."""
    version = await gates_version(cluster)
    documents = [one for one in manifests.load() if one["kind"].endswith(("Policy", "PolicyBinding"))]
    looked_at = []
    for document in documents:
        if document["kind"].startswith("Mutating"):
            if not version:
                continue
            document["apiVersion"] = f"{_ADMISSION}/{version}"
        looked_at.append(document)
    stored = await asyncio.gather(*(cluster.stored(document) for document in looked_at))
    missing, other, broken = [], [], []
    for document, found in zip(looked_at, stored, strict=True):
        if found is None:
            missing.append(document)
        elif not covers(found["spec"], document["spec"]):
            other.append(_name(document))
        elif complaints := _complaints(found):
            broken.append(f"{_name(document)}: {complaints[0]}")
    if not missing:
        yield ok("policies/present", "all policies and bindings are there")
    dangerous = [_name(one) for one in missing if one["metadata"]["name"] in SAFETY]
    rest = [_name(one) for one in missing if one["metadata"]["name"] not in SAFETY]
    if dangerous:
        text = f"{dangerous[0]} is missing: two allocators may give one device to two claims"
        yield error("policies/present", text, "`aliquot install`", missing=dangerous)
    if rest:
        text = f"{len(rest)} policies or bindings are missing, such as {rest[0]}"
        yield warning("policies/complete", text, "`aliquot install`", missing=rest)
    if other:
        fix = "`aliquot install --plan` shows the differences, `aliquot install` takes them away"
        text = f"not as this version has them: {', '.join(other[:4])}"
        yield warning("policies/contents", text, fix, policies=other)
    if broken:
        text = f"the API server complains about {broken[0]}"
        yield warning("policies/contents", text, "report this with the server's version", complaints=broken)


def _name(document: Json) -> str:
    return f"{document['kind']} {document['metadata']['name']}"


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
