"""A gang as it is decided about, and the rules by which pods become one."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from aliquot.model.core import Pod
from aliquot.model.index import Key
from aliquot.model.meta import ObjectRef
from aliquot.model.verdicts import Fact
from aliquot.workloads.settings import NO_COST, RestartCost
from aliquot.workloads.subgroups import ALONE, SubGroup


@dataclass(frozen=True, slots=True)
class GangRules:
    """What a policy says about gangs.

    default_queue: the queue of workloads that name none. preemptible_below: work of this priority or more is
    not preemptible unless it says so; None: only what says so is not. by_member_priority, leaders_first:
    whether the order of members heeds their own priorities and who leads.
    """

    default_queue: str = ""
    preemptible_below: int | None = None
    by_member_priority: bool = True
    leaders_first: bool = True


@dataclass(frozen=True, slots=True)
class Gang:
    """Pods that are decided together.

    ref: the object that stands for them. members: its live pods, in the order in which they are to be placed.
    minimum: how many of them must be placed at once; those beyond are placed one by one. created: when the
    workload came (its owner's time, so that a replaced pod keeps its place). queue: the name of its queue,
    that of its first pod by name, ended ones included; "" outside queues (namespace not managed). problem:
    why its size cannot be known, as a fact, or None.

    root: its subgroups; a gang without parts is a single leaf "". leaf_of: the leaf of each member, by
    (namespace, name) of the pod. maximum: how many members run at most, None for any number. preemptible:
    others may take its place. together: its members leave together or not at all, those beyond its minimum
    too. started: when it last came to have its minimum on nodes, None while it has
    nothing there. stale_since: since when it was seen to run with less than that, None if that was never
    noted. cost: what is lost when it starts again. staleness_grace_seconds, preemption_delay_seconds: its own
    bounds, None where the policy's apply; a negative grace means for ever.
    """

    ref: ObjectRef
    members: tuple[Pod, ...]
    minimum: int
    created: datetime
    priority: int
    queue: str
    leaf_of: Mapping[Key, str]
    problem: Fact | None = None
    root: SubGroup = ALONE
    maximum: int | None = None
    preemptible: bool = True
    together: bool = False
    started: datetime | None = None
    stale_since: datetime | None = None
    cost: RestartCost = NO_COST
    staleness_grace_seconds: int | None = None
    preemption_delay_seconds: int | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.ref.namespace, self.ref.name, self.ref.kind)
