"""The price book: which price applies when, and files that say where they are wrong."""

from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import msgspec
import pytest
from tests.accounting.histories import BEGIN_MS, DEVICES, holding, occupancy

from aliquot.accounting.amounts import HOUR_MS, MILLION
from aliquot.accounting.closing import settle
from aliquot.accounting.energy import Power, Use
from aliquot.accounting.entries import Place, Span
from aliquot.accounting.price_files import Spending, milliseconds, moment, parse_spending
from aliquot.accounting.prices import Basis, Match, Price, PriceBook, micros
from aliquot.catalog.fleet_yaml import FleetError
from aliquot.catalog.prices import prices_of

HEAD = "apiVersion: aliquot.dev/v1alpha1\nkind: PriceBook\n"
H100 = Place(node="n1", pool="n1", driver="gpu.nvidia.com", model="NVIDIA H100 80GB HBM3")
NOW = milliseconds(datetime(2026, 10, 1, tzinfo=UTC))


def parsed(text: str) -> Spending:
    return parse_spending(HEAD + text, "prices.yaml")


def test_the_first_price_that_matches_and_is_valid_applies() -> None:
    book = parsed("""
prices:
  - {name: spot, basis: spot, match: {capacityType: spot}, perNodeHour: 31.5}
  - {name: old, match: {model: "NVIDIA H100*"}, until: 2026-07-01, perDeviceHour: 3.10}
  - {name: new, match: {model: "NVIDIA H100*"}, from: 2026-07-01, perDeviceHour: 2.49}
""").book
    may = milliseconds(datetime(2026, 5, 1, tzinfo=UTC))

    assert (book.quote(H100, may).name, book.quote(H100, may).micros_per_hour) == ("old", 3_100_000)
    assert (book.quote(H100, NOW).name, book.quote(H100, NOW).per_device) == ("new", True)
    spot = msgspec.structs.replace(H100, capacity_type="spot")
    assert (book.quote(spot, NOW).name, book.quote(spot, NOW).basis) == ("spot", Basis.SPOT)


def test_a_change_of_price_in_the_middle_of_a_span_is_heeded_to_the_millisecond() -> None:
    change = BEGIN_MS + 600_000
    prices = (
        Price(
            name="old",
            match=Match(),
            basis=Basis.ON_DEMAND,
            micros_per_hour=3_600_000,
            per_device=True,
            end_ms=change,
        ),
        Price(
            name="new",
            match=Match(),
            basis=Basis.ON_DEMAND,
            micros_per_hour=7_200_000,
            per_device=True,
            start_ms=change,
        ),
    )
    cost, quote = PriceBook(prices=prices).capacity_cost(
        occupancy(DEVICES[0], holding("a")), BEGIN_MS, BEGIN_MS + 1_200_000
    )

    assert cost == 600_000 + 1_200_000
    assert quote.name == "new"


def test_hardware_of_ones_own_is_written_off_and_then_costs_its_upkeep() -> None:
    book = parsed("""
prices:
  - name: rack
    basis: own
    from: 2024-01-01
    perNode: {payment: 300000, residual: 30000, months: 24, perMonth: 876.6}
""").book
    hours = Fraction(8766, 12) * 24
    during = milliseconds(datetime(2025, 6, 1, tzinfo=UTC))

    assert book.quote(H100, during).micros_per_hour == round(270_000 * MILLION / hours) + 1_200_000
    assert book.quote(H100, NOW).micros_per_hour == 1_200_000


def test_without_a_line_the_nodes_label_counts_and_then_the_catalogue() -> None:
    book = PriceBook()
    labelled = msgspec.structs.replace(H100, price_label="12.5", instance_type="p5.48xlarge")
    listed = msgspec.structs.replace(H100, instance_type="p5.48xlarge", region="us-east-1")
    known = [price.on_demand_micros for price in prices_of("p5.48xlarge", "us-east-1")]

    assert book.quote(labelled, NOW).micros_per_hour == 12_500_000
    assert book.quote(listed, NOW).micros_per_hour in known
    assert book.quote(listed, NOW).name == "catalogue"
    assert book.quote(H100, NOW).basis is Basis.UNPRICED
    assert PriceBook(currency="EUR").quote(listed, NOW).basis is Basis.UNPRICED, "the catalogue is in dollars"


