"""What becomes known later is put right by corrections that change nothing else."""

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.accounting.histories import BEGIN_MS, DEVICES, holding, occupancies, occupancy

from aliquot.accounting.amounts import HOUR_MS, MILLION
from aliquot.accounting.closing import settle
from aliquot.accounting.energy import Power, Use
from aliquot.accounting.entries import Category, Entry, Kind, Occupancy, Span, totals
from aliquot.accounting.prices import Basis, Match, Price, PriceBook, Tariff
from aliquot.accounting.revision import holding_key, net, revised
from aliquot.usage.provenance import Provenance

OWN = PriceBook(
    prices=(Price(name="own", match=Match(), basis=Basis.OWN, micros_per_hour=3_333_333),),
    tariffs=(Tariff(micros_per_kwh=123_457, grams_per_kwh=381, overhead=Fraction(13, 10)),),
)
CLOUD = PriceBook(prices=(Price(name="c", match=Match(), basis=Basis.ON_DEMAND, micros_per_hour=3_333_333),))


def power(_: object) -> Power:
    return Power(70_000, 700_000)


def known(of: Occupancy, activity: list[int], energy: int, by_entry: bool) -> Use:
    """Use of all holdings; named as spans do, or as entries do."""
    names = [holding_key(item.account) if by_entry else item.key for item in of.holdings]
    found = dict(zip(names, activity))
    return Use(activity=found, provenance=dict.fromkeys(found, Provenance.MEASURED), energy_mj=energy)


@given(
    occupancies(DEVICES[0]),
    st.integers(1, HOUR_MS),
    st.lists(st.integers(0, MILLION), min_size=4, max_size=4),
    st.integers(0, 10**9),
    st.sampled_from((OWN, CLOUD)),
)
@settings(max_examples=150, deadline=None)
def test_late_samples_lead_to_what_samples_in_time_had_led_to(
    of: Occupancy, length: int, activity: list[int], energy: int, book: PriceBook
) -> None:
    span = Span(of, BEGIN_MS, BEGIN_MS + length)
    early = settle(span, book, known(of, activity, energy, False), power)
    late = settle(span, book, power=power)
    (standing,) = net(late).values() or ((),)

    corrections = revised(standing, known(of, activity, energy, True), book, power)
    after = totals([*late, *corrections])

    assert after["device_ms"] == length
    assert (after["energy_mj"], after["carbon_ug"], after["cost_micros"]) == (
        totals(early)["energy_mj"],
        totals(early)["carbon_ug"],
        totals(early)["cost_micros"],
    )
    assert 0 <= after["used_ms"] <= after["device_ms"]
    assert all(entry.kind is Kind.CORRECTION for entry in corrections)
    again = net([*late, *corrections])
    for entries in again.values():
        assert revised(entries, known(of, activity, energy, True), book, power) == (), "once"


def test_what_was_known_and_is_forgotten_stays() -> None:
    of = occupancy(DEVICES[0], holding("a"))
    (entry,) = settle(Span(of, BEGIN_MS, BEGIN_MS + 1000), CLOUD, known(of, [MILLION], 700, False), power)

    assert revised([entry], Use(), CLOUD, power) == ()
    assert entry.used_ms == 1000


def test_a_counter_replaces_an_estimate_and_invoices_are_left_alone() -> None:
    of = occupancy(DEVICES[0], category=Category.IDLE)
    (estimate,) = settle(Span(of, BEGIN_MS, BEGIN_MS + 10_000), CLOUD, power=power)
    posted = Entry(
        device=estimate.device,
        account=estimate.account,
        category=estimate.category,
        start_ms=BEGIN_MS,
        end_ms=BEGIN_MS + 10_000,
        kind=Kind.INVOICE,
        cost_micros=5,
    )
    (standing,) = net([estimate, posted]).values()

    _, corrected = revised(standing, Use(energy_mj=810_000), CLOUD, power)

    assert (estimate.energy_mj, estimate.measured_mj) == (700_000, 0)
    assert (corrected.energy_mj, corrected.measured_mj) == (810_000, 810_000)
    assert corrected.cost_micros == estimate.cost_micros
