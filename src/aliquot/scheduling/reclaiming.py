"""Reclaim: a queue below its fair share takes from queues above theirs, or one below its quota from those
above theirs."""

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from aliquot.model.verdicts import Fact, Reason, Verdict
from aliquot.queues.amounts import GPU, UNIT, Amount, Charge, shown
from aliquot.queues.held import Held
from aliquot.queues.order import VictimOrder
from aliquot.queues.reclaim import Reclaimer
from aliquot.queues.runtimes import protected
from aliquot.queues.tree import NO_BOUND
from aliquot.scheduling.asking import Batch, RuledOut
from aliquot.scheduling.gang_state import Crew, Member, Status, requires_closeness
from aliquot.scheduling.losses import bundles_of, by_crew, elastic, keeps_minimum
from aliquot.scheduling.outcomes import Legal, Outcome
from aliquot.scheduling.policy import Step
from aliquot.scheduling.session import Session
from aliquot.scheduling.stakes import NOTHING, Stake
from aliquot.scheduling.taking import Taker, for_workload
from aliquot.scheduling.wants import next_want

FIRST_BATCH = 16
GROWTH = 3
MOST_BATCH = 256
"""So many gangs at least are asked at first, those of the queues that have the least right to what they hold,
of each queue all; if they are not enough, so many times as many, and so on, up to so many at a time."""


