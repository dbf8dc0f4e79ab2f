"""Who may take from whom: the two rights, what speaks against taking, and that nobody takes back."""

from collections import defaultdict
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tests.queues.builders import charges, gpus, queue, trees

from aliquot.queues.amounts import UNIT
from aliquot.queues.held import Ground, Refusal
from aliquot.queues.ledger import Ledger
from aliquot.queues.reclaim import Reclaimer, more_saturated
from aliquot.queues.rules import ShareRules
from aliquot.queues.shares import fair_shares
from aliquot.queues.tree import QueueTree

TOTAL = {"gpu": 8 * UNIT, "cpu": 20 * UNIT}


def reclaimer(ledger: Ledger, name: str, wanted: int, preemptible: bool = True, **rules) -> Reclaimer:
    ledger.wait(name, gpus(wanted))
    shares = fair_shares(ledger.tree, TOTAL, ledger, ShareRules(**rules))
    return Reclaimer(shares, ledger, name, gpus(wanted), preemptible)


def holding(queues: list, **held: int) -> Ledger:
    ledger = Ledger(QueueTree.of(queues))
    for name, number in held.items():
        ledger.add(name, gpus(number))
    return ledger


def test_what_is_held_beyond_the_fair_share_may_be_taken():
    ledger = holding([queue("a"), queue("b")], b=8)
    found = reclaimer(ledger, "a", 4)

    assert found.may_try() is None
    assert found.may_take({"b": [gpus(1)] * 4}) is None


def test_nothing_more_is_taken_than_the_victims_side_has_too_much():
    ledger = holding([queue("a"), queue("b")], b=8)

    assert reclaimer(ledger, "a", 4).may_take({"b": [gpus(1)] * 5}) == Refusal(
        Ground.VICTIM_WITHIN_SHARE, "b", "", "a"
    )


def test_a_queue_at_its_fair_share_may_not_try():
    ledger = holding([queue("a"), queue("b")], a=4, b=4)

    assert reclaimer(ledger, "a", 1).may_try() == Refusal(Ground.OVER_FAIR_SHARE, "a", "gpu")


def test_a_quota_is_taken_back_even_from_a_queue_within_its_fair_share():
    queues = [queue("a", quota={"gpu": "4"}), queue("b", quota={"gpu": "2"}, weight={"gpu": 1})]
    ledger = holding(queues, a=3, b=4)
    ledger.wait("b", gpus(4))
    found = reclaimer(ledger, "a", 1)

    assert fair_shares(ledger.tree, TOTAL, ledger, ShareRules()).share("b", "gpu") == 4 * UNIT
    assert found.may_take({"b": [gpus(1)]}) is None


def test_work_that_cannot_be_preempted_stays_within_the_quota_at_every_level():
    queues = [
        queue("org", quota={"gpu": "2"}),
        queue("a", "org", quota={"gpu": "4"}),
        queue("b", quota={"gpu": "0"}),
    ]
    found = reclaimer(holding(queues, b=8), "a", 3, preemptible=False)
    assert found.may_try() is None
    assert found.may_take({"b": [gpus(1)] * 3}) == Refusal(Ground.OVER_QUOTA, "org", "gpu")

    found = reclaimer(holding(queues, b=8), "a", 5, preemptible=False)
    assert found.may_try() == Refusal(Ground.OVER_QUOTA, "a", "gpu")


def test_a_department_above_its_share_must_stay_less_saturated_than_the_one_it_takes_from():
    queues = [
        queue("d1", quota={"gpu": "4"}),
        queue("d2", quota={"gpu": "4"}),
        queue("a", "d1"),
        queue("a2", "d1"),
        queue("b", "d2"),
    ]
    ledger = holding(queues, a2=5, b=6)
    ledger.wait("b", gpus(9))
    shares = fair_shares(ledger.tree, TOTAL, ledger, ShareRules())
    assert shares.share("d1", "gpu") == shares.share("d2", "gpu") == 4 * UNIT

    found = Reclaimer(shares, ledger, "a", gpus(1))
    # d1 would hold 6 of 4, d2 5 of 4.
    assert found.may_take({"b": [gpus(1)]}) == Refusal(Ground.SATURATION, "d1", "gpu", "d2")


