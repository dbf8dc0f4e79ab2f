"""Observer: whoever wants to know how a decision came about is passed in and told; nothing depends on it."""

from typing import Protocol

from aliquot.model.meta import ObjectRef
from aliquot.model.verdicts import Fact
from aliquot.scheduling.plan import Decision


class Observer(Protocol):
    """Told during `decide`, in the order in which things happen. It must not change anything."""

    def fell(self, workload: ObjectRef, pod: ObjectRef, node: str, fact: Fact) -> None:
        """A node does not take a pod that waits. Told for every node, once the pod's gang has failed."""

    def asks(self, workload: ObjectRef) -> bool:
        """Whether `unhelped` is to be told of this workload, if it waits: to find that out takes trials."""

    def unhelped(self, workload: ObjectRef, facts: tuple[Fact, ...]) -> None:
        """Why neither preemption nor consolidation helps a workload that waits for room, see
        `aliquot.scheduling.taking_explained`."""

    def decided(self, decision: Decision) -> None:
        """A decision is part of the plan."""
