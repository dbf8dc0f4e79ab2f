"""Carrying out a plan in the simulated cluster: who leaves, what claims are given, who gets which node."""

from collections.abc import Sequence

from aliquot.model.meta import ObjectRef
from aliquot.model.verdicts import Reason
from aliquot.scheduling.plan import Allocate, Deallocate, Decision, Evict, Plan, Reserve
from aliquot.scheduling.policy import Policy
from aliquot.simulation.results import Cause
from aliquot.simulation.world import World

_CAUSES = {
    Reason.RECLAIMED: Cause.RECLAIMED,
    Reason.PREEMPTED: Cause.PREEMPTED,
    Reason.CONSOLIDATED: Cause.CONSOLIDATED,
    Reason.GANG_BROKEN: Cause.GANG_BROKEN,
    Reason.DEVICE_EVICTED: Cause.DEVICE_EVICTED,
}


def enact(plan: Plan, world: World) -> bool:
    """Carry out a plan; whether it changed anything for anybody."""
    acted = False
    for decision in plan.decisions:
        acted = _evict(decision, world) or acted
    for decision in plan.decisions:
        for action in decision.actions:
            if isinstance(action, (Allocate, Reserve, Deallocate)):
                world.write(action)
                acted = True
        for spot in decision.placements:
            world.bind(spot)
            acted = True
        _tell(decision, world)
    for found in plan.staleness:
        world.note_staleness(found)
    return acted


def goes_on(plan: Plan, policy: Policy) -> bool:
    """Whether the next decision may have something to do at once: devices were given back of which it can
    make use, or others leave, all steps taken together, for as many gangs as by one step at most. Then it may
    have nothing to do after all."""
    if any(isinstance(action, Deallocate) for action in plan.actions):
        return True
    served = sum(any(isinstance(action, Evict) for action in found.actions) for found in plan.decisions)
    return policy.beneficiaries is not None and served >= policy.beneficiaries


def _evict(decision: Decision, world: World) -> bool:
    leaving: dict[tuple[int, Cause], list[str]] = {}
    for action in decision.actions:
        if not isinstance(action, Evict):
            continue
        number = world.owners.get((action.pod.namespace, action.pod.name))
        if number is not None:
            cause = _CAUSES.get(action.verdict.reason, Cause.OTHER_EVICTION)
            leaving.setdefault((number, cause), []).append(action.pod.name)
    if not leaving:
        return False
    own = _numbers(decision.pods, world)
    beneficiary = f"{decision.workload.namespace}/{decision.workload.name}"
    for (number, cause), names in leaving.items():
        workload = world.workloads[number]
        itself = number in own or beneficiary == f"{workload.namespace}/{workload.name}"
        for_whom = "" if itself else beneficiary
        world.interrupt(number, names, cause, world.settings.grace_seconds, for_whom)
    return True


def _numbers(pods: Sequence[ObjectRef], world: World) -> set[int]:
    found = (world.owners.get((pod.namespace, pod.name)) for pod in pods)
    return {number for number in found if number is not None}


def _tell(decision: Decision, world: World) -> None:
    """Note why a workload waits, and whether it was promised room."""
    verdict = decision.verdict
    for number in _numbers(decision.pods[:1], world):
        world.standings[number].reason = "" if verdict is None else verdict.reason.value
        world.promise(number, verdict is not None and verdict.reason is Reason.ROOM_PROMISED)
