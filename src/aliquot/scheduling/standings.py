"""What every queue holds, waits for and is entitled to, and who could take from whom: as `decide` sees it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from aliquot.model.snapshot import Snapshot
from aliquot.queues.amounts import GPU, UNIT, Amount, Charge
from aliquot.queues.held import Refusal
from aliquot.queues.reclaim import Reclaimer
from aliquot.queues.shares import FairShare
from aliquot.scheduling.decide import opened
from aliquot.scheduling.memory import Memory
from aliquot.scheduling.policy import Policy
from aliquot.scheduling.session import Session


@dataclass(frozen=True, slots=True)
class Claimable:
    """Another queue that work could be taken from, or that could take work.

    held: the accelerators that it holds; allocatable: what it may hold without others having a claim on it,
    None for no bound; wanted: what its work waits for. Billionths.
    """

    queue: str
    held: Amount
    allocatable: Amount | None
    wanted: Amount


@dataclass(frozen=True, slots=True)
class Standings:
    """terms: by queue, the fair share of each resource that takes part, accelerators first."""

    terms: Mapping[str, tuple[FairShare, ...]] = field(default_factory=dict)

    @staticmethod
    def of(session: Session) -> "Standings":
        shares, ledger = session.shares, session.state.queues
        return Standings(
            {
                name: tuple(
                    terms
                    for resource in shares.resources
                    if (terms := shares.of(name, resource, ledger)) is not None
                )
                for name in session.tree.names
            }
        )

    def share(self, queue: str, resource: str) -> FairShare | None:
        """The fair share of one resource; None for queues and resources that take no part."""
        return next((item for item in self.terms.get(queue, ()) if item.resource == resource), None)


@dataclass(frozen=True, slots=True)
class Rights:
    """What a queue may take and has to give, by what each holds now.

    refusal: why work of the queue that wants one accelerator may take from nobody, None if it may. takes:
    queues whose work it may take. gives: queues with work that waits which may take its.
    """

    refusal: Refusal | None
    takes: tuple[Claimable, ...]
    gives: tuple[Claimable, ...]


def standings(snapshot: Snapshot, policy: Policy, now: datetime, memory: Memory | None = None) -> Standings:
    """The standings of all queues in a snapshot. memory: speeds up successive calls about one cluster."""
    return Standings.of(opened(snapshot, policy, now, memory))


def rights(session: Session, queue: str) -> Rights:
    """Who the queue may take from and who from it, between queues without queues below them."""
    tree, ledger, shares = session.tree, session.state.queues, session.shares
    own = Reclaimer(shares, ledger, queue, _ONE)
    refusal = own.may_try()
    takes: list[Claimable] = []
    gives: list[Claimable] = []
    path = tree.path(queue)
    for name in tree.names:
        if not tree.is_leaf(name) or name in path or queue in tree.path(name):
            continue
        terms = shares.of(name, GPU, ledger)
        if terms is None:
            continue
        entry = Claimable(name, terms.allocated, terms.allocatable, terms.pending)
        if refusal is None and terms.allocated > 0 and own.begin().take(name, _ONE) is None:
            takes.append(entry)
        if terms.pending > 0 and ledger.of(queue).get(GPU, 0) > 0:
            other = Reclaimer(shares, ledger, name, _ONE)
            if other.may_try() is None and other.begin().take(queue, _ONE) is None:
                gives.append(entry)
    return Rights(refusal, tuple(takes), tuple(gives))


_ONE: Charge = {GPU: UNIT}
