"""Single decisions as the reference system takes them: order, capacity, reclaim, minimum run times."""

from dataclasses import replace

import pytest
from tests.queues.vectors import amount, bound, cases, charge, ledger_of, number, shares_of, tree_of

from aliquot.model.meta import ObjectMeta
from aliquot.model.queue import Queue, QueueSpec
from aliquot.queues.criteria import Standing
from aliquot.queues.reclaim import Reclaimer, guarantees_quota, keeps_fair_share
from aliquot.queues.rules import KAI, ShareRules
from aliquot.queues.runtimes import MinRuntimes
from aliquot.queues.shares import allocatable_share
from aliquot.queues.tree import QueueTree

RESOURCES = ("gpu", "cpu", "memory")
NONE = {"gpu": 0, "cpu": 0, "memory": 0}


def _wrong(found: list[tuple[str, object, object]]) -> list[str]:
    assert found
    return [name for name, got, expected in found if got != expected]


def _row(queue: dict, term: str) -> list:
    return [bound(queue["resources"][resource][term], resource) for resource in RESOURCES]


def _amounts(values: dict) -> list:
    return [amount(values[resource], resource) for resource in RESOURCES]


def _allocatable(queue: dict) -> list:
    terms = zip(_row(queue, "deserved"), _row(queue, "max_allowed"), _row(queue, "fair_share"))
    return [allocatable_share(*term) for term in terms]


def _keeps(case: dict) -> bool:
    return keeps_fair_share(_amounts(case["reclaimee_remaining"]), _allocatable(case["reclaimee_queue"]))


def _guarantees(case: dict) -> bool:
    before, wanted = _row(case["reclaimer_queue"], "allocated"), _amounts(case["required"])
    return guarantees_quota(
        [amount + more for amount, more in zip(before, wanted)],
        _row(case["reclaimer_queue"], "deserved"),
        _amounts(case["reclaimee_remaining"]),
        _row(case["reclaimee_queue"], "deserved"),
    )


@pytest.mark.parametrize(
    ("function", "allowed"),
    [
        ("strategy_maintain_fair_share", _keeps),
        ("strategy_guarantee_deserved_quota", _guarantees),
        ("fits_reclaim_strategy", lambda case: _keeps(case) or _guarantees(case)),
    ],
)
def test_the_rights_to_take(shared, function, allowed):
    found = [(case["name"], allowed(case), case["expect"]) for case in cases(shared, function)]

    assert _wrong(found) == []


def _reclaimer(case: dict) -> Reclaimer:
    queues = case["queues"]
    rules = replace(KAI, saturation=number(case["saturation_multiplier"]))
    tree = tree_of(queues)
    reclaimer = case["reclaimer"]
    return Reclaimer(
        shares_of(tree, queues, NONE, rules),
        ledger_of(tree, queues),
        reclaimer["queue"],
        charge(reclaimer["required"]),
        reclaimer["preemptible"],
    )


def test_who_may_try_to_take(shared):
    found = [
        (case["name"], _reclaimer(case).may_try() is None, case["expect"])
        for case in cases(shared, "can_reclaim_resources")
    ]

    assert _wrong(found) == []


def test_which_victims_may_be_taken(shared):
    found = []
    for case in cases(shared, "reclaimable"):
        victims = {
            queue: [charge(bundle) for bundle in bundles]
            for queue, bundles in case["victims_by_queue"].items()
        }
        found.append((case["name"], _reclaimer(case).may_take(victims) is None, case["expect"]))

    assert _wrong(found) == []


def test_which_of_two_queues_goes_first(shared):
    found = []
    for case in cases(shared, "queue_order"):
        queues = [case["left"] | {"id": "left"}, case["right"] | {"id": "right"}]
        tree = tree_of(queues)
        standing = Standing(shares_of(tree, queues, case["total"], KAI), ledger_of(tree, queues))
        left, right = (
            standing.key(tree.numbers[side], standing.work(charge(case[f"{side}_job"])))
            for side in ("left", "right")
        )
        found.append((case["name"], -1 if left < right else 1, case["expect"]))

    assert _wrong(found) == []


TERMS = {"OverLimit": "limit", "NonPreemptibleOverQuota": "quota"}


def test_limits_and_quotas(shared):
    found = []
    for case in cases(shared, "capacity"):
        queues = case["queues"]
        if case["check"] == "non_preemptible_over_quota":
            queues = [_without(queue, "max_allowed") for queue in queues]
        tree = tree_of(queues)
        preemptible = case["preemptible"] or case["check"] == "over_limit"
        excess = ledger_of(tree, queues).excess(case["queue"], charge(case["requested"]), preemptible)
        expected = case["expect"]
        got = None if excess is None else (excess.term, excess.queue in expected["message"])
        wanted = None if expected["schedulable"] else (TERMS[expected["reason"]], True)
        found.append((case["name"], got, wanted))

    assert _wrong(found) == []


def _without(queue: dict, term: str) -> dict:
    resources = {name: terms | {term: -1} for name, terms in queue["resources"].items()}
    return queue | {"resources": resources}


def test_minimum_run_times(shared):
    found = []
    for case in cases(shared, "min_runtime"):
        tree = QueueTree.of(
            Queue(
                metadata=ObjectMeta(name=name),
                spec=QueueSpec(
                    parent=queue["parent"],
                    preempt_min_runtime=_duration(queue.get("preempt_min_runtime_seconds")),
                    reclaim_min_runtime=_duration(queue.get("reclaim_min_runtime_seconds")),
                ),
            )
            for name, queue in case["queues"].items()
        )
        rules = ShareRules(
            runtime_method=case.get("method", "lca"),
            preempt_min_runtime=case["default_preempt_seconds"],
            reclaim_min_runtime=case["default_reclaim_seconds"],
        )
        runtimes = MinRuntimes(tree, rules)
        if case["kind"] == "preempt_min_runtime":
            got = runtimes.preempt(case["victim_queue"])
        else:
            got = runtimes.reclaim(case["reclaimer_queue"], case["victim_queue"])
        found.append((case["name"], got, case["expect"]["seconds"]))

    assert _wrong(found) == []


def _duration(value: int | None) -> str:
    return "" if value is None else f"{value}s"
