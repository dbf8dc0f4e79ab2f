"""Plan: what one decision wants done, and what it says about everybody who got nothing. Data only."""

from datetime import datetime
from typing import TypeAlias

import msgspec

from aliquot.model.meta import ObjectRef
from aliquot.model.resource import AllocationResult, ConsumerReference
from aliquot.model.verdicts import Verdict


class Action(msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="action", gc=False):
    """Something to do. `decision` is the id of the Decision that caused it."""

    decision: str


class Allocate(Action, frozen=True, kw_only=True, tag="Allocate"):
    """Write `allocation` and `consumers` to the status of a claim that has no allocation yet.

    `resource_version` is the claim's in the snapshot; the write must fail if the claim has changed since.
    `allocation.allocation_timestamp` is left to whoever writes.
    """

    claim: ObjectRef
    resource_version: str
    allocation: AllocationResult
    consumers: tuple[ConsumerReference, ...]


class Reserve(Action, frozen=True, kw_only=True, tag="Reserve"):
    """Add `consumers` to status.reservedFor of a claim that is allocated already.

    When an action earlier in the plan writes the same claim, `resource_version` is still the snapshot's:
    the write follows on what that action left.
    """

    claim: ObjectRef
    resource_version: str
    consumers: tuple[ConsumerReference, ...]


class Placement(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """A pod and its node. `pin`: no claim of the pod names the node, so the pod itself must.

    A pod that another allocator has yet to serve is not pinned: its node is that allocator's to choose.
    groups: the devices of the node of which it gets a part, by the names under which they are shared.
    """

    pod: ObjectRef
    node: str
    pin: bool = False
    groups: tuple[str, ...] = ()


class Admit(Action, frozen=True, kw_only=True, tag="Admit"):
    """Lift Aliquot's gate of all these pods together, after every Allocate and Reserve of the decision.

    since: when the gang began to be half admitted; None: with this.
    """

    placements: tuple[Placement, ...]
    since: datetime | None = None


class Show(Action, frozen=True, kw_only=True, tag="Show"):
    """Lift Aliquot's gate of these pods, which have no place, so that a cluster autoscaler sees that they
    wait for capacity (see `aliquot.scheduling.scale_up`).
    """

    pods: tuple[ObjectRef, ...]


class Evict(Action, frozen=True, kw_only=True, tag="Evict"):
    """Have a pod replaced: delete it with a precondition on its uid, so that its owner makes a new one."""

    pod: ObjectRef
    verdict: Verdict


class Deallocate(Action, frozen=True, kw_only=True, tag="Deallocate"):
    """Clear the allocation of a claim that nobody has reserved."""

    claim: ObjectRef
    resource_version: str
    verdict: Verdict


AnyAction: TypeAlias = Allocate | Reserve | Admit | Show | Evict | Deallocate


class Decision(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """What was decided for one workload.

    id: stable text, derived from the workload, the time and the content, so that the same snapshot, policy
    and time give the same id. workload: the object that stands for the gang (a Job, a PodGroup, a Pod ...).
    verdict: why it waits; None when it was placed. position: its place in the order of its queue, from 1,
    among what waits; 0 when placed. placements: where every placed pod goes, those without Aliquot's gate
    (which no Admit names) included. promised: where pods will go once something leaves that node: members of
    the workload itself, and victims that are made anew elsewhere. Nothing is written for them yet.
    """

    id: str
    workload: ObjectRef
    queue: str
    pods: tuple[ObjectRef, ...]
    verdict: Verdict | None = None
    position: int = 0
    actions: tuple[AnyAction, ...] = ()
    placements: tuple[Placement, ...] = ()
    promised: tuple[Placement, ...] = ()


class Staleness(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """A gang that runs with fewer members than it needs (since: from when on), or does so no more (None).

    pods: its pods on which this is to be noted, by the annotation `aliquot.dev/stale-since`.
    """

    workload: ObjectRef
    pods: tuple[ObjectRef, ...]
    since: datetime | None = None


class Plan(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """All decisions of one call in the order in which they were made, which is the order to enact them in.

    staleness: what has to be noted about gangs that lost members, or have them again.
    """

    decisions: tuple[Decision, ...] = ()
    staleness: tuple[Staleness, ...] = ()

    @property
    def actions(self) -> tuple[AnyAction, ...]:
        return tuple(action for decision in self.decisions for action in decision.actions)
