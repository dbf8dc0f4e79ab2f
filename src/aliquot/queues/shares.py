"""Fair shares: what each queue is entitled to now, given what all ask for, level by level down the tree.

The tops divide what the cluster has; the queues below each divide what it got. Found again only where
something that enters has changed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import compress
from operator import ne

from aliquot.queues.amounts import Amount, exact
from aliquot.queues.division import Claimant, Division, Part, divide
from aliquot.queues.ledger import Ledger
from aliquot.queues.rules import ShareRules
from aliquot.queues.tree import NO_BOUND, TOP, Bound, QueueTree, bound, finite

PastUse = Mapping[str, Mapping[str, int]]
"""By queue and resource: use in the past as a part of all there was to use, in billionths."""


@dataclass(frozen=True, slots=True)
class Surplus:
    """What a queue got of what was over, in one round. over: what there was. part: the queue's part of it,
    from 0 to 1. given: what it got, in billionths. rest: a round that deals out what rounding left."""

    over: Amount
    part: Fraction
    given: Amount
    rest: bool


@dataclass(frozen=True, slots=True)
class FairShare:
    """A queue's fair share of a resource, term by term. Amounts in billionths; None: no bound.

    total: what the queue and its siblings divide. requested = allocated + pending; requestable is that
    within the limit. guaranteed = min(quota, requestable). weights: the sum of the siblings' weights of the
    same priority that want more than is guaranteed. usage: past use as a part of all there was (0 to 1, in
    billionths). share = guaranteed + the sum of surplus. allocatable = min(limit, max(quota, share)): what
    the queue may hold without others having a claim on it.
    """

    queue: str
    resource: str
    total: Amount
    quota: int | None
    limit: int | None
    priority: int
    weight: int
    weights: int
    usage: int
    allocated: Amount
    pending: Amount
    requestable: Amount
    guaranteed: Amount
    surplus: tuple[Surplus, ...]
    share: Amount
    allocatable: Amount | None

    @property
    def requested(self) -> Amount:
        return exact(self.allocated + self.pending)


@dataclass(slots=True)
class _Column:
    """One resource: terms, what is requested, past use, shares and allocatable shares by queue number;
    divisions by the queue above. past: empty where nobody used anything."""

    quotas: tuple[Bound, ...]
    limits: tuple[Bound, ...]
    weights: tuple[int, ...]
    shares: list[Amount]
    allocatable: list[Bound]
    totals: dict[int, Amount] = field(default_factory=dict)
    claimants: dict[int, tuple[Claimant, ...]] = field(default_factory=dict)
    divisions: dict[int, Division] = field(default_factory=dict)
    requested: list[Amount] = field(default_factory=list)
    past: list[int] = field(default_factory=list)

    @staticmethod
    def empty(tree: QueueTree, resource: str) -> "_Column":
        """The terms, before anything is divided."""
        names = tree.names
        quotas = tuple([bound(tree.quota(name, resource)) for name in names])
        limits = tuple([bound(tree.limit(name, resource)) for name in names])
        weights = tuple([tree.weight(name, resource) for name in names])
        allocatable = [allocatable_share(quota, limit, 0) for quota, limit in zip(quotas, limits)]
        return _Column(quotas, limits, weights, [0] * len(names), allocatable)

    def continued(self) -> "_Column":
        """The same to go on from, before it is known what is requested."""
        return _Column(
            self.quotas,
            self.limits,
            self.weights,
            list(self.shares),
            list(self.allocatable),
            dict(self.totals),
            dict(self.claimants),
            dict(self.divisions),
        )


class FairShares:
    """The fair shares of all queues. Does not change; the next cycle's are made from it.

    resources: those that take part, accelerators first. shares, allocatable, quotas, limits: by place of the
    resource in `resources`, then by queue number. total: what the cluster has, by resource. divided: how many
    divisions among siblings were made afresh.
    """

    def __init__(
        self, tree: QueueTree, total: Mapping[str, Amount], rules: ShareRules, columns: Mapping[str, _Column]
    ) -> None:
        self.tree = tree
        self.rules = rules
        self.resources = tuple(columns)
        self.total = {resource: total.get(resource, 0) for resource in columns}
        self.divided = 0
        self._columns = columns
        self.quotas = [column.quotas for column in columns.values()]
        self.limits = [column.limits for column in columns.values()]
        self.shares: list[Sequence[Amount]] = [column.shares for column in columns.values()]
        self.allocatable: list[Sequence[Bound]] = [column.allocatable for column in columns.values()]

    def share(self, queue: str, resource: str) -> Amount:
        """The fair share in billionths, 0 for queues and resources that take no part."""
        number = self.tree.numbers.get(queue)
        column = self._columns.get(resource)
        return column.shares[number] if number is not None and column is not None else 0

    def of(self, queue: str, resource: str, ledger: Ledger) -> FairShare | None:
        """The fair share term by term; None for queues and resources that take no part."""
        tree = self.tree
        number = tree.numbers.get(queue)
        column = self._columns.get(resource)
        if number is None or column is None:
            return None
        above = tree.parents[number]
        siblings = tree.below[above]
        place = siblings.index(number)
        division = column.divisions[above]
        claimants = column.claimants[above]
        own = claimants[place]
        weights = sum(
            column.weights[sibling]
            for sibling, claimant, guaranteed in zip(siblings, claimants, division.guaranteed)
            if claimant.priority == own.priority and claimant.requestable > guaranteed
        )
        allocated = ledger.column(resource)[number]
        return FairShare(
            queue=queue,
            resource=resource,
            total=column.totals[above],
            quota=tree.quota(queue, resource),
            limit=tree.limit(queue, resource),
            priority=own.priority,
            weight=column.weights[number],
            weights=weights,
            usage=own.usage,
            allocated=allocated,
            pending=exact(own.requested - allocated),
            requestable=own.requestable,
            guaranteed=division.guaranteed[place],
            surplus=tuple(map(_surplus, division.parts[place])),
            share=division.shares[place],
            allocatable=_finite(column.allocatable[number]),
        )

    def left(self, resource: str, queue: str = "") -> Amount:
        """What the queues below `queue` ("": the tops) could not be given of what it has."""
        number = self.tree.numbers[queue] if queue else TOP
        division = self._columns[resource].divisions.get(number)
        return division.left if division is not None else 0


def fair_shares(
    tree: QueueTree,
    total: Mapping[str, Amount],
    ledger: Ledger,
    rules: ShareRules,
    usage: PastUse | None = None,
    previous: FairShares | None = None,
) -> FairShares:
    """The fair share of every queue of every resource that takes part.

    total: what the cluster has of each, in billionths. ledger: what queues hold and wait for. usage: past
    use. previous: earlier fair shares; where the tree (the same object), the rules and all that enters a
    division are the same, its result is taken over. A division costs the number of siblings times its rounds,
    rounds are at most as many as siblings; finding out that nothing changed costs the number of queues.
    """
    use = usage or {}
    same = previous is not None and previous.tree is tree and previous.rules == rules
    columns: dict[str, _Column] = {}
    divided = 0
    for resource in rules.taking_part(tree):
        before = previous._columns.get(resource) if same and previous is not None else None
        column = columns[resource] = _Column.empty(tree, resource) if before is None else before.continued()
        allocated, pending = ledger.column(resource), ledger.pending[resource]
        column.requested = [exact(held + more) for held, more in zip(allocated, pending)]
        column.past = [use.get(name, {}).get(resource, 0) for name in tree.names] if use else []
        column.totals[TOP] = total.get(resource, 0)
        stale = _stale(tree, before, column) if before is not None else None
        for above in range(TOP, len(tree.names)):
            siblings = tree.below[above]
            if not siblings:
                continue
            if above != TOP:
                column.totals[above] = column.shares[above]
            known = before is not None and stale is not None and above not in stale
            if known and before is not None and before.totals.get(above) == column.totals[above]:
                continue
            claimants = [
                Claimant(
                    column.quotas[number],
                    column.limits[number],
                    column.weights[number],
                    tree.priorities[number],
                    column.requested[number],
                    column.past[number] if column.past else 0,
                    tree.ages[number],
                )
                for number in siblings
            ]
            if above != TOP and not rules.leaves_only:
                claimants.extend(_own_work(tree, column, above, claimants))
            divided += 1
            division = divide(
                column.totals[above],
                claimants,
                rules.steps.get(resource, 1),
                rules.usage_weight,
                rules.whole_rests,
            )
            column.claimants[above] = tuple(claimants)
            column.divisions[above] = division
            for number, share in zip(siblings, division.shares):
                column.shares[number] = share
                column.allocatable[number] = allocatable_share(
                    column.quotas[number], column.limits[number], share
                )
    found = FairShares(tree, total, rules, columns)
    found.divided = divided
    return found


def _stale(tree: QueueTree, before: _Column, after: _Column) -> set[int]:
    """The queues (or TOP) below which something is requested, or was used in the past, that was not then."""
    found: set[int] = set()
    size = len(tree.names)
    for old, new in (
        (before.requested, after.requested),
        (before.past or [0] * size, after.past or [0] * size),
    ):
        if old != new:
            for number in compress(range(size), map(ne, old, new)):
                # Its own work claims a part beside the queues below it.
                found.update((tree.parents[number], number))
    return found


def _own_work(tree: QueueTree, column: _Column, number: int, below: Sequence[Claimant]) -> Iterable[Claimant]:
    """Work right in a queue that has queues below it claims a part beside them: as one more queue there, with
    what they leave of the quota, the weight 1 and the queue's own priority."""
    own = exact(column.requested[number] - sum(claimant.requested for claimant in below))
    if own > 0:
        quota: Bound = column.quotas[number]
        for claimant in below:
            quota = max(0, quota - claimant.quota) if claimant.quota != NO_BOUND else 0
        yield Claimant(quota, NO_BOUND, 1, tree.priorities[number], own, 0, -1)


def allocatable_share(quota: Bound, limit: Bound, share: Amount) -> Bound:
    """What a queue may hold without others having a claim on it: min(limit, max(quota, share))."""
    if quota == NO_BOUND:
        return limit
    return min(limit, max(quota, share))


def given_shares(
    tree: QueueTree,
    total: Mapping[str, Amount],
    rules: ShareRules,
    shares: Mapping[str, Mapping[str, Amount]],
) -> FairShares:
    """Fair shares as given by queue and resource, instead of divided, to try out what follows from them."""
    columns = {resource: _Column.empty(tree, resource) for resource in rules.taking_part(tree)}
    for resource, column in columns.items():
        for number, name in enumerate(tree.names):
            share = column.shares[number] = shares.get(name, {}).get(resource, 0)
            column.allocatable[number] = allocatable_share(
                column.quotas[number], column.limits[number], share
            )
    return FairShares(tree, total, rules, columns)


def _surplus(part: Part) -> Surplus:
    return Surplus(part.over, Fraction(part.numerator, part.denominator), part.given, part.rest)


def _finite(value: Bound) -> Amount | None:
    return None if value == NO_BOUND else finite(value)
