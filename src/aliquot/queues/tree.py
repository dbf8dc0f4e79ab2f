"""The tree of queues: who is below whom, and what each is entitled to.

Queues that can be used have numbers, by which everything that is counted often is stored: 0, 1, ... with
every queue after the one above it.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from aliquot.model.queue import Queue, QueueResource
from aliquot.queues.amounts import GPU, UNIT, Amount, Charge, exact, shown, total

__all__ = [
    "DEFAULT_PRIORITY",
    "GPU",
    "NO_BOUND",
    "TOP",
    "UNIT",
    "Amount",
    "Bound",
    "Charge",
    "Excess",
    "QueueProblem",
    "QueueTree",
    "exact",
    "shown",
    "total",
]

Bound = Amount | float
"""An amount, or NO_BOUND. The only float that a Bound ever is, is NO_BOUND."""

NO_BOUND = math.inf
"""The quota or limit of a queue that has no bound; compares with amounts as the largest of all."""

TOP = -1
"""The number of what is above the tops of the tree."""

DEFAULT_PRIORITY = 100
"""The priority of work outside all queues: that of a Queue that sets none."""


@dataclass(frozen=True, slots=True)
class QueueProblem:
    """Why a queue cannot be used. kind: "missing" (no such queue), "parentMissing" or "cycle"; subject: the
    name that is missing, or a queue on the cycle."""

    kind: str
    subject: str


@dataclass(frozen=True, slots=True)
class Excess:
    """A term that would be exceeded: used + wanted > limit in `queue` (amounts in billionths).

    term: "limit", which nothing may exceed, or "quota", which work that cannot be preempted may not exceed;
    used is then what such work holds.
    """

    queue: str
    resource: str
    used: Amount
    wanted: Amount
    limit: int
    term: str = "limit"

    @property
    def short(self) -> Amount:
        return exact(self.used + self.wanted - self.limit)


class Rivals(NamedTuple):
    """Queues that meet a queue at one place of the tree.

    own, other: the two that are compared: the first pair, from the top, of queues above or equal to the queue
    and to these that differ. Where one queue is above the other no pair differs, and both are the upper one.
    queues: the numbers of those that are met there.
    """

    own: int
    other: int
    queues: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class QueueTree:
    """Queues by name, with their chains of parents.

    Build it with `of`. `paths` holds, for every usable queue, its name and those above it up to the top;
    `problems` holds every queue whose chain is broken.

    By number: names, numbers (of a name), parents (TOP at the top), ways (the queue and all above it),
    below (the queues right below, in order of number; also of TOP), priorities, and ages (0 the oldest; by
    creation, then name; queues without a creation time are the youngest).
    """

    queues: Mapping[str, Queue]
    paths: Mapping[str, tuple[str, ...]]
    problems: Mapping[str, QueueProblem]
    terms: Mapping[str, Mapping[str, QueueResource]]
    names: tuple[str, ...] = ()
    numbers: Mapping[str, int] = field(default_factory=dict)
    parents: tuple[int, ...] = ()
    ways: tuple[tuple[int, ...], ...] = ()
    below: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    priorities: tuple[int, ...] = ()
    ages: tuple[int, ...] = ()
    _rivals: dict[int, tuple["Rivals", ...]] = field(default_factory=dict, compare=False, repr=False)
    _kin: dict[int, tuple[int, ...]] = field(default_factory=dict, compare=False, repr=False)

    @staticmethod
    def of(queues: Iterable[Queue]) -> "QueueTree":
        by_name = {queue.name: queue for queue in queues}
        paths: dict[str, tuple[str, ...]] = {}
        problems: dict[str, QueueProblem] = {}
        for name in by_name:
            found = _path(by_name, name)
            if isinstance(found, QueueProblem):
                problems[name] = found
            else:
                paths[name] = found
        terms = {
            name: {resource.name: resource for resource in queue.spec.resources}
            for name, queue in by_name.items()
        }
        names = tuple(sorted(paths, key=lambda name: (len(paths[name]), name)))
        numbers = {name: number for number, name in enumerate(names)}
        ways = tuple(tuple(numbers[step] for step in paths[name]) for name in names)
        parents = tuple(way[1] if len(way) > 1 else TOP for way in ways)
        below: dict[int, list[int]] = {number: [] for number in range(TOP, len(names))}
        for number, parent in enumerate(parents):
            below[parent].append(number)
        oldest = sorted(range(len(names)), key=lambda number: _age(by_name[names[number]]))
        ages = [0] * len(names)
        for age, number in enumerate(oldest):
            ages[number] = age
        return QueueTree(
            by_name,
            paths,
            problems,
            terms,
            names,
            numbers,
            parents,
            ways,
            {number: tuple(found) for number, found in below.items()},
            tuple(by_name[name].spec.priority for name in names),
            tuple(ages),
        )

    def problem(self, name: str) -> QueueProblem | None:
        """Why the queue cannot be used, or None."""
        if name not in self.queues:
            return QueueProblem("missing", name)
        return self.problems.get(name)

    def path(self, name: str) -> tuple[str, ...]:
        """The queue and all above it, the top last; empty for a queue that cannot be used."""
        return self.paths.get(name, ())

    def children(self, name: str) -> tuple[str, ...]:
        """The queues right below `name` ("" for the tops), in order: higher priority first, then by name."""
        found = [queue for queue in self.queues.values() if queue.spec.parent == name]
        return tuple(queue.name for queue in sorted(found, key=lambda item: (-item.spec.priority, item.name)))

    def rivals(self, number: int) -> tuple[Rivals, ...]:
        """All other queues, by where in the tree they meet this one; worked out once for each queue."""
        found = self._rivals.get(number)
        if found is None:
            met: dict[tuple[int, int], list[int]] = {}
            for other in range(len(self.names)):
                if other != number:
                    met.setdefault(self.sides(number, other), []).append(other)
            found = self._rivals[number] = tuple(
                Rivals(*pair, tuple(numbers)) for pair, numbers in met.items()
            )
        return found

    def kin(self, number: int) -> tuple[int, ...]:
        """The queues above a queue and below it; worked out once for each queue."""
        found = self._kin.get(number)
        if found is None:
            found = self._kin[number] = tuple(
                other for own, side, numbers in self.rivals(number) if own == side for other in numbers
            )
        return found

    def sides(self, one: int, two: int) -> tuple[int, int]:
        """The queues above (or equal to) two queues that are compared, see Rivals."""
        pair = (one, two)
        for pair in zip(reversed(self.ways[one]), reversed(self.ways[two])):
            if pair[0] != pair[1]:
                break
        return pair

    def is_leaf(self, name: str) -> bool:
        """Whether the queue can be used and has no queue below it."""
        number = self.numbers.get(name)
        return number is not None and not self.below[number]

    def order(self, name: str) -> tuple[int, ...]:
        """Sort key of a queue: at each level from the top, the higher priority goes first."""
        path = self.path(name)
        if not path:
            return (-DEFAULT_PRIORITY,)
        return tuple(-self.queues[step].spec.priority for step in reversed(path))

    def limit(self, name: str, resource: str) -> int | None:
        """The limit in billionths, None where there is none."""
        terms = self.terms[name].get(resource)
        return None if terms is None or terms.limit is None or terms.limit.nano < 0 else terms.limit.nano

    def quota(self, name: str, resource: str) -> int | None:
        """The quota in billionths, 0 where none is set, None where it has no bound (-1)."""
        terms = self.terms[name].get(resource)
        if terms is None or terms.quota is None:
            return 0
        return None if terms.quota.nano < 0 else terms.quota.nano

    def weight(self, name: str, resource: str) -> int:
        """The part that the queue gets of what is over, in proportion to the weights of its siblings."""
        terms = self.terms[name].get(resource)
        return 1 if terms is None else terms.over_quota_weight

    def resources(self) -> frozenset[str]:
        """Every resource that some queue has terms for."""
        return frozenset(resource for terms in self.terms.values() for resource in terms)

    def with_quota(self) -> frozenset[str]:
        """Every resource that some queue sets a quota for."""
        return frozenset(
            resource
            for terms in self.terms.values()
            for resource, term in terms.items()
            if term.quota is not None
        )


def bound(value: int | None) -> Bound:
    """A quota or limit as a Bound: NO_BOUND for None."""
    return NO_BOUND if value is None else value


def finite(value: Bound) -> Amount:
    """A Bound that is known to be an amount. Raises ValueError for NO_BOUND."""
    if isinstance(value, float):
        raise ValueError("there is no bound")
    return value


def _path(queues: Mapping[str, Queue], name: str) -> tuple[str, ...] | QueueProblem:
    path = [name]
    while parent := queues[path[-1]].spec.parent:
        if parent not in queues:
            return QueueProblem("parentMissing", parent)
        if parent in path:
            return QueueProblem("cycle", parent)
        path.append(parent)
    return tuple(path)


_NEVER = datetime.max.replace(tzinfo=UTC)


def _age(queue: Queue) -> tuple[datetime, str]:
    return (queue.metadata.creation_timestamp or _NEVER, queue.name)
