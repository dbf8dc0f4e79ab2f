"""Policy: what an operator chooses, as data. `decide` reads nothing else."""

from dataclasses import replace
from enum import StrEnum
from fractions import Fraction

import msgspec

from aliquot.model.ownership import Ownership
from aliquot.model.snapshot import Snapshot
from aliquot.queues.amounts import exact
from aliquot.queues.rules import KAI as KAI_SHARES
from aliquot.queues.rules import ShareRules

NO_ACCELERATORS = frozenset(
    {
        "compute-domain.nvidia.com",
        "dra.cpu",
        "dra.memory",
        "dra.net",
        "qat.intel.com",
        "sriovnetwork.k8snetworkplumbingwg.io",
    }
)
"""Drivers known to publish something else than accelerators: IMEX channels, CPUs, memory, NICs, crypto."""


class Step(StrEnum):
    """A part of a decision. A policy names those it wants in the order in which they are taken."""

    ALLOCATE = "allocate"
    CONSOLIDATE = "consolidate"
    RECLAIM = "reclaim"
    PREEMPT = "preempt"
    EVICT_STALE = "evictStale"


class Goal(StrEnum):
    """What a node can be preferred for; each gives a node a value from 0 to 1.

    expectedCapacity: the cluster loses least of what it can be expected to hold, given the workloads that it
    has; leastFragmentation for pods of which that cannot be said (several kinds of devices).
    leastFragmentation: what is left of its accelerators is least. binPack, spread: least or most is free of
    its accelerators (of its CPU, for pods without any). idleNow: nothing has to leave first. sharedDevice: a
    device that is shared already has room. cpuOnlyNode: a node without accelerators for a pod that wants
    none. nominated: the pod was promised a place there. preferredDomain: it lies in the roomiest domain of
    the level that the gang prefers. price, energy: the cheapest, the least power, by node label.
    """

    EXPECTED_CAPACITY = "expectedCapacity"
    LEAST_FRAGMENTATION = "leastFragmentation"
    BIN_PACK = "binPack"
    SPREAD = "spread"
    IDLE_NOW = "idleNow"
    SHARED_DEVICE = "sharedDevice"
    CPU_ONLY_NODE = "cpuOnlyNode"
    NOMINATED = "nominated"
    PREFERRED_DOMAIN = "preferredDomain"
    PRICE = "price"
    ENERGY = "energy"


