"""The policy for a run: the preset `kai`, with what the run leaves out or sets otherwise."""

from collections.abc import Mapping, Sequence
from math import ceil

from msgspec.structs import replace
from tests.kai.scenario import PluginSpec, RunSpec, ScenarioError

from aliquot.scheduling.policy import KAI, Goal, Objective, Policy, Step

STEPS: Mapping[str, Step] = {
    "allocate": Step.ALLOCATE,
    "consolidation": Step.CONSOLIDATE,
    "reclaim": Step.RECLAIM,
    "preempt": Step.PREEMPT,
    "stalegangeviction": Step.EVICT_STALE,
}
"""The reference's actions."""

FLAGS: Mapping[str, tuple[str, ...]] = {
    "proportion": ("fair_shares",),
    "priority": ("by_priority",),
    "elastic": ("by_elasticity",),
    "taskorder": ("by_member_priority",),
    "kubeflow": ("leaders_first",),
    "ray": ("leaders_first",),
    "subgrouporder": ("by_fill",),
    "predicates": ("node_rules",),
    "minruntime": ("min_runtimes",),
    "topology": ("topology",),
    "dynamicresources": ("labelled_claims",),
}
"""Which rules of the policy a plugin of the reference stands for: without it they are off."""

GOALS: Mapping[str, tuple[Goal, ...]] = {
    "nominatednode": (Goal.NOMINATED,),
    "topology": (Goal.PREFERRED_DOMAIN,),
    "gpusharingorder": (Goal.SHARED_DEVICE,),
    "nodeavailability": (Goal.IDLE_NOW,),
    "resourcetype": (Goal.CPU_ONLY_NODE,),
}
"""Which preferences among nodes a plugin stands for."""

PLACEMENT_PLUGIN = "nodeplacement"
DEVICE_ORDER = {"gpupack": "pack", "gpuspread": "spread"}
SPREAD = Objective(goal=Goal.SPREAD, weight=1, whole_only=True)


def policy(run: RunSpec) -> Policy:
    """The policy under which the run is decided. Raises ScenarioError."""
    unknown = [action for action in run.actions if action not in STEPS]
    if unknown:
        raise ScenarioError("run.actions", f"{unknown[0]!r} is no action; known are {', '.join(STEPS)}")
    budget, grace = run.max_consolidation_preemptees, run.staleness_grace_seconds
    found = replace(
        KAI,
        steps=tuple(STEPS[action] for action in run.actions),
        every_pod=True,
        consolidation_budget=None if budget < 0 else budget,
        move_victims=run.allow_consolidating_reclaim,
        staleness_seconds=None if grace < 0 else ceil(grace),
        smallest_device_mib=run.min_node_gpu_memory_mib,
    )
    if run.plugins is not None:
        found = _only(found, run.plugins)
    return _without(found, run.skip_plugins)


def _without(found: Policy, skipped: Sequence[str]) -> Policy:
    """The policy with what these plugins stand for switched off."""
    flags = {flag: False for name in skipped for flag in FLAGS.get(name, ())}
    dropped = {goal for name in skipped for goal in GOALS.get(name, ())}
    placement = tuple(objective for objective in found.placement if objective.goal not in dropped)
    return replace(found, placement=placement, **flags)


def _only(found: Policy, plugins: Sequence[PluginSpec]) -> Policy:
    """The policy with nothing switched on but what these plugins stand for.

    A rule that two plugins stand for is on with either of them.
    """
    names = {plugin.name for plugin in plugins}
    kept = {flag for name in names for flag in FLAGS.get(name, ())}
    flags = {flag: flag in kept for needed in FLAGS.values() for flag in needed}
    goals = {goal for name in names for goal in GOALS.get(name, ())}
    placement = [objective for objective in found.placement if objective.goal in goals]
    for plugin in plugins:
        if plugin.name == PLACEMENT_PLUGIN:
            placement += _packing(found, plugin.arguments)
    devices = [DEVICE_ORDER[plugin.name] for plugin in plugins if plugin.name in DEVICE_ORDER]
    return replace(
        found,
        placement=tuple(placement),
        shared_devices=devices[-1] if devices else "",
        **flags,
    )


def _packing(found: Policy, arguments: Mapping[str, str]) -> list[Objective]:
    """How nodes fill up, for pods with devices and for those without."""
    packed = next(objective for objective in found.placement if objective.goal is Goal.BIN_PACK)
    return [
        replace(SPREAD if arguments.get(resource) == "spread" else packed, resource=resource)
        for resource in ("gpu", "cpu")
    ]
