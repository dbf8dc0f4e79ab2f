"""Accounting in arrays says what accounting span by span says."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.accounting.histories import BEGIN_MS, DEVICES, account

from aliquot.accounting.amounts import HOUR_MS, apportion
from aliquot.accounting.bulk import HELD, UNKNOWN, Rates, Samples, apportion_rows, settle_samples
from aliquot.accounting.closing import settle
from aliquot.accounting.columns import Columns
from aliquot.accounting.energy import Power, Use
from aliquot.accounting.entries import Account, Category, Entry, Holding, Occupancy, Span, Spare
from aliquot.accounting.prices import Basis, Match, Price, PriceBook, Tariff
from aliquot.usage.provenance import Provenance

STEP_MS = 60_000
START_MS = BEGIN_MS // HOUR_MS * HOUR_MS
ACCOUNTS = (Account(reason="Expected"), Account(reason="Broken"), account("a"), account("b"))
CATEGORIES = (int(Category.IDLE), int(Category.SYSTEM), HELD, HELD)
OVERHEAD = Fraction(13, 10)
BOOK = PriceBook(
    prices=(Price(name="own", match=Match(), basis=Basis.OWN, micros_per_hour=98_321_007),),
    tariffs=(Tariff(micros_per_kwh=123_457, grams_per_kwh=381, overhead=OVERHEAD),),
)
IDLE_MW = 70_000


@st.composite
def samples(draw: st.DrawFn) -> Samples:
    """Up to 100 minutes of two devices with up to three parts."""
    parts = draw(st.integers(1, 3))
    times = draw(st.integers(1, 100))
    shape = (2, parts, times)
    holder, share = np.zeros(shape, np.int32), np.zeros(shape, np.uint8)
    for device in range(2):
        for part in range(parts):
            cuts = sorted(draw(st.lists(st.integers(0, times), max_size=3)))
            for first, last in zip((0, *cuts), (*cuts, times)):
                holder[device, part, first:last] = draw(st.integers(0, 3))
        cut = draw(st.integers(0, times))
        for first, last in ((0, cut), (cut, times)):
            left = 7
            for part in range(parts):
                size = left if part == parts - 1 else draw(st.integers(0, left))
                share[device, part, first:last] = size
                left -= size
    seed = draw(st.integers(0, 1000))
    randomness = np.random.default_rng(seed)
    activity = randomness.integers(0, 101, shape, dtype=np.uint8)
    if draw(st.booleans()):
        activity[randomness.random(shape) < 0.2] = UNKNOWN
    activity[holder < 2] = 0
    return Samples(
        devices=DEVICES[:2],
        accounts=ACCOUNTS,
        category_of=np.array(CATEGORIES, np.int8),
        start_ms=START_MS + draw(st.integers(0, 59)) * STEP_MS,
        step_ms=STEP_MS,
        denominator=7,
        account=holder,
        share=share,
        activity=activity,
        energy_mj=randomness.integers(0, 42_000_000, (2, times), dtype=np.uint32),
    )


RATES = Rates(
    micros_per_hour=np.full(2, 98_321_007, np.int64),
    index=np.array([0, 1], np.int64),
    of=np.full(2, 2, np.int64),
    idle_mw=np.full(2, IDLE_MW, np.int64),
    per_kwh=123_457 * OVERHEAD,
    grams_per_kwh=381 * OVERHEAD,
)


def one_by_one(given_samples: Samples) -> list[Entry]:
    """The same by spans: each run of equal holders within an hour, settled with the mean of its activity."""
    found: list[Entry] = []
    _, parts, times = given_samples.share.shape
    for number, device in enumerate(given_samples.devices):
        first = 0
        for place in range(1, times + 1):
            same = place < times and (given_samples.start_ms + place * STEP_MS) % HOUR_MS
            same = same and all(
                (values[number, :, place] == values[number, :, place - 1]).all()
                for values in (given_samples.account, given_samples.share)
            )
            if same:
                continue
            chosen = slice(first, place)
            holdings, spare, order, activity = [], [], [], {}
            for part in range(parts):
                share = int(given_samples.share[number, part, first])
                who = int(given_samples.account[number, part, first])
                own = given_samples.activity[number, part, chosen].tolist()
                if not share:
                    continue
                if CATEGORIES[who] == HELD:
                    key = f"{part}"
                    order.append((part, "held"))
                    holdings.append(Holding(key=key, account=ACCOUNTS[who], share=Fraction(share, 7)))
                    if UNKNOWN not in own:
                        activity[key] = sum(own) * 10_000 // len(own)
                else:
                    category = Category(CATEGORIES[who])
                    spare.append(
                        Spare(category=category, share=Fraction(share, 7), reason=ACCOUNTS[who].reason)
                    )
            span = Span(
                Occupancy(device=device, holdings=tuple(holdings), spare=tuple(spare), index=number, of=2),
                given_samples.start_ms + first * STEP_MS,
                given_samples.start_ms + place * STEP_MS,
            )
            use = Use(
                activity=activity,
                provenance=dict.fromkeys(activity, Provenance.MEASURED),
                energy_mj=int(given_samples.energy_mj[number, chosen].sum()),
            )
            found += settle(span, BOOK, use, lambda _: Power(IDLE_MW, 700_000))
            first = place
    return found


def near(entry: Entry) -> tuple[object, ...]:
    return (entry.device.key, entry.start_ms, entry.account.queue, entry.account.reason, entry.category)


@given(samples())
@settings(max_examples=30, deadline=None)
def test_arrays_say_what_spans_say(given_samples: Samples) -> None:
    """Parts are divided in another order there (free ones last), so that each may differ by the odd unit;
    sums may not."""
    fast = settle_samples(given_samples, RATES).entries()
    slow = one_by_one(given_samples)

    assert len(fast) == len(slow)
    for name in ("device_ms", "energy_mj", "cost_micros", "carbon_ug"):
        assert sum(getattr(item, name) for item in fast) == sum(getattr(item, name) for item in slow), name
    for one, other in zip(sorted(fast, key=near), sorted(slow, key=near), strict=True):
        assert near(one) == near(other)
    by_fast: dict[object, list[Entry]] = {}
    by_slow: dict[object, list[Entry]] = {}
    for items, into in ((fast, by_fast), (slow, by_slow)):
        for item in items:
            into.setdefault(near(item), []).append(item)
    for key, own in by_fast.items():
        for name in (
            "device_ms",
            "used_ms",
            "known_ms",
            "metered_ms",
            "energy_mj",
            "cost_micros",
            "carbon_ug",
        ):
            one = sum(getattr(item, name) for item in own)
            other = sum(getattr(item, name) for item in by_slow[key])
            assert abs(one - other) <= 3 * len(own), (key, name)


def test_devices_held_whole_are_accounted_to_the_unit() -> None:
    times = 90
    shape = (2, 1, times)
    whole = Samples(
        devices=DEVICES[:2],
        accounts=ACCOUNTS,
        category_of=np.array(CATEGORIES, np.int8),
        start_ms=START_MS,
        step_ms=STEP_MS,
        denominator=7,
        account=np.repeat(np.array([2, 0], np.int32), times).reshape(shape),
        share=np.full(shape, 7, np.uint8),
        activity=np.repeat(np.array([37, 0], np.uint8), times).reshape(shape),
        energy_mj=np.full((2, times), 30_000_001, np.uint32),
    )

    assert list(settle_samples(whole, RATES).entries()) == one_by_one(whole)


@given(
    st.lists(
        st.tuples(st.integers(0, 10**9), st.lists(st.integers(0, 10**6), min_size=3, max_size=3)),
        min_size=1,
        max_size=5,
    )
)
def test_rows_are_divided_as_single_totals_are(rows: list[tuple[int, list[int]]]) -> None:
    totals = np.array([total for total, _ in rows], np.int64)
    weights = np.array([weight for _, weight in rows], np.int64)

    found = apportion_rows(totals, weights)

    assert [tuple(row) for row in found.tolist()] == [apportion(total, weight) for total, weight in rows]


def test_what_does_not_fit_is_refused_not_wrong() -> None:
    with pytest.raises(ValueError, match="too large"):
        apportion_rows(np.array([1 << 40], np.int64), np.array([[1 << 40, 1]], np.int64))


def test_columns_and_entries_are_the_same() -> None:
    entries = one_by_one(
        Samples(
            devices=DEVICES[:2],
            accounts=ACCOUNTS,
            category_of=np.array(CATEGORIES, np.int8),
            start_ms=START_MS,
            step_ms=STEP_MS,
            denominator=7,
            account=np.zeros((2, 1, 3), np.int32),
            share=np.full((2, 1, 3), 7, np.uint8),
            activity=np.zeros((2, 1, 3), np.uint8),
            energy_mj=np.full((2, 3), 5, np.uint32),
        )
    )

    assert list(Columns.of(entries).entries()) == entries
