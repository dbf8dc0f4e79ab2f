"""Fair shares of whole trees, as the reference system finds them in each of its scenarios."""

import json
from pathlib import Path

from tests.queues.vectors import RESOURCES, amount, bound

from aliquot.cel.quantity import Quantity
from aliquot.model.meta import ObjectMeta
from aliquot.model.queue import Queue, QueueResource, QueueSpec
from aliquot.queues.amounts import UNIT
from aliquot.queues.ledger import Ledger
from aliquot.queues.rules import KAI
from aliquot.queues.shares import FairShares, fair_shares
from aliquot.queues.tree import QueueTree

FIELDS = {"gpu": "gpu", "cpu": "cpu_millis", "memory": "memory_mb"}
SLACK = UNIT // 10**6


def _tree(scenario: dict) -> QueueTree:
    return QueueTree.of(
        Queue(
            metadata=ObjectMeta(name=queue["name"]),
            spec=QueueSpec(
                parent=queue["parent"] or "",
                priority=queue["priority"],
                resources=tuple(
                    QueueResource(
                        name=resource,
                        quota=_quantity(queue[field]["quota"], resource),
                        limit=_quantity(queue[field]["limit"], resource),
                        over_quota_weight=queue[field]["over_quota_weight"],
                    )
                    for resource, field in FIELDS.items()
                ),
            ),
        )
        for queue in scenario["queues"]
    )


def _quantity(value: float, resource: str) -> Quantity:
    if value == -1:
        return Quantity.of(-1)
    return Quantity(int(amount(value, resource)) * (10**6 if resource == "memory" else 1))


def _found(scenario: dict) -> FairShares:
    tree = _tree(scenario)
    given = scenario["fair_share"]
    ledger = Ledger(tree)
    for name, terms in given["queues"].items():
        for resource in RESOURCES:
            held = amount(terms[resource]["allocated"], resource)
            ledger.column(resource)[tree.numbers[name]] = held
            asked = amount(terms[resource]["requested"], resource)
            ledger.pending[resource][tree.numbers[name]] = asked - held
    total = {resource: amount(given["cluster_total"][resource], resource) for resource in RESOURCES}
    return fair_shares(tree, total, ledger, KAI)


def test_fair_shares_of_all_scenarios(shared: Path):
    wrong, seen = [], 0
    for path in sorted((shared / "vectors/kai").glob("*/*.json")):
        scenario = json.loads(path.read_text())
        if path.name == "index.json" or "fair_share" not in scenario:
            continue
        shares = _found(scenario)
        for name, terms in scenario["fair_share"]["queues"].items():
            for resource in RESOURCES:
                seen += 1
                expected = bound(terms[resource]["fair_share"], resource)
                if abs(shares.share(name, resource) - expected) > SLACK:
                    wrong.append((scenario["id"], name, resource, shares.share(name, resource), expected))

    assert seen > 1000
    assert wrong == []
