"""The policy that a run asks for."""

from tests.kai.presets import policy
from tests.kai.scenario import PluginSpec, RunSpec

from aliquot.scheduling.policy import KAI, Goal, Policy, Step


def goals(found: Policy) -> dict[tuple[Goal, str], float]:
    return {(item.goal, item.resource): item.weight for item in found.placement}


def test_actions_are_steps_in_their_order() -> None:
    run = RunSpec(actions=("reclaim", "allocate", "stalegangeviction"))
    assert policy(run).steps == (Step.RECLAIM, Step.ALLOCATE, Step.EVICT_STALE)


def test_what_a_run_does_not_say_is_the_preset() -> None:
    found = policy(RunSpec())
    assert found.placement == KAI.placement
    assert found.whole_shares
    assert found.fair_shares


def test_minus_one_is_no_bound() -> None:
    found = policy(RunSpec(max_consolidation_preemptees=-1, staleness_grace_seconds=-1))
    assert found.consolidation_budget is None
    assert found.staleness_seconds is None
    assert policy(RunSpec(staleness_grace_seconds=0)).staleness_seconds == 0
    assert policy(RunSpec(max_consolidation_preemptees=0)).consolidation_budget == 0


def test_a_skipped_plugin_takes_its_rules_along() -> None:
    found = policy(RunSpec(skip_plugins=("predicates", "gpusharingorder")))
    assert not found.node_rules
    assert (Goal.SHARED_DEVICE, "") not in goals(found)
    assert (Goal.IDLE_NOW, "") in goals(found)
    assert found.topology


def test_a_list_of_plugins_leaves_nothing_else_on() -> None:
    found = policy(RunSpec(plugins=(PluginSpec(name="proportion"), PluginSpec(name="gpuspread"))))
    assert found.fair_shares
    assert not found.by_priority
    assert not found.node_rules
    assert found.shared_devices == "spread"
    assert found.placement == ()


def test_a_rule_of_two_plugins_is_on_with_either() -> None:
    assert policy(RunSpec(plugins=(PluginSpec(name="ray"),))).leaders_first
    assert not policy(RunSpec(plugins=())).leaders_first


def test_nodes_fill_up_or_spread_by_resource() -> None:
    arguments = {"gpu": "spread", "cpu": "binpack"}
    found = policy(RunSpec(plugins=(PluginSpec(name="nodeplacement", arguments=arguments),)))
    packed = {item.goal: item.weight for item in KAI.placement}[Goal.BIN_PACK]
    assert goals(found) == {(Goal.SPREAD, "gpu"): 1, (Goal.BIN_PACK, "cpu"): packed}
