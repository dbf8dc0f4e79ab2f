"""What queues hold: counted at every level, taken back exactly, held to limits and quotas."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.queues.builders import charges, gpus, queue, trees

from aliquot.queues.amounts import UNIT, total
from aliquot.queues.ledger import Ledger
from aliquot.queues.tree import QueueTree

TREE = QueueTree.of([queue("org"), queue("red", "org"), queue("blue", "org"), queue("lost", "gone")])


def state(ledger: Ledger) -> tuple:
    return tuple(
        {name: list(map(int, column)) for name, column in columns.items() if any(column)}
        for columns in (ledger.allocated, ledger.fixed, ledger.pending)
    )


def test_a_charge_counts_at_the_queue_and_above():
    ledger = Ledger(TREE)
    ledger.add("red", gpus(2))
    ledger.add("blue", gpus(1), preemptible=False)
    ledger.wait("red", gpus(4))

    assert ledger.of("red") == gpus(2)
    assert ledger.of("org") == gpus(3)
    assert ledger.requested("org", "gpu") == 7 * UNIT
    assert ledger.fixed_column("gpu") == [UNIT, UNIT, 0]


def test_a_queue_that_cannot_be_used_counts_nothing():
    ledger = Ledger(TREE)
    ledger.add("lost", gpus(2))
    ledger.wait("nobody", gpus(2))

    assert state(ledger) == ({}, {}, {})
    assert ledger.of("lost") == {}
    assert ledger.mark() == 0


def test_seven_sevenths_are_one():
    ledger = Ledger(TREE)
    for _ in range(7):
        ledger.add("red", {"gpu": Fraction(UNIT, 7)})

    assert ledger.of("org") == gpus(1)
    assert type(ledger.of("org")["gpu"]) is int


operations = st.lists(
    st.tuples(
        st.sampled_from(["add", "remove", "wait", "forget"]), st.integers(0, 8), charges, st.booleans()
    ),
    max_size=12,
)


def apply(ledger: Ledger, steps: list) -> None:
    for name, number, charge, preemptible in steps:
        queue_name = f"q{number}"
        if name in ("add", "remove"):
            getattr(ledger, name)(queue_name, charge, preemptible)
        else:
            getattr(ledger, name)(queue_name, charge)


@given(trees(), operations, operations)
def test_undo_is_exact(tree, before, after):
    ledger = Ledger(tree)
    apply(ledger, before)
    kept, mark = state(ledger), ledger.mark()
    apply(ledger, after)
    ledger.undo(mark)

    assert state(ledger) == kept
    ledger.undo(0)
    assert state(ledger) == ({}, {}, {})


@given(trees(), operations)
def test_every_queue_holds_what_was_charged_to_it_and_below(tree, steps):
    ledger = Ledger(tree)
    apply(ledger, steps)

    for name in tree.names:
        expected = total(
            {resource: amount if step == "add" else -amount for resource, amount in charge.items()}
            for step, number, charge, _ in steps
            if step in ("add", "remove") and name in tree.path(f"q{number}")
        )
        assert ledger.of(name) == {resource: amount for resource, amount in expected.items() if amount}


def test_who_watches_hears_of_changes_and_of_taking_them_back():
    ledger = Ledger(TREE)
    seen = ledger.watch()
    mark = ledger.mark()
    ledger.add("red", gpus(1))
    assert seen == {TREE.numbers["red"]}

    seen.clear()
    ledger.undo(mark)
    assert seen == {TREE.numbers["red"]}

    seen.clear()
    ledger.unwatch(seen)
    ledger.add("red", gpus(1))
    assert seen == set()


LIMITED = QueueTree.of(
    [
        queue("org", limit={"gpu": "4"}),
        queue("red", "org", quota={"gpu": "2"}, limit={"gpu": "3", "cpu": "1"}),
    ]
)


@pytest.mark.parametrize(
    ("held", "wanted", "preemptible", "expected"),
    [
        (0, {"gpu": 3}, True, None),
        (0, {"gpu": 4}, True, ("red", "limit", 1)),
        (2, {"gpu": 2}, True, ("red", "limit", 1)),
        (0, {"gpu": 3}, False, ("red", "quota", 1)),
        (0, {"memory": 9}, False, None),
        (3, {"memory": 9}, True, None),
        (0, {"cpu": 2}, True, ("red", "limit", 1)),
    ],
)
def test_limits_hold_for_all_and_quotas_for_work_that_cannot_be_preempted(
    held, wanted, preemptible, expected
):
    ledger = Ledger(LIMITED)
    ledger.add("red", gpus(held))
    excess = ledger.excess("red", {name: number * UNIT for name, number in wanted.items()}, preemptible)

    found = None if excess is None else (excess.queue, excess.term, excess.short // UNIT)
    assert found == expected


def test_a_queue_above_without_a_quota_guarantees_nothing():
    ledger = Ledger(LIMITED)

    assert ledger.excess("red", gpus(2), preemptible=False).queue == "org"


def test_minus_one_is_no_bound():
    tree = QueueTree.of([queue("red", quota={"gpu": "-1"}, limit={"gpu": "-1"})])
    ledger = Ledger(tree)

    assert ledger.excess("red", gpus(1000), preemptible=False) is None
    assert (tree.quota("red", "gpu"), tree.limit("red", "gpu")) == (None, None)
    assert tree.quota("red", "cpu") == 0


def test_where_nobody_sets_quotas_there_is_nothing_to_keep_within():
    ledger = Ledger(QueueTree.of([queue("red", limit={"gpu": "8"})]))

    assert ledger.excess("red", gpus(8), preemptible=False) is None


@given(trees(), operations, charges, st.integers(0, 8), st.booleans())
def test_an_excess_is_found_exactly_when_a_term_is_broken(tree, steps, charge, number, preemptible):
    ledger = Ledger(tree)
    apply(ledger, steps)
    name = f"q{number}"
    excess = ledger.excess(name, charge, preemptible)

    broken = []
    for step in tree.path(name):
        at = tree.numbers[step]
        for resource, wanted in charge.items():
            if not wanted:
                continue
            limit, quota = tree.limit(step, resource), tree.quota(step, resource)
            if limit is not None and ledger.column(resource)[at] + wanted > limit:
                broken.append((step, resource, "limit"))
            governed = resource in tree.with_quota() and quota is not None and not preemptible
            if governed and ledger.fixed_column(resource)[at] + wanted > quota:
                broken.append((step, resource, "quota"))
    assert (excess is None) == (not broken)
    if excess is not None:
        assert (excess.queue, excess.resource, excess.term) in broken
        assert excess.short > 0
