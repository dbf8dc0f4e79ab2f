"""What every queue holds and waits for, itself and everything below it; with undo.

Amounts are kept by resource and queue number (QueueTree.numbers), so that a charge touches one list per
resource. A charge that is added costs its resources times the levels of the tree.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from aliquot.queues.amounts import Amount, Charge, exact
from aliquot.queues.tree import Excess, QueueTree

ALLOCATED, FIXED, PENDING = 0, 1, 2
"""Kinds of amounts: held; held by work that cannot be preempted (a part of what is held); waited for."""


@dataclass(frozen=True, slots=True)
class _Bound:
    """A finite limit or quota that charges to some queue are checked against."""

    queue: int
    resource: str
    amount: int


class Ledger:
    """Amounts in billionths by queue and resource. One per decision.

    allocated, fixed, pending: by resource name, then by queue number. fixed is what work that cannot be
    preempted holds of what is allocated. What a queue asks for ("requested") is allocated plus pending.
    """

    __slots__ = (
        "_bounded",
        "_limits",
        "_log",
        "_quotas",
        "_watchers",
        "allocated",
        "fixed",
        "pending",
        "tree",
    )

    def __init__(self, tree: QueueTree) -> None:
        self.tree = tree
        self._bounded = True
        self.allocated: dict[str, list[Amount]] = {}
        self.fixed: dict[str, list[Amount]] = {}
        self.pending: dict[str, list[Amount]] = {}
        self._log: list[tuple[int, int, int, Charge]] = []
        self._watchers: list[set[int]] = []
        self._limits: dict[int, tuple[_Bound, ...]] = {}
        self._quotas: dict[int, tuple[_Bound, ...]] = {}
        for resource in sorted(tree.resources()):
            self.column(resource)

    def column(self, resource: str) -> list[Amount]:
        """What is allocated of the resource, by queue number. The list stays the same and changes."""
        found = self.allocated.get(resource)
        if found is None:
            size = len(self.tree.names)
            found = self.allocated[resource] = [0] * size
            self.fixed[resource] = [0] * size
            self.pending[resource] = [0] * size
        return found

    def fixed_column(self, resource: str) -> list[Amount]:
        """What work that cannot be preempted holds of the resource, by queue number; as `column`."""
        self.column(resource)
        return self.fixed[resource]

    def of(self, queue: str) -> dict[str, Amount]:
        """What the queue and everything below it hold, by resource; what was never charged is left out."""
        number = self.tree.numbers.get(queue)
        if number is None:
            return {}
        return {resource: column[number] for resource, column in self.allocated.items() if column[number]}

    def requested(self, queue: str, resource: str) -> Amount:
        """What the queue and everything below it hold and wait for."""
        number = self.tree.numbers.get(queue)
        if number is None or resource not in self.allocated:
            return 0
        return exact(self.allocated[resource][number] + self.pending[resource][number])

    def add(self, queue: str, charge: Charge, preemptible: bool = True) -> None:
        """Count what work holds at its queue and every queue above it. Unusable queues count nothing."""
        self._enter(queue, charge, 1, ALLOCATED if preemptible else FIXED)

    def remove(self, queue: str, charge: Charge, preemptible: bool = True) -> None:
        """Count what work held no longer. The same arguments as `add` was called with."""
        self._enter(queue, charge, -1, ALLOCATED if preemptible else FIXED)

    def wait(self, queue: str, charge: Charge) -> None:
        """Count what work waits for, at its queue and every queue above it."""
        self._enter(queue, charge, 1, PENDING)

    def forget(self, queue: str, charge: Charge) -> None:
        """Count what work waited for no longer: it was placed, or is gone."""
        self._enter(queue, charge, -1, PENDING)

    def mark(self) -> int:
        return len(self._log)

    def undo(self, mark: int) -> None:
        """Take back every change since the mark, exactly."""
        log = self._log
        while len(log) > mark:
            number, sign, kind, charge = log.pop()
            self._change(number, charge, -sign, kind)

    def settle(self) -> None:
        """What was done up to now stays, and nobody watches any more."""
        self._log.clear()
        self._watchers.clear()

    def watch(self) -> set[int]:
        """A set that from now on gets the number of every queue whose own amounts change, also by undo.

        Queues above it change with it and are not named. Who watches empties the set.
        """
        found: set[int] = set()
        self._watchers.append(found)
        return found

    def unwatch(self, found: set[int]) -> None:
        """Stop filling a set that `watch` gave."""
        self._watchers = [item for item in self._watchers if item is not found]

    def waive(self) -> None:
        """Hold no queue to its limit or quota from now on."""
        self._bounded = False

    def excess(self, queue: str, charge: Charge, preemptible: bool = True) -> Excess | None:
        """The first term, from the queue upwards, that the charge would exceed; None if all hold.

        Limits first: allocated + charge <= limit. Then, for work that cannot be preempted, quotas:
        fixed + charge <= quota, of resources that some queue of the tree has a quota for; where nobody sets
        quotas there is nothing to keep within. Only resources that the charge asks for are looked at, so a
        queue over its limit in one resource still takes work that needs another.
        """
        number = self.tree.numbers.get(queue)
        if number is None or not self._bounded:
            return None
        limits = self._limits.get(number)
        if limits is None:
            limits = self._limits[number] = tuple(self._bounds(number, "limit"))
        for term in limits:
            wanted = charge.get(term.resource)
            if wanted and self.allocated[term.resource][term.queue] + wanted > term.amount:
                return self._excess(term, self.allocated, wanted, "limit")
        if preemptible:
            return None
        quotas = self._quotas.get(number)
        if quotas is None:
            quotas = self._quotas[number] = tuple(self._bounds(number, "quota"))
        for term in quotas:
            wanted = charge.get(term.resource)
            if wanted and self.fixed[term.resource][term.queue] + wanted > term.amount:
                return self._excess(term, self.fixed, wanted, "quota")
        return None

    def _excess(self, term: _Bound, columns: dict[str, list[Amount]], wanted: Amount, kind: str) -> Excess:
        used = columns[term.resource][term.queue]
        return Excess(self.tree.names[term.queue], term.resource, used, wanted, term.amount, kind)

    def _bounds(self, number: int, kind: str) -> Iterable[_Bound]:
        tree = self.tree
        resources = sorted(tree.resources() if kind == "limit" else tree.with_quota())
        for step in tree.ways[number]:
            for resource in resources:
                value = getattr(tree, kind)(tree.names[step], resource)
                if value is not None:
                    yield _Bound(step, resource, value)

    def _enter(self, queue: str, charge: Charge, sign: int, kind: int) -> None:
        number = self.tree.numbers.get(queue)
        if number is not None:
            self._change(number, charge, sign, kind)
            self._log.append((number, sign, kind, charge))

    def _change(self, number: int, charge: Charge, sign: int, kind: int) -> None:
        way = self.tree.ways[number]
        for resource, amount in charge.items():
            if not amount:
                continue
            if resource not in self.allocated:
                self.column(resource)
            delta = amount if sign > 0 else -amount
            if kind == PENDING:
                _shift(self.pending[resource], way, delta)
            else:
                _shift(self.allocated[resource], way, delta)
                if kind == FIXED:
                    _shift(self.fixed[resource], way, delta)
        for watcher in self._watchers:
            watcher.add(number)


def _shift(column: list[Amount], way: tuple[int, ...], delta: Amount) -> None:
    if type(delta) is int:
        for number in way:
            column[number] += delta
    else:
        for number in way:
            column[number] = exact(column[number] + delta)