def test_ones_own_hardware_pays_for_electricity_and_a_clouds_price_holds_it() -> None:
    span = Span(occupancy(DEVICES[0], holding("a")), BEGIN_MS, BEGIN_MS + HOUR_MS // 2)
    use = Use(activity={"a": MILLION}, energy_mj=3_600_000_000)
    energy = "energy:\n  - {perKwh: 0.10, overhead: 1.5, gramsPerKwh: 400}\n"

    def price(basis: str) -> int:
        book = parsed(f"{energy}prices:\n  - {{name: x, basis: {basis}, perDeviceHour: 2}}\n").book
        (entry,) = settle(span, book, use, lambda _: Power(0, 1))
        assert entry.carbon_ug == 600 * MILLION
        return entry.cost_micros

    assert price("own") - price("reserved") == 150_000


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("prices:\n  - {perNodeHour: 1}\n", r"prices.yaml:4: prices\[0\].name: is missing; name the price"),
        ("prices:\n  - {name: a}\n", r"prices\[0\]: gives no price, or several; write one of perNodeHour"),
        (
            "prices:\n  - {name: a, perNodeHour: cheap}\n",
            r"perNodeHour: is not an amount of money; write .* 98.32",
        ),
        ("prices:\n  - {name: a, perNodeHour: -1}\n", "is not an amount"),
        ("prices:\n  - {name: a, perNodeHour: 1e400}\n", "is not an amount"),
        ("prices:\n  - {name: a, perNodeHour: 1, from: 2026-13-01}\n", "is no date; write 2026-01-31"),
        (
            "prices:\n  - {name: a, perNodeHour: 1, from: 2026-02-01, until: 2026-01-01}\n",
            "is not after `from`",
        ),
        (
            "prices:\n  - {name: a, perNodeHour: 1, match: {modle: x}}\n",
            "no such field; did you mean 'model'",
        ),
        ("prices:\n  - {name: a, perNode: {payment: 5, months: 12}}\n", "write when the payment began"),
        ("prices:\n  - {name: a, perNode: {payment: 5, residual: 6, months: 12}}\n", "more than the payment"),
        ("energy:\n  - {overhead: 0.5}\n", "is not a number from 1 to 10"),
        ("currency: euro\n", "is no currency; write its three letters"),
        ("invoices:\n  - {name: a, amount: 5}\n", "lacks name, from or until"),
        ("budgets:\n  - {name: a, amount: 5}\n", "write whose budget it is"),
        ("budgets:\n  - {name: a, amount: 0, for: {queue: a}}\n", "is 0"),
        ("budgets:\n  - {name: a, amount: 1, for: {pod: a}}\n", "cannot have a budget; use queue"),
        ("budgets:\n  - {name: a, amount: 1, for: {queue: a}, alertAt: [0]}\n", "is no percentage"),
        ("price: []\n", "no such field; did you mean 'prices'"),
    ],
)
def test_what_is_wrong_is_named_with_its_place_and_the_fix(text: str, problem: str) -> None:
    with pytest.raises(FleetError, match=problem):
        parsed(text)


def test_times_are_whole_milliseconds_and_money_is_exact() -> None:
    time = datetime(2026, 3, 1, 12, 0, 0, 123_999, UTC)

    assert moment(milliseconds(time)) == time.replace(microsecond=123_000)
    assert micros("98.3200005") == 98_320_000
    assert micros("0.0000015") == 2
    assert micros("NaN") is None
    with pytest.raises(ValueError, match="aware"):
        milliseconds(datetime(2026, 1, 1))


def test_the_price_book_of_the_documentation_is_one() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "ledger.md").read_text()
    found = parse_spending(text.partition("```yaml\n")[2].partition("```")[0], "docs/ledger.md")

    assert [price.basis for price in found.book.prices] == ["spot", "on-demand", "reserved", "own"]
    assert (len(found.book.tariffs), len(found.invoices), len(found.budgets)) == (2, 1, 1)
