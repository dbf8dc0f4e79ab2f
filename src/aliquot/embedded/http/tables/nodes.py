"""The rows of nodes and of what DRA has on them."""

from __future__ import annotations

from datetime import datetime

from aliquot.embedded.hooks import Object
from aliquot.embedded.http.tables.column import Cell, Column, Table, age, at, joined

_ROLE = "node-role.kubernetes.io/"


def node_status(node: Object, now: datetime) -> str:
    conditions = (node.get("status") or {}).get("conditions") or []
    ready = next((one.get("status") for one in conditions if one.get("type") == "Ready"), None)
    words = ["Unknown" if ready is None else "Ready" if ready == "True" else "NotReady"]
    if (node.get("spec") or {}).get("unschedulable"):
        words.append("SchedulingDisabled")
    return ",".join(words)


def _roles(node: Object, now: datetime) -> str:
    labels = (node.get("metadata") or {}).get("labels") or {}
    found = {key.removeprefix(_ROLE) for key in labels if key.startswith(_ROLE) and key != _ROLE}
    if other := labels.get("kubernetes.io/role"):
        found.add(other)
    return joined(sorted(found))


def _address(kind: str) -> Cell:
    def cell(node: Object, now: datetime) -> str:
        addresses = (node.get("status") or {}).get("addresses") or []
        return next((str(one.get("address")) for one in addresses if one.get("type") == kind), "<none>")

    return cell


NODES = Table(
    (
        Column("Status", node_status),
        Column("Roles", _roles),
        Column("Age", age),
        Column("Version", at("status.nodeInfo.kubeletVersion", "")),
        Column("Internal-IP", _address("InternalIP"), priority=1),
        Column("External-IP", _address("ExternalIP"), priority=1),
        Column("OS-Image", at("status.nodeInfo.osImage", "<unknown>"), priority=1),
        Column("Kernel-Version", at("status.nodeInfo.kernelVersion", "<unknown>"), priority=1),
        Column("Container-Runtime", at("status.nodeInfo.containerRuntimeVersion", "<unknown>"), priority=1),
    )
)


def claim_state(claim: Object, now: datetime) -> str:
    """``pending``, ``allocated``, ``allocated,reserved``, with ``deleted`` in front while it goes."""
    status = claim.get("status") or {}
    deleted = bool((claim.get("metadata") or {}).get("deletionTimestamp"))
    words = ["deleted"] if deleted else []
    if status.get("allocation"):
        words.append("allocated")
        if status.get("reservedFor"):
            words.append("reserved")
    elif not deleted:
        words.append("pending")
    return ",".join(words)


CLAIMS = Table(
    (Column("State", claim_state, description="Whether devices are allocated"), Column("Age", age))
)

SLICES = Table(
    (
        Column("Node", at("spec.nodeName", "<unset>")),
        Column("Driver", at("spec.driver", "")),
        Column("Pool", at("spec.pool.name", "")),
        Column("Age", age),
    )
)
