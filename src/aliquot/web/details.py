"""What the page asks for piece by piece: rows of devices, and one workload with its history."""

from typing import Any

from aliquot.inventory import amounts
from aliquot.inventory.decisions import told
from aliquot.inventory.devices import DeviceState, Holder
from aliquot.inventory.report import Report
from aliquot.inventory.workloads import WorkloadState
from aliquot.model.meta import ObjectRef
from aliquot.store.journal import Journal
from aliquot.web.view import accelerators, verdict_texts

HISTORY = 20


def device_rows(report: Report, *, node: str, text: str, offset: int, limit: int) -> dict[str, Any]:
    """Devices of one node ("": all), those in whose row the text occurs, `limit` of them from `offset`."""
    wanted = text.lower()
    found = [
        state
        for state in accelerators(report)
        if (not node or state.board.node == node) and (not wanted or wanted in _searched(state))
    ]
    return {
        "total": len(found),
        "offset": offset,
        "rows": [_row(state) for state in found[offset : offset + limit]],
    }


def _searched(state: DeviceState) -> str:
    board = state.board
    words = [board.node, board.name, board.product, state.mode]
    for holder in state.holders:
        words.append(holder.queue)
        words += [ref.name for ref in (holder.claim, holder.workload, *holder.pods) if ref is not None]
    return " ".join(words).lower()


def _row(state: DeviceState) -> dict[str, Any]:
    board = state.board
    return {
        "node": board.node,
        "device": board.name,
        "driver": board.driver,
        "product": board.product,
        "memory": amounts.memory(board.memory),
        "mode": state.mode,
        "problem": state.problem,
        "used": amounts.used_of(state.allocated, 1),
        "parts": [
            {
                "device": part.part.name,
                "profile": part.part.profile,
                "memory": amounts.memory(part.part.memory),
                "share": amounts.fraction(part.part.share),
                "holders": [_holder(holder) for holder in part.holders],
            }
            for part in state.parts
        ],
    }


def _holder(holder: Holder) -> dict[str, Any]:
    return {
        "queue": holder.queue,
        "share": amounts.fraction(holder.share),
        "admin": holder.admin,
        "claim": _name(holder.claim),
        "workload": _name(holder.workload),
        "kind": holder.workload.kind if holder.workload is not None else "",
        "pods": [pod.name for pod in holder.pods],
    }


def _name(ref: ObjectRef | None) -> str:
    return f"{ref.namespace}/{ref.name}" if ref is not None else ""


def workload_details(
    report: Report, journal: Journal | None, kind: str, namespace: str, name: str
) -> tuple[WorkloadState, dict[str, Any]] | None:
    """One workload, and in words how it is now and what was decided about it; None if it is not there."""
    wanted = (kind.lower(), namespace, name)
    for state in report.workloads.workloads:
        ref = state.ref
        if (ref.kind.lower(), ref.namespace, ref.name) == wanted:
            entries = journal.entries(workload=ref, limit=HISTORY) if journal is not None else ()
            return state, {
                "kind": ref.kind,
                "namespace": ref.namespace,
                "name": ref.name,
                "queue": state.queue,
                "priority": state.priority,
                "status": state.status.value,
                "position": state.position,
                "ready": state.ready,
                "total": state.total,
                "devices": amounts.fraction(state.devices),
                "nodes": list(state.nodes),
                "pods": [pod.name for pod in state.pods],
                "created": state.created.isoformat(),
                **verdict_texts(state.verdict),
                "history": [
                    {
                        "id": entry.decision.id,
                        "time": entry.time.isoformat(),
                        "text": told(entry.decision)[1],
                    }
                    for entry in reversed(entries)
                ],
            }
    return None
