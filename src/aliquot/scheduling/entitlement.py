"""Why reclaim does not help a gang that waits for room: as facts beside the reason why it found none."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fractions import Fraction

from aliquot.model.verdicts import Fact, Fix, Reason, Verdict
from aliquot.queues.amounts import GPU, Amount, Charge, exact, shown
from aliquot.queues.held import Ground, Held, Refusal
from aliquot.queues.runtimes import protected
from aliquot.queues.tree import TOP
from aliquot.scheduling.gang_state import Crew
from aliquot.scheduling.policy import Step
from aliquot.scheduling.session import Session
from aliquot.scheduling.tallies import Tally, accelerators
from aliquot.scheduling.wants import next_want, patient_until
from aliquot.workloads.gang import Gang

RECLAIM = "reclaim"
"""The test of these facts. Subject: why others cannot be taken from (a Ground of the queues, or one of the
words below); count: workloads; wanted, available: amounts of the resource `unit`."""

NOT_PREEMPTIBLE = "notPreemptible"
MIN_RUNTIME = "minRuntime"
TAKEABLE = "takeable"
"""Held by work that could be taken, and that makes no room for the gang."""
TOO_SOON = "tooSoon"
"""Held by work that could be taken, but not before the time behind: the gang wants to wait so long first."""
LATER = "later"
"""Held by work that could be taken; whether that makes room is seen by the next decision at the soonest, as
this one takes for others."""


@dataclass(frozen=True, slots=True)
class Told:
    """Why reclaim does not help a gang: facts, none where there is nothing to tell. fix: what is nearer than
    what its verdict says; None if nothing is."""

    facts: tuple[Fact, ...]
    fix: Fix | None = None


_NOTHING = Told(())


@dataclass(slots=True)
class _Part:
    """What of other queues' work falls under one ground. until: when the first of it comes to an end."""

    workloads: int = 0
    amount: Amount = 0
    until: datetime | None = None

    def count(self, workloads: int, amount: Amount) -> None:
        self.workloads += workloads
        self.amount = exact(self.amount + amount)


@dataclass(frozen=True, slots=True)
class _Bound:
    """What a queue is held to of a resource, in the words of a fact. held: what counts against it."""

    subject: str
    held: Amount
    available: str


@dataclass(slots=True)
class _Rivals:
    """What the work of some other queues holds that may not be taken (kept), and that may (open)."""

    kept: Tally = field(default_factory=Tally)
    open: Tally = field(default_factory=Tally)

    def add(self, other: "_Rivals") -> None:
        self.kept.add(other.kept)
        self.open.add(other.open)

    def count(self, tally: Tally, sign: int = 1, *, may_take: bool) -> None:
        (self.open if may_take else self.kept).add(tally, sign)


