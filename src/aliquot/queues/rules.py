"""How queues share, as data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from aliquot.queues.amounts import GPU, UNIT, Amount
from aliquot.queues.tree import QueueTree

CPU, MEMORY = "cpu", "memory"

CRITERIA = (
    "withinFairShare",
    "withinQuotaWithWork",
    "priority",
    "hasShareWithWork",
    "dominantShareWithWork",
    "dominantShare",
    "allocatableShare",
    "age",
)
"""Every criterion that queues can be ordered by; `aliquot.queues.criteria` says what each means."""


@dataclass(frozen=True, slots=True)
class ShareRules:
    """How fair shares are found and who may take from whom.

    resources: those that fair shares are computed of; None means accelerators and every resource that some
    queue has terms for: of what nobody set terms for, nobody can have too much. steps: by resource, the
    amount (in billionths) in whole multiples of which what is over quota is dealt
    out; one billionth where a resource is not named, which is as exact as amounts are. whole_rests: what
    rounding down leaves over is given in whole steps even to a queue that asks for less than a step more.
    usage_weight: k, how much past use lowers a queue's part of what is over. saturation: after taking from a
    sibling, own saturation times this must stay below that of the sibling. shareless_take: who has no
    share of something may take it from another that has none, which may then take it back. order: criteria,
    the first that differs decides. leaves_only: work may only be in queues without queues below them;
    otherwise what is right in such a queue counts as one more queue beside those below. runtime_method: which
    queue's reclaim_min_runtime protects, "lca" (that of the victim's ancestor just below the lowest ancestor
    in common) or "queue" (the victim's own); both go upwards from there to the first that sets one.
    preempt_min_runtime, reclaim_min_runtime: seconds where no queue sets one.
    """

    resources: tuple[str, ...] | None = None
    steps: Mapping[str, int] = field(default_factory=dict)
    whole_rests: bool = False
    usage_weight: Fraction = Fraction(1)
    saturation: Amount = 1
    shareless_take: bool = False
    order: tuple[str, ...] = CRITERIA
    leaves_only: bool = False
    runtime_method: str = "lca"
    preempt_min_runtime: int = 0
    reclaim_min_runtime: int = 0

    def taking_part(self, tree: QueueTree) -> tuple[str, ...]:
        """The resources that fair shares are computed of, accelerators first."""
        found = tree.resources() | {GPU} if self.resources is None else frozenset(self.resources)
        return tuple(sorted(found, key=lambda resource: (resource != GPU, resource)))


KAI = ShareRules(
    resources=(GPU, CPU, MEMORY),
    steps={GPU: UNIT, CPU: UNIT // 1000, MEMORY: UNIT},
    whole_rests=True,
    shareless_take=True,
    leaves_only=True,
)
"""As KAI-Scheduler v0.13 shares: whole GPUs, thousandths of a core, bytes."""
