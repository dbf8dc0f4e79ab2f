"""Go's generator, known draws and the orders that the benchmark drew with it."""

import re
from pathlib import Path

import pytest
from tests.packing.trace import lines_of, nodes_of, pods_of

from aliquot.packing.arrivals import order_for_seed
from aliquot.packing.go_random import GoRandom


def test_draws_those_of_go() -> None:
    random = GoRandom(42)
    assert [random.below(100) for _ in range(5)] == [5, 87, 68, 50, 23]


def test_a_seed_counts_modulo_the_largest_prime_of_31_bits() -> None:
    assert GoRandom(5).int63() == GoRandom(5 + 2**31 - 1).int63()
    assert GoRandom(-3).int63() == GoRandom(2**31 - 4).int63()


def test_seed_zero_is_a_seed_of_its_own() -> None:
    assert GoRandom(0).int63() == GoRandom(89_482_311).int63() != GoRandom(1).int63()


@pytest.mark.parametrize("bound", [1, 2, 3, 64, 1000, 2**31 - 1])
def test_draws_stay_below_their_bound(bound: int) -> None:
    random = GoRandom(7)
    assert all(0 <= random.below(bound) < bound for _ in range(200))


def test_shuffles_and_permutations_keep_all_items() -> None:
    random = GoRandom(7)
    items = [str(number) for number in range(100)]
    shuffled = list(items)
    random.shuffle(shuffled)
    assert shuffled != items
    assert sorted(shuffled) == sorted(items)
    assert sorted(random.permutation(100)) == list(range(100))


@pytest.mark.parametrize("seed", range(42, 47))
def test_gives_the_benchmarks_orders_for_a_seed(shared: Path, seed: int) -> None:
    arrivals, nodes = order_for_seed(pods_of(shared, "default"), nodes_of(shared), seed)
    expected = lines_of(shared, f"default-seed{seed}.arrivals.txt")
    assert arrivals == [re.sub(r"-tuned-\d+$", "", name) for name in expected]
    assert [node.name for node in nodes] == lines_of(shared, f"default-seed{seed}.nodes.txt")
