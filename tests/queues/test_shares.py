"""Fair shares down the tree, told term by term, and found again only where something changed."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st
from tests.queues.builders import charges, gpus, queue, trees

from aliquot.queues.amounts import UNIT
from aliquot.queues.ledger import Ledger
from aliquot.queues.rules import KAI, ShareRules
from aliquot.queues.shares import fair_shares
from aliquot.queues.tree import QueueTree

TOTAL = {"gpu": 8 * UNIT, "cpu": 20 * UNIT, "memory": 0}
ORG = [
    queue("org", quota={"gpu": "8"}),
    queue("red", "org", quota={"gpu": "3"}, weight={"gpu": 2}),
    queue("blue", "org", quota={"gpu": "1"}, limit={"gpu": "4"}),
    queue("idle", "org", quota={"gpu": "2"}),
]

demands = st.lists(st.tuples(st.booleans(), st.integers(0, 8), charges), max_size=14)


def charged(tree: QueueTree, steps: list) -> Ledger:
    ledger = Ledger(tree)
    for waiting, number, charge in steps:
        (ledger.wait if waiting else ledger.add)(f"q{number}", charge)
    return ledger


def test_a_share_is_told_term_by_term():
    tree = QueueTree.of(ORG)
    ledger = Ledger(tree)
    ledger.add("red", gpus(2))
    ledger.wait("red", gpus(6))
    ledger.wait("blue", gpus(9))

    found = fair_shares(tree, TOTAL, ledger, ShareRules()).of("red", "gpu", ledger)

    # 8 - 3 (red's quota) - 1 (blue's) = 4 are over; the idle queue asks for nothing. Red's part is 2/3.
    assert (found.total, found.quota, found.limit, found.weight) == (8 * UNIT, 3 * UNIT, None, 2)
    assert (found.allocated, found.pending, found.requested) == (2 * UNIT, 6 * UNIT, 8 * UNIT)
    assert (found.requestable, found.guaranteed, found.weights) == (8 * UNIT, 3 * UNIT, 3)
    assert (found.surplus[0].over, found.surplus[0].part) == (4 * UNIT, Fraction(2, 3))
    assert abs(found.share - Fraction(17, 3) * UNIT) < 2
    assert found.share == found.guaranteed + sum(part.given for part in found.surplus)
    assert found.allocatable == found.share


def test_in_whole_units_the_rest_goes_to_the_larger_remainder():
    tree = QueueTree.of(ORG)
    ledger = Ledger(tree)
    ledger.wait("red", gpus(8))
    ledger.wait("blue", gpus(9))
    shares = fair_shares(tree, TOTAL, ledger, KAI)

    # Of 4 over red's part is 2.67 and blue's 1.33.
    assert (shares.share("red", "gpu"), shares.share("blue", "gpu")) == (6 * UNIT, 2 * UNIT)
    assert [part.rest for part in shares.of("red", "gpu", ledger).surplus] == [False, True]
    assert shares.left("gpu", "org") == 0


def test_a_queue_without_a_bound_on_its_quota_may_hold_what_its_limit_allows():
    tree = QueueTree.of(
        [queue("free", quota={"gpu": "-1"}), queue("capped", quota={"gpu": "-1"}, limit={"gpu": "2"})]
    )
    ledger = Ledger(tree)
    shares = fair_shares(tree, TOTAL, ledger, ShareRules())

    assert shares.of("free", "gpu", ledger).allocatable is None
    assert shares.of("capped", "gpu", ledger).allocatable == 2 * UNIT


def test_work_right_in_a_queue_claims_a_part_beside_the_queues_below_it():
    tree = QueueTree.of(
        [
            queue("org", quota={"gpu": "8"}),
            queue("red", "org", quota={"gpu": "2"}),
            queue("o", quota={"gpu": "0"}),
        ]
    )
    ledger = Ledger(tree)
    ledger.wait("org", gpus(7))
    ledger.wait("red", gpus(9))

    # org's own work has the 6 that red's quota leaves of org's.
    assert fair_shares(tree, TOTAL, ledger, ShareRules()).share("red", "gpu") == 2 * UNIT
    assert fair_shares(tree, TOTAL, ledger, ShareRules(leaves_only=True)).share("red", "gpu") == 8 * UNIT


def test_resources_that_nobody_has_terms_for_take_no_part_but_accelerators_do():
    ledger = Ledger(QueueTree.of([queue("a"), queue("b", quota={"a100.example": "4"})]))
    shares = fair_shares(ledger.tree, TOTAL, ledger, ShareRules())

    assert shares.resources == ("gpu", "a100.example")
    assert shares.of("a", "cpu", ledger) is None
    assert shares.of("nobody", "gpu", ledger) is None
    assert shares.share("nobody", "gpu") == 0


def test_yesterdays_heavy_user_is_entitled_to_less_today():
    tree = QueueTree.of([queue("heavy"), queue("light")])
    ledger = Ledger(tree)
    for name in ("heavy", "light"):
        ledger.wait(name, gpus(9))
    usage = {"heavy": {"gpu": UNIT // 2}}
    shares = fair_shares(tree, {"gpu": 6 * UNIT}, ledger, ShareRules(), usage)

    assert (shares.share("heavy", "gpu"), shares.share("light", "gpu")) == (2 * UNIT, 4 * UNIT)
    assert shares.of("heavy", "gpu", ledger).usage == UNIT // 2


@given(trees(), demands)
def test_queues_below_never_get_more_than_the_one_above_except_by_quota(tree, steps):
    ledger = charged(tree, steps)
    shares = fair_shares(tree, TOTAL, ledger, ShareRules())

    for resource in ("gpu", "cpu"):
        for name in tree.names:
            below = [shares.of(child, resource, ledger) for child in tree.children(name)]
            promised = sum(item.guaranteed for item in below)
            assert sum(item.share for item in below) <= max(promised, shares.share(name, resource))
            assert all(item.share <= item.requestable for item in below)
            assert all(item.share >= item.guaranteed for item in below)


@given(trees(), demands, demands, st.sampled_from([ShareRules(), KAI]))
def test_shares_found_again_are_those_found_afresh(tree, before, after, rules):
    first = fair_shares(tree, TOTAL, charged(tree, before), rules)
    ledger = charged(tree, before + after)

    again = fair_shares(tree, TOTAL, ledger, rules, previous=first)
    fresh = fair_shares(tree, TOTAL, ledger, rules)

    assert again.divided <= fresh.divided
    assert again.shares == fresh.shares
    assert again.allocatable == fresh.allocatable
    for name in tree.names:
        for resource in again.resources:
            assert again.of(name, resource, ledger) == fresh.of(name, resource, ledger)


def test_only_divisions_that_something_changed_for_are_made_again():
    queues = [queue(f"top{n}") for n in range(3)]
    queues += [queue(f"leaf{n}{m}", f"top{n}", quota={"gpu": "1"}) for n in range(3) for m in range(3)]
    tree = QueueTree.of(queues)
    ledger = Ledger(tree)
    ledger.wait("leaf00", gpus(1))
    first = fair_shares(tree, TOTAL, ledger, ShareRules())
    same = fair_shares(tree, TOTAL, ledger, ShareRules(), previous=first)
    ledger.wait("leaf11", gpus(1))
    then = fair_shares(tree, TOTAL, ledger, ShareRules(), previous=same)

    assert (first.divided, same.divided, then.divided) == (4, 0, 2)
    assert (same.share("leaf11", "gpu"), then.share("leaf11", "gpu")) == (0, UNIT)


def test_other_rules_and_another_capacity_are_another_division():
    tree = QueueTree.of(ORG)
    ledger = Ledger(tree)
    ledger.wait("red", gpus(8))
    first = fair_shares(tree, TOTAL, ledger, ShareRules())

    assert fair_shares(tree, TOTAL, ledger, KAI, previous=first).divided > 0
    assert (
        fair_shares(tree, {"gpu": 4 * UNIT}, ledger, ShareRules(), previous=first).share("org", "gpu")
        == 8 * UNIT
    )
