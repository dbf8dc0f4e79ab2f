"""Why reclaim does not help a gang that waits for room: as facts beside the reason why it found none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from functools import cached_property

from msgspec.structs import replace

from aliquot.model.verdicts import Fact, Fix, Reason, Verdict
from aliquot.queues.amounts import GPU, Amount, Charge, exact, shown
from aliquot.queues.held import Ground, Held, Refusal
from aliquot.queues.reclaim import Reclaimer
from aliquot.queues.runtimes import protected
from aliquot.scheduling.gang_state import Crew
from aliquot.scheduling.policy import Step
from aliquot.scheduling.session import Session
from aliquot.scheduling.tallies import Tally, accelerators

RECLAIM = "reclaim"
"""The test of these facts. Subject: why others cannot be taken from (a Ground of the queues, or one of the
words below); count: workloads; wanted, available: amounts of the resource `unit`."""

NOT_PREEMPTIBLE = "notPreemptible"
MIN_RUNTIME = "minRuntime"
TAKEABLE = "takeable"
"""Held by work that could be taken, and that makes no room for the gang."""


@dataclass(slots=True)
class _Part:
    """What of other queues' work falls under one ground. until: when the first of it comes to an end."""

    workloads: int = 0
    amount: Amount = 0
    until: datetime | None = None

    def count(self, workloads: int, amount: Amount) -> None:
        self.workloads += workloads
        self.amount = exact(self.amount + amount)