@pytest.mark.parametrize(("factor", "allowed"), [(1, True), (2, False)])
def test_the_margin_of_saturation_is_a_rule(factor, allowed):
    # 5/4 against 7/4; twice 5/4 is more.
    found = more_saturated([0], [5], [4], [7], [4], factor)
    assert (found is None) is allowed


def test_what_was_held_when_the_search_began_counts_whatever_happens_to_the_ledger():
    ledger = holding([queue("a"), queue("b")], b=8)
    found = reclaimer(ledger, "a", 4)
    ledger.remove("b", gpus(4))
    ledger.add("a", gpus(4))

    assert found.may_try() is None
    assert found.may_take({"b": [gpus(1)] * 4}) is None


def test_queues_that_are_gone_are_no_victims():
    ledger = holding([queue("a"), queue("b")], b=8)

    assert reclaimer(ledger, "a", 1).may_take({"gone": [gpus(1)]}) is None


def test_sides_are_the_first_that_differ_from_the_top():
    tree = QueueTree.of([queue("top"), queue("l", "top"), queue("r", "top"), queue("l1", "l"), queue("o")])

    def named(one: str, other: str) -> tuple[str, str]:
        pair = tree.sides(tree.numbers[one], tree.numbers[other])
        return tree.names[pair[0]], tree.names[pair[1]]

    assert named("l1", "r") == ("l", "r")
    assert named("l1", "o") == ("top", "o")
    assert named("l1", "l") == ("l", "l")
    assert named("r", "r") == ("r", "r")


def test_rivals_are_all_other_queues_by_the_sides_that_are_compared():
    tree = QueueTree.of([queue("top"), queue("l", "top"), queue("r", "top"), queue("l1", "l"), queue("o")])
    names = tree.names

    found = {
        (names[own], names[other]): {names[number] for number in queues}
        for own, other, queues in tree.rivals(tree.numbers["l1"])
    }

    assert found == {("l", "r"): {"r"}, ("top", "o"): {"o"}, ("l", "l"): {"l"}, ("top", "top"): {"top"}}


def departments(draw: st.DrawFn) -> QueueTree:
    def terms() -> dict:
        return {
            "quota": {"gpu": str(draw(st.integers(0, 4)))},
            "weight": {"gpu": draw(st.integers(0, 2))},
            "priority": draw(st.sampled_from([50, 100])),
        }

    queues = [queue("d1", **terms()), queue("d2", **terms())]
    for name, parent in (("a", "d1"), ("a2", "d1"), ("b", "d2")):
        queues.append(queue(name, parent, **terms()))
    return QueueTree.of(queues)


def nobody_takes_back(data, theirs, wanted, bundle):
    tree = departments(data.draw)
    ledger = Ledger(tree)
    for name, least in (("a", 0), ("a2", 0), ("b", 0), (theirs, bundle)):
        ledger.add(name, gpus(data.draw(st.integers(least, 4))))
    ledger.wait("a", gpus(wanted))
    rules = ShareRules(resources=("gpu",))
    shares = fair_shares(tree, TOTAL, ledger, rules)
    first = Reclaimer(shares, ledger, "a", gpus(wanted))
    assume(first.may_try() is None and first.may_take({theirs: [gpus(bundle)]}) is None)

    ledger.remove(theirs, gpus(bundle))
    ledger.wait(theirs, gpus(bundle))
    ledger.forget("a", gpus(wanted))
    ledger.add("a", gpus(wanted))
    again = fair_shares(tree, TOTAL, ledger, rules)
    back = Reclaimer(again, ledger, theirs, gpus(bundle))

    assert again.shares == shares.shares
    assert back.may_try() is not None or back.may_take({"a": [gpus(wanted)]}) is not None


takings = given(st.data(), st.sampled_from(["a2", "b"]), st.integers(1, 3), st.integers(1, 3))
seldom = [HealthCheck.filter_too_much]


@settings(max_examples=120, suppress_health_check=seldom)
@takings
def test_after_taking_the_victims_queue_may_not_take_the_same_back(data, theirs, wanted, bundle):
    nobody_takes_back(data, theirs, wanted, bundle)


@pytest.mark.prove
@settings(max_examples=1500, suppress_health_check=seldom)
@takings
def test_many_times_nothing_is_taken_back(data, theirs, wanted, bundle):
    nobody_takes_back(data, theirs, wanted, bundle)


