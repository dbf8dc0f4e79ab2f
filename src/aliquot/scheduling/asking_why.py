"""Why taking from others does not help one workload, asked after the fact."""

from datetime import datetime

from aliquot.model.meta import ObjectRef
from aliquot.model.snapshot import Snapshot
from aliquot.model.verdicts import Fact
from aliquot.scheduling.decide import decide
from aliquot.scheduling.plan import Decision
from aliquot.scheduling.policy import Policy


class OneWorkload:
    """An observer of `decide` that asks about one workload. taking: what it was told of preemption and
    consolidation (`aliquot.scheduling.taking_explained`)."""

    def __init__(self, workload: ObjectRef) -> None:
        self._workload = workload
        self.taking: tuple[Fact, ...] = ()

    def fell(self, workload: ObjectRef, pod: ObjectRef, node: str, fact: Fact) -> None:
        """Nothing to keep."""

    def asks(self, workload: ObjectRef) -> bool:
        return workload == self._workload

    def unhelped(self, workload: ObjectRef, facts: tuple[Fact, ...]) -> None:
        self.taking = facts

    def decided(self, decision: Decision) -> None:
        """Nothing to keep."""


def taking_facts(snapshot: Snapshot, policy: Policy, now: datetime, workload: ObjectRef) -> tuple[Fact, ...]:
    """Why neither preemption nor consolidation helps a workload; none if it does not wait for room. Takes as
    long as a whole decision."""
    observer = OneWorkload(workload)
    decide(snapshot, policy, now, observer=observer)
    return observer.taking
