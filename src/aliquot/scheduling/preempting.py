"""Preemption: within a queue the higher priority takes from the lower.

Consolidation: pods are moved, and nobody loses a place.
"""

from collections.abc import Sequence

from aliquot.fractions.requests import Kind
from aliquot.model.verdicts import Fact, Reason, Verdict
from aliquot.queues.amounts import GPU, UNIT, Amount
from aliquot.queues.runtimes import protected
from aliquot.scheduling.gang_state import Crew, Member
from aliquot.scheduling.losses import elastic, keeps_minimum
from aliquot.scheduling.outcomes import Legal, Outcome
from aliquot.scheduling.policy import Step
from aliquot.scheduling.session import Session
from aliquot.scheduling.taking import Taker, for_workload
from aliquot.scheduling.wants import next_want


class Preempt(Taker):
    """Within a queue."""

    def __init__(self, session: Session) -> None:
        super().__init__(session, Step.PREEMPT)
        self._lowest: dict[str, int | None] = {}

    def victims(self, crew: Crew) -> dict[str, list[Crew]]:
        if self._session.policy.stepwise:
            return super().victims(crew)
        queue, priority = crew.gang.queue, crew.gang.priority
        lower = self.candidates.with_stakes(queue, lambda stake: stake.priority < priority)
        found = [victim for victim in lower if victim is not crew and self.may_be_asked(crew, victim)]
        return {queue: found} if found else {}

    def entitled(self, crew: Crew) -> bool:
        if self._session.policy.stepwise:
            return True
        queue = crew.gang.queue
        if queue not in self._lowest:
            stakes = self._session.crews.stakes()
            some = bool(stakes.groups().get(queue))
            self._lowest[queue] = stakes.least(queue).priority if some else None
        lowest = self._lowest[queue]
        return lowest is not None and lowest < crew.gang.priority

    def may_try(self, crew: Crew) -> bool:
        session, gang = self._session, crew.gang
        if gang.preemptible:
            return True
        excess = session.state.queues.excess(gang.queue, session.next_charge(crew), preemptible=False)
        return excess is None or excess.term != "quota"

    def may_be_asked(self, crew: Crew, victim: Crew) -> bool:
        if victim.gang.queue != crew.gang.queue or victim.gang.priority >= crew.gang.priority:
            return False
        return elastic(victim) or not self._protected(victim)

    def _protected(self, victim: Crew) -> bool:
        session = self._session
        if not session.policy.min_runtimes:
            return False
        return protected(victim.gang.started, session.runtimes.preempt(victim.gang.queue), session.now)

    def rule(self, crew: Crew) -> Legal:
        def legal(members: Sequence[Member], outcome: Outcome) -> bool:
            return keeps_minimum(outcome.asked, self._protected)

        return legal

    def verdict(self, crew: Crew, member: Member) -> Verdict:
        priorities = Fact(
            test="priority", wanted=str(crew.gang.priority), available=str(member.crew.gang.priority)
        )
        return Verdict(reason=Reason.PREEMPTED, facts=(for_workload(crew), priorities))


class Consolidate(Taker):
    """By moving pods; nobody loses a place."""

    def __init__(self, session: Session) -> None:
        super().__init__(session, Step.CONSOLIDATE)
        self._asked: dict[int, int] = {}

    def entitled(self, crew: Crew) -> bool:
        return crew.gang.preemptible

    def may_try(self, crew: Crew) -> bool:
        """Only if the accelerators free in all would be enough, and their memory for requests by memory."""
        session = self._session
        if session.policy.consolidation_budget == 0:
            return False
        state, slices = session.state, session.policy.slices_as_devices
        wanted: Amount = 0
        memory = 0
        for member in next_want(crew, session.placer).members:
            assert member.facts is not None
            gpus = member.facts.gpus
            if gpus is not None and gpus.kind is Kind.MEMORY:
                memory += gpus.memory_mib * gpus.devices
            elif not state.slots.vary(member.facts):
                wanted += state.wanted.charge(member.facts).get(GPU, 0)
        free = free_memory = 0.0
        for number in range(len(state.table.nodes)):
            here = state.free_accelerators(number, slices_as_devices=slices) + state.parts.free(number)
            free += here
            if memory:
                free_memory += here * state.parts.memory(number)
        return free + _SLACK >= wanted / UNIT and free_memory + _SLACK >= memory

    def may_be_asked(self, crew: Crew, victim: Crew) -> bool:
        budget = self._session.policy.consolidation_budget
        asked = self._asked.get(id(crew), 0)
        if budget is not None and asked > budget:
            return False
        self._asked[id(crew)] = asked + 1
        return True

    def rule(self, crew: Crew) -> Legal:
        return lambda members, outcome: not outcome.gone

    def verdict(self, crew: Crew, member: Member) -> Verdict:
        return Verdict(reason=Reason.CONSOLIDATED, facts=(for_workload(crew),))


_SLACK = 1e-6
"""For the rounding of fractions."""
