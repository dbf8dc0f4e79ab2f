"""Starting gangs on what is free: in turn, each as a whole, and pod by pod beyond its minimum."""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice

from aliquot.model.index import Key
from aliquot.model.meta import ObjectRef
from aliquot.model.verdicts import Fact, Reason, Verdict
from aliquot.queues.amounts import GPU
from aliquot.scheduling.blockers import room_reason
from aliquot.scheduling.choosing import MOST_CHOICES, beyond, ways
from aliquot.scheduling.chunks import next_members
from aliquot.scheduling.explaining import Explainer
from aliquot.scheduling.facts import PodFacts
from aliquot.scheduling.gang_placing import promise_all
from aliquot.scheduling.gang_state import Crew, Member, Status, Want
from aliquot.scheduling.holding import Holding
from aliquot.scheduling.placing import Failure, When
from aliquot.scheduling.pod_placement import PodPlacement
from aliquot.scheduling.reservations import Reservations
from aliquot.scheduling.session import Session
from aliquot.scheduling.state import ClusterState
from aliquot.scheduling.wants import closeness_of, next_want

MOST_SWAPS = 16
"""How many members of a gang, with those like them, may be left out because they find no place."""


class Starter:
    """Gives gangs what is free now, or what will be free by what is leaving already."""

    def __init__(
        self,
        session: Session,
        explainer: Explainer,
        sharers: Callable[[Member], list[Member]],
        take: Callable[[Crew], None],
    ) -> None:
        """sharers: members that wait for a claim that this one wants and that is not allocated yet. take: has
        others leave for a gang if that is entitled to their room."""
        self._session = session
        self._explainer = explainer
        self._sharers = sharers
        self._take = take
        self._failed: dict[tuple[object, ...], Verdict] = {}
        self._blocking: dict[str, ObjectRef] = {}
        self._holding = Holding(session)
        self._behind_held: dict[object, Verdict | None] = {}
        self._passed: list[tuple[Crew, Want, Verdict]] = []

    def run(self) -> None:
        """Start whatever can be started."""
        session = self._session
        for crew in session.crews.waiting.values():
            if not crew.waiting:
                verdict = session.check(crew)
                if verdict is not None:
                    session.findings.waits(crew, verdict)
        alone = [crew for crew in session.crews.waiting.values() if crew.waiting and not crew.gang.queue]
        for single in sorted(alone, key=session.sort_key):
            while self._serve(single) and single.waiting:
                pass
        Reservations(session).serve(self._may_try, self._serve, self._take)
        crews = session.crews.waiting.values()
        order = session.in_turn(
            (crew for crew in crews if crew.waiting and self._may_try(crew)), self._hopeful
        )
        self._refuse_passed()
        while (turn := order.pop()) is not None:
            if self._serve(turn) and turn.waiting:
                session.push(order, turn)
            self._refuse_passed()
        order.close()

    def _hopeful(self, crew: Crew) -> bool:
        """Whether a gang needs a turn to find out if it can be started. One like those that failed before is
        refused right after the turn of the gang before it in its queue."""
        if self._session.policy.strict_fifo:
            return True
        want = next_want(crew, self._session.placer)
        if not want.members:
            return True
        known = self._known(crew, want, self._keys(crew, want))
        if known is not None:
            self._passed.append((crew, want, known))
        return known is None

    def _refuse_passed(self) -> None:
        for crew, want, verdict in self._passed:
            self._refuse(crew, want, verdict)
        self._passed.clear()

    def _may_try(self, crew: Crew) -> bool:
        if not crew.gang.queue:
            return False
        verdict = self._session.check(crew)
        if verdict is not None:
            self._session.findings.waits(crew, verdict)
        return verdict is None

    def _serve(self, crew: Crew) -> bool:
        """Place the next members of a gang; whether that could be done."""
        session = self._session
        policy, placer, gang = session.policy, session.placer, crew.gang
        if not gang.queue:
            verdict = session.check(crew)
            if verdict is not None:
                session.findings.waits(crew, verdict)
                return False
        if policy.strict_fifo and gang.queue in self._blocking:
            blocker = Fact(test="queueOrder", subject=str(self._blocking[gang.queue]))
            session.findings.waits(crew, Verdict(reason=Reason.BEHIND_IN_QUEUE, facts=(blocker,)))
            return False
        want = next_want(crew, placer)
        if not want.members:
            return False
        found = self._place(crew, want)
        if isinstance(found, Verdict):
            self._refuse(crew, want, found)
            return False
        if promise_all(crew, [item.member for item in found]):
            for placement in found:
                if placement.member.status is Status.PLACED:
                    session.state.defer(placement.member)
        fresh = [item.member for item in found if item.member.status is Status.PLACED]
        session.findings.settling.update(id(member) for member in session.settling.too_early(fresh))
        session.findings.served(crew)
        return True

    def _refuse(self, crew: Crew, want: Want, verdict: Verdict) -> None:
        """Note why a gang waits, and that others wait behind it."""
        gang = crew.gang
        self._session.findings.waits(crew, verdict)
        if room_reason(verdict.reason) and gang.queue:
            self._blocking.setdefault(gang.queue, gang.ref)
            self._holding.consider(crew, want, verdict.reason)

    def _keys(self, crew: Crew, want: Want) -> tuple[tuple[object, ...], ...]:
        """What the failure of a gang is remembered by: by the first for want of room, for whatever gang; by
        the second by the terms of its queue. Empty for a gang that is like no other."""
        gang, root, state = crew.gang, crew.gang.root, self._session.state
        if want.kind is not None and state.neighbours.open:
            if (root.children or root.constraint is not None) and crew.allocated:
                return ()
            return ((None, want.kind), (gang.queue, gang.preemptible, want.kind))
        shapes = shapes_of(crew, want, state)
        return () if shapes is None else ((None, shapes), (gang.queue, gang.preemptible, shapes))

    def _known(self, crew: Crew, want: Want, keys: Sequence[tuple[object, ...]]) -> Verdict | None:
        """Why gangs like this one could not be started before, and so neither can this."""
        for key in keys:
            known = self._failed.get(key)
            if known is not None:
                return None if self._has_others(crew, want.members) else known
        return None

    def _place(self, crew: Crew, want: Want) -> list[PodPlacement] | Verdict:
        """Place the members or say why they cannot be; equal ones that failed before fail at once."""
        session = self._session
        state, gang, members = session.state, crew.gang, want.members
        keys = self._keys(crew, want)
        known = self._known(crew, want, keys)
        if known is not None:
            return known
        if gang.queue and want.exact:
            # Else what claims count for is known only with their devices: parts of one, or shared by several.
            excess = state.queues.excess(gang.queue, want.charge, preemptible=gang.preemptible)
            if excess is not None:
                heaviest = max(members, key=lambda member: session.placer.wanted([member]).get(GPU, 0))
                others = self._others_instead(crew, members, Failure(heaviest, excess))
                if others is not None:
                    return others
                verdict = self._explainer.over_limit(excess)
                if keys:
                    self._failed[keys[1]] = verdict
                return verdict
        bands = self._holding.bands(crew, want)
        meeting = self._meeting_point(members)
        more = () if crew.lines is None else beyond(crew, members)
        found = session.placer.place(crew, members, When.EITHER, bands, first=meeting, beyond=more)
        if not isinstance(found, Failure):
            return found
        others = self._others_instead(crew, members, found, bands)
        if others is not None:
            return others
        behind = None if bands is None else self._behind(crew, want, bands, keys)
        if behind is not None:
            return behind
        if any(member.facts is not None and member.facts.alternative for member in members):
            before = [member.facts for member in members]
            for member in members:
                assert member.facts is not None
                if member.facts.alternative is not None:
                    state.change_facts(member, member.facts.alternative)
            again = session.placer.place(crew, members, When.EITHER, bands)
            if not isinstance(again, Failure):
                return again
            found = again
            verdict = self._explainer.explain(gang, members, found)
            for member, facts in zip(members, before, strict=True):
                member.facts = facts
            return verdict
        verdict = self._explainer.explain(gang, members, found)
        if keys and verdict.reason is not Reason.INVALID_CLAIM:
            limited = verdict.reason in (Reason.OVER_LIMIT, Reason.OVER_QUOTA)
            self._failed[keys[1] if limited else keys[0]] = verdict
        return verdict

    @staticmethod
    def _has_others(crew: Crew, members: Sequence[Member]) -> bool:
        """Whether members of another kind wait besides these."""
        if len(members) == crew.unplaced:
            return False
        shapes = {None if member.facts is None else member.facts.shape for member in members}
        return any(
            member.status is Status.WAITING and member.facts is not None and member.facts.shape not in shapes
            for member in crew.members
        )

    def _behind(
        self, crew: Crew, want: Want, bands: list[int], keys: Sequence[tuple[object, ...]]
    ) -> Verdict | None:
        """The verdict on a gang that could only be started where room is held for another."""
        key: tuple[tuple[int, ...], tuple[object, ...]] | None = (tuple(bands), keys[0]) if keys else None
        if key not in self._behind_held:
            self._behind_held[key] = self._holding.verdict(crew, want)
        found = self._behind_held[key]
        if key is None:
            del self._behind_held[key]
        return found

    def _others_instead(
        self, crew: Crew, members: Sequence[Member], failure: Failure, bands: Sequence[int] | None = None
    ) -> list[PodPlacement] | None:
        """Where a gang has more members than it needs next, others instead of one that finds no place, and
        of those like it; None if that does not help."""
        session = self._session
        policy, placer = session.policy, session.placer
        if crew.lines is not None:
            other = self._other_subgroups(crew, bands)
            if other is not None:
                return other
        spare = crew.unplaced - len(members)
        without: set[int] = set()
        for _ in range(min(policy.gang_search, MOST_SWAPS)):
            if spare <= len(without):
                return None
            odd = failure.member
            assert odd.facts is not None
            shape = odd.facts.shape
            for member in odd.leaf.members:
                alike = shape is not None and member.facts is not None and member.facts.shape == shape
                if member is odd or alike:
                    without.add(id(member))
            chosen = next_members(crew, placer.rank, policy.by_fill, without=without)
            if not chosen or (crew.lines is None and not _serves_as_well(crew, chosen, members)):
                return None
            found = placer.place(crew, chosen, When.EITHER, bands)
            if not isinstance(found, Failure):
                return found
            failure = found
        return None

    def _other_subgroups(self, crew: Crew, bands: Sequence[int] | None) -> list[PodPlacement] | None:
        """Other subgroups instead of those that the gang wants next, where it can do without some."""
        session = self._session
        policy, placer = session.policy, session.placer
        most = min(policy.gang_search, MOST_CHOICES)
        for chosen in islice(ways(crew, placer.rank, policy.by_fill), 1, 1 + most):
            more = beyond(crew, chosen)
            found = placer.place(crew, chosen, When.EITHER, bands, beyond=more)
            if not isinstance(found, Failure):
                return found
        return None

    def _meeting_point(self, members: Sequence[Member]) -> int | None:
        """Where to start a pod whose new claim other waiting pods share, so that they find room beside it."""
        if len(members) != 1:
            return None
        facts = members[0].facts
        assert facts is not None
        if facts.claims_shape is not None or not facts.wanted:
            return None
        sharers = self._sharers(members[0])
        if not sharers:
            return None
        return self._session.placer.placer.meeting_point([members[0], *sharers])


