"""Whether the admission policies are in force: requests (dry run) that one in force answers in its way."""

from collections.abc import AsyncIterator

from aliquot.install.checks.policies import gates_version
from aliquot.install.cluster import Cluster
from aliquot.install.findings import Finding, error, info, ok, unknown
from aliquot.kube.errors import ApiError
from aliquot.model.core import MANAGED_LABEL, PLACEMENT_GATE

_EXTENDED = "resource.kubernetes.io/extended-resource-claim"


async def check(cluster: Cluster) -> AsyncIterator[Finding]:
    """A forged claim is refused, and a pod that asks for accelerators is gated."""
    forged = {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {
            "generateName": "aliquot-doctor-",
            "namespace": "default",
            "annotations": {_EXTENDED: "true"},
        },
        "spec": {"devices": {"requests": [{"name": "a", "exactly": {"deviceClassName": "none"}}]}},
    }
    try:
        await cluster.create_dry(forged)
    except ApiError as refused:
        if "extended-claims.aliquot.dev" in refused.message:
            yield ok("admission/claims", "a forged claim is refused")
        else:
            fix = "run it as somebody who may create resourceclaims"
            yield unknown("admission/claims", f"cannot be tried: {refused.message[:120]}", fix)
    else:
        fix = "wait some seconds after an installation; else `aliquot install`"
        yield error("admission/claims", "a forged claim would be taken: the policies are not in force", fix)
    if not await gates_version(cluster):
        return
    spaces = await cluster.list("v1", "Namespace", labels=f"{MANAGED_LABEL}=true")
    if not spaces:
        fix = f"kubectl label namespace NAME {MANAGED_LABEL}=true"
        yield info("admission/namespaces", "no namespace is managed: no pod is queued or gated", fix)
        return
    yield ok("admission/namespaces", f"{len(spaces)} managed namespaces", namespaces=len(spaces))
    async for finding in _gated(cluster, spaces[0]["metadata"]["name"]):
        yield finding


async def _gated(cluster: Cluster, namespace: str) -> AsyncIterator[Finding]:
    container = {
        "name": "a",
        "image": "none",
        "resources": {"limits": {"nvidia.com/gpu": "1"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "aliquot-doctor-", "namespace": namespace},
        "spec": {"containers": [container]},
    }
    try:
        made = await cluster.create_dry(pod)
    except ApiError as refused:
        # The policy that puts the gate on gives the class, too, without which the pod may not be.
        if "no-preemption.aliquot.dev" not in refused.message:
            yield unknown("admission/gates", f"cannot be tried in {namespace}: {refused.message[:120]}")
            return
        made = pod
    names = [gate.get("name") for gate in made["spec"].get("schedulingGates") or ()]
    if PLACEMENT_GATE in names:
        yield ok("admission/gates", f"pods of {namespace} that ask for accelerators are gated")
    else:
        fix = "see that the policy gate.aliquot.dev and its binding are there; no webhook may take gates off"
        yield error("admission/gates", f"a pod of {namespace} that asks for accelerators is not gated", fix)
