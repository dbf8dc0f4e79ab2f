"""Letting pods go. A gate cannot be put back, so everything else comes first."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from aliquot.controller.outcomes import ConflictError, EnactError, RefusedError
from aliquot.controller.writing import Writer
from aliquot.dra.nodeselection import names_node
from aliquot.fractions.devices import node_devices
from aliquot.fractions.groups import GROUPS_ANNOTATION, told_to_hami
from aliquot.kube.client import PatchType
from aliquot.kube.errors import ApiError
from aliquot.kube.marks import GATED, marking
from aliquot.kube.resources import PODS
from aliquot.model.core import PLACEMENT_GATE, Node, Pod
from aliquot.model.index import Key
from aliquot.model.kinds import plain
from aliquot.model.resource import ResourceClaim
from aliquot.scheduling.affinity import named_node
from aliquot.scheduling.plan import Admit, Placement, Show
from aliquot.workloads.labels import ADMITTED_AT, SHOWN_AT

HOSTNAME = "kubernetes.io/hostname"

LIFTS = 8
"""How often the lifting of one gate is tried while others write to the pod."""


class Pods:
    """Writes pods through `writer`."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def admit(self, action: Admit, expected: Callable[[Key], bool]) -> None:
        """Lift the gates of all pods of a gang at once. expected: whether the decision counts on a claim, by
        namespace and name, being allocated; it does not on one of a driver that is not Aliquot's.

        Raises ConflictError or RefusedError if not all were lifted. The first failure stops the lifts that
        have not been sent; what was lifted stays so, and the next decision sees a gang of which some members
        wait.
        """
        ready = [
            found
            for placement in action.placements
            if (found := self._ready(placement, expected)) is not None
        ]
        stop = asyncio.Event()
        since = action.since or self._writer.client.clock.now()
        mark = {ADMITTED_AT: _second(since)}
        done = await asyncio.gather(*(self._lift(pod, placement, mark, stop) for pod, placement in ready))
        _raise_first(done)

    async def show(self, action: Show) -> None:
        """Lift the gates of pods that have no place. Raises ConflictError or RefusedError if not all were."""
        mark = {SHOWN_AT: _second(self._writer.client.clock.now())}
        stop = asyncio.Event()
        ready: list[Pod] = []
        for ref in action.pods:
            pod = self._writer.mirror.get(Pod, ref.namespace, ref.name)
            if pod is None or pod.metadata.uid != ref.uid or pod.metadata.deletion_timestamp is not None:
                raise ConflictError(ref, "is gone or being deleted")
            if any(gate.name == PLACEMENT_GATE for gate in pod.spec.scheduling_gates):
                ready.append(pod)
        done = await asyncio.gather(
            *(self._lift(pod, Placement(pod=pod.ref, node=""), mark, stop) for pod in ready)
        )
        _raise_first(done)

    def _ready(self, placement: Placement, expected: Callable[[Key], bool]) -> tuple[Pod, Placement] | None:
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
            if claim is None:
                raise ConflictError(ref, f"claim {name} is gone")
            if claim.status.allocation is None:
                if expected(claim.key):
                    raise ConflictError(ref, f"claim {name} is not allocated")
                # kube-scheduler allocates it once the pod is let go.
                continue
            # A PodGroup may hold the reservation for its pods.
            if all(
                consumer.resource == "pods" and consumer.uid != pod.metadata.uid
                for consumer in claim.status.reserved_for
            ):
                raise ConflictError(ref, f"claim {name} is not reserved for it")
        return pod, placement

    async def _lift(
        self, pod: Pod, placement: Placement, mark: Mapping[str, str], stop: asyncio.Event
    ) -> EnactError | None:
        """Guarded by the pod's resourceVersion; where only that has changed, as by a condition that somebody
        wrote, tried again at once: a gang is not to be left half behind its gates for that.
        """
        for _ in range(LIFTS):
            problem = await self._lift_once(pod, placement, mark, stop)
            if not isinstance(problem, ConflictError):
                break
            found = self._writer.mirror.get(Pod, pod.namespace, pod.name)
            if (
                found is None
                or found.metadata.uid != pod.metadata.uid
                or found.metadata.resource_version == pod.metadata.resource_version
                or found.metadata.deletion_timestamp is not None
                or found.spec != pod.spec
            ):
                break
            pod = found
        if problem is not None:
            stop.set()
        return problem

    async def _lift_once(
        self, pod: Pod, placement: Placement, mark: Mapping[str, str], stop: asyncio.Event
    ) -> EnactError | None:
        spec: dict[str, object] = {"schedulingGates": [{"$patch": "delete", "name": PLACEMENT_GATE}]}
        if placement.pin:
            spec["nodeSelector"] = {HOSTNAME: self._hostname(placement.node)}
        if pod.spec.affinity is None and (placement.pin or self._tied(pod, placement.node)):
            # kube-scheduler looks at this one node only, not at each whether claims allow it. Where the pod
            # has an affinity of its own that is left alone: it says what its owner wants.
            required = {"requiredDuringSchedulingIgnoredDuringExecution": plain(names_node(placement.node))}
            spec["affinity"] = {"nodeAffinity": required}
        marks = dict(mark)
        told: Mapping[str, str] = {}
        if placement.groups:
            marks[GROUPS_ANNOTATION] = ",".join(placement.groups)
            node = self._writer.mirror.get(Node, "", placement.node)
            if node is not None:
                told = told_to_hami(pod, placement.groups, node_devices(node))
        metadata = marking(pod, marks)
        metadata["annotations"] |= told
        if GATED in pod.metadata.labels:
            metadata["labels"] = metadata.get("labels", {}) | {GATED: None}
        metadata |= {"uid": pod.metadata.uid, "resourceVersion": pod.metadata.resource_version}
        patch = {"metadata": metadata, "spec": spec}
        client = self._writer.client

        async def send() -> bytes:
            if stop.is_set():
                raise ConflictError(pod.ref, "stays gated: another pod of its gang could not be let go")
            return await client.patch(
                PODS, pod.name, patch, pod.namespace, kind=PatchType.STRATEGIC, attempts=1
            )

        try:
            lifted = self._writer.keep(Pod, await self._writer.settled(send))
        except ApiError as error:
            stored = await self._writer.look(Pod, PODS, pod.ref)
            if stored is not None and _let_go(stored, mark):
                # An attempt of which the answer was lost had been carried out.
                return None
            # A uid that is not the pod's any more is a conflict to some servers and invalid to others.
            if stored is None or error.conflict:
                return ConflictError(pod.ref, error.message)
            return RefusedError(pod.ref, error.message or error.reason)
        except EnactError as error:
            return error
        if any(gate.name == PLACEMENT_GATE for gate in lifted.spec.scheduling_gates):
            return RefusedError(
                pod.ref, "still has its gate: the API server took the patch and kept the gate"
            )
        return None

    def _tied(self, pod: Pod, node_name: str) -> bool:
        """Whether the allocation of one of its claims names this node, so that the pod can be on no other."""
        claims = (self._writer.mirror.get(ResourceClaim, pod.namespace, name) for name in claim_names(pod))
        return any(
            named_node(claim.status.allocation.node_selector) == node_name
            for claim in claims
            if claim is not None and claim.status.allocation is not None
        )

    def _hostname(self, node_name: str) -> str:
        """What a node selector must say to mean this node; the label may differ from the node's name."""
        node = self._writer.mirror.get(Node, "", node_name)
        return node.metadata.labels.get(HOSTNAME, node_name) if node else node_name


def _let_go(pod: Pod, mark: Mapping[str, str]) -> bool:
    """Whether the pod has been let go by the attempt that leaves this mark."""
    return mark.items() <= pod.metadata.annotations.items() and all(
        gate.name != PLACEMENT_GATE for gate in pod.spec.scheduling_gates
    )


def _second(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _raise_first(done: Sequence[EnactError | None]) -> None:
    failures = [problem for problem in done if problem is not None]
    if failures:
        raise next((one for one in failures if isinstance(one, RefusedError)), failures[0])


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