held = st.lists(st.tuples(st.integers(0, 8), charges), max_size=10)


@given(trees(), held, st.integers(0, 8), charges, st.booleans(), st.lists(charges, min_size=1, max_size=4))
def test_a_victim_alone_is_judged_like_a_set_of_one(tree, steps, number, charge, preemptible, victims):
    ledger = Ledger(tree)
    for place, held_charge in steps:
        ledger.add(f"q{place}", held_charge, preemptible)
    shares = fair_shares(tree, TOTAL, ledger, replace(ShareRules(), resources=("gpu", "cpu")))
    found = Reclaimer(shares, ledger, tree.names[number % len(tree.names)], charge, preemptible)

    for victim in victims:
        for name in ("gone", *tree.names):
            assert found.may_take_alone(name, victim) == (found.may_take({name: [victim]}) is None), name


@given(trees(), held, st.integers(0, 8), charges, st.booleans())
def test_who_may_not_try_has_too_much_of_something(tree, steps, number, charge, preemptible):
    name = tree.names[number % len(tree.names)]
    ledger = Ledger(tree)
    for place, held_charge in steps:
        ledger.add(f"q{place}", held_charge, preemptible)
    shares = fair_shares(tree, TOTAL, ledger, replace(ShareRules(), resources=("gpu", "cpu")))
    refusal = Reclaimer(shares, ledger, name, charge, preemptible).may_try()

    at = tree.numbers[name]
    after = {resource: ledger.column(resource)[at] + charge.get(resource, 0) for resource in shares.resources}
    fixed = {
        resource: ledger.fixed_column(resource)[at] + charge.get(resource, 0) for resource in shares.resources
    }
    above = any(after[resource] > shares.share(name, resource) for resource in shares.resources)
    beyond = not preemptible and any(
        quota is not None and fixed[resource] > quota
        for resource in shares.resources
        for quota in [tree.quota(name, resource)]
    )
    assert (refusal is not None) == (above or beyond)


def test_a_bound_on_what_may_be_taken_of_a_sibling():
    queues = [queue("a", weight={"gpu": 1}), queue("b", weight={"gpu": 2})]
    ledger = holding(queues, a=2, b=6)
    shares = fair_shares(ledger.tree, {"gpu": 6 * UNIT}, ledger, ShareRules(resources=("gpu",)))
    ledger.wait("a", gpus(1))
    found = Reclaimer(shares, ledger, "a", gpus(1))

    # Of shares of 2 and 4: 3/2 has to stay below (6 - x)/4, so x would have to be below 0.
    assert (shares.share("a", "gpu"), shares.share("b", "gpu")) == (2 * UNIT, 4 * UNIT)
    assert found.most("gpu") == 0
    assert Reclaimer(shares, holding(queues, a=1, b=6), "a", gpus(1)).most("gpu") == 6 * UNIT


holders = st.lists(st.tuples(st.integers(0, 8), charges), max_size=6)


@settings(max_examples=100, suppress_health_check=[HealthCheck.filter_too_much])
@given(trees(), holders, st.integers(0, 8), charges, st.booleans(), st.booleans(), st.booleans())
def test_no_victims_that_may_be_taken_together_hold_more_than_the_bound(
    tree, steps, number, charge, preemptible, theirs, shareless
):
    name = f"q{number}"
    assume(name in tree.numbers and charge.get("gpu", 0))
    ledger = Ledger(tree)
    for place, held_charge in steps:
        ledger.add(f"q{place}", held_charge, theirs)
    rules = replace(ShareRules(), resources=("gpu", "cpu"), shareless_take=shareless)
    found = Reclaimer(fair_shares(tree, TOTAL, ledger, rules), ledger, name, charge, preemptible)
    numbers = tree.numbers
    apart = [
        (f"q{place}", item)
        for place, item in steps
        if f"q{place}" in numbers and len(set(tree.sides(numbers[name], numbers[f"q{place}"]))) == 2
    ]

    for chosen in range(1 << len(apart)):
        victims: dict[str, list] = {}
        for place, (queue_name, item) in enumerate(apart):
            if chosen >> place & 1:
                victims.setdefault(queue_name, []).append(item)
        if found.may_take(victims) is None:
            taken = sum(item.get("gpu", 0) for items in victims.values() for item in items)
            assert taken <= found.most("gpu"), victims
            assert taken <= found.most("gpu", UNIT), victims
            below = {step for item in victims for step in tree.ways[numbers[item]]}
            assert taken <= found.most("gpu", 5 * UNIT, below), victims
            largest: dict[int, int] = {}
            for item, charges_of in victims.items():
                for step in tree.ways[numbers[item]]:
                    most = max(one.get("gpu", 0) for one in charges_of)
                    largest[step] = max(most, largest.get(step, 0))
            sides = {tree.sides(numbers[name], numbers[item])[1] for item in victims}
            for step_size in (0, UNIT):
                most = found.most("gpu", step_size, (), defaultdict(int, largest).__getitem__, sides)
                assert taken <= most, victims


