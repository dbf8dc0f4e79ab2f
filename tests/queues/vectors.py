"""Reading the cases of single decision functions in shared/vectors/kai/functions."""

import json
from datetime import UTC, datetime
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

from aliquot.cel.quantity import Quantity
from aliquot.model.meta import ObjectMeta
from aliquot.model.queue import Queue, QueueResource, QueueSpec
from aliquot.queues.amounts import UNIT, Amount, exact
from aliquot.queues.ledger import Ledger
from aliquot.queues.rules import ShareRules
from aliquot.queues.shares import given_shares
from aliquot.queues.tree import NO_BOUND, Bound, QueueTree

PER_UNIT = {"gpu": UNIT, "cpu": UNIT // 1000, "memory": UNIT}
"""Billionths per unit of the vectors: GPUs, thousandths of a core, bytes."""

RESOURCES = ("gpu", "cpu", "memory")


@cache
def cases(shared: Path, function: str) -> list[dict[str, Any]]:
    return json.loads((shared / "vectors/kai/functions" / f"{function}.json").read_text())["cases"]


def number(value: float) -> Fraction:
    return Fraction(str(value))


def amount(value: float, resource: str = "gpu") -> Amount:
    return exact(number(value) * PER_UNIT[resource])


def bound(value: float, resource: str = "gpu") -> Bound:
    return NO_BOUND if value == -1 else amount(value, resource)


def tree_of(queues: list[dict[str, Any]]) -> QueueTree:
    """The queues of a case."""
    return QueueTree.of(_queue(queue) for queue in queues)


def _queue(queue: dict[str, Any]) -> Queue:
    resources = tuple(
        QueueResource(
            name=resource,
            quota=_quantity(terms["deserved"], resource),
            limit=_quantity(terms["max_allowed"], resource),
        )
        for resource, terms in queue["resources"].items()
    )
    created = datetime.fromtimestamp(queue["created_unix"], UTC)
    return Queue(
        metadata=ObjectMeta(name=queue["id"], creation_timestamp=created),
        spec=QueueSpec(parent=queue["parent"] or "", priority=queue["priority"], resources=resources),
    )


def _quantity(value: float, resource: str) -> Quantity:
    return Quantity.of(-1) if value == -1 else Quantity(int(amount(value, resource)))


def ledger_of(tree: QueueTree, queues: list[dict[str, Any]]) -> Ledger:
    """A ledger that says what the case says of each queue; sums over the tree need not agree."""
    ledger = Ledger(tree)
    for queue in queues:
        number = tree.numbers[queue["id"]]
        for resource, terms in queue["resources"].items():
            ledger.column(resource)[number] = amount(terms["allocated"], resource)
            ledger.fixed_column(resource)[number] = amount(terms["allocated_non_preemptible"], resource)
    return ledger


def shares_of(tree: QueueTree, queues: list[dict[str, Any]], total: dict[str, float], rules: ShareRules):
    given = {
        queue["id"]: {
            resource: bound(terms["fair_share"], resource) for resource, terms in queue["resources"].items()
        }
        for queue in queues
    }
    return given_shares(tree, charge(total), rules, given)


def charge(amounts: dict[str, float]) -> dict[str, Amount]:
    return {resource: amount(value, resource) for resource, value in amounts.items()}
