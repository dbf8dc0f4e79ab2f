"""Devices and budget in one decision: a served model gets both or neither.

Deploying or scaling a served model commits money: the price of its devices for the time that is held in
advance. `decide` knows devices, not money; so it is asked, and whoever it would place without the money for
it is taken out of the snapshot, and it is asked again. What is committed in the end is what the last plan
places, and nobody was asked to leave for somebody who cannot pay. With `n` workloads short of money it is
asked `n` + 1 times at most; with none, once. Whoever asks for more than there is even without the others is
taken out together.

`aliquot.scheduling.means` calls this for every decision about a snapshot with funds, and knows what is
committed already from what runs.

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
"""How often `decide` is asked at most; then everybody who still asks waits."""


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """A workload that has to have money for its devices.

    workload: the object that stands for its gang in decisions. purses: the budgets that pay, the queue's and
    those above it: every one has to have room. pods: those of it that wait, which wait on together if there
    is no money; none: those of the decision.
    """

    workload: ObjectRef
    purses: tuple[str, ...]
    pods: tuple[ObjectRef, ...] = ()


class Commitment(msgspec.Struct, frozen=True, kw_only=True):
    """Money to be held from every purse for one decision, in micro-units."""

    decision: str
    workload: ObjectRef
    purses: tuple[str, ...]
    amount: int


class Unaffordable(msgspec.Struct, frozen=True, kw_only=True):
    """A workload that waits for money: the purse that lacks it most, what is left there, what it takes.

    decision: what it would have been given.
    """

    workload: ObjectRef
    decision: Decision
    purse: str
    left: int
    needed: int


class Affordable(msgspec.Struct, frozen=True, kw_only=True):
    """A plan that can be paid. snapshot: what it was made of, without whoever cannot pay. cut: what was
    decided in the last round about those who asked and were not short; they wait all the same.
    """

    plan: Plan
    snapshot: Snapshot
    commitments: tuple[Commitment, ...]
    unaffordable: tuple[Unaffordable, ...] = ()
    cut: tuple[Decision, ...] = ()


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
    cut: tuple[Decision, ...] = ()
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
                cut=cut,
            )
        # Of those who would have the money if others did not take it, only the first waits: who is behind it
        # may have money once devices of the first are free. Where too many are short to find out one by one,
        # everybody does who is.
        hopeless = [
            one
            for one in failed
            if not all(left.get(purse, 0) >= one.needed for purse in asking[one.workload].purses)
        ]
        for one in (hopeless or failed[:1]) if rounds_left > 1 else failed:
            short[one.workload] = one
            pods = (*one.decision.pods, *asking[one.workload].pods)
            away.update((pod.namespace, pod.name) for pod in pods)
        if rounds_left == 1:
            # The last round has to end well: nobody who asks for money and is not placed yet is placed.
            cut = tuple(one for one in plan.decisions if one.workload in asking and one.workload not in short)
            away.update((pod.namespace, pod.name) for one in cut for pod in one.pods)
        seen = _without(snapshot, away)
    raise AssertionError("without anybody who asks for money, nobody is short of it")


def _pay(
    plan: Plan,
    asking: Mapping[ObjectRef, Ask],
    left: Mapping[str, int],
    price: Callable[[Decision], int],
) -> tuple[tuple[Commitment, ...], list[Unaffordable]]:
    """What the plan commits in its order, and who is short."""
    rest = dict(left)
    commitments: list[Commitment] = []
    failed: list[Unaffordable] = []
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
                Unaffordable(workload=ask.workload, decision=decision, purse=purse, left=own, needed=amount)
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
