"""Which gangs may be asked to leave, and in which order."""

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence

from aliquot.queues.amounts import Amount, Charge, total
from aliquot.queues.order import VictimOrder
from aliquot.scheduling.chunks import may_leave
from aliquot.scheduling.gang_state import ALLOCATED, Crew, Status, fullness
from aliquot.scheduling.session import Session
from aliquot.scheduling.stakes import Stake, least
from aliquot.scheduling.steps import holds_as_much
from aliquot.workloads.sources.source import GroupKey


class Candidates:
    """The gangs of a decision that run and may be asked at all: preemptible work in queues.

    Stepwise, those too that this decision gave a place.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._given = session.policy.stepwise
        self._by_queue: dict[str, list[Crew]] = {}
        self._least: dict[int, Stake] = {}
        self._largest: list[Amount] = []
        self._lines: dict[str, list[tuple[GroupKey, int, Crew | None]]] = {}
        self._queues = frozenset(session.crews.queues()) if not self._given else frozenset([""])

    def queues(self) -> Collection[str]:
        """The queues that may have some."""
        return self._queues

    def of(self, queue: str) -> Iterator[Crew]:
        """Those of a queue, the youngest first; stepwise, those of all queues under "" instead."""
        found = self._by_queue.get(queue)
        if found is None or self._given:
            found = self._by_queue[queue] = sorted(
                (crew for crew in self._all(queue) if crew.gang.preemptible and crew.gang.queue),
                key=_age,
                reverse=True,
            )
        return filter(self._may_leave, found)

    def with_stakes(self, queue: str, may_lose: Callable[[Stake], bool]) -> list[Crew]:
        """Those of a queue that have to lose what they may lose, the youngest first. What this decision did
        to a gang does not change its stake, so each stake is judged once, and each gang looked up once."""
        stakes, at = self._session.crews.stakes(), self._session.crews.at
        line = self._lines.get(queue)
        if line is None:
            line = self._lines[queue] = [(key, id(stake), None) for key, stake in stakes.line(queue)]
        lost = {id(stake) for stake in stakes.groups().get(queue, ()) if may_lose(stake)}
        found: list[Crew] = []
        for place, (key, stake, crew) in enumerate(line):
            if stake not in lost:
                continue
            if crew is None:
                crew = at(key)
                line[place] = key, stake, crew
            if not crew.touched or self._may_leave(crew):
                found.append(crew)
        return found

    def least(self, side: int, queues: Iterable[str]) -> Stake:
        """The least of what anybody has to lose in the queues on one side, by the number of that."""
        found = self._least.get(side)
        if found is None:
            stakes = self._session.crews.stakes()
            found = self._least[side] = least(stakes.least(queue) for queue in queues)
        return found

    def largest(self, number: int) -> Amount:
        """The most accelerators that any of them holds in or below a queue, by its number, in billionths."""
        if not self._largest:
            tree, stakes = self._session.tree, self._session.crews.stakes()
            largest: list[Amount] = [0] * len(tree.names)
            for queue in self._queues:
                own = tree.numbers.get(queue)
                if own is None:
                    continue
                amount = stakes.largest(queue)
                for step in tree.ways[own]:
                    if amount <= largest[step]:
                        break
                    largest[step] = amount
            self._largest = largest
        return self._largest[number]

    def _may_leave(self, crew: Crew) -> bool:
        if not crew.touched and not self._given:
            # Whatever of it has a place was running before.
            return bool(crew.allocated)
        return any(may_leave(member, self._given) for member in crew.members)

    def _all(self, queue: str) -> Iterable[Crew]:
        crews = self._session.crews
        if not self._given:
            return crews.running_of(queue)
        return {id(item): item for item in (*crews.running(), *crews.waiting.values())}.values()


Batch = Mapping[str, Sequence[Crew]]
"""Gangs by queue, the youngest first."""

Costs = Callable[[Sequence[Crew]], Mapping[int, tuple[int, ...]]]
"""By the id of a gang, what decides before its youth which of a queue is asked first."""


class RuledOut:
    """Queues of which nobody is asked any more for a gang: those on a side of which so much may not be taken,
    if nobody there would give up less."""

    def __init__(self, least: Callable[[str], Stake], side: Callable[[str], Hashable]) -> None:
        """least: the least that anybody in a queue has to lose. side: equal for queues of which equally much
        may be taken."""
        self._least = least
        self._side = side
        self._charges: dict[Hashable, list[Charge]] = {}

    def add(self, side: Hashable, charge: Charge) -> None:
        self._charges.setdefault(side, []).append(charge)

    def covers(self, queue: str) -> bool:
        if not self._charges:
            return False
        charges = self._charges.get(self._side(queue))
        return bool(charges) and holds_as_much(dict(self._least(queue).charge), charges or ())


class Asked:
    """Gangs in the order in which they are asked, those with the least right to stay first.

    Asked in one state of the cluster: that in which this was made.
    """

    def __init__(
        self,
        session: Session,
        batches: Iterator[Batch],
        costs: Costs | None,
        ruled_out: "RuledOut",
    ) -> None:
        """batches: one is asked after the other; each has queues of its own, and is looked at only once those
        before it were not enough, in the state of the cluster as it was for the first."""
        self._batches = batches
        self._ruled_out = ruled_out
        self._asked: set[str] = set()
        self._rate = costs
        self._costs: dict[int, tuple[int, ...]] = {}
        self._youth: dict[int, int] = {}
        self._policy = session.policy
        standing = session.standing(reverse=True)
        self._order: VictimOrder[Crew] = VictimOrder(session.shares, session.state.queues, standing=standing)
        # Whoever asks has taken back what was tried before, so queues always hold what they hold now.
        self._order.close()

    def gather(self, enough: Callable[[Iterable[Crew]], bool], most: int | None) -> bool:
        """Take in batches, together, until they are enough; False, and nobody is asked, if all are not, or as
        many gangs as `most`. enough: whether the room of these and of all those before them may do."""
        found: dict[str, Sequence[Crew]] = {}
        count = 0
        for batch in self._batches:
            found.update(batch)
            count += sum(map(len, batch.values()))
            if enough(crew for crews in batch.values() for crew in crews):
                self._take_in(found)
                return True
            if most is not None and count >= most:
                break
        return False

    def _go_on(self) -> bool:
        """Take in the next batch; whether there is one."""
        found = next(self._batches, None)
        if found is None:
            return False
        self._take_in(found)
        return True

    def _take_in(self, found: Batch) -> None:
        self._asked.update(found)
        if self._rate is not None:
            self._costs.update(self._rate([crew for crews in found.values() for crew in crews]))
        for queue, crews in found.items():
            self._youth.update((id(crew), rank) for rank, crew in enumerate(crews))
            work = [(self._key(crew, frozenset()), crew) for crew in crews]
            work.sort(key=_first)
            self._order.feed(queue, ((key, crew, self._holds(crew)) for key, crew in work))

    def pop(self) -> Crew | None:
        """The next; None if there is no more."""
        while True:
            found = self._order.pop()
            if found is not None or not self._go_on():
                return found

    def push(self, crew: Crew, asked: set[int]) -> None:
        """Put back a gang that can give more; asked: ids of members that have been asked already."""
        if crew.gang.queue in self._asked:
            self._order.push(crew.gang.queue, crew, self._holds(crew, asked), self._key(crew, asked))

    def rule_out(self, side: Hashable, charge: Charge) -> None:
        """Leave out the queues on one side in which nobody would give up less than this."""
        self._ruled_out.add(side, charge)
        for queue in [queue for queue in self._asked if self._ruled_out.covers(queue)]:
            self._order.drop(queue)
            self._asked.discard(queue)

    def _holds(self, crew: Crew, asked: set[int] | frozenset[int] = frozenset()) -> Charge:
        """What a gang would give up; stepwise, what was only promised is nothing."""
        return held(crew, asked, promised=not self._policy.stepwise)

    def _key(self, crew: Crew, asked: set[int] | frozenset[int]) -> tuple[object, ...]:
        policy = self._policy
        return (
            crew.gang.priority if policy.by_priority else 0,
            -_fullness(crew, asked) if policy.by_elasticity else 0,
            self._costs.get(id(crew), ()),
            self._youth[id(crew)],
        )


def _age(crew: Crew) -> tuple[object, ...]:
    return (crew.gang.created, crew.gang.key)


def held(
    crew: Crew,
    asked: set[int] | frozenset[int] = frozenset(),
    *,
    promised: bool = True,
) -> Charge:
    """What the members hold that have their place and have not been asked. promised: those count, too, that
    were only promised it."""
    if not asked and not crew.touched:
        if crew.holds is None:
            crew.holds = _held(crew, asked, promised)
        return crew.holds
    return _held(crew, asked, promised)


def _held(crew: Crew, asked: set[int] | frozenset[int], promised: bool) -> Charge:
    found: list[Charge] = []
    for member in crew.members:
        hold, status = member.hold, member.status
        if hold is None or id(member) in asked:
            continue
        if status is Status.RUNNING or status is Status.PLACED or (promised and status is Status.PROMISED):
            found.append(hold.charge)
    return found[0] if len(found) == 1 else total(found)


def _first(item: tuple[tuple[object, ...], Crew]) -> tuple[object, ...]:
    return item[0]


def _fullness(crew: Crew, asked: set[int] | frozenset[int]) -> int:
    """As Crew.fullness, once those asked are gone."""
    if not asked:
        return crew.fullness
    if crew.lines is not None:
        left_of = {
            name: sum(1 for item in leaf.members if item.status in ALLOCATED and id(item) not in asked)
            for name, leaf in crew.leaves.items()
        }
        return fullness(crew, left_of.__getitem__)
    above = 0
    for leaf in crew.leaves.values():
        left = sum(1 for member in leaf.members if member.status in ALLOCATED and id(member) not in asked)
        if left < leaf.minimum:
            return -1
        above = max(above, int(left > leaf.minimum))
    return above
