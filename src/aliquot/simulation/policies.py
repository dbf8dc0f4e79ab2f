"""Policies to compare, by name."""

from collections.abc import Mapping
from types import MappingProxyType

from msgspec.structs import replace

from aliquot.scheduling.policy import KAI, PLACEMENT, Goal, Objective, Policy, Step

_ALIQUOT = Policy(every_pod=True)


def _placing(goal: Goal) -> tuple[Objective, ...]:
    """Aliquot's objectives with another last word on which node is best."""
    return (*PLACEMENT[:-1], Objective(goal=goal, weight=1.0))


POLICIES: Mapping[str, Policy] = MappingProxyType(
    {
        "aliquot": _ALIQUOT,
        "best-fit": replace(_ALIQUOT, placement=_placing(Goal.BIN_PACK)),
        "spread": replace(_ALIQUOT, placement=_placing(Goal.SPREAD)),
        "strict-fifo": replace(_ALIQUOT, strict_fifo=True),
        "no-preemption": replace(_ALIQUOT, steps=(Step.ALLOCATE, Step.EVICT_STALE)),
        "cheapest": replace(_ALIQUOT, placement=_placing(Goal.PRICE)),
        "least-power": replace(_ALIQUOT, placement=_placing(Goal.ENERGY)),
        "kai": replace(KAI, every_pod=True, counted_classes="", labelled_claims=False),
    }
)
"""aliquot: the production policy. best-fit, spread: it, with the node where fewest or most accelerators are
free. strict-fifo: nothing overtakes in its queue. no-preemption: nobody has to leave for others. cheapest,
least-power: the cheapest node, that of least power. kai: KAI-Scheduler's order, weights and tie-breaks.

In a simulation there is no other scheduler, so that every policy decides pods without devices too.
"""