class Entitlement:
    """Explains, for one decision after all its steps, why gangs could not reclaim what they lack."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._known: dict[tuple[object, ...], tuple[Fact, ...]] = {}
        self._grounds: dict[tuple[object, ...], Mapping[str, _Part]] = {}
        self._sums: dict[int, Tally] = {}

    @property
    def asked(self) -> bool:
        """Whether the policy lets queues reclaim at all."""
        policy = self.session.policy
        return policy.fair_shares and Step.RECLAIM in policy.steps

    def facts(self, crew: Crew) -> tuple[Fact, ...]:
        """The facts; none for a gang that wants no accelerators, or where no queue shares."""
        session, gang = self.session, crew.gang
        charge = session.next_charge(crew)
        if not charge.get(GPU) or gang.queue not in session.tree.numbers:
            return ()
        get = charge.get
        wants = [get(resource, 0) for resource in session.shares.resources]
        key = (gang.queue, gang.preemptible, charge[GPU], *wants)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._found(crew, charge, wants)
        return known

    def _found(self, crew: Crew, charge: Charge, wants: Sequence[Amount]) -> tuple[Fact, ...]:
        session, gang = self.session, crew.gang
        number = session.tree.numbers[gang.queue]
        refusal = self._held.refusal(number, wants, gang.preemptible)
        if refusal is not None:
            return (self._refused(refusal, charge),)
        # Of the gang it matters only which queues above it would stay within their quota with it.
        within = tuple([self._held.within_quota(step, wants) for step in session.tree.ways[number]])
        parts = self._grounds.get((gang.queue, within))
        if parts is None:
            ledger = session.state.queues
            reclaimer = Reclaimer(session.shares, ledger, gang.queue, charge, gang.preemptible, self._held)
            parts = self._grounds[gang.queue, within] = self._parts(crew, reclaimer)
        wanted = shown(charge[GPU], GPU)
        facts = []
        for ground, part in parts.items():
            subject = f"{ground} {part.until:%Y-%m-%dT%H:%M:%SZ}" if part.until is not None else ground
            facts.append(
                Fact(
                    test=RECLAIM,
                    subject=subject,
                    count=part.workloads,
                    unit=GPU,
                    wanted=wanted,
                    available=shown(part.amount, GPU),
                )
            )
        return tuple(facts) or (Fact(test=RECLAIM, subject="nothing", unit=GPU, wanted=wanted),)

    def _refused(self, refusal: Refusal, charge: Charge) -> Fact:
        """That with the gang its queue would hold more than it is entitled to."""
        session = self.session
        resource = refusal.resource or GPU
        number = session.tree.numbers[refusal.queue]
        ledger = session.state.queues
        over_share = refusal.ground is Ground.OVER_FAIR_SHARE
        held = (ledger.column if over_share else ledger.fixed_column)(resource)[number]
        bound: Amount | None
        if over_share:
            bound = session.shares.share(refusal.queue, resource)
        else:
            bound = session.tree.quota(refusal.queue, resource)
        return Fact(
            test=RECLAIM,
            subject=f"{refusal.ground.value} {refusal.queue}",
            unit=resource,
            wanted=shown(exact(held + charge.get(resource, 0)), resource),
            available=shown(bound or 0, resource),
        )

    def _parts(self, crew: Crew, reclaimer: Reclaimer) -> dict[str, _Part]:
        """What the work of other queues holds, by why it may not be taken."""
        parts: dict[str, _Part] = {}
        names = self.session.tree.names
        by_time = self.session.policy.min_runtimes and self.session.runtimes.reclaiming
        for own, other, queues in self.session.tree.rivals(reclaimer.number):
            if not reclaimer.may_take_from(own, other):
                found = self._together(own, other, queues)
                parts.setdefault(Ground.VICTIM_WITHIN_SHARE.value, _Part()).count(
                    found.workloads, found.amount
                )
            elif by_time:
                for number in queues:
                    self._by_time(crew.gang.queue, names[number], parts)
            else:
                found = self._together(own, other, queues)
                parts.setdefault(NOT_PREEMPTIBLE, _Part()).count(found.fixed_workloads, found.fixed_amount)
                loose = found.workloads - found.fixed_workloads
                parts.setdefault(TAKEABLE, _Part()).count(loose, exact(found.amount - found.fixed_amount))
        given = ((ground, part) for ground, part in parts.items() if part.workloads)
        return dict(sorted(given, key=lambda item: (-item[1].amount, item[0])))

    def _by_time(self, asking: str, queue: str, parts: dict[str, _Part]) -> None:
        """Add what the work of a queue holds, where some of it may be left alone for a while."""
        for victim, amount in self._running.get(queue, ()):
            ground, until = TAKEABLE, None
            if not victim.gang.preemptible:
                ground = NOT_PREEMPTIBLE
            else:
                until = self._protected_until(asking, victim)
                ground = MIN_RUNTIME if until is not None else TAKEABLE
            part = parts.setdefault(ground, _Part())
            part.count(1, amount)
            if until is not None and (part.until is None or until < part.until):
                part.until = until

    def _together(self, own: int, other: int, queues: Sequence[int]) -> Tally:
        """What the work of several queues holds that are met at one place."""
        # The queues below `other` are the same for whoever meets them there, unless one is above the other.
        known = self._sums.get(other) if own != other else None
        if known is None:
            known = Tally()
            names = self.session.tree.names
            for number in queues:
                tally = self._tallies.get(names[number])
                if tally is not None:
                    known.add(tally)
            if own != other:
                self._sums[other] = known
        return known

    def _protected_until(self, queue: str, victim: Crew) -> datetime | None:
        """When the minimum run time of a gang is over; None if it is."""
        session = self.session
        if not session.policy.min_runtimes:
            return None
        minimum = session.runtimes.reclaim(queue, victim.gang.queue)
        started = victim.gang.started
        if not minimum or started is None or not protected(started, minimum, session.now):
            return None
        return started + timedelta(seconds=float(Fraction(minimum)))

    @cached_property
    def _held(self) -> Held:
        return Held(self.session.shares, self.session.state.queues)

    @cached_property
    def _tallies(self) -> Mapping[str, Tally]:
        return self.session.crews.tallies()

    @cached_property
    def _running(self) -> dict[str, list[tuple[Crew, Amount]]]:
        """The gangs that hold accelerators, by queue."""
        found: dict[str, list[tuple[Crew, Amount]]] = {}
        for victim in self.session.crews.running():
            if victim.gang.queue:
                amount = accelerators(victim)
                if amount:
                    found.setdefault(victim.gang.queue, []).append((victim, amount))
        return found


def for_room(verdict: Verdict) -> bool:
    """Whether a gang waits for what others hold."""
    fix = verdict.fix
    return verdict.reason in _FOR_ROOM or (fix is not None and fix.change in _FREEING)


def with_entitlement(verdict: Verdict, crew: Crew, entitlement: Entitlement) -> Verdict:
    """The verdict of a gang that waits for room, with why reclaim does not give it any. If what it could take
    is only left alone for a while, to wait is the nearest fix."""
    fix = verdict.fix
    if not for_room(verdict) or not entitlement.asked:
        return verdict
    facts = entitlement.facts(crew)
    if not facts:
        return verdict
    ground, _, until = facts[0].subject.partition(" ")
    if ground == MIN_RUNTIME:
        fix = Fix(change="waitUntil", subject=str(facts[0].count), amount=until)
    return replace(verdict, facts=(*verdict.facts, *facts), fix=fix)


_FOR_ROOM = frozenset(
    {Reason.DEVICES_IN_USE, Reason.GANG_DOES_NOT_FIT, Reason.CONSTRAINT_NOT_MET, Reason.TOPOLOGY_NOT_MET}
)
_FREEING = frozenset({"freeDevices", "freeResource", "freePart"})
