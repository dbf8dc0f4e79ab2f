"""Reports, charges, budgets, invoices and FOCUS rows."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.accounting.histories import DEVICES, account

from aliquot.accounting.amounts import DAY_MS, HOUR_MS, MILLION
from aliquot.accounting.budgets import Budget, Period, alerts, budget_state
from aliquot.accounting.entries import Account, Category
from aliquot.accounting.focus import COLUMNS, Charge, Issuer, rows
from aliquot.accounting.focus_rules import violations
from aliquot.accounting.invoices import Charged, Invoice, reconcile
from aliquot.accounting.leftovers import Demand, Reason, Room, spare_of
from aliquot.accounting.prices import Match
from aliquot.accounting.reports import Group, Line, Tally, chargeback, groups

DAY = 20_700 * DAY_MS
tallies = st.builds(
    Tally,
    device_ms=st.integers(0, 10**12),
    cost_micros=st.integers(0, 10**12),
    carbon_ug=st.integers(0, 10**12),
)
lines = st.lists(
    st.builds(Line, st.sampled_from("abcd").map(lambda name: (name,)), st.sampled_from(Category), tallies),
    max_size=12,
)


@given(lines)
def test_charges_add_up_to_everything(given_lines: list[Line]) -> None:
    shown = groups(given_lines)
    charged = chargeback(shown)

    total = sum(line.amounts.cost_micros for line in given_lines)
    if any(group.held.device_ms or group.held.cost_micros for group in shown):
        assert sum(group.charge_micros for group in charged) == total
        carbon = sum(group.held.carbon_ug + group.overhead_ug for group in charged)
        assert carbon == sum(line.amounts.carbon_ug for line in given_lines)
    else:
        assert charged == shown


def test_what_an_hour_costs_is_only_told_where_use_is_known() -> None:
    held = Tally(device_ms=4 * HOUR_MS, used_ms=HOUR_MS, known_ms=4 * HOUR_MS, cost_micros=8 * MILLION)
    known = Group(keys=("a",), by_category={Category.EXCLUSIVE: held})
    partly = msgspec.structs.replace(held, known_ms=HOUR_MS)

    assert (known.micros_per_held_hour(), known.micros_per_used_hour()) == (2 * MILLION, 8 * MILLION)
    assert Group(keys=("a",), by_category={Category.EXCLUSIVE: partly}).micros_per_used_hour() is None
    assert Group(keys=("a",), by_category={}).micros_per_held_hour() is None


@pytest.mark.parametrize(
    ("period", "start", "end"),
    [
        (Period.DAY, (2028, 2, 29), (2028, 3, 1)),
        (Period.WEEK, (2028, 2, 28), (2028, 3, 6)),
        (Period.MONTH, (2028, 2, 1), (2028, 3, 1)),
        (Period.QUARTER, (2028, 1, 1), (2028, 4, 1)),
        (Period.YEAR, (2028, 1, 1), (2029, 1, 1)),
    ],
)
def test_periods_are_those_of_the_calendar(
    period: Period, start: tuple[int, int, int], end: tuple[int, int, int]
) -> None:
    now = datetime(2028, 2, 29, 23, 59, tzinfo=UTC)

    assert period.bounds(now) == (datetime(*start, tzinfo=UTC), datetime(*end, tzinfo=UTC))
    december = datetime(2028, 12, 31, tzinfo=UTC)
    assert period.bounds(december)[0] <= december < period.bounds(december)[1]


def test_a_budget_tells_what_is_left_what_it_comes_to_and_which_levels_are_reached() -> None:
    budget = Budget(
        name="red",
        selects=(("queue", "red"),),
        period=Period.MONTH,
        amount_micros=100 * MILLION,
        alert_percent=(50, 80, 100),
    )
    state = budget_state(budget, 80 * MILLION, datetime(2026, 4, 16, tzinfo=UTC))

    assert (state.left_micros, state.percent, state.expected_micros) == (20 * MILLION, 80, 160 * MILLION)
    assert [alert.level for alert in alerts(state, "USD")] == [50, 80]
    assert "80.00 of 100.00 USD spent since 2026-04-01, at or above 80 %" in alerts(state, "USD")[1].text
    assert budget_state(budget, MILLION, datetime(2026, 4, 1, 1, tzinfo=UTC)).expected_micros is None


def charged(name: str, cost: int, device_ms: int = HOUR_MS) -> Charged:
    return Charged(
        device=DEVICES[0],
        account=account(name),
        category=Category.EXCLUSIVE,
        start_ms=DAY,
        end_ms=DAY + DAY_MS,
        device_ms=device_ms,
        cost_micros=cost,
    )


@given(st.integers(0, 10**13), st.lists(st.integers(0, 10**9), min_size=1, max_size=9))
def test_an_invoice_is_divided_without_rest(amount: int, costs: list[int]) -> None:
    invoice = Invoice(name="x", match=Match(), start_ms=DAY, end_ms=DAY + DAY_MS, amount_micros=amount)
    lines_ = [charged(str(number), cost) for number, cost in enumerate(costs)]

    posted = reconcile(invoice, lines_)

    assert sum(costs) + sum(entry.cost_micros for entry in posted) == amount
    assert all(entry.device_ms == 0 for entry in posted)


def test_an_invoice_for_nothing_that_was_accounted_is_refused() -> None:
    invoice = Invoice(name="x", match=Match(), start_ms=DAY, end_ms=DAY + DAY_MS, amount_micros=5)

    with pytest.raises(ValueError, match="invoice x: no device time"):
        reconcile(invoice, [])


def charge(category: Category = Category.SHARED, **amounts: int) -> Charge:
    given_account = account("a") if category.held else Account(reason="TooSmall")
    tally = Tally(device_ms=HOUR_MS, cost_micros=1_234_567, energy_mj=5_000, **amounts)
    return Charge(day_ms=DAY, place=DEVICES[0].place, account=given_account, category=category, amounts=tally)


ISSUER = Issuer(account_id="cluster-1", account_name="Cluster 1", currency="USD")


def test_rows_keep_the_rules_of_focus() -> None:
    charges = [charge(category) for category in Category]
    charges.append(msgspec.structs.replace(charge(), amounts=Tally(cost_micros=77)))
    charges.append(msgspec.structs.replace(charge(), amounts=Tally(device_ms=-5, cost_micros=-77)))

    made = list(rows(charges, ISSUER))

    assert violations(made) == ()
    assert len(COLUMNS) == 65
    assert made[1]["EffectiveCost"] == Decimal("1.234567")
    assert made[1]["AllocatedResourceName"] == "ns-a/claim-a"
    assert json.loads(str(made[1]["Tags"])) == {"team": "team-a"}
    assert made[3]["AllocatedResourceId"] is None
    assert (made[-1]["ChargeClass"], made[-2]["ChargeCategory"]) == ("Correction", "Adjustment")


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        ("BilledCost", None, "must not be null"),
        ("BilledCost", "1.5", "is no number"),
        ("ChargeCategory", "Use", "is not allowed"),
        ("ServiceCategory", "GPU", "is not allowed"),
        ("BillingCurrency", "Dollar", "is no currency"),
        ("ChargePeriodStart", "2026-09-04 00:00:00", "is no time in UTC"),
        ("ChargePeriodStart", "2020-01-01T00:00:00Z", "outside the billing period"),
        ("PricingUnit", "gpu hours", "is not written like GB-Hours"),
        ("PricingUnit", None, "null exactly when"),
        ("PricingQuantity", None, "null exactly when"),
        ("ContractedUnitPrice", None, "must not be null for usage"),
        ("Tags", "team=a", "is no JSON object"),
        ("RegionId", "", "a missing value is null"),
        ("ListUnitPrice", Decimal(3), "is not ListUnitPrice x PricingQuantity"),
        ("Colour", "red", "begins with x_"),
    ],
)
def test_a_row_that_breaks_a_rule_is_found(column: str, value: object, problem: str) -> None:
    (row,) = rows([charge()], ISSUER)

    found = violations([{**row, column: value}])  # type: ignore[dict-item]

    assert any(problem in text for text in found), found


def test_a_missing_column_is_found() -> None:
    (row,) = rows([charge()], ISSUER)
    del row["SkuId"]

    assert violations([row]) == ("row 1, SkuId: the column is missing",)


WHOLE = Fraction(1)
ROOM = Room(free={"a": WHOLE, "b": Fraction(1, 8)}, model="H100", cpu_milli=4000, memory=1 << 30)


@pytest.mark.parametrize(
    ("demands", "a", "b"),
    [
        ((), Reason.NOBODY_ASKS, Reason.NOBODY_ASKS),
        ((Demand(),), Reason.EXPECTED, Reason.TOO_SMALL),
        ((Demand(), Demand(share=Fraction(1, 8), waiting=True)), Reason.WANTED, Reason.WANTED),
        ((Demand(devices=2),), Reason.TOO_FEW_TOGETHER, Reason.TOO_SMALL),
        ((Demand(cpu_milli=4001),), Reason.NO_CPU, Reason.TOO_SMALL),
        ((Demand(memory=2 << 30),), Reason.NO_MEMORY, Reason.TOO_SMALL),
        ((Demand(models=("A100",)),), Reason.OTHER_MODEL, Reason.OTHER_MODEL),
        ((Demand(models=("A100",)), Demand(cpu_milli=9000)), Reason.NO_CPU, Reason.TOO_SMALL),
    ],
)
def test_what_is_free_is_idle_if_somebody_could_have_it_and_else_stranded(
    demands: tuple[Demand, ...], a: Reason, b: Reason
) -> None:
    found = spare_of(ROOM, demands)

    assert {name: item.reason for name, item in found.items()} == {"a": a, "b": b}
    idle = (Reason.WANTED, Reason.EXPECTED, Reason.NOBODY_ASKS)
    assert all((item.category is Category.IDLE) == (item.reason in idle) for item in found.values())
