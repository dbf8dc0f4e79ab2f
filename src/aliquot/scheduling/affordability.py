"""Devices and budget in one decision: a served model gets both or neither.

Deploying or scaling a served model commits money: the price of its devices for the time that is held in
advance. `decide` knows devices, not money; so it is asked, and whoever it would place without the money for
it is taken out of the snapshot, and it is asked again. What is committed in the end is what the last plan
places, and nobody was asked to leave for somebody who cannot pay. With `n` workloads short of money it is
asked `n` + 1 times; with none, once.

Whoever enacts holds first and acts then: take every `Commitment` as a hold (all its purses or none); enact
the decision; give the hold back if that fails. A hold expires unless it is renewed, so a process that dies
between the two keeps nothing, and the gang, whose pods are there by then, is asked for its money anew.

Example: queue `apps` has 10.00 left. Gang A (8 devices, 12.00) is first, gang B (2 devices, 3.00) second,
and there are 8 devices. `decide` places A; 12.00 is more than 10.00, so A waits; `decide` without A places B;
3.00 is committed. Without this, A would have had its devices and no money, and B no devices.
"""

from collections.abc import Callable, Collection, Iterable, Mapping

import msgspec

from aliquot.model.meta import ObjectRef
from aliquot.model.snapshot import Snapshot
from aliquot.scheduling.plan import Decision, Plan

MAX_ROUNDS = 16
"""How often `decide` is asked at most; then everybody still short waits, whoever could have been placed."""


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """A workload that has to have money for its devices.

    workload: the object that stands for its gang in decisions. purses: the budgets that pay, the queue's and
    those above it: every one has to have room.
    """

    workload: ObjectRef
    purses: tuple[str, ...]


class Commitment(msgspec.Struct, frozen=True, kw_only=True):
    """Money to be held from every purse for one decision, in micro-units."""

    decision: str
    workload: ObjectRef
    purses: tuple[str, ...]
    amount: int


class Unaffordable(msgspec.Struct, frozen=True, kw_only=True):
    """A workload that waits for money: the purse that lacks it most, what is left there, what it takes."""

    workload: ObjectRef
    purse: str
    left: int
    needed: int


class Affordable(msgspec.Struct, frozen=True, kw_only=True):
    """A plan that can be paid. snapshot: what it was made of, without whoever cannot pay, as it has to be
    recorded for a replay.
    """

    plan: Plan
    snapshot: Snapshot
    commitments: tuple[Commitment, ...]
    unaffordable: tuple[Unaffordable, ...] = ()


def affordable(
    snapshot: Snapshot,
    asks: Iterable[Ask],
    left: Mapping[str, int],
    decide: Callable[[Snapshot], Plan],
    price: Callable[[Decision], int],
) -> Affordable:
    """Decide, so that every asking workload that is placed has its money.

    left: what each purse may still commit, in micro-units; a purse that is not there has nothing. decide: as
    `scheduling.decide.decide` with everything but the snapshot given. price: what a decision's placements
    (promised ones, too) commit, in micro-units, at least 0.
    """
    asking = {ask.workload: ask for ask in asks}
    short: dict[ObjectRef, Unaffordable] = {}
    away: set[tuple[str, str]] = set()
    seen = snapshot
    for rounds_left in reversed(range(MAX_ROUNDS)):
        plan = decide(seen)
        commitments, failed = _pay(plan, asking, left, price)
        if not failed:
            return Affordable(
                plan=plan,
                snapshot=seen,
                commitments=commitments,
                unaffordable=tuple(short.values()),
            )
        # Only the first waits: who is behind it may have money once devices of the first are free. Where
        # too many are short to find out one by one, everybody does who is.
        for decision, one in failed[:1] if rounds_left > 1 else failed:
            short[one.workload] = one
            away.update((pod.namespace, pod.name) for pod in decision.pods)
        if rounds_left == 1:
            # The last round has to end well: nobody who asks for money and is not placed yet is placed.
            away.update(
                (pod.namespace, pod.name)
                for one in plan.decisions
                if one.workload in asking
                for pod in one.pods
            )
        seen = _without(snapshot, away)
    raise AssertionError("without anybody who asks for money, nobody is short of it")


def _pay(
    plan: Plan,
    asking: Mapping[ObjectRef, Ask],
    left: Mapping[str, int],
    price: Callable[[Decision], int],
) -> tuple[tuple[Commitment, ...], list[tuple[Decision, Unaffordable]]]:
    """What the plan commits in its order, and who is short."""
    rest = dict(left)
    commitments: list[Commitment] = []
    failed: list[tuple[Decision, Unaffordable]] = []
    for decision in plan.decisions:
        ask = asking.get(decision.workload)
        if ask is None or not (decision.placements or decision.promised):
            continue
        amount = price(decision)
        if amount < 0:
            raise ValueError(f"decision {decision.id} has the negative price {amount}")
        lacking = [(rest.get(purse, 0), purse) for purse in ask.purses if rest.get(purse, 0) < amount]
        if lacking:
            own, purse = min(lacking)
            failed.append(
                (decision, Unaffordable(workload=ask.workload, purse=purse, left=own, needed=amount))
            )
            continue
        for purse in dict.fromkeys(ask.purses):
            rest[purse] = rest.get(purse, 0) - amount
        if amount:
            commitments.append(
                Commitment(decision=decision.id, workload=ask.workload, purses=ask.purses, amount=amount)
            )
    return tuple(commitments), failed


def _without(snapshot: Snapshot, away: Collection[tuple[str, str]]) -> Snapshot:
    """The snapshot without these pods as far as they wait. What runs stays, and so does what it holds."""
    kept = tuple(pod for pod in snapshot.pods if pod.spec.node_name or pod.key not in away)
    return msgspec.structs.replace(snapshot, pods=kept)
