"""Turning what was decided for a workload into a Decision with its id and actions."""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

from aliquot.model.core import Pod
from aliquot.model.index import Key
from aliquot.model.kinds import encode_json
from aliquot.model.meta import ObjectRef
from aliquot.model.resource import AllocationResult, ConsumerReference, ResourceClaim
from aliquot.model.verdicts import Reason, Verdict
from aliquot.scheduling.affinity import named_node
from aliquot.scheduling.gang_state import Member
from aliquot.scheduling.plan import (
    Admit,
    Allocate,
    AnyAction,
    Deallocate,
    Decision,
    Evict,
    Placement,
    Reserve,
    Show,
)
from aliquot.scheduling.session import Removal
from aliquot.workloads.gang import Gang

ID_LENGTH = 12

UNUSED = Verdict(reason=Reason.CLAIM_UNUSED)


def decision_id(now: datetime, *content: object) -> str:
    """Text that names a decision: equal for equal workload, time and content. 12 hexadecimal digits."""
    return _digest(encode_json((now, content)))


@lru_cache(maxsize=1)
def _time(now: datetime) -> bytes:
    return encode_json(now)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:ID_LENGTH]


def naming(workload: ObjectRef, refs: tuple[ObjectRef, ...]) -> bytes:
    """What the id of the decision that a workload waits is made of, as far as it is always the same."""
    return encode_json((workload, refs))[1:-1]


def placed(gang: Gang, members: Sequence[Member], now: datetime, kept: Sequence[Member] = ()) -> Decision:
    """The decision that gives these pods their places: allocate, reserve, then lift the gates together.

    kept: pods that get their claims too and stay behind their gates. Claims that are only imagined are not
    written.
    """
    claims: dict[Key, ResourceClaim] = {}
    given: dict[Key, Allocate] = {}
    consumers: dict[Key, dict[str, ConsumerReference]] = {}
    spots = tuple(_spot(item) for item in members)
    allocations: dict[Key, AllocationResult] = {}
    for item in (*members, *kept):
        facts = item.facts
        assert facts is not None
        allocations.update({claim.key: allocation for claim, allocation in _allocated(item)})
        for claim in (*facts.wanted, *facts.unreserved):
            if claim is facts.extended:
                continue
            claims[claim.key] = claim
            reference = facts.consumer(claim)
            consumers.setdefault(claim.key, {})[reference.uid] = reference
    name = decision_id(
        now, gang.ref, spots, [allocations[key].devices.results for key in sorted(allocations)]
    )
    for key, allocation in allocations.items():
        given[key] = Allocate(
            decision=name,
            claim=claims[key].ref,
            resource_version=claims[key].metadata.resource_version,
            allocation=allocation,
            consumers=tuple(consumers[key].values()),
        )
    actions: list[AnyAction] = [
        given[key]
        if key in given
        else Reserve(
            decision=name,
            claim=claim.ref,
            resource_version=claim.metadata.resource_version,
            consumers=tuple(consumers[key].values()),
        )
        for key, claim in claims.items()
    ]
    gated = tuple(
        spot for item, spot in zip(members, spots, strict=True) if item.facts is not None and item.facts.gated
    )
    if gated:
        actions.append(Admit(decision=name, placements=gated, since=gang.stale_since))
    return Decision(
        id=name,
        workload=gang.ref,
        queue=gang.queue,
        pods=tuple(item.pod.ref for item in members),
        actions=tuple(actions),
        placements=spots,
    )


def written(member: Member) -> bool:
    """Whether anything has to be written about claims of a pod that has got its place."""
    facts = member.facts
    return facts is not None and bool(_allocated(member) or facts.unreserved)


def _allocated(member: Member) -> tuple[tuple[ResourceClaim, AllocationResult], ...]:
    facts, hold = member.facts, member.hold
    assert facts is not None
    assert hold is not None
    return tuple(entry for entry in hold.claims if entry[0] is not facts.extended)


def _spot(member: Member) -> Placement:
    facts, hold = member.facts, member.hold
    assert facts is not None
    assert hold is not None
    if facts.extended is not None:
        return Placement(pod=member.pod.ref, node=member.node, pin=True)
    node = member.node
    selectors = [allocation.node_selector for _, allocation in (*facts.held, *hold.claims)]
    pin = not facts.foreign and not any(named_node(selector) == node for selector in selectors)
    return Placement(pod=member.pod.ref, node=node, pin=pin, groups=hold.groups)


def promised(
    gang: Gang, members: Sequence[Member], removals: Sequence[Removal], verdict: Verdict, now: datetime
) -> Decision:
    """The decision that a gang waits for pods to leave: which pods leave for it, and where its own will go.

    Pods that leave and are made anew elsewhere are among the promised, too.
    """
    refs = tuple(item.pod.ref for item in members)
    spots = [Placement(pod=item.pod.ref, node=item.node, groups=item.groups) for item in members]
    for removal in removals:
        moved = removal.member.moved
        if moved is not None:
            spots.append(Placement(pod=removal.member.pod.ref, node=removal.member.node, groups=moved.groups))
    evicted = [removal.member.pod.ref for removal in removals]
    name = decision_id(now, gang.ref, refs, verdict, spots, evicted)
    actions = tuple(
        Evict(decision=name, pod=removal.member.pod.ref, verdict=removal.verdict) for removal in removals
    )
    return Decision(
        id=name,
        workload=gang.ref,
        queue=gang.queue,
        pods=refs,
        verdict=verdict,
        actions=actions,
        promised=tuple(spots),
    )


def waits(
    workload: ObjectRef,
    queue: str,
    pods: Sequence[Pod],
    verdict: Verdict,
    now: datetime,
    replaced: Sequence[Pod] = (),
    refs: tuple[ObjectRef, ...] | None = None,
    named: bytes | None = None,
) -> Decision:
    """The decision that a workload waits; `replaced` are pods of it that have to be made anew. refs: of the
    pods; named: what `naming` gives for it: both where they are known."""
    if refs is None:
        refs = tuple(pod.ref for pod in pods)
    if named is None:
        named = naming(workload, refs)
    again = encode_json([pod.ref for pod in replaced]) if replaced else b"[]"
    name = _digest(b"[%b,[%b,%b,%b]]" % (_time(now), named, encode_json(verdict), again))
    if not replaced:
        return Decision(id=name, workload=workload, queue=queue, pods=refs, verdict=verdict)
    actions = tuple(Evict(decision=name, pod=pod.ref, verdict=verdict) for pod in replaced)
    return Decision(id=name, workload=workload, queue=queue, pods=refs, verdict=verdict, actions=actions)


def shown(gang: Gang, pods: Sequence[Pod], verdict: Verdict, now: datetime) -> Decision:
    """The decision that autoscalers are to see a gang that waits; that it waits is another."""
    refs = tuple(pod.ref for pod in pods)
    name = decision_id(now, gang.ref, refs, "shown")
    return Decision(
        id=name,
        workload=gang.ref,
        queue=gang.queue,
        pods=(),
        verdict=verdict,
        actions=(Show(decision=name, pods=refs),),
    )


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
