"""A served model has devices and money, or neither; and nobody leaves for somebody who cannot pay."""

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.scheduling.builders import NOW, cluster, gpu_node, job, node, pod, queue, request, with_claim
from tests.scheduling.looking import evicted, nodes_of

from aliquot.scheduling.affordability import MAX_ROUNDS, Ask, affordable
from aliquot.scheduling.decide import decide
from aliquot.scheduling.plan import Allocate, Decision
from aliquot.scheduling.plan_checks import check_plan
from aliquot.scheduling.policy import Policy

PRICE = 1_500_000
"""Of one device, in micro-units."""


def model(name, count=1, *, pods=1, created=0, labels=None, **options):
    """A job of serving pods with so many devices each."""
    made = [job(name, pods)]
    for number in range(pods):
        made += with_claim(
            f"{name}-{number}",
            request(count=count),
            job=name,
            created=created,
            labels=labels,
            **options,
        )
    return made


def asks_of(snapshot, purses=("apps",)):
    plan = decide(snapshot, Policy(), NOW)
    return [Ask(workload=decision.workload, purses=tuple(purses)) for decision in plan.decisions]


def price(decision: Decision) -> int:
    devices = sum(
        len(action.allocation.devices.results) for action in decision.actions if isinstance(action, Allocate)
    )
    return PRICE * max(devices, len(decision.promised))


def decided(snapshot, left, asks=None):
    found = affordable(
        snapshot,
        asks_of(snapshot) if asks is None else asks,
        left,
        lambda seen: decide(seen, Policy(), NOW),
        price,
    )
    assert check_plan(found.snapshot, found.plan, Policy()) == ()
    return found


def test_with_money_for_everybody_the_plan_is_that_of_decide():
    snapshot = cluster(gpu_node("n"), model("a", 2), model("b", 3))
    found = decided(snapshot, {"apps": 100 * PRICE})

    assert found.plan == decide(snapshot, Policy(), NOW)
    assert found.snapshot is snapshot
    assert sorted(one.amount for one in found.commitments) == [2 * PRICE, 3 * PRICE]
    assert found.unaffordable == ()


def test_the_documents_example():
    snapshot = cluster(gpu_node("n"), model("a", 8), model("b", 2, created=1))
    found = decided(snapshot, {"apps": 10_000_000})

    assert nodes_of(found.plan) == {"b-0": "n"}
    assert [one.amount for one in found.commitments] == [3_000_000]
    (short,) = found.unaffordable
    assert (short.workload.name, short.left, short.needed) == ("a", 10_000_000, 12_000_000)


def test_every_purse_above_has_to_have_room():
    snapshot = cluster(gpu_node("n"), model("a", 2))
    asks = asks_of(snapshot, ("apps", "company"))

    assert decided(snapshot, {"apps": 9 * PRICE, "company": PRICE}, asks).unaffordable[0].purse == "company"
    assert decided(snapshot, {"apps": 9 * PRICE}, asks).plan.actions == ()
    assert len(decided(snapshot, {"apps": 9 * PRICE, "company": 2 * PRICE}, asks).commitments) == 1


def test_a_gang_is_paid_as_a_whole():
    snapshot = cluster(gpu_node("n"), model("a", 2, pods=3))

    assert decided(snapshot, {"apps": 5 * PRICE}).plan.actions == ()
    assert nodes_of(decided(snapshot, {"apps": 6 * PRICE}).plan).keys() == {"a-0", "a-1", "a-2"}


def test_who_asks_for_no_money_is_placed_as_ever():
    snapshot = cluster(gpu_node("n"), model("train", 4), model("serve", 4))
    asks = [ask for ask in asks_of(snapshot) if ask.workload.name == "serve"]

    assert nodes_of(decided(snapshot, {}, asks).plan) == {"train-0": "n"}


def test_nobody_is_evicted_for_a_model_that_cannot_be_paid():
    snapshot = cluster(
        queue("default"),
        node("n", **{"nvidia.com/gpu": 4}),
        [pod(f"old-{n}", node_name="n", **{"nvidia.com/gpu": 1}) for n in range(4)],
        pod("serve", priority=10, **{"nvidia.com/gpu": 1}),
    )
    asks = [ask for ask in asks_of(snapshot) if ask.workload.name == "serve"]
    rich = decided(snapshot, {"apps": PRICE}, asks)
    poor = decided(snapshot, {"apps": PRICE - 1}, asks)

    assert len(evicted(rich.plan)) == 1
    assert len(rich.commitments) == 1
    assert evicted(poor.plan) == []
    assert (poor.commitments, len(poor.unaffordable)) == ((), 1)


def test_beyond_the_bound_of_rounds_all_who_are_short_wait():
    snapshot = cluster(gpu_node("n", 80), [model(f"m{n}") for n in range(MAX_ROUNDS + 10)], model("batch"))
    asks = [ask for ask in asks_of(snapshot) if ask.workload.name != "batch"]
    found = decided(snapshot, {}, asks)

    assert nodes_of(found.plan) == {"batch-0": "n"}
    assert found.commitments == ()


def test_who_asks_for_more_than_there_is_at_all_is_found_in_one_round():
    snapshot = cluster(gpu_node("n", 80), [model(f"m{n}") for n in range(40)])
    asks, asked = asks_of(snapshot), []

    def counted(seen):
        asked.append(len(seen.pods))
        return decide(seen, Policy(), NOW)

    found = affordable(snapshot, asks, {"apps": PRICE - 1}, counted, price)

    assert asked == [40, 0]
    assert len(found.unaffordable) == 40


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3)), min_size=1, max_size=6),
    money=st.integers(0, 20),
    upper=st.integers(0, 20),
)
def test_what_is_placed_is_paid_and_what_is_paid_is_placed(sizes, money, upper):
    snapshot = cluster(
        gpu_node("n"),
        gpu_node("m"),
        *[model(f"m{n}", count, pods=pods, created=n) for n, (count, pods) in enumerate(sizes)],
    )
    left = {"apps": money * PRICE, "company": upper * PRICE}
    found = decided(snapshot, left, asks_of(snapshot, ("apps", "company")))

    placed = {decision.id: price(decision) for decision in found.plan.decisions if decision.placements}
    assert {one.decision: one.amount for one in found.commitments} == placed
    assert sum(one.amount for one in found.commitments) <= min(left.values())
    short = {one.workload for one in found.unaffordable}
    assert short.isdisjoint(decision.workload for decision in found.plan.decisions)
    for one in found.unaffordable:
        assert one.needed > one.left