def _serves_as_well(crew: Crew, chosen: Sequence[Member], members: Sequence[Member]) -> bool:
    """Whether a gang that needs all of its subgroups gets by some members what it gets by others: of those
    that it must have, as many of each subgroup."""
    if len(chosen) < len(members):
        return False
    if len(crew.leaves) == 1 or crew.fullness >= 0:
        return True
    return Counter(id(member.leaf) for member in chosen) == Counter(id(member.leaf) for member in members)


def shapes_of(crew: Crew, want: Want, state: ClusterState) -> tuple[object, ...] | None:
    """Equal for members of which one cannot be placed if the other could not, in this order of decisions.

    Pods that share claims are alike if they share the same ones, as long as those stay without devices. Where
    pods on nodes avoid others, labels matter. None for pods with affinity of their own: more pods to be near
    may come to stand somewhere; and for gangs tied to domains by members that have their place.
    """
    found: list[object] = []
    root, members = crew.gang.root, want.members
    if want.shapes is not None and not root.children and root.constraint is None and state.neighbours.open:
        return want.shapes
    if root.children or root.constraint is not None:
        if crew.allocated:
            return None
        found.append(closeness_of(crew, members))
    concerns = state.neighbours.concerns
    for member in members:
        item = member.facts
        assert item is not None
        if item.traits.social:
            return None
        if concerns(item.pod):
            meta = item.pod.metadata
            found.append((meta.namespace, tuple(sorted(meta.labels.items()))))
        if item.shape is not None:
            found.append(item.shape)
            continue
        found.append(_own_shape(item, state))
    return tuple(found)


def _own_shape(item: PodFacts, state: ClusterState) -> tuple[object, ...]:
    traits = item.traits
    claims: tuple[tuple[Key, bool], ...] = tuple(
        (claim.key, state.claims.allocation(claim) is not None) for claim in item.claims.claims
    )
    return (traits.constraints, claims, traits.demand.items, traits.demand.ports, item.device_part)