class Reclaim(Taker):
    """Between queues."""

    def __init__(self, session: Session) -> None:
        super().__init__(session, Step.RECLAIM)
        self._mine: Reclaimer | None = None
        self._idle_known = (-1, 0.0)
        self._held: tuple[int, Held] | None = None
        self._beneath: dict[int, bool] = {}
        self._in_parts: frozenset[int] | None = None
        self._entitled: dict[tuple[str, bool, int], bool] = {}
        self._protecting = session.policy.min_runtimes and session.runtimes.reclaiming

    def entitled(self, crew: Crew) -> bool:
        policy = self._session.policy
        if not policy.fair_shares or policy.stepwise:
            return policy.fair_shares
        # Taking gives a queue no more than it is entitled to, so who has too much now has too much later.
        gang, want = crew.gang, next_want(crew, self._session.placer)
        if want.kind is None:
            return self._may_hold(gang.queue, want.charge, gang.preemptible)
        key = (gang.queue, gang.preemptible, want.kind)
        known = self._entitled.get(key)
        if known is None:
            known = self._entitled[key] = self._may_hold(gang.queue, want.charge, gang.preemptible)
        return known

    def _may_hold(self, queue: str, charge: Charge, preemptible: bool) -> bool:
        """Whether the queue and those above it are entitled to as much more."""
        session, held = self._session, self._holding()
        number = session.tree.numbers[queue]
        if not held.keeps_share(number, charge):
            return False
        if preemptible:
            return True
        wants = [charge.get(resource, 0) for resource in session.shares.resources]
        return held.refusal(number, wants, preemptible) is None

    def may_try(self, crew: Crew) -> bool:
        self._mine = self._reclaimer(crew)
        return self._mine.may_try() is None

    def in_vain(self, crew: Crew) -> bool:
        return super().in_vain(crew) or self._too_little(crew)

    def batches(self, crew: Crew, ruled_out: RuledOut) -> Iterator[Batch]:
        if self._session.policy.stepwise:
            yield from super().batches(crew, ruled_out)
            return
        found = {} if self._too_little(crew) else self._sides(crew)
        if found and self._too_little(crew, {side.number for side in found.values() if not side.lossless}):
            return
        stakes = self._session.crews.stakes()
        size = {name: stakes.size(name) for name in found}
        rest = sorted(found)
        most = FIRST_BATCH
        while rest:
            first: Collection[str] = rest
            if sum(size[name] for name in rest) > most:
                first = self._foremost(rest, size, most)
            if batch := self._batch(crew, first, found):
                yield batch
            rest = [name for name in rest if name not in first and not ruled_out.covers(name)]
            most = min(GROWTH * most, MOST_BATCH)

    def _too_little(self, crew: Crew, only: Collection[int] | None = None) -> bool:
        """Whether the gang wants more accelerators than are idle anywhere and may be lost by anybody
        together. only: the sides where something may be lost, as far as they are known."""
        want, mine = next_want(crew, self._session.placer), self._mine
        assert mine is not None
        if not want.exact or not want.charge.get(GPU) or want.in_parts:
            return False
        lacking = want.charge[GPU] - self._idle()
        if lacking <= 0 or self._below(mine.number):
            return False
        return mine.most(GPU, UNIT, self._divided(), self.candidates.largest, only) < lacking

    def _divided(self) -> frozenset[int]:
        """The queues in or below which somebody holds a part of an accelerator."""
        if self._in_parts is None:
            tree = self._session.tree
            numbers = [tree.numbers.get(queue) for queue in self._session.crews.stakes().divided()]
            ways = [tree.ways[number] for number in numbers if number is not None]
            self._in_parts = frozenset(step for way in ways for step in way)
        return self._in_parts

    def _below(self, queue: int) -> bool:
        """Whether something may be taken from queues above or below a queue, by its number."""
        found = self._beneath.get(queue)
        if found is None:
            tree, queues = self._session.tree, self.candidates.queues()
            found = self._beneath[queue] = any(tree.names[number] in queues for number in tree.kin(queue))
        return found

    def _batch(self, crew: Crew, names: Collection[str], sides: Mapping[str, "_Side"]) -> Batch:
        """The gangs of some queues that may be asked."""
        batch: dict[str, list[Crew]] = {}
        for name in sorted(names):
            side = sides[name]
            chosen = self.candidates.with_stakes(name, partial(self._may_lose, name, side))
            if self._protecting:
                chosen = [victim for victim in chosen if self.may_be_asked(crew, victim)]
            if chosen:
                batch[name] = chosen
        return batch

    def _foremost(self, queues: Iterable[str], size: Mapping[str, int], most: int) -> set[str]:
        """So many of the queues as have that many gangs, those first whose work is asked first."""
        session = self._session
        standing, stakes = session.standing(reverse=True), session.crews.stakes()
        order: VictimOrder[str] = VictimOrder(session.shares, session.state.queues, standing=standing)
        for name in queues:
            order.push(name, name, dict(stakes.least(name).charge), 0)
        names: set[str] = set()
        gangs = 0
        while gangs < most and (foremost := order.pop()) is not None:
            names.add(foremost)
            gangs += size[foremost]
        order.close()
        return names

    def _sides(self, crew: Crew) -> dict[str, "_Side"]:
        """The queues of which something might be lost for the gang, with the place where they are met."""
        mine, session = self._mine, self._session
        assert mine is not None
        most, idle = self._too_large_to_move(crew), self._idle()
        stakes, names = session.crews.stakes(), session.tree.names
        groups, queues = stakes.groups(), self.candidates.queues()
        found: dict[str, _Side] = {}
        for own, other, numbers in session.tree.rivals(mine.number):
            if not mine.may_take_from(own, other):
                continue
            there = [name for number in numbers if (name := names[number]) in queues and groups.get(name)]
            if not there:
                continue
            # If not even the least that anybody holds there may be lost, pods can only be moved.
            smallest = NOTHING if own == other else self.candidates.least(other, there)
            lossless = not mine.may_take_alone(there[0], dict(smallest.charge))
            if lossless and (idle < UNIT or not _may_move(smallest, most, idle)):
                continue
            # What may be lost is the same for all queues that are met at one place.
            found.update(dict.fromkeys(there, _Side(other, most, idle, lossless, {})))
        return found

    def _may_lose(self, queue: str, side: "_Side", stake: Stake) -> bool:
        """Whether a gang of the queue with this stake might make room for the gang."""
        known = side.judged.get(id(stake))
        if known is None:
            assert self._mine is not None
            known = side.judged[id(stake)] = _may_move(stake, side.most, side.idle) or (
                not side.lossless and self._mine.may_take_alone(queue, dict(stake.charge))
            )
        return known

    def may_be_asked(self, crew: Crew, victim: Crew) -> bool:
        if victim.gang.queue == crew.gang.queue:
            return False
        return elastic(victim) or not self._protected(crew, victim)

    def _too_large_to_move(self, crew: Crew) -> Amount | float:
        """How many accelerators a pod has at least whose move would make no room for the gang.

        A gang of pods with 2 gets nothing from a pod with 2 that could go elsewhere: where that could go, its
        own could. Where its pods have to be close together they could not.
        """
        most = next_want(crew, self._session.placer).largest
        return most if most and not requires_closeness(crew.gang.root) else NO_BOUND

    def _idle(self) -> float:
        """How many accelerators are idle in the whole cluster, in billionths, before anybody leaves."""
        changes = self._session.state.changes
        if self._idle_known[0] != changes:
            self._idle_known = changes, self._session.state.idle_accelerators().total() * UNIT + 1
        return self._idle_known[1]

    def may_give(self, victims: Sequence[Member]) -> bool:
        """Whether anything could come of asking these members of a gang to leave.

        If they have more accelerators than are idle anywhere they cannot all be placed again, so some of them
        would be lost: at least the least that the gang gives up at a time, which has to be allowed.
        """
        bundles = bundles_of(victims, _ANY)
        if sum(bundle.get(GPU, 0) for bundle in bundles) <= self._idle():
            return True
        queue, mine = victims[0].crew.gang.queue, self._mine
        assert mine is not None
        return any(mine.may_take_alone(queue, bundle) for bundle in bundles)

    def _reclaimer(self, crew: Crew) -> Reclaimer:
        session, gang = self._session, crew.gang
        charge, ledger = session.next_charge(crew), session.state.queues
        return Reclaimer(session.shares, ledger, gang.queue, charge, gang.preemptible, self._holding())

    def _holding(self) -> Held:
        """What queues hold as things stand."""
        session = self._session
        changes = session.state.changes
        if self._held is None or self._held[0] != changes:
            self._held = changes, Held(session.shares, session.state.queues)
        return self._held[1]

    def _protected(self, crew: Crew, victim: Crew) -> bool:
        if not self._protecting:
            return False
        session = self._session
        minimum = session.runtimes.reclaim(crew.gang.queue, victim.gang.queue)
        return bool(minimum) and protected(victim.gang.started, minimum, session.now)

    def side(self, crew: Crew, queue: str) -> Hashable:
        number, mine = self._session.tree.numbers[queue], self._mine
        assert mine is not None
        return self._session.tree.sides(mine.number, number)

    def rule(self, crew: Crew) -> Legal:
        session = self._session
        whole = self._reclaimer(crew)
        protected = partial(self._protected, crew) if self._protecting else None
        lost = {Status.EVICTED} if session.policy.move_victims else set(Status)

        def legal(members: Sequence[Member], outcome: Outcome) -> bool:
            reclaimer = whole
            if session.policy.stepwise:
                reclaimer = whole.wanting(session.placer.wanted(members))
            bundles: dict[str, list[Charge]] = {}
            for victim, asked in by_crew(outcome.asked):
                bundles.setdefault(victim.gang.queue, []).extend(bundles_of(asked, lost))
            if reclaimer.may_take(bundles) is not None:
                return False
            return keeps_minimum(outcome.asked, protected)

        return legal

    def verdict(self, crew: Crew, member: Member) -> Verdict:
        assert self._mine is not None
        queues = (crew.gang.queue, member.crew.gang.queue)
        shares = [fact for queue in queues for fact in share_facts(self._session, queue, self._mine)]
        return Verdict(reason=Reason.RECLAIMED, facts=(for_workload(crew), *shares))


