"""Deciding in tests: every plan is proved sound before it is looked at."""

from tests.scheduling.builders import NOW

from aliquot.model.snapshot import Snapshot
from aliquot.model.verdicts import Verdict
from aliquot.scheduling.apply import apply
from aliquot.scheduling.decide import decide
from aliquot.scheduling.plan import Admit, Allocate, Decision, Evict, Plan, Reserve
from aliquot.scheduling.plan_checks import check_plan
from aliquot.scheduling.policy import Policy


def decided(snapshot: Snapshot, policy: Policy | None = None) -> Plan:
    """The plan, after proof that it is sound."""
    policy = policy or Policy()
    plan = decide(snapshot, policy, NOW)
    assert check_plan(snapshot, plan, policy) == ()
    return plan


def nodes_of(plan: Plan) -> dict[str, str]:
    """Where each placed pod goes, by pod name."""
    return {spot.pod.name: spot.node for decision in plan.decisions for spot in decision.placements}


def devices_of(plan: Plan) -> dict[str, list[str]]:
    """ "pool/device" of each claim that gets devices, by claim name."""
    return {
        action.claim.name: [f"{item.pool}/{item.device}" for item in action.allocation.devices.results]
        for action in plan.actions
        if isinstance(action, Allocate)
    }


def verdict_on(plan: Plan, pod: str) -> Verdict:
    """Why a pod waits."""
    for decision in plan.decisions:
        if decision.verdict is not None and pod in [item.name for item in decision.pods]:
            return decision.verdict
    raise AssertionError(f"no verdict on {pod}: {plan}")


def decision_on(plan: Plan, pod: str) -> Decision:
    for decision in plan.decisions:
        if pod in [item.name for item in decision.pods]:
            return decision
    raise AssertionError(f"no decision on {pod}: {plan}")


def admitted(plan: Plan) -> list[str]:
    return [
        spot.pod.name for action in plan.actions if isinstance(action, Admit) for spot in action.placements
    ]


def evicted(plan: Plan) -> list[str]:
    return [action.pod.name for action in plan.actions if isinstance(action, Evict)]


def reserved(plan: Plan) -> dict[str, list[str]]:
    """Consumers added to claims that have their devices already, by claim name."""
    return {
        action.claim.name: [item.name for item in action.consumers]
        for action in plan.actions
        if isinstance(action, Reserve)
    }


def after(snapshot: Snapshot, plan: Plan) -> Snapshot:
    return apply(snapshot, plan, NOW)
