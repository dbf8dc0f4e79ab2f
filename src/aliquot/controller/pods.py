"""Letting pods go. A gate cannot be put back, so everything else comes first."""

import asyncio

from aliquot.controller.outcomes import ConflictError, EnactError, RefusedError
from aliquot.controller.writing import Writer
from aliquot.fractions.groups import GROUPS_ANNOTATION
from aliquot.kube.client import PatchType
from aliquot.kube.errors import ApiError
from aliquot.kube.resources import PODS
from aliquot.model.core import PLACEMENT_GATE, Node, Pod
from aliquot.model.resource import ResourceClaim
from aliquot.scheduling.plan import Admit, Placement

HOSTNAME = "kubernetes.io/hostname"


class Pods:
    """Writes pods through `writer`."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def admit(self, action: Admit) -> None:
        """Lift the gates of all pods of a gang at once.

        Raises ConflictError or RefusedError if not all were lifted. The first failure stops the lifts that
        have not been sent; what was lifted stays so, and the next decision sees a gang of which some members
        wait.
        """
        ready = [found for placement in action.placements if (found := self._ready(placement)) is not None]
        stop = asyncio.Event()
        done = await asyncio.gather(*(self._lift(pod, placement, stop) for pod, placement in ready))
        failures = [problem for problem in done if problem is not None]
        if failures:
            raise next((one for one in failures if isinstance(one, RefusedError)), failures[0])

    def _ready(self, placement: Placement) -> tuple[Pod, Placement] | None:
        """The pod with its placement; None where its gate is lifted already. Raises ConflictError."""
        ref = placement.pod
        pod = self._writer.mirror.get(Pod, ref.namespace, ref.name)
        if pod is None or (ref.uid and pod.metadata.uid != ref.uid):
            raise ConflictError(ref, "is gone")
        if pod.metadata.deletion_timestamp is not None:
            raise ConflictError(ref, "is being deleted")
        if all(gate.name != PLACEMENT_GATE for gate in pod.spec.scheduling_gates):
            return None
        for name in claim_names(pod):
            claim = self._writer.mirror.get(ResourceClaim, ref.namespace, name)
            if claim is None or claim.status.allocation is None:
                raise ConflictError(ref, f"claim {name} is not allocated")
            # A PodGroup may hold the reservation for its pods.
            if all(
                consumer.resource == "pods" and consumer.uid != pod.metadata.uid
                for consumer in claim.status.reserved_for
            ):
                raise ConflictError(ref, f"claim {name} is not reserved for it")
        return pod, placement

    async def _lift(self, pod: Pod, placement: Placement, stop: asyncio.Event) -> EnactError | None:
        # The uid guards against a new pod of the same name. The resourceVersion would guard against nothing
        # more, and a condition written meanwhile would leave half a gang behind its gates.
        spec: dict[str, object] = {"schedulingGates": [{"$patch": "delete", "name": PLACEMENT_GATE}]}
        if placement.pin:
            spec["nodeSelector"] = {HOSTNAME: self._hostname(placement.node)}
        metadata: dict[str, object] = {"uid": pod.metadata.uid}
        if placement.groups:
            metadata["annotations"] = {GROUPS_ANNOTATION: ",".join(placement.groups)}
        patch = {"metadata": metadata, "spec": spec}
        client = self._writer.client

        async def send() -> bytes:
            if stop.is_set():
                raise ConflictError(pod.ref, "stays gated: another pod of its gang could not be let go")
            return await client.patch(PODS, pod.name, patch, pod.namespace, kind=PatchType.STRATEGIC)

        try:
            lifted = self._writer.keep(Pod, await self._writer.settled(send))
        except ApiError as error:
            stop.set()
            # A uid that is not the pod's any more is a conflict to some servers and invalid to others.
            if error.status in (404, 409, 422):
                stored = await self._writer.look(Pod, PODS, pod.ref)
                if stored is None or error.conflict:
                    return ConflictError(pod.ref, error.message)
            return RefusedError(pod.ref, error.message or error.reason)
        except EnactError as error:
            return error
        if any(gate.name == PLACEMENT_GATE for gate in lifted.spec.scheduling_gates):
            stop.set()
            return RefusedError(
                pod.ref, "still has its gate: the API server took the patch and kept the gate"
            )
        return None

    def _hostname(self, node_name: str) -> str:
        """What a node selector must say to mean this node; the label may differ from the node's name."""
        node = self._writer.mirror.get(Node, "", node_name)
        return node.metadata.labels.get(HOSTNAME, node_name) if node else node_name


def claim_names(pod: Pod) -> list[str]:
    """The names of the pod's claims that exist or must exist; entries that need no claim are left out."""
    made = {status.name: status.resource_claim_name for status in pod.status.resource_claim_statuses}
    names = []
    for entry in pod.spec.resource_claims:
        name = entry.resource_claim_name or made.get(entry.name)
        if name:
            names.append(name)
        elif entry.name not in made:
            raise ConflictError(pod.ref, f"its claim {entry.name} has not been made yet")
    return names