class Entitlement:
    """Explains, for one decision after all its steps, why gangs could not reclaim what they lack.

    asked: the policy lets queues reclaim at all.
    """

    def __init__(self, session: Session) -> None:
        policy = session.policy
        self.session = session
        self.asked = policy.fair_shares and Step.RECLAIM in policy.steps
        self._known: dict[tuple[str, bool, int, str], Told] = {}
        self._put_off = session.findings.put_off.get(Step.RECLAIM) or set()
        self._grounds: dict[tuple[object, ...], Sequence[tuple[str, int, str]]] = {}
        self._bounds: dict[tuple[object, ...], _Bound] = {}
        self._below: dict[tuple[int, bool], _Rivals] = {}
        self._around: dict[tuple[int, tuple[bool, ...]], _Rivals] = {}
        self._held = Held(session.shares, session.state.queues)
        self._tallied: tuple[list[Tally], list[Tally]] | None = None
        self._running: dict[str, list[tuple[Crew, Amount]]] | None = None

    def told(self, crew: Crew) -> Told:
        """What there is to tell; nothing of a gang that wants no accelerators, or where no queue shares."""
        gang, kind = crew.gang, next_want(crew, self.session.placer).kind
        if kind is None:
            return self._found_out(crew)
        key = (gang.queue, gang.preemptible, kind, self._open_to(crew))
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._found_out(crew)
        return known

    def _found_out(self, crew: Crew) -> Told:
        session, gang = self.session, crew.gang
        charge = next_want(crew, session.placer).charge
        if not charge.get(GPU) or gang.queue not in session.tree.numbers:
            return _NOTHING
        wants = tuple([charge.get(resource, 0) for resource in session.shares.resources])
        facts = self._found(gang, charge, wants, self._open_to(crew))
        ground, _, until = facts[0].subject.partition(" ")
        if ground == MIN_RUNTIME:
            return Told(facts, Fix(change="waitUntil", subject=str(facts[0].count), amount=until))
        for fact in facts:
            ground, _, until = fact.subject.partition(" ")
            if ground == LATER:
                return Told(facts, Fix(change="wait"))
            if ground == TOO_SOON:
                return Told(facts, Fix(change="waitDelay", subject="preemption-delay", amount=until))
        return Told(facts)

    def _open_to(self, crew: Crew) -> str:
        """What work that could be taken is to a gang: the ground under which it is told of."""
        until = patient_until(crew, self.session.now)
        if until is not None:
            return f"{TOO_SOON} {until:%Y-%m-%dT%H:%M:%SZ}"
        return LATER if id(crew) in self._put_off else TAKEABLE

    def _found(self, gang: Gang, charge: Charge, wants: Sequence[Amount], open_to: str) -> tuple[Fact, ...]:
        number = self.session.tree.numbers[gang.queue]
        refusal = self._held.refusal(number, wants, gang.preemptible)
        if refusal is not None:
            return (self._refused(refusal, number, charge),)
        wanted = shown(charge[GPU], GPU)
        found = [
            Fact(
                test=RECLAIM,
                subject=open_to if subject == TAKEABLE else subject,
                count=count,
                unit=GPU,
                wanted=wanted,
                available=available,
            )
            for subject, count, available in self._told(gang.queue, number, wants)
        ]
        return tuple(found) or (Fact(test=RECLAIM, subject="nothing", unit=GPU, wanted=wanted),)

    def _refused(self, refusal: Refusal, number: int, charge: Charge) -> Fact:
        """That with the gang its queue would hold more than it is entitled to."""
        resource = refusal.resource or GPU
        key = (number, resource, refusal.ground)
        bound = self._bounds.get(key)
        if bound is None:
            bound = self._bounds[key] = self._bound(refusal, number, resource)
        return Fact(
            test=RECLAIM,
            subject=bound.subject,
            unit=resource,
            wanted=shown(exact(bound.held + charge.get(resource, 0)), resource),
            available=bound.available,
        )

    def _bound(self, refusal: Refusal, number: int, resource: str) -> _Bound:
        session = self.session
        ledger = session.state.queues
        most: Amount | None
        if refusal.ground is Ground.OVER_FAIR_SHARE:
            held, most = ledger.column(resource), session.shares.share(refusal.queue, resource)
        else:
            held, most = ledger.fixed_column(resource), session.tree.quota(refusal.queue, resource)
        return _Bound(f"{refusal.ground.value} {refusal.queue}", held[number], shown(most or 0, resource))

    def _told(self, queue: str, number: int, wants: Sequence[Amount]) -> Sequence[tuple[str, int, str]]:
        """What the work of other queues holds, by why it may not be taken: subjects, workloads, amounts."""
        # Of the gang it matters only which queues above it would stay within their quota with it.
        way = self.session.tree.ways[number]
        within = tuple([self._held.within_quota(step, wants) for step in way])
        known = self._grounds.get((number, within))
        if known is None:
            parts = self._parts(queue, way, within)
            known = self._grounds[number, within] = [
                (
                    f"{ground} {part.until:%Y-%m-%dT%H:%M:%SZ}" if part.until is not None else ground,
                    part.workloads,
                    shown(part.amount, GPU),
                )
                for ground, part in parts.items()
            ]
        return known

    def _parts(self, queue: str, way: tuple[int, ...], within: tuple[bool, ...]) -> dict[str, _Part]:
        """What the work of other queues holds, by why it may not be taken. way: the queue and those above it;
        within: whether they would stay within their quota."""
        tree, names = self.session.tree, self.session.tree.names
        parts: dict[str, _Part] = {}
        if self.session.policy.min_runtimes and self.session.runtimes.reclaiming:
            found = _Rivals()
            inside = dict(zip(way, within, strict=True))
            for own, other, queues in tree.rivals(way[0]):
                if self._may_take_from(other, inside[own]):
                    for number in queues:
                        self._by_time(queue, names[number], parts)
                else:
                    for number in queues:
                        found.kept.add(self._own[number])
        else:
            found = self._rivals(way, within)
            for below in tree.below[way[0]]:
                found.count(self._sums[below], may_take=self._may_take_from(way[0], within[0]))
        kept, loose = found.kept, found.open
        for ground, workloads, amount in (
            (Ground.VICTIM_WITHIN_SHARE.value, kept.workloads, kept.amount),
            (NOT_PREEMPTIBLE, loose.fixed_workloads, loose.fixed_amount),
            (TAKEABLE, loose.workloads - loose.fixed_workloads, loose.amount - loose.fixed_amount),
        ):
            if workloads:
                parts.setdefault(ground, _Part()).count(workloads, amount)
        return dict(sorted(parts.items(), key=lambda item: (-item[1].amount, item[0])))

    def _may_take_from(self, other: int, within: bool) -> bool:
        """As `Reclaimer.may_take_from`. within: the side that takes would stay within its quota."""
        share, quota = self._held.above(other)
        return share or (within and quota)

    def _rivals(self, way: tuple[int, ...], within: tuple[bool, ...]) -> _Rivals:
        """What is held beside a queue, and beside and right in all that are above it."""
        found = _Rivals()
        own = way[0]
        found.add(self._siblings(self.session.tree.parents[own], within[0]))
        found.count(self._sums[own], -1, may_take=self._may_take_from(own, within[0]))
        if len(way) > 1:
            above = self._around.get((way[1], within[1:]))
            if above is None:
                above = self._around[way[1], within[1:]] = self._rivals(way[1:], within[1:])
                above.count(self._own[way[1]], may_take=self._may_take_from(way[1], within[1]))
            found.add(above)
        return found

    def _siblings(self, parent: int, within: bool) -> _Rivals:
        """What the queues right below one hold, with those below them."""
        known = self._below.get((parent, within))
        if known is None:
            known = self._below[parent, within] = _Rivals()
            for number in self.session.tree.below[parent]:
                known.count(self._sums[number], may_take=self._may_take_from(number, within))
        return known

    def _by_time(self, asking: str, queue: str, parts: dict[str, _Part]) -> None:
        """Add what the work of a queue holds, where some of it may be left alone for a while."""
        for victim, amount in self._holders().get(queue, ()):
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

    @property
    def _own(self) -> list[Tally]:
        """What the work right in each queue holds, by number."""
        return self._tallies()[0]

    @property
    def _sums(self) -> list[Tally]:
        """What the work of each queue and of those below it holds, by number."""
        return self._tallies()[1]

    def _tallies(self) -> tuple[list[Tally], list[Tally]]:
        if self._tallied is None:
            own = self._right_in_each()
            self._tallied = own, self._with_those_below(own)
        return self._tallied

    def _right_in_each(self) -> list[Tally]:
        tallies, nothing = self.session.crews.tallies(), Tally()
        return [tallies.get(name, nothing) for name in self.session.tree.names]

    def _with_those_below(self, own: Sequence[Tally]) -> list[Tally]:
        parents = self.session.tree.parents
        found = [Tally() for _ in parents]
        # Every queue has a higher number than the one above it.
        for number in reversed(range(len(parents))):
            found[number].add(own[number])
            if parents[number] != TOP:
                found[parents[number]].add(found[number])
        return found

    def _holders(self) -> dict[str, list[tuple[Crew, Amount]]]:
        """The gangs that hold accelerators, by queue."""
        if self._running is not None:
            return self._running
        found: dict[str, list[tuple[Crew, Amount]]] = {}
        for victim in self.session.crews.running():
            if victim.gang.queue:
                amount = accelerators(victim)
                if amount:
                    found.setdefault(victim.gang.queue, []).append((victim, amount))
        self._running = found
        return found


def for_room(verdict: Verdict) -> bool:
    """Whether a gang waits for what others hold."""
    fix = verdict.fix
    return verdict.reason in _FOR_ROOM or (fix is not None and fix.change in _FREEING)


def with_entitlement(verdict: Verdict, crew: Crew, entitlement: Entitlement) -> Verdict:
    """The verdict of a gang that waits for room, with why reclaim does not give it any. If what it could take
    is only left alone for a while, or others were served first, to wait is the nearest fix."""
    if not entitlement.asked or not for_room(verdict):
        return verdict
    told = entitlement.told(crew)
    if not told.facts:
        return verdict
    facts = (*verdict.facts, *told.facts)
    return Verdict(reason=verdict.reason, facts=facts, fix=told.fix or verdict.fix)


_FOR_ROOM = frozenset(
    {Reason.DEVICES_IN_USE, Reason.GANG_DOES_NOT_FIT, Reason.CONSTRAINT_NOT_MET, Reason.TOPOLOGY_NOT_MET}
)
_FREEING = frozenset({"freeDevices", "freeResource", "freePart"})
