"""Turning what was decided for a workload into a Decision with its id and actions."""

import hashlib
from collections.abc import Sequence
from datetime import datetime

from aliquot.model.core import Pod
from aliquot.model.index import Key
from aliquot.model.kinds import encode_json
from aliquot.model.meta import ObjectRef
from aliquot.model.resource import AllocationResult, ConsumerReference, ResourceClaim
from aliquot.model.verdicts import Reason, Verdict
from aliquot.scheduling.affinity import named_node
from aliquot.scheduling.plan import (
    Admit,
    Allocate,
    AnyAction,
    Deallocate,
    Decision,
    Evict,
    Placement,
    Reserve,
)
from aliquot.scheduling.state import PodPlacement

ID_LENGTH = 12

UNUSED = Verdict(reason=Reason.CLAIM_UNUSED)


def decision_id(now: datetime, *content: object) -> str:
    """Text that names a decision: equal for equal workload, time and content. 12 hexadecimal digits."""
    digest = hashlib.sha256(encode_json((now, content)))
    return digest.hexdigest()[:ID_LENGTH]


def placed(
    workload: ObjectRef,
    queue: str,
    placements: Sequence[PodPlacement],
    now: datetime,
    kept: Sequence[PodPlacement] = (),
) -> Decision:
    """The decision that gives these pods their places: allocate, reserve, then lift the gates together.

    kept: pods that get their claims too and stay behind their gates. Claims that are only imagined are not
    written.
    """
    claims: dict[Key, ResourceClaim] = {}
    given: dict[Key, Allocate] = {}
    consumers: dict[Key, dict[ConsumerReference, None]] = {}
    spots = tuple(_spot(item) for item in placements)
    for item in (*placements, *kept):
        for claim in (*(claim for claim, _ in _written(item)), *item.reserved):
            claims[claim.key] = claim
            consumers.setdefault(claim.key, {})[item.facts.consumer(claim)] = None
    allocations = {
        claim.key: allocation for item in (*placements, *kept) for claim, allocation in _written(item)
    }
    name = decision_id(
        now, workload, spots, [allocations[key].devices.results for key in sorted(allocations)]
    )
    for key, allocation in allocations.items():
        given[key] = Allocate(
            decision=name,
            claim=claims[key].ref,
            resource_version=claims[key].metadata.resource_version,
            allocation=allocation,
            consumers=tuple(consumers[key]),
        )
    actions: list[AnyAction] = [
        given[key]
        if key in given
        else Reserve(
            decision=name,
            claim=claim.ref,
            resource_version=claim.metadata.resource_version,
            consumers=tuple(consumers[key]),
        )
        for key, claim in claims.items()
    ]
    gated = tuple(spot for item, spot in zip(placements, spots, strict=True) if item.facts.gated)
    if gated:
        actions.append(Admit(decision=name, placements=gated))
    return Decision(
        id=name,
        workload=workload,
        queue=queue,
        pods=tuple(item.facts.pod.ref for item in placements),
        actions=tuple(actions),
        placements=spots,
    )


def _written(item: PodPlacement) -> tuple[tuple[ResourceClaim, AllocationResult], ...]:
    if item.facts.extended is None:
        return item.allocated
    return tuple(entry for entry in item.allocated if entry[0] is not item.facts.extended)


def _spot(item: PodPlacement) -> Placement:
    if item.facts.extended is not None:
        return Placement(pod=item.facts.pod.ref, node=item.node, pin=True)
    selectors = [allocation.node_selector for _, allocation in (*item.facts.held, *item.allocated)]
    pin = not item.facts.foreign and not any(named_node(selector) == item.node for selector in selectors)
    return Placement(pod=item.facts.pod.ref, node=item.node, pin=pin)


def waits(
    workload: ObjectRef,
    queue: str,
    pods: Sequence[Pod],
    verdict: Verdict,
    now: datetime,
    replaced: Sequence[Pod] = (),
) -> Decision:
    """The decision that a workload waits; `replaced` are pods of it that have to be made anew."""
    refs = tuple(pod.ref for pod in pods)
    name = decision_id(now, workload, refs, verdict, [pod.ref for pod in replaced])
    actions = tuple(Evict(decision=name, pod=pod.ref, verdict=verdict) for pod in replaced)
    return Decision(id=name, workload=workload, queue=queue, pods=refs, verdict=verdict, actions=actions)


def deallocated(
    claim: ResourceClaim,
    now: datetime,
    verdict: Verdict = UNUSED,
    pods: Sequence[Pod] = (),
) -> Decision:
    """The decision to give back what a claim holds; `pods` wait for it to be allocated anew."""
    name = decision_id(now, claim.ref, verdict)
    action = Deallocate(
        decision=name,
        claim=claim.ref,
        resource_version=claim.metadata.resource_version,
        verdict=verdict,
    )
    refs = tuple(pod.ref for pod in pods)
    return Decision(id=name, workload=claim.ref, queue="", pods=refs, verdict=verdict, actions=(action,))
