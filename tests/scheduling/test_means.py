"""With funds in the snapshot, `decide` gives devices only to workloads that have the money for them."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.scheduling.builders import NOW, TEAM, cluster, gpu_node, job, node, pod, queue, request, with_claim
from tests.scheduling.looking import evicted, nodes_of

from aliquot.model.funds import Funds, FundsSpec, NodeRate, Purse
from aliquot.model.meta import ObjectMeta
from aliquot.model.verdicts import Reason
from aliquot.scheduling.apply import apply
from aliquot.scheduling.decide import decide
from aliquot.scheduling.means import money
from aliquot.scheduling.memory import Memory
from aliquot.scheduling.plan_checks import check_plan
from aliquot.scheduling.policy import Policy
from aliquot.scheduling.wording import fix_sentence, sentence

UNIT = 10**6
SERVES = {"aliquot.dev/model": "llama"}
APPS = Purse(name="apps", queue="default", left=10 * UNIT)


def funded(snapshot, *purses, rate=UNIT, **more):
    spec = FundsSpec(purses=purses, rate=rate, currency="EUR", **more)
    return msgspec.structs.replace(snapshot, funds=(Funds(metadata=ObjectMeta(name="funds"), spec=spec),))


def model(name, count=1, *, pods=1, labels=SERVES, **options):
    """A job of serving pods with so many devices each."""
    made = [job(name, pods)]
    for number in range(pods):
        made += with_claim(f"{name}-{number}", request(count=count), job=name, labels=labels, **options)
    return made


def planned(snapshot, memory=None):
    plan = decide(snapshot, Policy(), NOW, memory=memory)
    assert check_plan(snapshot, plan, Policy()) == ()
    return plan


def verdicts(plan):
    return {item.workload.name: item.verdict for item in plan.decisions if item.verdict and item.pods}


def reasons(plan):
    return {name: verdict.reason for name, verdict in verdicts(plan).items()}


def test_a_model_without_money_waits_and_says_which_budget_lacks_how_much():
    snapshot = cluster(queue("default"), gpu_node("n"), model("a", 8), model("b", 2, created=1))
    plan = planned(funded(snapshot, APPS, hours=2))

    assert nodes_of(plan) == {"b-0": "n"}
    (waiting,) = [item for item in plan.decisions if item.verdict]
    assert waiting.workload.name == "a"
    assert waiting.verdict.reason is Reason.BUDGET_EXHAUSTED
    assert sentence(waiting.verdict) == (
        "budget apps has 10.00 EUR left, and its devices for 2 hours take 16.00"
    )
    assert fix_sentence(waiting.verdict.fix) == (
        "have 16.00 EUR left in budget apps, or ask for fewer devices"
    )


def test_without_funds_nothing_is_different():
    snapshot = cluster(queue("default"), gpu_node("n"), model("a", 8))

    assert nodes_of(planned(snapshot)) == {"a-0": "n"}


def test_what_runs_has_committed_its_money_until_it_is_gone():
    snapshot = cluster(
        queue("default"), gpu_node("n"), gpu_node("m"), model("a", 6), model("b", 6, created=1)
    )
    memory = Memory()
    first = planned(funded(snapshot, APPS), memory)
    assert list(nodes_of(first)) == ["a-0"]

    running = apply(funded(snapshot, APPS), first, NOW)
    second = planned(running, memory)
    assert reasons(second) == {"b": Reason.BUDGET_EXHAUSTED}
    assert second.decisions[0].verdict.facts[0].available == "4.00"

    gone = msgspec.structs.replace(
        running,
        pods=tuple(item for item in running.pods if item.name != "a-0"),
        resource_claims=tuple(item for item in running.resource_claims if "a-0" not in item.name),
    )
    assert list(nodes_of(planned(gone, memory))) == ["b-0"]


def test_a_budget_above_and_the_namespace_have_to_have_it_too():
    snapshot = cluster(queue("default"), gpu_node("n"), model("a", 4))
    apps = msgspec.structs.replace(APPS, parent="company")

    def waits(*purses):
        return reasons(planned(funded(snapshot, *purses))) == {"a": Reason.BUDGET_EXHAUSTED}

    assert waits(apps, Purse(name="company", left=3 * UNIT))
    assert not waits(apps, Purse(name="company", left=4 * UNIT))
    assert not waits(apps, Purse(name="company"))
    assert waits(APPS, Purse(name="space", namespace=TEAM, left=0))
    assert not waits(APPS, Purse(name="other", namespace="elsewhere", left=0))
    assert waits(APPS, Purse(name="all", everyone=True, left=1))
    assert waits(APPS, Purse(name="large", everyone=True, models=("llama",), left=1))
    assert not waits(APPS, Purse(name="large", everyone=True, models=("mistral",), left=1))


def test_a_budget_of_a_queue_pays_for_the_queues_below():
    snapshot = cluster(queue("top"), queue("default", parent="top"), gpu_node("n"), model("a", 4))
    purse = Purse(name="top", queue="top", left=3 * UNIT)

    assert reasons(planned(funded(snapshot, purse))) == {"a": Reason.BUDGET_EXHAUSTED}


def test_who_serves_no_model_needs_no_money_unless_all_work_does():
    snapshot = cluster(queue("default"), gpu_node("n"), model("train", 4, labels=None))
    poor = Purse(name="apps", queue="default", left=0)

    assert nodes_of(planned(funded(snapshot, poor))) == {"train-0": "n"}
    assert nodes_of(planned(funded(snapshot, poor, every_workload=True))) == {}


@pytest.mark.parametrize("rate", [UNIT, 0])
def test_nobody_has_money_while_it_is_not_known_what_is_left(rate):
    snapshot = cluster(queue("default"), gpu_node("n"), model("a"), model("train", labels=None))
    plan = planned(funded(snapshot, APPS, rate=rate, unread="the store does not answer"))

    assert nodes_of(plan) == {"train-0": "n"}
    assert reasons(plan) == {"a": Reason.BUDGET_EXHAUSTED}
    assert sentence(verdicts(plan)["a"]) == (
        "it is not known what is left of budgets: the store does not answer"
    )


def test_nodes_cost_what_their_devices_cost():
    snapshot = cluster(queue("default"), gpu_node("n"), model("a", 4))
    dear = NodeRate(node="n", micros=3 * UNIT)

    assert nodes_of(planned(funded(snapshot, APPS, rates=(NodeRate(node="m", micros=99 * UNIT),))))
    assert reasons(planned(funded(snapshot, APPS, rates=(dear,)))) == {"a": Reason.BUDGET_EXHAUSTED}


def test_devices_of_plugins_cost_the_same_and_nobody_leaves_for_who_cannot_pay():
    snapshot = cluster(
        queue("default"),
        node("n", **{"nvidia.com/gpu": 4}),
        [pod(f"old-{n}", node_name="n", **{"nvidia.com/gpu": 1}) for n in range(4)],
        pod("serve", priority=10, labels=SERVES, **{"nvidia.com/gpu": 2}),
    )
    rich = planned(funded(snapshot, Purse(name="apps", queue="default", left=2 * UNIT)))
    poor = planned(funded(snapshot, Purse(name="apps", queue="default", left=2 * UNIT - 1)))

    assert len(evicted(rich)) == 2
    assert evicted(poor) == []
    assert reasons(poor) == {"serve": Reason.BUDGET_EXHAUSTED}


def test_all_who_have_no_money_say_so():
    models = [model(f"m{n}") for n in range(41)]
    plan = planned(funded(cluster(queue("default"), gpu_node("n", 80), *models), APPS, hours=20))

    assert plan.actions == ()
    assert reasons(plan) == {f"m{n}": Reason.BUDGET_EXHAUSTED for n in range(41)}


def test_a_gang_waits_as_a_whole_with_one_verdict():
    snapshot = cluster(queue("default"), gpu_node("n"), model("a", 2, pods=4))
    plan = planned(funded(snapshot, Purse(name="apps", queue="default", left=7 * UNIT)))

    (decision,) = plan.decisions
    assert len(decision.pods) == 4
    assert decision.verdict.reason is Reason.BUDGET_EXHAUSTED


@pytest.mark.parametrize(
    ("micros", "text"), [(0, "0.00"), (12_500_000, "12.50"), (1, "0.000001"), (1_234_560, "1.23456")]
)
def test_money_is_written_exactly(micros, text):
    assert money(micros) == text


@settings(max_examples=15, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 2)), min_size=1, max_size=6),
    rounds=st.integers(1, 3),
    left=st.integers(0, 14),
)
def test_never_more_is_committed_than_there_is_and_memory_changes_nothing(sizes, rounds, left):
    models = [model(f"m{n}", count, pods=pods, created=n) for n, (count, pods) in enumerate(sizes)]
    snapshot = cluster(queue("default"), gpu_node("n"), gpu_node("m"), *models)
    snapshot = funded(snapshot, Purse(name="apps", queue="default", left=left * UNIT))
    memory = Memory()
    for _ in range(rounds):
        plan = planned(snapshot, memory)
        assert plan == decide(snapshot, Policy(), NOW)
        snapshot = apply(snapshot, plan, NOW)
        held = sum(
            len(claim.status.allocation.devices.results)
            for claim in snapshot.resource_claims
            if claim.status.allocation is not None
        )
        assert held <= left
