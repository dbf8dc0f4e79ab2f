"""Who used what of a device, against a clock that looks at every millisecond."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st
from tests.usage.test_series import AMOUNT, LEVEL, PLACE, by_millisecond, series

from aliquot.model.meta import ObjectRef
from aliquot.usage.metrics import Metric
from aliquot.usage.provenance import Provenance
from aliquot.usage.rollup import bucketed, coarser, series_of
from aliquot.usage.series import NOBODY, Owner, Series, Subject, column
from aliquot.usage.sharing import BY_SHARE, Tenure, attributed, carried, divided, weights_of

OWNERS = tuple(Owner(queue=f"team-{name}", pod=ObjectRef("Pod", "ns", name)) for name in "abc")


@st.composite
def tenures(draw: st.DrawFn) -> list[Tenure]:
    found = []
    for _ in range(draw(st.integers(0, 5))):
        start = draw(st.integers(-5, 90))
        end = draw(st.one_of(st.none(), st.integers(start + 1, 120)))
        share = draw(st.sampled_from([Fraction(1, 4), Fraction(1, 3), Fraction(1)]))
        owner = draw(st.sampled_from(OWNERS))
        found.append(Tenure(PLACE, owner, share, start, end, admin=draw(st.integers(0, 4)) == 0))
    return found


def holders_at(found: list[Tenure], moment: int) -> dict[Owner, Fraction]:
    shares: dict[Owner, Fraction] = {}
    for item in found:
        if not item.admin and item.start <= moment and (item.end is None or moment < item.end):
            shares[item.owner] = shares.get(item.owner, Fraction(0)) + item.share
    return shares


@given(series(), tenures())
def test_what_holders_are_given_adds_up_to_the_device(item: Series, found: list[Tenure]) -> None:
    parts = attributed(item, found)
    assert sum(part.total() for part in parts) == item.total()
    seen: dict[int, set[Owner]] = {}
    for part in parts:
        for moment in by_millisecond(part):
            assert part.owner not in seen.setdefault(moment, set())
            seen[moment].add(part.owner)
    for moment in by_millisecond(item):
        assert seen[moment] == (set(holders_at(found, moment)) or {NOBODY})


@given(series(LEVEL), tenures())
def test_alone_it_is_measured_and_shared_it_is_estimated(item: Series, found: list[Tenure]) -> None:
    truth = by_millisecond(item)
    for part in attributed(item, found):
        for moment, value in by_millisecond(part).items():
            shares = holders_at(found, moment)
            if len(shares) < 2:
                assert part.provenance is Provenance.MEASURED
                assert value == truth[moment]
            else:
                assert (part.provenance, part.rule) == (Provenance.ESTIMATED, BY_SHARE)
                exact = truth[moment] * shares[part.owner] / sum(shares.values())
                assert abs(value - exact) < 1


@given(st.lists(st.integers(0, 1 << 40), max_size=8), st.lists(st.integers(0, 1 << 30), min_size=1))
def test_divided_values_add_up(values: list[int], weights: list[int]) -> None:
    weights = [*weights, 1]
    parts = divided(column(values), weights)
    assert [sum(int(part[place]) for part in parts) for place in range(len(values))] == values
    assert all(int(value) >= 0 for part in parts for value in part)


def test_shares_become_weights_in_proportion() -> None:
    assert weights_of([Fraction(1, 7), Fraction(2, 7), Fraction(4, 7)]) == (1, 2, 4)
    assert weights_of([Fraction(0), Fraction(0)]) == (1, 1)


def test_an_error_code_is_not_divided() -> None:
    item = Series.of(Metric.XID, PLACE, [(10, 10, 79)])
    both = [Tenure(PLACE, owner, Fraction(1, 2), 0) for owner in OWNERS[:2]]
    assert [list(part) for part in attributed(item, both)] == [[(10, 10, 79)]] * 2


@given(series(), st.integers(1, 25), st.integers(1, 4))
def test_buckets_hold_every_sum_at_every_resolution(item: Series, width: int, times: int) -> None:
    buckets = bucketed(item, width)
    wide = coarser(buckets, width * times)
    for found in (buckets, wide):
        assert int(found.totals.sum()) == item.total()
        assert int(found.covered.sum()) == item.covered
        assert int(found.counts.sum()) == len(item)
        assert all(start % found.width == 0 for start in found.starts.tolist())
        if len(item):
            assert int(found.maxima.max()) == item.maximum().value
    moments = by_millisecond(item)
    for start, covered, total, most, _ in buckets.rows():
        inside = [moment for moment in range(start, start + width) if moment in moments]
        assert covered == len(inside)
        if not item.metric.amount:
            assert total == sum(moments[moment] for moment in inside)
            assert most == max(moments[moment] for moment in inside)
    direct = bucketed(item, width * times)
    assert list(direct.rows()) == list(wide.rows())


@given(series(AMOUNT), st.integers(1, 25))
def test_a_series_of_buckets_keeps_amounts_and_maxima(item: Series, width: int) -> None:
    found = series_of(bucketed(item, width), AMOUNT, PLACE, NOBODY, Provenance.MEASURED, "")
    assert found.total() == item.total()
    assert found.covered == item.covered
    assert found.maximum() == item.maximum()


def test_an_hour_of_141_gib_fits_its_bucket() -> None:
    item = Series.of(Metric.MEMORY_USED, Subject(), [(3_600_000, 3_600_000, 288 << 30)])
    assert int(bucketed(item, 3_600_000).totals[0]) == (288 << 30) * 3_600_000


def test_who_left_is_known_until_what_they_used_has_been_told() -> None:
    first = Tenure(PLACE, OWNERS[0], Fraction(1), 100)
    second = Tenure(PLACE, OWNERS[1], Fraction(1), 170)
    looks = [(150, [first]), (180, [second]), (240, [second]), (500, [])]
    known: tuple[Tenure, ...] = ()
    seen = []
    for now, current in looks:
        known = carried(known, current, now, now - 100)
        seen.append({item.owner: (item.start, item.end) for item in known})
    assert seen == [
        {OWNERS[0]: (100, None)},
        {OWNERS[1]: (170, None), OWNERS[0]: (100, 170)},
        {OWNERS[1]: (170, None), OWNERS[0]: (100, 170)},
        {OWNERS[1]: (170, 500)},
    ]


def test_another_word_for_the_same_holder_takes_nothing_of_what_was_told() -> None:
    whole = Tenure(PLACE, OWNERS[0], Fraction(1), 100)
    claim = Tenure(PLACE, OWNERS[1], Fraction(1), 100)
    known = carried((), [whole], 150, 0)
    known = carried(known, [claim], 200, 0)
    known = carried(known, [claim], 250, 0)
    assert [(item.owner, item.start, item.end) for item in known] == [
        (OWNERS[1], 200, None),
        (OWNERS[0], 100, 200),
    ]
