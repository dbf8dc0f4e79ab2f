"""Why preemption within its queue and consolidation do not help a gang that waits for room, as facts.

Why reclaim does not is told with the verdict (`aliquot.scheduling.entitlement`). These facts take trials, so
they are looked for only when somebody asks about one gang, after all steps of the decision, in the state that
these left. They change nothing of the plan.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from fractions import Fraction

from aliquot.model.verdicts import Fact
from aliquot.queues.amounts import GPU, UNIT, Amount, exact, shown
from aliquot.queues.runtimes import protected
from aliquot.scheduling.confined import Confinement, confinement
from aliquot.scheduling.entitlement import for_room
from aliquot.scheduling.gang_state import Crew, Member, Status
from aliquot.scheduling.observer import Observer
from aliquot.scheduling.outcomes import Outcome
from aliquot.scheduling.placing import Failure, When
from aliquot.scheduling.policy import Step
from aliquot.scheduling.preempting import Consolidate, Preempt
from aliquot.scheduling.session import Session
from aliquot.scheduling.tallies import accelerators
from aliquot.scheduling.wants import next_want, patient_until

PREEMPTION = "preemption"
CONSOLIDATION = "consolidation"
"""The tests of these facts. Subject: one of the words below, for some with more behind a space; count:
workloads; wanted, available: amounts of the resource `unit`."""

OFF = "off"
"""The policy has no such step, or no budget for it."""
NO_ROOM = "noRoom"
"""The gang may not hold so much work that cannot be preempted, whoever leaves."""
TOO_SOON = "tooSoon"
"""The gang wants to have waited until then before others leave for it."""
NONE_LOWER = "noneLower"
"""Nothing that runs in the queue has a lower priority."""
NOT_PREEMPTIBLE = "notPreemptible"
"""Held by work of lower priority that cannot be preempted. Of consolidation: by work that cannot be moved."""
MIN_RUNTIME = "minRuntime"
"""Held by work of lower priority in its minimum run time, the first until then."""
TAKEABLE = "takeable"
"""Held by work of lower priority that may be asked to leave. Of consolidation: by work that may be moved."""
LATER = "later"
"""Whether that makes room is seen by the next decision at the soonest: this one asks others to leave for as
many as the policy allows."""
TOO_FEW = "tooFew"
"""All of that, with what is idle, is less than what the gang wants."""
NOT_TOGETHER = "notTogether"
"""All of that would be enough, but not in one domain of the level behind."""
NOT_THERE = "notThere"
"""All of that would be enough, but not on nodes that would do."""
NOT_ALLOWED = "notAllowed"
"""The gang would fit if all of them left, but not so that nobody left in vain, or in part, or within the
search that the policy allows."""
FIXED_ITSELF = "cannotBePreempted"
"""Nobody is moved for a gang that could not be moved itself."""
OVER_BUDGET = "overBudget"
"""It could be done by moving more workloads than the policy allows."""
NO_ARRANGEMENT = "noArrangement"
"""Moving what may be moved makes no room."""


def explain_taking(session: Session, observer: Observer) -> None:
    """Tell an observer of the gangs that it asks about and that wait for room."""
    for crew in list(session.findings.handled.values()):
        verdict = session.findings.verdicts.get(id(crew))
        if verdict is None or not crew.gang.queue or not observer.asks(crew.gang.ref):
            continue
        if for_room(verdict) and not session.policy.stepwise and session.could_be_tried(crew):
            observer.unhelped(crew.gang.ref, tuple(_facts(session, crew)))


def _facts(session: Session, crew: Crew) -> Iterator[Fact]:
    """None for a gang that wants no accelerators."""
    if session.next_charge(crew).get(GPU):
        session.state.look_ahead()
        yield from _preemption(session, crew)
        yield from _consolidation(session, crew)


def _preemption(session: Session, crew: Crew) -> Iterator[Fact]:
    if Step.PREEMPT not in session.policy.steps:
        yield Fact(test=PREEMPTION, subject=OFF)
        return
    taker, gang = Preempt(session), crew.gang
    wanted = session.next_charge(crew)[GPU]
    others = [other for other in session.crews.running_of(gang.queue) if other is not crew]
    lower = [other for other in others if other.gang.priority < gang.priority]
    if not lower:
        held = sum((accelerators(other) for other in others), start=0)
        yield _fact(PREEMPTION, NONE_LOWER, wanted, len(others), held)
        return
    fixed = [other for other in lower if not other.gang.preemptible]
    rest = [other for other in lower if other.gang.preemptible]
    takeable = [other for other in rest if taker.may_be_asked(crew, other)]
    resting = [other for other in rest if not taker.may_be_asked(crew, other)]
    until = min((found for other in resting if (found := _until(session, other))), default=None)
    yield from _held(PREEMPTION, NOT_PREEMPTIBLE, wanted, fixed)
    yield from _held(PREEMPTION, MIN_RUNTIME, wanted, resting, until)
    yield from _held(PREEMPTION, TAKEABLE, wanted, takeable)
    if not takeable:
        return
    waits_until = patient_until(crew, session.now)
    if not taker.may_try(crew):
        yield _fact(PREEMPTION, NO_ROOM, wanted)
    elif waits_until is not None:
        yield _fact(PREEMPTION, f"{TOO_SOON} {_second(waits_until)}", wanted)
    elif id(crew) in session.findings.put_off.get(Step.PREEMPT, ()):
        yield _fact(PREEMPTION, LATER, wanted)
    else:
        yield _without(session, crew, takeable, wanted)


def _without(session: Session, crew: Crew, takeable: Sequence[Crew], wanted: Amount) -> Fact:
    """What would be in the way still if all of these left."""
    state, placer = session.state, session.placer
    idle = sum(state.free_accelerators(number) + state.parts.free(number) for number in _nodes(session))
    free = exact(Fraction(round(idle * 1000), 1000) * UNIT + sum(map(accelerators, takeable)))
    if free < wanted:
        return _fact(PREEMPTION, TOO_FEW, wanted, len(takeable), free)
    point = state.mark()
    try:
        for member in _members(takeable):
            session.crews.prepare(member)
            state.evict(member)
        members = next_want(crew, placer).members
        found = placer.place(crew, members, When.LATER)
        if not isinstance(found, Failure):
            return _fact(PREEMPTION, NOT_ALLOWED, wanted, len(takeable), free)
        confined = confinement(placer, crew, members)
    finally:
        state.undo(point)
    if isinstance(confined, Confinement):
        level = next((fact.wanted for fact in confined.facts if fact.test == "topologyConstraint"), "")
        return _fact(PREEMPTION, f"{NOT_TOGETHER} {level}".strip(), wanted, len(takeable), free)
    return _fact(PREEMPTION, NOT_THERE, wanted, len(takeable), free)


def _consolidation(session: Session, crew: Crew) -> Iterator[Fact]:
    policy = session.policy
    if Step.CONSOLIDATE not in policy.steps or policy.consolidation_budget == 0:
        yield Fact(test=CONSOLIDATION, subject=OFF)
        return
    if not crew.gang.preemptible:
        yield Fact(test=CONSOLIDATION, subject=FIXED_ITSELF)
        return
    wanted = session.next_charge(crew)[GPU]
    if not Consolidate(session).may_try(crew):
        state = session.state
        idle = sum(state.free_accelerators(number) + state.parts.free(number) for number in _nodes(session))
        yield _fact(CONSOLIDATION, TOO_FEW, wanted, 0, Fraction(round(idle * 1000), 1000) * UNIT)
        return
    others = [other for other in session.crews.running() if other is not crew and other.gang.queue]
    yield from _held(CONSOLIDATION, NOT_PREEMPTIBLE, wanted, [x for x in others if not x.gang.preemptible])
    yield from _held(CONSOLIDATION, TAKEABLE, wanted, [x for x in others if x.gang.preemptible])
    if id(crew) in session.findings.put_off.get(Step.CONSOLIDATE, ()):
        yield _fact(CONSOLIDATION, LATER, wanted)
        return
    outcome = _moved(session, crew)
    if outcome is None:
        yield _fact(CONSOLIDATION, NO_ARRANGEMENT, wanted)
        return
    moved = len({id(member.crew) for member in outcome.disturbed})
    yield Fact(
        test=CONSOLIDATION, subject=OVER_BUDGET, count=moved, available=str(policy.consolidation_budget)
    )


class _AnyNumber(Consolidate):
    """Consolidation without a budget."""

    def may_be_asked(self, crew: Crew, victim: Crew) -> bool:
        return True


def _moved(session: Session, crew: Crew) -> Outcome | None:
    """What consolidation would come to if it might ask any number of workloads; nothing is done."""
    maker, state = _AnyNumber(session).maker(), session.state
    point = state.mark()
    try:
        return maker.make_room(crew)
    finally:
        state.undo(point)


def _held(
    test: str, ground: str, wanted: Amount, crews: Sequence[Crew], until: datetime | None = None
) -> Iterator[Fact]:
    amounts = [amount for crew in crews if (amount := accelerators(crew))]
    if amounts:
        subject = ground if until is None else f"{ground} {_second(until)}"
        yield _fact(test, subject, wanted, len(amounts), sum(amounts))


def _fact(test: str, subject: str, wanted: Amount, count: int = 0, available: Amount = 0) -> Fact:
    return Fact(
        test=test,
        subject=subject,
        count=count,
        unit=GPU,
        wanted=shown(wanted, GPU),
        available=shown(exact(available), GPU),
    )


def _until(session: Session, victim: Crew) -> datetime | None:
    """When a gang's minimum run time is over; None if it is."""
    minimum, started = session.runtimes.preempt(victim.gang.queue), victim.gang.started
    if started is None or not protected(started, minimum, session.now):
        return None
    return started + timedelta(seconds=float(Fraction(minimum)))


def _members(crews: Sequence[Crew]) -> Iterator[Member]:
    """The members that have a place, of gangs that leave as a whole; of elastic ones in their minimum run
    time those, too, that would stay: it is a bound."""
    for crew in crews:
        yield from (member for member in crew.members if member.hold and member.status is Status.RUNNING)


def _nodes(session: Session) -> range:
    return range(len(session.state.table.nodes))


def _second(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
