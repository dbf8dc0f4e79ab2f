"""Token budgets as purses that devices are paid from."""

from aliquot.budgets.definition import ModelTerms, parse_budget
from aliquot.budgets.holding import Gauge
from aliquot.budgets.purses import purses_of
from aliquot.budgets.tree import BudgetTree
from aliquot.model.funds import Purse

NANO = 10**9


def money(amount, per="day", **more):
    return {"measure": "money", "amount": amount, "per": per, **more}


def purses(gauges=(), terms=(), **budgets):
    tree = BudgetTree([parse_budget(name, spec) for name, spec in budgets.items()])
    return {purse.name: purse for purse in purses_of(tree, dict(gauges), terms)}


def test_what_is_left_is_the_least_of_the_windows_without_what_is_spent_and_held():
    found = purses(
        {
            "apps|money|day|": Gauge(30 * NANO, 5 * NANO),
            "apps|money|month|": Gauge(400 * NANO, 500),
        },
        apps={"subject": {"queue": "apps"}, "limits": [money("100"), money("450", "month")]},
    )

    # 100 - 30 - 5 = 65 of the day; 450 - 400 - 0.0000005 of the month, rounded down.
    assert found == {"apps": Purse(name="apps", queue="apps", left=49_999_999)}


def test_a_budget_that_is_overspent_has_less_than_nothing():
    found = purses({"a|money|day|": Gauge(3 * NANO, 0)}, a={"limits": [money("2")]})

    assert found["a"].left == -1_000_000


def test_budgets_without_limits_on_money_are_links_in_the_chain():
    found = purses(
        top={"limits": [money("10")]},
        middle={"parent": "top", "limits": [{"measure": "requests", "per": "day", "amount": 1}]},
        low={"parent": "middle", "subject": {"namespace": "lab"}},
    )

    assert found["low"] == Purse(name="low", parent="middle", namespace="lab")
    assert found["middle"] == Purse(name="middle", parent="top")
    assert found["top"] == Purse(name="top", left=10_000_000)


def test_limits_for_models_are_purses_of_their_own_for_the_models_of_a_class():
    found = purses(
        terms=[ModelTerms(name="llama", model_class="large"), ModelTerms(name="tiny", model_class="small")],
        apps={
            "subject": {"everyone": True},
            "parent": "top",
            "limits": [money("9"), money("1", models=["large", "gpt"])],
        },
        top={},
    )

    assert found["apps"].left == 9_000_000
    assert found["apps (large,gpt)"] == Purse(
        name="apps (large,gpt)", everyone=True, models=("gpt", "large", "llama"), left=1_000_000
    )


def test_budgets_of_single_callers_pay_for_nobodys_devices():
    found = purses(
        agent={"subject": {"namespace": "lab", "agent": "coder"}, "limits": [money("5")]},
        each={"subject": {"namespace": "lab"}, "each": "agent", "limits": [money("5")]},
    )

    assert found["agent"] == Purse(name="agent", left=5_000_000)
    assert found["each"] == Purse(name="each", namespace="lab")
