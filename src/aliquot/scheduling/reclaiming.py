"""Reclaim: a queue below its fair share takes from queues above theirs, or one below its quota from those
above theirs."""

from collections.abc import Sequence
from functools import partial

from aliquot.model.verdicts import Fact, Reason, Verdict
from aliquot.queues.amounts import GPU, UNIT, Amount, Charge, shown
from aliquot.queues.reclaim import Reclaimer
from aliquot.queues.runtimes import protected
from aliquot.queues.tree import NO_BOUND
from aliquot.scheduling.gang_state import Crew, Member, Status, requires_closeness
from aliquot.scheduling.losses import bundles_of, by_crew, elastic, keeps_minimum
from aliquot.scheduling.making_room import Legal, Outcome
from aliquot.scheduling.session import Session
from aliquot.scheduling.stakes import Stake
from aliquot.scheduling.taking import Taker, for_workload
from aliquot.scheduling.wants import next_want


class Reclaim(Taker):
    """Between queues."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._mine: Reclaimer | None = None
        self._idle_known = (-1, 0.0)
        self._protecting = session.policy.min_runtimes and session.runtimes.reclaiming

    def entitled(self, crew: Crew) -> bool:
        policy = self._session.policy
        if not policy.fair_shares or policy.stepwise:
            return policy.fair_shares
        # Taking gives a queue no more than it is entitled to, so who has too much now has too much later.
        return self._reclaimer(crew).may_try() is None

    def may_try(self, crew: Crew) -> bool:
        self._mine = self._reclaimer(crew)
        return self._mine.may_try() is None

    def victims(self, crew: Crew) -> dict[str, list[Crew]]:
        if self._session.policy.stepwise:
            return super().victims(crew)
        mine, tree = self._mine, self._session.tree
        assert mine is not None
        most, idle = self._too_large_to_move(crew), self._idle()
        found: dict[str, list[Crew]] = {}
        for own, other, queues in tree.rivals(mine.number):
            if not mine.may_take_from(own, other):
                continue
            names = [name for number in queues if (name := tree.names[number]) in self.candidates.queues()]
            if not names:
                continue
            # If nothing at all may be lost there, pods can only be moved.
            lossless = not mine.may_take_alone(names[0], {})
            if lossless and idle < UNIT:
                continue
            # What may be lost is the same for all queues that are met at one place.
            judged: dict[int, bool] = {}
            for name in names:

                def may_lose(
                    stake: Stake,
                    name: str = name,
                    judged: dict[int, bool] = judged,
                    lossless: bool = lossless,
                ) -> bool:
                    known = judged.get(id(stake))
                    if known is None:
                        moves = _may_move(stake, most, idle)
                        known = moves or (not lossless and mine.may_take_alone(name, dict(stake.charge)))
                        judged[id(stake)] = known
                    return known

                chosen = self.candidates.with_stakes(name, may_lose)
                chosen = [victim for victim in chosen if self.may_be_asked(crew, victim)]
                if chosen:
                    found[name] = chosen
        return dict(sorted(found.items()))

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
            self._idle_known = changes, sum(self._session.state.idle_accelerators()) * UNIT + 1
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
        return Reclaimer(
            session.shares, session.state.queues, gang.queue, session.next_charge(crew), gang.preemptible
        )

    def _protected(self, crew: Crew, victim: Crew) -> bool:
        if not self._protecting:
            return False
        session = self._session
        minimum = session.runtimes.reclaim(crew.gang.queue, victim.gang.queue)
        return bool(minimum) and protected(victim.gang.started, minimum, session.now)

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
