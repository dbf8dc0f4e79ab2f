"""The tree of queues, what each uses, and whether a limit on the way to the top would be exceeded.

Amounts are exact and in billionths of the resource's unit, as Quantity holds them: an int, or a Fraction for
parts of a device that no decimal number can express (1/7 of a GPU).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from aliquot.cel.quantity import Quantity
from aliquot.model.queue import Queue, QueueResource

GPU = "gpu"
UNIT = 10**9

Amount = int | Fraction
Charge = Mapping[str, Amount]
"""Amounts by resource: "gpu", "cpu", "memory" or the name of a DeviceClass."""


def exact(number: Amount) -> Amount:
    """The same number, as an int where it is whole."""
    if isinstance(number, Fraction) and number.denominator == 1:
        return number.numerator
    return number


def shown(number: Amount, resource: str = "") -> str:
    """An amount as text: a Kubernetes quantity, or a fraction where no quantity is exact (1/7, 15/7).

    Of devices, people say 8.5 rather than 8500m; both are quantities.
    """
    number = exact(number)
    if isinstance(number, int):
        if resource == GPU and number % UNIT:
            sign, (whole, rest) = "-" if number < 0 else "", divmod(abs(number), UNIT)
            return f"{sign}{whole}.{rest:09}".rstrip("0")
        return str(Quantity(number))
    return str(exact(number / UNIT))


@dataclass(frozen=True, slots=True)
class QueueProblem:
    """Why a queue cannot be used. kind: "missing" (no such queue), "parentMissing" or "cycle"; subject: the
    name that is missing, or a queue on the cycle."""

    kind: str
    subject: str


@dataclass(frozen=True, slots=True)
class Excess:
    """A limit that would be exceeded: used + wanted > limit in `queue` (amounts in billionths)."""

    queue: str
    resource: str
    used: Amount
    wanted: Amount
    limit: int

    @property
    def short(self) -> Amount:
        return exact(self.used + self.wanted - self.limit)


@dataclass(frozen=True, slots=True)
class QueueTree:
    """Queues by name, with their chains of parents.

    Build it with `of`. `paths` holds, for every usable queue, its name and those above it up to the top;
    `problems` holds every queue whose chain is broken.
    """

    queues: Mapping[str, Queue]
    paths: Mapping[str, tuple[str, ...]]
    problems: Mapping[str, QueueProblem]
    terms: Mapping[str, Mapping[str, QueueResource]]

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
        return QueueTree(by_name, paths, problems, terms)

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

    def order(self, name: str) -> tuple[int, ...]:
        """Sort key of a queue: at each level from the top, the higher priority goes first."""
        path = self.path(name)
        if not path:
            return (-DEFAULT_PRIORITY,)
        return tuple(-self.queues[step].spec.priority for step in reversed(path))

    def limit(self, name: str, resource: str) -> int | None:
        """The limit in billionths, None where there is none."""
        terms = self.terms[name].get(resource)
        return None if terms is None or terms.limit is None else terms.limit.nano

    def resources(self) -> frozenset[str]:
        """Every resource that some queue has terms for."""
        return frozenset(resource for terms in self.terms.values() for resource in terms)


DEFAULT_PRIORITY = 100
"""The priority of work outside all queues: that of a Queue that sets none."""


def _path(queues: Mapping[str, Queue], name: str) -> tuple[str, ...] | QueueProblem:
    path = [name]
    while parent := queues[path[-1]].spec.parent:
        if parent not in queues:
            return QueueProblem("parentMissing", parent)
        if parent in path:
            return QueueProblem("cycle", parent)
        path.append(parent)
    return tuple(path)


@dataclass(slots=True)
class QueueUsage:
    """What every queue uses, itself and everything below it; changes can be taken back to a mark."""

    tree: QueueTree
    used: dict[str, dict[str, Amount]] = field(default_factory=dict)
    _log: list[tuple[str, Charge]] = field(default_factory=list)

    def of(self, queue: str) -> Charge:
        """Amounts in billionths by resource, of the queue and everything below it."""
        return self.used.get(queue, {})

    def add(self, queue: str, charge: Charge) -> None:
        """Count a charge at the queue and every queue above it. Unusable queues count nothing."""
        self._change(queue, charge, 1)
        self._log.append((queue, charge))

    def mark(self) -> int:
        return len(self._log)

    def undo(self, mark: int) -> None:
        """Take back every charge added since the mark."""
        while len(self._log) > mark:
            queue, charge = self._log.pop()
            self._change(queue, charge, -1)

    def excess(self, queue: str, charge: Charge) -> Excess | None:
        """The first limit, from the queue upwards, that the charge would exceed; None if all hold.

        Only resources that the charge asks for are looked at, so a queue over its limit in one resource
        still takes work that needs another.
        """
        for step in self.tree.path(queue):
            terms = self.tree.terms[step]
            for resource, wanted in charge.items():
                if not wanted or resource not in terms:
                    continue
                limit = self.tree.limit(step, resource)
                if limit is None:
                    continue
                used = self.used.get(step, {}).get(resource, 0)
                if used + wanted > limit:
                    return Excess(step, resource, used, wanted, limit)
        return None

    def _change(self, queue: str, charge: Charge, sign: int) -> None:
        for step in self.tree.path(queue):
            own = self.used.setdefault(step, {})
            for resource, wanted in charge.items():
                own[resource] = exact(own.get(resource, 0) + sign * wanted)


def total(charges: Iterable[Charge]) -> dict[str, Amount]:
    """The sum of charges, resource by resource."""
    found: dict[str, Amount] = {}
    for charge in charges:
        for resource, wanted in charge.items():
            found[resource] = exact(found.get(resource, 0) + wanted)
    return found
