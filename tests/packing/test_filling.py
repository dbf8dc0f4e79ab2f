"""Expected filling, against value iteration and against cases that can be done by hand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aliquot.packing.filling import CPU_CELLS, END, Filling
from aliquot.packing.patterns import CELLS

MIXES = st.dictionaries(
    st.tuples(st.sampled_from([16, 32, 47, 53, 65, 81, 100]), st.integers(0, 8)),
    st.floats(0.01, 0.2),
    min_size=1,
    max_size=4,
)


@settings(max_examples=20, deadline=None)
@given(MIXES, st.sampled_from([(CELLS, 6), (84, 12), (53, 4), (47, CPU_CELLS)]))
def test_is_the_optimal_stopping_value(mix: dict[tuple[int, int], float], place: tuple[int, int]) -> None:
    prices = {size: size / CELLS for size, _ in mix}

    def value(room: int, cpu: int, known: dict[tuple[int, int], float]) -> float:
        if (room, cpu) not in known:
            offers = [
                (frequency, prices[size] + value(room - size, cpu - needed, known))
                for (size, needed), frequency in mix.items()
                if size <= room and needed <= cpu
            ]
            best = 0.0
            total = sum(frequency for frequency, _ in offers)
            for _ in range(2000 if offers else 0):
                best = sum(frequency * max(offer, best) for frequency, offer in offers) / (END + total)
            known[(room, cpu)] = best
        return known[(room, cpu)]

    room, cpu = place
    filling = Filling(mix, prices)
    assert filling.filled(room, cpu) == pytest.approx(value(room, cpu, {}), abs=1e-6)


def test_one_kind_is_expected_as_surely_as_it_comes_before_the_end() -> None:
    filling = Filling({(100, 5): 0.18}, {100: 1.0})
    assert filling.filled(100, 5) == pytest.approx(0.9)
    assert filling.filled(100, 4) == 0.0
    assert filling.filled(100, 4.5) == pytest.approx(0.45)
    assert filling.filled(100, 1000) == pytest.approx(0.9)
    assert filling.cpu_needed[100] == pytest.approx(4.5)


def test_a_room_without_cpu_for_what_fits_it_is_worth_little() -> None:
    prices = {47: 0.5, 81: 1.0}
    filling = Filling({(47, 4): 0.1, (81, 2): 0.2}, prices)
    assert filling.filled(53, 3) == 0.0
    assert filling.filled(53, 4) > 0.4


@settings(max_examples=20, deadline=None)
@given(MIXES)
def test_more_cpu_is_never_worth_less(mix: dict[tuple[int, int], float]) -> None:
    filling = Filling(mix, {size: size / CELLS for size, _ in mix})
    for room in (19, 53, CELLS):
        row = [filling.filled(room, cpu) for cpu in range(CPU_CELLS + 1)]
        assert row == sorted(row)


def test_nothing_is_expected_of_no_pods() -> None:
    filling = Filling({}, {})
    assert filling.filled(CELLS, CPU_CELLS) == 0.0
    assert filling.cpu_needed[CELLS] == 0.0
