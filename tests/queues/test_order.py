"""Who is next: level by level, found anew only where something changed, always as if found from nothing."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.queues.builders import charges, gpus, queue, trees

from aliquot.queues.amounts import UNIT
from aliquot.queues.criteria import Standing
from aliquot.queues.ledger import Ledger
from aliquot.queues.order import VictimOrder, WorkOrder
from aliquot.queues.rules import CRITERIA, KAI, ShareRules
from aliquot.queues.shares import fair_shares
from aliquot.queues.tree import TOP, QueueTree

TOTAL = {"gpu": 8 * UNIT, "cpu": 20 * UNIT, "memory": 0}
ANYWHERE = replace(KAI, leaves_only=False)

work = st.lists(st.tuples(st.integers(0, 8), charges, st.integers(0, 3)), max_size=14)
changes = st.lists(
    st.tuples(st.sampled_from(["take", "add", "undo", "push"]), st.integers(0, 8), charges), max_size=20
)


def order_of(ledger: Ledger, rules: ShareRules = KAI) -> WorkOrder[str]:
    return WorkOrder(fair_shares(ledger.tree, TOTAL, ledger, rules), ledger)


def popped(order: WorkOrder[str] | VictimOrder[str]) -> list[str]:
    found = []
    while (item := order.pop()) is not None:
        found.append(item)
    return found


class Plain:
    """The order found from nothing each time: the best child at each level, judged by the best work below."""

    def __init__(self, shares, ledger, *, reverse):
        self.tree = shares.tree
        self.standing = Standing(shares, ledger, reverse=reverse)
        self.reverse = reverse
        self.items: dict[int, list] = {}
        self.taken: dict[int, list] = {}

    def push(self, queue, item, charge, sort_key, entered):
        number = self.tree.numbers[queue]
        self.items.setdefault(number, []).append((sort_key, entered, item, self.standing.work(charge)))
        self.items[number].sort()

    def best(self, number):
        """(number of the queue with the best work below, how it weighs) or None."""
        own = None
        if self.items.get(number):
            wanted = self.items[number][0][3]
            if self.reverse:
                gone = self.taken.get(number, [0] * len(wanted))
                wanted = tuple(-amount - more for amount, more in zip(wanted, gone))
            own = (number, wanted)
        candidates = []
        if own is not None and number != TOP:
            if not self.tree.below[number]:
                return own
            candidates.append((self.standing.key(number, own[1]), number, own))
        for child in self.tree.below[number]:
            found = self.best(child)
            if found is not None:
                candidates.append((self.standing.key(child, found[1]), child, found))
        return min(candidates, key=lambda item: item[0])[2] if candidates else None

    def pop(self):
        found = self.best(TOP)
        if found is None:
            return None
        _, _, item, wanted = self.items[found[0]].pop(0)
        gone = self.taken.setdefault(found[0], [0] * len(wanted))
        for place, amount in enumerate(wanted):
            gone[place] += amount
        return item


@settings(max_examples=200)
@given(trees(), work, changes, st.booleans(), st.booleans(), st.booleans())
def test_the_order_is_that_found_from_nothing(tree, pending, steps, reverse, leaves_only, fed):
    rules = KAI if leaves_only else ANYWHERE
    ledger = Ledger(tree)
    for number, charge, _ in pending:
        ledger.wait(f"q{number}", charge)
    shares = fair_shares(tree, TOTAL, ledger, rules)
    order = (VictimOrder if reverse else WorkOrder)(shares, ledger)
    plain = Plain(shares, ledger, reverse=reverse)
    entered = 0
    feeds: dict[str, list] = {}

    def push(number, charge, sort_key, *, feed=False):
        nonlocal entered
        entered += 1
        name, item = f"q{number}", f"w{entered}"
        usable = name in tree.numbers and (not leaves_only or tree.is_leaf(name))
        if usable:
            # Where keys are equal, a feed and a push may go either way; here no two are equal.
            key = (sort_key, entered)
            plain.push(name, item, charge, key, entered)
            if feed:
                feeds.setdefault(name, []).append((key, item, charge))
            else:
                assert order.push(name, item, charge, key)
        else:
            assert not order.push(name, item, charge, 0)

    for number, charge, sort_key in pending:
        push(number, charge, sort_key, feed=fed)
    for name, entries in feeds.items():
        assert order.feed(name, sorted(entries, key=lambda entry: entry[0]))
    mark = ledger.mark()
    for step, number, charge in steps:
        if step == "take":
            assert order.peek() == (expected := plain.pop())
            assert order.pop() == expected
        elif step == "add":
            ledger.add(f"q{number}", charge)
        elif step == "undo":
            ledger.undo(mark)
        else:
            push(number, charge, number % 3)
    while True:
        expected = plain.pop()
        assert order.pop() == expected
        if expected is None:
            break


@given(trees(), work, st.permutations(CRITERIA), st.booleans())
def test_any_choice_of_criteria_is_a_strict_total_order(tree, pending, criteria, reverse):
    ledger = Ledger(tree)
    for number, charge, _ in pending:
        ledger.add(f"q{number}", charge)
    standing = Standing(fair_shares(tree, TOTAL, ledger, KAI), ledger, criteria, reverse=reverse)
    keys = [standing.key(number, standing.work(gpus(number % 3))) for number in range(len(tree.names))]

    assert len(set(keys)) == len(keys)
    assert all(min(pair) == pair[0] for pair in pairwise(sorted(keys)))
    assert all(len(key) == len(CRITERIA) for key in keys)


@given(trees(), work)
def test_victims_of_untouched_queues_go_in_the_reverse_order_of_their_standing(tree, pending):
    ledger = Ledger(tree)
    for number, charge, _ in pending:
        ledger.add(f"q{number}", charge)
    shares = fair_shares(tree, TOTAL, ledger, KAI)
    none = tuple(0 for _ in shares.resources)
    order = tuple(name for name in CRITERIA if not name.endswith("WithWork"))
    forward, backward = (Standing(shares, ledger, order, reverse=reverse) for reverse in (False, True))
    numbers = range(len(tree.names))

    first = sorted(numbers, key=lambda number: forward.key(number, none))
    assert sorted(numbers, key=lambda number: backward.key(number, none)) == first[::-1]


def test_a_criterion_that_does_not_exist_is_told():
    ledger = Ledger(QueueTree.of([queue("a")]))
    with pytest.raises(ValueError, match="no criterion is called 'luck'; there are withinFairShare"):
        WorkOrder(fair_shares(ledger.tree, TOTAL, ledger, KAI), ledger, ("priority", "luck"))


def two(**options) -> Ledger:
    left = {"quota": {"gpu": "2"}, "weight": {"gpu": 1}} | options
    return Ledger(QueueTree.of([queue("a", created=2, **left), queue("b", quota={"gpu": "2"}, created=1)]))


def test_each_criterion_alone_decides():
    cases = {
        "withinFairShare": (two(), {"b": 6}, {}, "a"),
        "withinQuotaWithWork": (two(quota={"gpu": "3"}), {}, {"a": 3, "b": 3}, "a"),
        "priority": (two(priority=200), {}, {}, "a"),
        "hasShareWithWork": (two(quota={"gpu": "0"}, weight={"gpu": 0}), {}, {"a": 1, "b": 1}, "b"),
        "dominantShareWithWork": (two(), {}, {"a": 1, "b": 2}, "a"),
        "dominantShare": (two(), {"b": 1}, {}, "a"),
        "allocatableShare": (two(quota={"gpu": "1"}), {}, {}, "a"),
        "age": (two(), {}, {}, "b"),
    }
    assert set(cases) == set(CRITERIA)
    for name, (ledger, held, wanted, first) in cases.items():
        shares = fair_shares(ledger.tree, TOTAL, ledger, ShareRules())
        for queue_name, number in held.items():
            ledger.add(queue_name, gpus(number))
        standing = Standing(shares, ledger, (name,))
        keys = {
            queue_name: standing.key(number, standing.work(gpus(wanted.get(queue_name, 0))))
            for queue_name, number in ledger.tree.numbers.items()
        }
        assert min(keys, key=keys.__getitem__) == first, name
        assert keys["a"] != keys["b"], name


def test_queues_take_turns_as_what_is_placed_is_counted():
    ledger = Ledger(QueueTree.of([queue("a", created=1), queue("b", created=2, weight={"gpu": 1})]))
    for name in ("a", "b"):
        ledger.wait(name, gpus(4))
    order = order_of(ledger, ShareRules())
    for number in range(3):
        for name in ("a", "b"):
            order.push(name, f"{name}{number}", gpus(1), number)
    found = []
    while (item := order.pop()) is not None:
        found.append(item)
        ledger.add(item[0], gpus(1))

    assert found == ["a0", "b0", "a1", "b1", "a2", "b2"]


def test_work_cannot_be_in_a_queue_with_queues_below_unless_the_rules_let_it():
    tree = QueueTree.of([queue("org"), queue("red", "org")])

    assert not order_of(Ledger(tree)).push("org", "w", gpus(1), 0)
    assert not order_of(Ledger(tree)).push("gone", "w", gpus(1), 0)
    order = order_of(Ledger(tree), ANYWHERE)
    assert order.push("org", "w", gpus(1), 0)
    assert popped(order) == ["w"]


def test_a_queue_can_be_emptied():
    order = order_of(Ledger(QueueTree.of([queue("a"), queue("b")])))
    order.push("a", "a1", gpus(1), 0)
    order.feed("a", [(1, "a2", gpus(1)), (2, "a3", gpus(1))])
    order.push("b", "b1", gpus(1), 0)
    order.drop("a")
    order.drop("gone")

    assert popped(order) == ["b1"]


def test_a_feed_is_read_only_as_far_as_it_is_needed():
    read = []

    def entries():
        for number in range(100):
            read.append(number)
            yield number, f"a{number}", gpus(1)

    order = order_of(Ledger(QueueTree.of([queue("a")])))
    order.feed("a", entries())
    order.push("a", "early", gpus(1), -1)

    assert [order.pop(), order.pop(), order.pop()] == ["early", "a0", "a1"]
    assert read == [0, 1, 2]


def test_victims_are_taken_from_the_queue_that_is_most_over_as_if_those_taken_were_gone():
    ledger = Ledger(QueueTree.of([queue("a", created=1), queue("b", created=2)]))
    ledger.add("a", gpus(6))
    ledger.add("b", gpus(5))
    order = VictimOrder(fair_shares(ledger.tree, TOTAL, ledger, ShareRules()), ledger)
    for number in range(6):
        order.push("a", f"a{number}", gpus(1), number)
    for number in range(5):
        order.push("b", f"b{number}", gpus(1), number)

    # Of a share of 4 each: 5/4 against 4/4, then 4/4 each and a holds more, then 3/4 against 4/4, and so on.
    assert popped(order)[:5] == ["a0", "a1", "b0", "a2", "b1"]


def test_one_standing_serves_many_orders():
    ledger = two()
    shares = fair_shares(ledger.tree, TOTAL, ledger, ShareRules())
    standing = Standing(shares, ledger, reverse=True)
    for holder in ("a", "b"):
        mark = ledger.mark()
        ledger.add(holder, gpus(3))
        order = VictimOrder[str](shares, ledger, standing=standing)
        for name in ("a", "b"):
            order.push(name, name, gpus(1), 0)
        assert order.pop() == holder
        order.close()
        ledger.undo(mark)


def test_an_order_that_is_closed_follows_the_ledger_no_more():
    ledger = two()
    order = order_of(ledger)
    order.close()
    ledger.add("a", gpus(1))

    assert ledger.watch() == set()
    assert order.pop() is None
