"""The condition `aliquot.dev/Placed` of a pod: where it has its place, or why it waits."""

from dataclasses import dataclass
from datetime import UTC
from typing import Any

from aliquot.controller.writing import Writer
from aliquot.kube.client import PatchType
from aliquot.kube.resources import PODS
from aliquot.model.core import Pod
from aliquot.model.meta import Condition, ObjectRef
from aliquot.model.verdicts import PLACED, Reason


@dataclass(frozen=True, slots=True)
class Told:
    """What a pod is told. status: "True" once it has its place, else "False"."""

    pod: ObjectRef
    status: str
    reason: str
    message: str


def placed(pod: Pod) -> Condition | None:
    """What the pod was told last."""
    return next((found for found in pod.status.conditions if found.type == PLACED), None)


async def write(writer: Writer, told: Told) -> None:
    """Tell a pod, unless it is gone. Raises what the client raises."""
    ref = told.pod
    pod = writer.mirror.get(Pod, ref.namespace, ref.name)
    if pod is None or pod.metadata.uid != ref.uid:
        return
    before, client = placed(pod), writer.client
    condition: dict[str, Any] = {
        "type": PLACED,
        "status": told.status,
        "reason": told.reason,
        "message": told.message,
    }
    if before is None or before.last_transition_time is None or _turned(before, told):
        now = client.clock.now().astimezone(UTC)
        condition["lastTransitionTime"] = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    patch = {"metadata": {"uid": ref.uid}, "status": {"conditions": [condition]}}
    body = await writer.once(
        lambda: client.patch(
            PODS, ref.name, patch, ref.namespace, kind=PatchType.STRATEGIC, subresource="status"
        )
    )
    writer.keep(Pod, body)


def _turned(before: Condition, told: Told) -> bool:
    """Whether the time of the condition is to be set: it tells since when the status is what it is, and of a
    pod that was promised room, since when it was (`aliquot.scheduling.reservations`)."""
    promised = Reason.ROOM_PROMISED.value
    return before.status != told.status or (before.reason == promised) != (told.reason == promised)