class Objective(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A goal and how much it counts: the node with the highest sum of weight times value is tried first.

    resource: of binPack and spread, "gpu" (pods that want accelerators) or "cpu" (those that want none); ""
    means both. whole_only: of the same, MIG instances that are resources of their own do not count, so nodes
    that have nothing else are alike.
    """

    goal: Goal
    weight: float = 1.0
    resource: str = ""
    whole_only: bool = False


PLACEMENT = (
    Objective(goal=Goal.NOMINATED, weight=1e6),
    Objective(goal=Goal.PREFERRED_DOMAIN, weight=1e5),
    Objective(goal=Goal.IDLE_NOW, weight=1e3),
    Objective(goal=Goal.EXPECTED_CAPACITY, weight=1.0),
)
"""Aliquot's own choice: close together, then without waiting, then where the cluster loses least of what it
can be expected to hold."""


class Policy(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How to decide.

    managed_drivers: DRA drivers whose devices Aliquot allocates; None means those that the cluster's
    ConfigMap lists, or, in a snapshot without it, every driver that publishes slices. search_budget: how many
    steps the allocator may take for one claim set on one node. default_queue: the queue of workloads that
    name none; when no such Queue object exists they count against no limit. strict_fifo: nothing overtakes a
    workload of its queue that waits for room; otherwise what fits goes ahead, and the verdict of the one
    overtaken says so. every_pod: decide pending pods without gate and claims too, which otherwise are the
    scheduler's own. gang_search: how many times the placement of one gang may be taken back to try another
    node for an earlier member. bind_patience_seconds: how long a pod that was let go may be found
    unschedulable before it is replaced. admission_seconds: how long a gang may be half admitted, from the
    first gate lifted to the last of the pods bound that it needs; then all of it is replaced. None: for ever.
    scale_up_seconds: after how long a gang that waits for capacity is shown to cluster autoscalers; None:
    never.
    kubernetes: (major, minor) of the cluster, which says which parts of
    Dynamic Resource Allocation it knows. uncounted_drivers: DRA drivers whose devices are no accelerators
    (network cards, channels, CPUs) and do not count as "gpu" in queues. counted_classes: only devices of
    classes with this in their name count as "gpu". labelled_claims: a claim for such devices that was not
    made for one pod must carry a label with its pods' queue.

    taint_patience_seconds: how long a pod on a device with an untolerated NoExecute taint is left to
    Kubernetes' own device taint eviction before Aliquot evicts it; None: for ever. binding_timeout_seconds:
    how long devices may take until their binding conditions hold. settle_seconds: how long after a write
    about a node's devices the scheduler may still not know of it.

    steps: what is done, in order. placement: where pods go. shared_devices: which device of a node a part is
    taken from, "pack" (the fullest) or "spread". trust_fractions: believe that fractions of devices are kept
    apart on every node. mixed_only_mig: a node with MIG instances as resources of their own takes no other
    work. slices_as_devices: a compute slice of a MIG instance counts as one device in queues, not as a part.

    fair_shares: queues go by fair share, are held to limits and quotas, and reclaim what others have too
    much of; otherwise they go by age alone.
    fair_resources: the resources that fair shares are computed of; none
    named means accelerators and whatever some queue has terms for. whole_shares: what is over is dealt out
    in whole units (GPUs, thousandths of a core, bytes), as KAI-Scheduler does, not exactly. usage_weight: how
    much use in the past lowers a queue's part of what is over (0: not at all). usage_half_life_seconds: after
    how long past use counts half. saturation: a queue that takes from another may not come nearer to the
    other's saturation than this factor (1 or more).

    by_priority, by_elasticity: gangs of a queue go by priority; those below their minimum first.
    by_member_priority, leaders_first: the order of members in their gang. by_fill: of subgroups beyond their
    minimum the emptiest goes first. largest_first: members that want most go first, which packs better.
    preemptible_below: work of this priority or more is not preemptible unless it says so; None: only what
    says so is not.

    consolidation_budget: how many gangs may be moved to make room for one; None: any number.
    move_victims: a victim for which another place is found is moved and does not count as lost.
    victim_search: how many victims may be considered for each member of a gang; None: any number. refusals:
    how many ways of making room for one gang may be tried in vain; None: any number. beneficiaries: for how
    many gangs others leave by one step of one decision, besides those that were promised room before; those
    after them have their turn in the next; None: any number. victim_order: which of victims with an equal
    right to stay is asked first, "cheapest" (the one that loses least work for what it frees of what is
    needed) or "youngest". spare_victims: once room is made, whoever need not leave after all keeps its place.
    stepwise: room is made as KAI-Scheduler does it. Whoever waits stands in line for what becomes free,
    though none but the gang and its victims gets any of it; each step is judged for the members served so
    far, and by everybody who was asked to leave up to then; and what this decision gave may be taken again.
    Otherwise each step is judged for all that the gang lacks, by those who would leave; only work of queues
    that hold more than they are entitled to is asked to leave for another queue; and whoever had to leave is
    placed again after the one for whom.
    reservation_seconds: for how long after room was promised to a gang nobody else may have it, but for
    work that is gone in time; 0: not at all. hold_after_seconds, hold_seconds: when a gang that is first in
    line has waited for so long (0: never), nodes are held for it for so long at most, then after as long
    again. hold_share: no more than this part of all accelerators is held, but for one gang that needs more.
    staleness_seconds: how long a gang may run with fewer
    members than its minimum; None: for ever. min_runtimes: queues' minimum run times are honoured.
    smallest_device_mib: memory of the smallest device, by which a waiting request for memory is counted;
    0: that of the smallest in the cluster.

    node_rules: taints, selectors, affinity and conditions of nodes are honoured. topology: constraints on
    closeness are honoured. strict_topology: only nodes with a value at every level of a topology are part of
    it.
    """

    managed_drivers: frozenset[str] | None = None
    search_budget: int = 100_000
    default_queue: str = "default"
    strict_fifo: bool = False
    every_pod: bool = False
    gang_search: int = 200
    bind_patience_seconds: int = 60
    admission_seconds: int | None = 120
    scale_up_seconds: int | None = None
    taint_patience_seconds: int | None = 10
    binding_timeout_seconds: int = 600
    settle_seconds: int = 5
    kubernetes: tuple[int, int] = (1, 36)
    uncounted_drivers: frozenset[str] = NO_ACCELERATORS
    counted_classes: str = ""
    labelled_claims: bool = False

    steps: tuple[Step, ...] = (Step.ALLOCATE, Step.RECLAIM, Step.PREEMPT, Step.EVICT_STALE)
    placement: tuple[Objective, ...] = PLACEMENT
    shared_devices: str = "pack"
    trust_fractions: bool = False
    mixed_only_mig: bool = False
    slices_as_devices: bool = False

    fair_shares: bool = True
    fair_resources: tuple[str, ...] = ()
    whole_shares: bool = False
    usage_weight: float = 1.0
    usage_half_life_seconds: int = 7 * 24 * 3600
    saturation: float = 1.0

    by_priority: bool = True
    by_elasticity: bool = True
    by_member_priority: bool = True
    leaders_first: bool = True
    by_fill: bool = True
    largest_first: bool = True
    preemptible_below: int | None = None

    consolidation_budget: int | None = 16
    move_victims: bool = True
    victim_search: int | None = 128
    refusals: int | None = 6
    beneficiaries: int | None = 6
    victim_order: str = "cheapest"
    spare_victims: bool = True
    reservation_seconds: int = 300
    hold_after_seconds: int = 0
    hold_seconds: int = 7200
    hold_share: float = 0.1
    stepwise: bool = False
    staleness_seconds: int | None = 60
    eviction_patience_seconds: int | None = 300
    min_runtimes: bool = True
    smallest_device_mib: int = 0

    node_rules: bool = True
    topology: bool = True
    strict_topology: bool = False


KAI = Policy(
    default_queue="",
    counted_classes="gpu",
    labelled_claims=True,
    gang_search=0,
    steps=(Step.ALLOCATE, Step.CONSOLIDATE, Step.RECLAIM, Step.PREEMPT, Step.EVICT_STALE),
    placement=(
        Objective(goal=Goal.NOMINATED, weight=1e6),
        Objective(goal=Goal.PREFERRED_DOMAIN, weight=1e5),
        Objective(goal=Goal.SHARED_DEVICE, weight=1e3),
        Objective(goal=Goal.IDLE_NOW, weight=100),
        Objective(goal=Goal.CPU_ONLY_NODE, weight=10),
        Objective(goal=Goal.BIN_PACK, weight=9, whole_only=True),
    ),
    trust_fractions=True,
    mixed_only_mig=True,
    slices_as_devices=True,
    whole_shares=True,
    largest_first=False,
    preemptible_below=100,
    victim_search=None,
    refusals=None,
    beneficiaries=None,
    victim_order="youngest",
    spare_victims=False,
    reservation_seconds=0,
    stepwise=True,
    strict_topology=True,
)
"""The order, weights and tie-breaks of KAI-Scheduler (v0.13, March 2026), for those who come from there."""


def fairness(policy: Policy) -> ShareRules:
    """The rules by which queues share."""
    rules = (
        KAI_SHARES
        if policy.whole_shares
        else ShareRules(resources=policy.fair_resources or None, leaves_only=False)
    )
    if not policy.fair_shares:
        rules = replace(rules, order=("age",))
    return replace(
        rules,
        usage_weight=Fraction(policy.usage_weight).limit_denominator(1000),
        saturation=exact(Fraction(policy.saturation).limit_denominator(1000)),
    )


def ownership(snapshot: Snapshot, policy: Policy) -> Ownership | None:
    """The drivers whose devices Aliquot allocates in this cluster; None for every driver."""
    return snapshot.ownership if policy.managed_drivers is None else Ownership.whole(policy.managed_drivers)
