"""Pods that something is wrong with from the start."""

from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

from aliquot import manifests
from aliquot.install.cluster import Cluster
from aliquot.install.findings import Finding, info, ok, warning
from aliquot.install.podtemplates import asks
from aliquot.model.core import MANAGED_LABEL, PLACEMENT_GATE

Json = dict[str, Any]


async def check(cluster: Cluster) -> AsyncIterator[Finding]:
    """Hand-placed pods, pods that came before the gate, gated pods where nobody decides."""
    spaces = await cluster.list("v1", "Namespace", labels=f"{MANAGED_LABEL}=true")
    managed = {space["metadata"]["name"] for space in spaces}
    by_hand: list[str] = []
    ungated: list[str] = []
    gated: dict[str, int] = defaultdict(int)
    async for pod in cluster.items("v1", "Pod"):
        metadata, spec = pod["metadata"], pod["spec"]
        namespace = metadata.get("namespace", "")
        name = f"{namespace}/{metadata['name']}"
        if any(gate.get("name") == PLACEMENT_GATE for gate in spec.get("schedulingGates") or ()):
            gated[namespace] += 1
        elif namespace in managed and asks(pod):
            if not spec.get("nodeName"):
                ungated.append(name)
            elif _placed_by_hand(pod):
                by_hand.append(name)
    if by_hand:
        text = f"{len(by_hand)} pods have their node by hand, such as {by_hand[0]}; they are never gated"
        fix = "leave nodeName out of their manifests, so that they queue like others"
        yield info("pods/hand-placed", text, fix, pods=by_hand[:100])
    if ungated:
        text = f"{len(ungated)} pods that ask for accelerators wait without a gate, such as {ungated[0]}"
        fix = "they came before the gate; delete them so that their owners make new ones"
        yield info("pods/ungated", text, fix, pods=ungated[:100])
    count = sum(gated.values())
    strange = sorted(set(gated) - managed)
    if count and not await _somebody_decides(cluster):
        text = f"{count} pods wait behind the gate, and no controller decides"
        fix = "start the controller; `aliquot uninstall` lets all pods go"
        yield warning("pods/gated", text, fix, pods=count)
    else:
        facts = {"pods": count, "elsewhere": strange}
        yield ok("pods/gated", f"{count} pods wait behind the gate", **facts)


def _placed_by_hand(pod: Json) -> bool:
    """A pod whose node no scheduler chose: a kubelet's mirror pod, or one that was written with a nodeName.

    Binding goes through a subresource, and nobody owns the field afterwards; who writes it owns it.
    """
    metadata = pod["metadata"]
    if "kubernetes.io/config.mirror" in (metadata.get("annotations") or {}):
        return True
    return any(
        "f:nodeName" in ((entry.get("fieldsV1") or {}).get("f:spec") or {})
        for entry in metadata.get("managedFields") or ()
        if not entry.get("subresource")
    )


async def _somebody_decides(cluster: Cluster) -> bool:
    lease = await cluster.get("coordination.k8s.io/v1", "Lease", "aliquot-controller", manifests.NAMESPACE)
    return bool(((lease or {}).get("spec") or {}).get("holderIdentity"))
