"""Which counters a call touches, and what is held and booked in them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.budgets.operations import token_use

from aliquot.budgets.charging import Rates, UnpricedError, charges, further, rates_of, settlement
from aliquot.budgets.definition import (
    LARGEST,
    DefinitionError,
    Each,
    Measure,
    ModelTerms,
    TokenBudget,
    parse_budget,
)
from aliquot.budgets.spending import Caller
from aliquot.budgets.tree import BudgetTree, counter_key, counter_parts
from aliquot.budgets.windows import Window

TINY = ModelTerms(name="tiny", model_class="small")
ADA = Caller(namespace="research", service_account="ada", agent="robot", queue="gpu", session="s", user="ada")
DAY = {"measure": "totalTokens", "per": "day", "amount": 100}


def budget(name: str, **spec: Any) -> TokenBudget:
    return parse_budget(name, spec)


def counters(tree: BudgetTree, caller: Caller = ADA, model: ModelTerms = TINY) -> list[str]:
    return [limit.counter for limit in tree.limits(caller, model)]


def test_a_call_counts_in_its_budget_and_in_all_above() -> None:
    tree = BudgetTree(
        [
            budget("company", limits=[DAY]),
            budget("research", parent="company", limits=[DAY], subject={"namespace": "research"}),
            budget("finance", parent="company", limits=[DAY], subject={"namespace": "finance"}),
        ]
    )

    assert counters(tree) == ["company|totalTokens|day|", "research|totalTokens|day|"]
    assert tree.of(Caller(namespace="other")) == ()


@pytest.mark.parametrize(
    ("subject", "covered"),
    [
        ({"namespace": "research"}, True),
        ({"namespace": "research", "agent": "robot"}, True),
        ({"namespace": "research", "agent": "other"}, False),
        ({"queue": "gpu"}, True),
        ({"serviceAccount": "ada"}, True),
        ({"user": "bob"}, False),
        ({"everyone": True}, True),
        ({}, False),
    ],
)
def test_a_subject_covers_callers_who_have_all_it_names(subject: dict[str, Any], covered: bool) -> None:
    tree = BudgetTree([budget("b", limits=[DAY], subject=subject)])

    assert bool(tree.of(ADA)) is covered


def test_a_limit_may_be_about_some_models_or_a_class() -> None:
    limits = [{**DAY, "models": ["tiny"]}, {**DAY, "models": ["small"]}, {**DAY, "models": ["large"]}]
    tree = BudgetTree([budget("b", limits=limits, subject={"everyone": True})])

    assert counters(tree) == ["b|totalTokens|day|small", "b|totalTokens|day|tiny"]


@pytest.mark.parametrize("each", [each for each in Each if each is not Each.ALL])
def test_members_have_counters_of_their_own_and_callers_without_the_property_share_one(each: Each) -> None:
    tree = BudgetTree([budget("b", limits=[DAY], subject={"everyone": True}, each=each.value)])
    (mine,) = counters(tree, Caller(**{**msgspec_dict(ADA), "key": "k"}))
    (nobody,) = counters(tree, Caller())

    assert mine != nobody
    assert counter_parts(nobody)[-1] == ""


def msgspec_dict(caller: Caller) -> dict[str, str]:
    return {field: getattr(caller, field) for field in caller.__struct_fields__}


def test_of_limits_on_the_same_counter_the_least_holds() -> None:
    tree = BudgetTree([budget("b", limits=[DAY, {**DAY, "amount": 7}], subject={"everyone": True})])

    assert [limit.limit for limit in tree.limits(ADA, TINY)] == [7]


@given(
    st.lists(st.text(min_size=1, max_size=6), min_size=2, max_size=2, unique=True),
    st.lists(st.text(max_size=6), min_size=2, max_size=2),
)
def test_no_two_counters_have_one_name(names: list[str], members: list[str]) -> None:
    keys = [
        counter_key(name, Measure.MONEY, Window.DAY, (), Each.USER, member)
        for name, member in zip(names, members, strict=True)
    ]

    assert keys[0] != keys[1]
    assert [counter_parts(key)[0] for key in keys] == names
    assert [counter_parts(key)[5] for key in keys] == members


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({"limits": [{"measure": "totalTokens", "amount": 1}]}, r"limits\[0\]\.per"),
        ({"limits": [{"measure": "concurrency", "amount": 1, "per": "day"}]}, "leave it out"),
        ({"limits": [{**DAY, "amount": -1}]}, "not negative"),
        ({"limits": [{**DAY, "amount": "1.5"}]}, "finer"),
        ({"limits": [{**DAY, "amount": "x"}]}, "not a number"),
        ({"limits": [{**DAY, "amount": "NaN"}]}, "not negative"),
        ({"limits": [{**DAY, "amount": LARGEST + 1}]}, "is more than"),
        ({"limits": [{**DAY, "measure": "apples"}]}, "measure"),
        ({"limits": [{**DAY, "color": "red"}]}, "color"),
        ({"onLimit": {"action": "fallback"}}, "name the model"),
        ({"onLimit": {"action": "throttle", "maxWaitSeconds": 301}}, "maxWaitSeconds"),
        ({"alertsAtPercent": [0]}, "alertsAtPercent"),
    ],
)
def test_what_is_wrong_with_a_budget_is_named(spec: dict[str, Any], problem: str) -> None:
    with pytest.raises(DefinitionError, match=problem):
        budget("b", **spec)


@pytest.mark.parametrize(
    ("budgets", "problem"),
    [
        ([budget("a", parent="b"), budget("b", parent="a")], "goes in a circle: a -> b -> a"),
        ([budget("a", parent="a")], "goes in a circle"),
        ([budget("a", parent="x")], "there is no budget 'x'"),
        ([budget("a"), budget("a")], "defined twice"),
        ([budget(f"b{n}", parent=f"b{n - 1}" if n else "") for n in range(20)], "more than 16 deep"),
    ],
)
def test_budgets_have_to_be_a_tree(budgets: list[TokenBudget], problem: str) -> None:
    with pytest.raises(DefinitionError, match=problem):
        BudgetTree(budgets)


ALL = [
    {"measure": measure.value, "amount": 10**9} | ({} if measure is Measure.CONCURRENCY else {"per": "day"})
    for measure in Measure
]
PRICED = ModelTerms(
    name="tiny",
    input_price="0.15",
    output_price="0.60",
    cached_input_price="0.075",
    input_microjoules=3,
    output_microjoules=7,
)


@given(
    st.integers(0, 10_000), st.integers(0, 10_000), st.integers(0, 10_000), st.integers(0, 10_000), st.data()
)
def test_what_is_held_covers_what_is_used(
    prompt: int, units: int, inputs: int, outputs: int, data: st.DataObject
) -> None:
    inputs, outputs = min(inputs, prompt), min(outputs, units)
    cached = data.draw(st.integers(0, inputs))
    tree = BudgetTree([budget("b", limits=ALL, subject={"everyone": True})])
    limits = tree.limits(ADA, PRICED)
    rates = rates_of(PRICED)
    held = {
        charge.counter: charge.fixed + charge.per_unit * units
        for charge in charges(limits, rates, prompt, "tiny")
    }
    use = token_use("r", inputs=inputs, output=outputs)
    use = type(use)(
        **{field: getattr(use, field) for field in use.__struct_fields__}
        | {
            "cached_tokens": cached,
            "cost_nano": rates.cost_nano(inputs, cached, outputs),
            "microjoules": rates.microjoules(inputs, outputs),
        }
    )

    for counter, _, amount in settlement(limits, use):
        assert amount <= held[counter]


def test_prices_are_exact() -> None:
    rates = rates_of(PRICED)

    assert rates.cost_nano(1_000_000, 0, 0) == 150_000_000
    assert rates.cost_nano(1_000_000, 1_000_000, 0) == 75_000_000
    assert rates.cost_nano(0, 0, 1_000_000) == 600_000_000
    assert rates.cost_nano(1, 1, 0) == 75
    assert rates_of(ModelTerms(name="m", input_price="0.000001", output_price="0")).cost_nano(1, 0, 0) == 1


@pytest.mark.parametrize("price", ["x", "-1", "0.0000001", "1e12", "NaN"])
def test_prices_that_cannot_be_exact_are_refused(price: str) -> None:
    with pytest.raises(DefinitionError, match="inputPrice"):
        rates_of(ModelTerms(name="m", input_price=price, output_price="1"))


def test_a_model_without_a_rate_cannot_be_held_for() -> None:
    tree = BudgetTree([budget("b", limits=ALL, subject={"everyone": True})])

    with pytest.raises(UnpricedError):
        charges(tree.limits(ADA, TINY), Rates(), 10, "tiny")


def test_more_output_charges_neither_the_prompt_nor_a_request_again() -> None:
    tree = BudgetTree([budget("b", limits=ALL, subject={"everyone": True})])
    found = further(tree.limits(ADA, PRICED), rates_of(PRICED), "tiny")

    assert {counter_parts(charge.counter)[1] for charge in found} == {
        "outputTokens",
        "totalTokens",
        "money",
        "joules",
    }
    assert all(charge.fixed == 0 and not charge.at_once for charge in found)