@pytest.mark.parametrize(
    ("held", "theirs", "wanted", "most", "whole"),
    [
        # Shares of 4: 5/4 has to be below (7 - x)/4, so x is below 2.
        (4, 7, 1, 2, 1),
        (5, 8, 1, 2, 1),
        (5, 8, 2, 1, 0),
        # The queue stays within its share: only what the other holds bounds it.
        (2, 7, 1, 7, 7),
    ],
)
def test_of_whole_devices_as_many_may_be_lost_as_leave_the_other_more_saturated(
    held, theirs, wanted, most, whole
):
    ledger = holding([queue("a"), queue("b")], a=held, b=theirs)
    for name in ("a", "b"):
        ledger.wait(name, gpus(8))
    shares = fair_shares(ledger.tree, TOTAL, ledger, ShareRules(resources=("gpu",)))
    found = Reclaimer(shares, ledger, "a", gpus(wanted))

    assert (shares.share("a", "gpu"), shares.share("b", "gpu")) == (4 * UNIT, 4 * UNIT)
    assert (found.most("gpu"), found.most("gpu", UNIT)) == (most * UNIT, whole * UNIT)
    assert found.most("gpu", UNIT, {ledger.tree.numbers["b"]}) == most * UNIT


@pytest.mark.parametrize(
    ("quota", "bundle", "most"),
    [
        # Of 7 with a share of 4, 2 may go, and then one bundle more.
        (None, 1, 3),
        (None, 4, 6),
        (None, 9, 7),
        # With a quota of 2 for both, the queue within its own may take what the other has beyond it.
        (2, 1, 5),
    ],
)
def test_the_right_to_take_ends_with_what_the_other_has_too_much(quota, bundle, most):
    terms = {} if quota is None else {"quota": {"gpu": str(quota)}}
    ledger = holding([queue("a", **terms), queue("b", **terms)], a=1, b=7)
    for name in ("a", "b"):
        ledger.wait(name, gpus(8))
    shares = fair_shares(ledger.tree, TOTAL, ledger, ShareRules(resources=("gpu",)))
    found = Reclaimer(shares, ledger, "a", gpus(1))

    assert shares.share("b", "gpu") == 4 * UNIT
    assert found.most("gpu", UNIT, (), lambda number: bundle * UNIT) == most * UNIT
    assert found.most("gpu", UNIT, (), lambda number: bundle * UNIT, ()) == 0


def test_who_has_too_much_of_something_else_may_lose_all_of_this():
    ledger = holding([queue("a"), queue("b")], a=0, b=3)
    ledger.add("b", {"cpu": 15 * UNIT})
    for name in ("a", "b"):
        ledger.wait(name, {"gpu": 8 * UNIT, "cpu": 20 * UNIT})
    found = reclaimer(ledger, "a", 1, resources=("gpu", "cpu"))

    assert found.most("gpu", UNIT, (), lambda number: UNIT) == 3 * UNIT


def test_what_is_taken_below_a_queue_leaves_it_room_to_take_from_its_siblings():
    queues = [queue("d1"), queue("d2"), queue("a", "d1"), queue("a2", "d1"), queue("b", "d2")]
    ledger = holding(queues, a2=5, b=5)
    found = reclaimer(ledger, "a", 2, resources=("gpu",))

    # With all of a2's, d1 holds less than its share, and may take what b has too much.
    assert found.may_take({"a2": [gpus(5)], "b": [gpus(1)]}) is None
    assert found.most("gpu") >= 6 * UNIT
