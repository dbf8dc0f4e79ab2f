"""Series against a clock that looks at every millisecond."""

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aliquot.usage.metrics import WHOLE_PPM, Metric
from aliquot.usage.provenance import Known, Provenance, Tally, weakest
from aliquot.usage.series import Series, Subject, column, exact_dot, joined

LEVEL, AMOUNT = Metric.SM_BUSY, Metric.ENERGY
PLACE = Subject("node-1", "gpu.nvidia.com", "node-1", "gpu-0")


@st.composite
def series(draw: st.DrawFn, metric: Metric | None = None) -> Series:
    at = draw(st.integers(0, 20))
    rows = []
    for _ in range(draw(st.integers(0, 6))):
        span = draw(st.integers(1, 9))
        at += draw(st.sampled_from([0, 0, 3, 11])) + span
        rows.append((at, span, draw(st.integers(0, 50))))
    return Series.of(metric or draw(st.sampled_from([LEVEL, AMOUNT])), PLACE, rows)


def by_millisecond(item: Series) -> dict[int, Fraction]:
    """The value of every millisecond that a sample stands for; amounts are spread over their time."""
    found: dict[int, Fraction] = {}
    for time, span, value in item:
        for moment in range(time - span, time):
            assert moment not in found
            found[moment] = Fraction(value, span) if item.metric.amount else Fraction(value)
    return found


@given(series())
def test_totals_coverage_and_gaps_are_those_of_every_millisecond(item: Series) -> None:
    moments = by_millisecond(item)
    assert item.total() == sum(moments.values())
    assert item.covered == len(moments)
    gaps = {moment for start, end in item.gaps for moment in range(start, end)}
    assert gaps == set(range(item.start, item.end)) - set(moments)


@given(series(), st.lists(st.integers(-5, 120), max_size=4))
def test_cutting_a_series_anywhere_loses_and_adds_nothing(item: Series, cuts: list[int]) -> None:
    bounds = [-10, *sorted(cuts), 200]
    pieces = [item.between(low, high) for low, high in pairwise(bounds) if low < high]
    assert sum(piece.total() for piece in pieces) == item.total()
    assert sum(piece.covered for piece in pieces) == item.covered
    for piece in pieces:
        if not item.metric.amount:
            assert by_millisecond(piece).items() <= by_millisecond(item).items()
    if item.metric is LEVEL:
        whole = by_millisecond(joined(pieces))
        assert whole == by_millisecond(item)


@given(series(LEVEL), st.integers(0, WHOLE_PPM))
def test_a_percentile_is_the_least_value_not_exceeded_for_that_share_of_the_time(
    item: Series, ppm: int
) -> None:
    moments = sorted(by_millisecond(item).values())
    if not moments:
        assert not item.percentile(ppm).known
        return
    found = item.percentile(ppm).value
    assert found is not None
    wanted = Fraction(ppm, WHOLE_PPM) * len(moments)
    assert sum(1 for value in moments if value <= found) >= wanted
    assert sum(1 for value in moments if value < found) < wanted or found == moments[0]


def test_the_mean_of_an_amount_is_a_rate_per_second() -> None:
    drawn = Series.of(AMOUNT, PLACE, [(2_000, 2_000, 700_000)])
    assert drawn.mean() == Known.measured(350_000)


def test_a_cut_amount_is_divided_by_time_and_adds_up() -> None:
    drawn = Series.of(AMOUNT, PLACE, [(3_000, 3_000, 10)])
    assert [list(drawn.between(low, high)) for low, high in ((0, 1_000), (1_000, 9_000))] == [
        [(1_000, 1_000, 3)],
        [(3_000, 2_000, 7)],
    ]


@pytest.mark.parametrize(
    "rows",
    [
        [(10, 0, 1)],
        [(10, 5, 1), (10, 5, 1)],
        [(10, 5, 1), (14, 5, 1)],
        [(20, 5, 1), (10, 5, 1)],
    ],
)
def test_samples_that_overlap_or_last_no_time_are_refused(rows: list[tuple[int, int, int]]) -> None:
    with pytest.raises(ValueError, match="sample"):
        Series.of(LEVEL, PLACE, rows)


@given(
    st.lists(st.tuples(st.integers(0, 1 << 45), st.integers(1, 1 << 26)), max_size=20),
)
def test_products_are_added_up_exactly_beyond_64_bits(pairs: list[tuple[int, int]]) -> None:
    values, weights = column(pair[0] for pair in pairs), column(pair[1] for pair in pairs)
    assert exact_dot(values, weights) == sum(value * weight for value, weight in pairs)


def test_thirty_days_of_memory_are_added_up_exactly() -> None:
    minutes = 30 * 24 * 60
    values = np.full(minutes, 141 << 30, dtype=np.int64)
    spans = np.full(minutes, 60_000, dtype=np.int64)
    item = Series(Metric.MEMORY_USED, PLACE, np.cumsum(spans), spans, values)
    assert item.total() == (141 << 30) * 60_000 * minutes
    assert item.mean() == Known.measured(141 << 30)


def test_columns_of_a_series_cannot_be_changed() -> None:
    item = Series.of(LEVEL, PLACE, [(10, 10, 1)])
    with pytest.raises(ValueError, match="read-only"):
        item.values[0] = 2
    assert not item.same(replace(item, values=column([2])))


def test_idle_since_is_the_end_of_the_last_sample_above_a_value() -> None:
    item = Series.of(LEVEL, PLACE, [(10, 10, 900), (20, 10, 5), (30, 10, 0)])
    assert item.last_above(10) == 10
    assert item.last_above(900) is None
    assert item.time_above(4) == 20


KNOWN = st.one_of(
    st.integers(0, 99).map(Known.measured),
    st.integers(0, 99).map(lambda value: Known.estimated(value, "by halves")),
    st.just(Known.unknown("no exporter")),
)


@given(st.lists(KNOWN, min_size=1, max_size=6))
def test_a_sum_is_as_well_known_as_its_worst_part(figures: list[Known[int]]) -> None:
    whole = figures[0]
    for figure in figures[1:]:
        whole = whole + figure
    assert whole.provenance is weakest(figure.provenance for figure in figures)
    values = [figure.value for figure in figures]
    assert whole.value == (None if None in values else sum(value for value in values if value is not None))
    tally = Tally.of(figures)
    assert tally.provenance is whole.provenance
    assert tally.value == sum(value for value in values if value is not None)
    assert tally.unknown == values.count(None)


@pytest.mark.parametrize(
    ("value", "provenance", "rule"),
    [(None, Provenance.MEASURED, ""), (1, Provenance.UNKNOWN, ""), (1, Provenance.ESTIMATED, "")],
)
def test_a_figure_cannot_contradict_its_provenance(
    value: int | None, provenance: Provenance, rule: str
) -> None:
    with pytest.raises(ValueError):
        Known(value, provenance, rule)