@dataclass(frozen=True, slots=True)
class _Side:
    """Queues that are met at one place. number: of that side. most: see `_too_large_to_move`. idle: see
    `_idle`. lossless: pods there can only be moved. judged: by the id of a stake whether it may be lost, or
    moved."""

    number: int
    most: Amount | float
    idle: float
    lossless: bool
    judged: dict[int, bool]


_ANY = frozenset(Status)


def _may_move(stake: Stake, most: Amount | float, idle: float) -> bool:
    """Whether a gang might make room and lose nothing: its pods are smaller than `most`, and what is idle may
    do for them elsewhere."""
    if stake.smallest >= most:
        return False
    return (stake.smallest if stake.elastic else dict(stake.charge).get(GPU, 0)) <= idle


def share_facts(session: Session, queue: str, before: Reclaimer) -> list[Fact]:
    """What a queue held of its fair share before anything was taken, of each resource that the work wants."""
    number = session.tree.numbers[queue]
    amounts = zip(session.shares.resources, before.held(number), before.wanted, strict=True)
    return [
        Fact(
            test="fairShare",
            subject=f"{queue}/{resource}",
            wanted=shown(session.shares.share(queue, resource), resource),
            available=shown(amount, resource),
        )
        for resource, amount, wanted in amounts
        if wanted
    ]
