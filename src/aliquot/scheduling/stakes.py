"""What running gangs have to lose: the same for many, so that it is judged once for all of them."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import NamedTuple

from aliquot.model.core import Pod
from aliquot.queues.amounts import GPU, UNIT, Amount, Charge, total
from aliquot.scheduling.accounts import Holding
from aliquot.scheduling.gang_state import leaf_groups
from aliquot.scheduling.nodes import Demand
from aliquot.scheduling.tallies import Tally
from aliquot.workloads.gang import Gang
from aliquot.workloads.sources.source import GroupKey
from aliquot.workloads.subgroups import selective


class Stake(NamedTuple):
    """priority: of the gang. elastic: it has more members than it needs, so that single pods may be asked.
    charge: the least that it loses if it loses anything, sorted by resource: of an elastic gang the least of
    each resource that any of its pods holds, of another all that it holds. smallest: the fewest accelerators
    of any of its pods, in billionths."""

    priority: int
    elastic: bool
    charge: tuple[tuple[str, Amount], ...]
    smallest: Amount


NOTHING = Stake(0, True, (), 0)


def least(stakes: Iterable[Stake]) -> Stake:
    """A stake than which none of these is smaller, in no respect: if it could not be lost, nor moved
    elsewhere, none of them could. NOTHING if there are none.

    Of {gpu: 2, cpu: 4} and {gpu: 1, cpu: 8} it holds {gpu: 1, cpu: 4}.
    """
    found: Stake | None = None
    for stake in stakes:
        if found is None:
            found = stake
            continue
        if stake == found:
            continue
        amounts = dict(stake.charge)
        found = Stake(
            min(found.priority, stake.priority),
            found.elastic or stake.elastic,
            tuple((name, min(amount, amounts[name])) for name, amount in found.charge if name in amounts),
            min(found.smallest, stake.smallest),
        )
    return NOTHING if found is None else found


@dataclass(frozen=True, slots=True)
class _Entry:
    """What a stake and a tally are worked out from, once somebody asks."""

    gang: Gang
    pods: Sequence[Pod]
    placed: Sequence[tuple[Pod, str, Demand]]
    numbers: Sequence[int | None]
    holdings: Sequence[Holding]


_Age = tuple[datetime, tuple[str, str, str]]
"""When a gang came to be, and its name: the larger, the younger."""


class Stakes:
    """The running gangs of a cluster by queue and by what they have to lose, and what they hold together.

    Kept from decision to decision, and worked out when somebody asks: where nobody wants to take anything,
    nobody does.
    """

    def __init__(self) -> None:
        self._new: dict[GroupKey, _Entry] = {}
        self._known: dict[GroupKey, tuple[str, Stake | None, Tally, bool]] = {}
        self._alike: dict[Stake, Stake] = {}
        self._groups: dict[str, dict[Stake, dict[GroupKey, _Age]]] = {}
        self._tallies: dict[str, Tally] = {}
        self._least: dict[str, Stake] = {}
        self._largest: dict[str, Amount] = {}
        self._sizes: dict[str, int] = {}
        self._divided: Counter[str] = Counter()
        self._lines: dict[str, list[tuple[GroupKey, Stake]]] = {}

    def enter(
        self,
        key: GroupKey,
        gang: Gang,
        pods: Sequence[Pod],
        placed: Sequence[tuple[Pod, str, Demand]],
        numbers: Sequence[int | None],
        holdings: Sequence[Holding],
    ) -> None:
        """Add a gang. pods: all of its group. placed: those that count on a node, with the numbers of the
        nodes. holdings: what counts for them in queues."""
        self._new[key] = _Entry(gang, pods, placed, numbers, holdings)

    def retract(self, key: GroupKey) -> None:
        """Take a gang out, if it is in."""
        self._new.pop(key, None)
        known = self._known.pop(key, None)
        if known is None:
            return
        queue, stake, tally, divided = known
        self._tallies[queue].add(tally, -1)
        self._divided[queue] -= divided
        if stake is not None:
            self._forget(queue)
            alike = self._groups[queue][stake]
            del alike[key]
            if not alike:
                del self._groups[queue][stake]
                self._least.pop(queue, None)

    def groups(self) -> Mapping[str, Mapping[Stake, Collection[GroupKey]]]:
        """By queue and stake the gangs that may be asked to leave; equal stakes are the same object."""
        self._catch_up()
        return self._groups

    def line(self, queue: str) -> Sequence[tuple[GroupKey, Stake]]:
        """The gangs of a queue that may be asked to leave with what they have to lose, the youngest first."""
        self._catch_up()
        found = self._lines.get(queue)
        if found is None:
            aged = [
                (age, (key, stake))
                for stake, alike in self._groups.get(queue, {}).items()
                for key, age in alike.items()
            ]
            aged.sort(key=itemgetter(0), reverse=True)
            found = self._lines[queue] = [entry for _, entry in aged]
        return found

    def size(self, queue: str) -> int:
        """How many gangs of a queue may be asked to leave."""
        self._catch_up()
        found = self._sizes.get(queue)
        if found is None:
            found = self._sizes[queue] = sum(map(len, self._groups.get(queue, {}).values()))
        return found

    def least(self, queue: str) -> Stake:
        """The least of what gangs of a queue have to lose, see `least`."""
        self._catch_up()
        found = self._least.get(queue)
        if found is None:
            found = self._least[queue] = least(self._groups.get(queue, ()))
        return found

    def largest(self, queue: str) -> Amount:
        """The most accelerators that any gang of a queue holds that may be asked to leave, in billionths."""
        self._catch_up()
        found = self._largest.get(queue)
        if found is None:
            known = self._known
            held = [known[key][2].amount for alike in self._groups.get(queue, {}).values() for key in alike]
            found = self._largest[queue] = max(held, default=0)
        return found

    def divided(self) -> list[str]:
        """The queues of which some gang holds a part of an accelerator."""
        self._catch_up()
        return [queue for queue, gangs in self._divided.items() if gangs]

    def tallies(self) -> Mapping[str, Tally]:
        """By queue what its gangs hold."""
        self._catch_up()
        return self._tallies

    def tally(self, key: GroupKey) -> Tally:
        """What a gang holds."""
        self._catch_up()
        known = self._known.get(key)
        return Tally() if known is None else known[2]

    def _forget(self, queue: str) -> None:
        """Of a queue of which a gang came or went, what is known of all of its gangs."""
        for known in (self._lines, self._largest, self._sizes):
            known.pop(queue, None)

    def _catch_up(self) -> None:
        for key, entry in self._new.items():
            queue = entry.gang.queue
            charges = _charges(entry)
            tally = Tally()
            held = sum(charge.get(GPU, 0) for charge in charges)
            tally.count(held, fixed=not entry.gang.preemptible)
            stake = _stake(entry, charges)
            if stake is not None:
                stake = self._alike.setdefault(stake, stake)
                alike = self._groups.setdefault(queue, {}).setdefault(stake, {})
                if not alike:
                    self._least.pop(queue, None)
                self._forget(queue)
                alike[key] = entry.gang.created, entry.gang.key
            self._tallies.setdefault(queue, Tally()).add(tally)
            divided = any(charge.get(GPU, 0) % UNIT for charge in charges)
            self._divided[queue] += divided
            self._known[key] = (queue, stake, tally, divided)
        self._new.clear()


def _charges(entry: _Entry) -> list[Charge]:
    """What each pod holds that keeps its place."""
    found: dict[int, Charge] = {
        id(pod): {}
        for (pod, _, _), number in zip(entry.placed, entry.numbers, strict=True)
        if number is not None and pod.metadata.deletion_timestamp is None
    }
    for holding in entry.holdings:
        before = found.get(id(holding.pod))
        if before is not None:
            found[id(holding.pod)] = total((before, holding.charge)) if before else holding.charge
    return list(found.values())


def _stake(entry: _Entry, charges: Sequence[Charge]) -> Stake | None:
    """What a gang has to lose; None for one that may not be asked, or of which nothing keeps a place."""
    gang = entry.gang
    if not gang.preemptible or not charges:
        return None
    elastic = _elastic(gang, entry.pods)
    if elastic:
        names = {name for charge in charges for name in charge}
        least: Charge = {name: min(charge.get(name, 0) for charge in charges) for name in names}
    else:
        least = charges[0] if len(charges) == 1 else total(charges)
    return Stake(
        gang.priority,
        elastic,
        tuple(sorted((name, amount) for name, amount in least.items() if amount)),
        min(charge.get(GPU, 0) for charge in charges),
    )


def _elastic(gang: Gang, pods: Sequence[Pod]) -> bool:
    """Whether some subgroup has more members than it needs, those counted that are leaving, and gives those
    up one by one."""
    if gang.together:
        return False
    if not gang.root.children and len(pods) <= gang.root.minimum:
        return False
    members = {pod.key for pod in gang.members}
    members |= {pod.key for pod in pods if pod.metadata.deletion_timestamp and pod.spec.node_name}
    if not gang.root.children:
        return len(members) > gang.root.minimum
    if selective(gang.root) and len(members) > gang.root.least:
        return True
    parts = list(leaf_groups(gang.root))
    count = dict.fromkeys((part.name for part in parts), 0)
    for key in members:
        name = gang.leaf_of.get(key, "")
        count[name if name in count else parts[0].name] += 1
    return any(count[part.name] > part.minimum for part in parts)
