"""Return levels of memory."""

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sizing.histories import GIB, MINUTE, memory, series

from aliquot.sizing.extremes import Extremes, block_maxima, extremes, of_maxima
from aliquot.usage.metrics import Metric
from aliquot.usage.series import Series, Subject


def test_the_worked_example_of_the_module_holds() -> None:
    found = of_maxima([30, 31, 32])
    assert found is not None
    assert found.location == pytest.approx(28.7, abs=0.1)
    assert found.level(0.001) == pytest.approx(55.8, abs=0.2)


def test_more_hours_of_the_same_spread_need_less_margin() -> None:
    levels = []
    for repeats in (2, 8, 100):
        found = of_maxima([30, 31, 32] * repeats)
        assert found is not None
        levels.append(found.level(0.001))
    assert levels == sorted(levels, reverse=True)
    assert levels[-1] > 32


def test_an_even_history_needs_no_more_than_its_peak() -> None:
    found = of_maxima([7 * GIB] * 24)
    assert found is not None
    assert found.level(0.001) == 7 * GIB
    assert found.risk(7 * GIB) == 0.0
    assert found.risk(7 * GIB - 1) == 1.0


@pytest.mark.parametrize("count", [0, 1, 2])
def test_less_than_three_hours_say_nothing(count: int) -> None:
    assert of_maxima([1] * count) is None


@given(
    st.lists(st.integers(1, 10**12), min_size=3, max_size=60).filter(lambda item: len(set(item)) > 1),
    st.floats(1e-6, 0.5),
    st.floats(1e-6, 0.5),
)
def test_levels_fall_with_the_risk_taken_and_tell_the_risk_back(
    maxima: list[int], first: float, second: float
) -> None:
    found = of_maxima(maxima)
    assert found is not None
    low, high = sorted((first, second))
    assert found.level(low) >= found.level(high)
    assert found.risk(found.level(first)) == pytest.approx(first, rel=1e-6)


def test_levels_are_those_of_a_gumbel_distribution_with_the_widened_moments() -> None:
    maxima = [10, 14, 11, 19, 12, 10, 15, 13]
    found = of_maxima(maxima)
    assert found is not None
    # Of a Gumbel distribution the mean is location + Euler's constant x scale.
    assert found.location + 0.5772156649 * found.scale == pytest.approx(statistics.mean(maxima))
    assert found.scale * math.pi / math.sqrt(6) > statistics.stdev(maxima)


def test_the_largest_value_of_each_hour_counts() -> None:
    history = memory([1.0] * 59 + [5.0] + [2.0] * 60 + [3.0] * 60)
    assert block_maxima(history) == [5 * GIB, 2 * GIB, 3 * GIB]
    assert extremes(history) is not None


def test_hours_that_are_mostly_gaps_do_not_count() -> None:
    rows = [(MINUTE * at, MINUTE, 9) for at in (*range(1, 61), *range(61, 81), *range(121, 241))]
    history = Series.of(Metric.MEMORY_USED, Subject(), rows)
    assert block_maxima(history) == [9, 9, 9]


def test_the_largest_value_within_a_sample_counts_where_samples_were_rolled_up() -> None:
    rolled = series(Metric.MEMORY_USED, [1, 1, 1, 1], step=3_600_000)
    highest = Series(
        rolled.metric,
        rolled.subject,
        rolled.times.copy(),
        rolled.spans.copy(),
        rolled.values.copy(),
        maxima=rolled.values * 7,
    )
    assert block_maxima(highest) == [7, 7, 7, 7]


def test_a_risk_far_beyond_any_level_is_a_number() -> None:
    assert Extremes(0.0, 1.0, 3, 1).risk(-1e9) == 1.0
    assert Extremes(0.0, 1.0, 3, 1).risk(1e9) == 0.0
