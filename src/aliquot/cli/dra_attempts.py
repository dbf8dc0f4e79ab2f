"""Allocating the claims of a snapshot one after another, for `dra allocate`."""

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from aliquot.dra.allocator import Mode, allocate
from aliquot.dra.candidates import NodeIndex
from aliquot.dra.features import KubernetesVersion
from aliquot.dra.fleet import Fleet
from aliquot.dra.nodeselection import NodeSelectorError, selects
from aliquot.dra.outcome import Allocated, BudgetExceeded, Fall, Invalid, Need, Outcome, Unallocatable
from aliquot.dra.usage import Usage
from aliquot.model.core import Node, NodeSelector
from aliquot.model.index import live
from aliquot.model.resource import ResourceClaim
from aliquot.model.snapshot import Snapshot
from aliquot.scheduling.claims import claim_keys


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """What came of claims that go to one node together.

    pod: "namespace/name" of the pod that they are for, "" if none. node: that serves them, "" if none does.
    nodes: how many were tried. other: a node on which mode best serves what mode strict does not.
    """

    claims: tuple[ResourceClaim, ...]
    pod: str
    node: str
    outcome: Outcome
    nodes: int
    other: str = ""


def attempts(
    snapshot: Snapshot, nodes: Sequence[Node], mode: Mode, kubernetes: KubernetesVersion
) -> Iterator[Attempt]:
    """Every claim that has no devices yet, pod by pod and then those of no pod; each sees those before it.

    Claims of a pod go to one node, to which claims that it has already may tie it.
    """
    fleet = Fleet.of(
        snapshot.resource_slices,
        snapshot.device_classes,
        snapshot.device_taint_rules,
        kubernetes=kubernetes,
    )
    usage = Usage.of(fleet, snapshot.resource_claims)
    index = NodeIndex(fleet, usage, nodes)
    numbers = {node.name: number for number, node in enumerate(nodes)}
    claims = {claim.key: claim for claim in snapshot.resource_claims}
    waiting = {key for key, claim in claims.items() if claim.status.allocation is None}
    groups: list[tuple[str, str, tuple[ResourceClaim, ...]]] = []
    for pod in snapshot.pods:
        if live(pod):
            own = tuple(claims[key] for key in claim_keys(pod) if key in claims)
            groups.append((f"{pod.metadata.namespace}/{pod.name}", pod.spec.node_name or "", own))
    used = {claim.key for _, _, own in groups for claim in own}
    groups += [("", "", (claim,)) for key, claim in claims.items() if key not in used]
    for pod_name, bound, own in groups:
        wanted = tuple(claim for claim in own if claim.key in waiting)
        if not wanted:
            continue
        ties = [usage.holdings[claim.key].node_selector for claim in own if claim.key not in waiting]
        among = _allowed(index, ties)
        if bound in numbers:
            among &= 1 << numbers[bound]
        attempt = _attempt(index, wanted, among, mode, pod_name)
        if isinstance(attempt.outcome, Allocated):
            for claim, result in zip(wanted, attempt.outcome.results, strict=True):
                usage.take(claim.key, result)
                waiting.discard(claim.key)
        yield attempt


def _allowed(index: NodeIndex, ties: Iterable[NodeSelector | None]) -> int:
    selectors = [tie for tie in ties if tie is not None]
    if not selectors:
        return index.everything
    found = 0
    for number, node in enumerate(index.nodes):
        try:
            if all(selects(selector, node) for selector in selectors):
                found |= 1 << number
        except NodeSelectorError:
            # A selector that Kubernetes would refuse selects nothing.
            continue
    return found


def _attempt(
    index: NodeIndex, claims: tuple[ResourceClaim, ...], among: int, mode: Mode, pod: str
) -> Attempt:
    """In mode best the fullest node that serves the claims, in strict the first by the order of the files."""
    fleet, usage = index.fleet, index.usage
    allowed = [node for number, node in enumerate(index.nodes) if among >> number & 1]
    chosen = allowed
    if mode == "best":
        chosen = [index.nodes[number] for number in index.candidates(claims, among)]
    stopped: Outcome | None = None
    for node in chosen:
        outcome = allocate(fleet, usage, node, claims, mode=mode, explain=False)
        final = isinstance(outcome, Allocated) or (isinstance(outcome, Invalid) and not outcome.node_only)
        if final:
            name = node.name if isinstance(outcome, Allocated) else ""
            return Attempt(claims=claims, pod=pod, node=name, outcome=outcome, nodes=len(allowed))
        if isinstance(outcome, Invalid | BudgetExceeded):
            stopped = stopped or outcome
    if stopped is not None:
        return Attempt(claims=claims, pod=pod, node="", outcome=stopped, nodes=len(allowed))
    told: list[Unallocatable] = []
    other = ""
    for node in allowed:
        outcome = allocate(fleet, usage, node, claims)
        if isinstance(outcome, Unallocatable):
            told.append(outcome)
        elif isinstance(outcome, Invalid) and mode == "best":
            return Attempt(claims=claims, pod=pod, node="", outcome=outcome, nodes=len(allowed))
        elif isinstance(outcome, Allocated):
            other = other or node.name
    return Attempt(claims=claims, pod=pod, node="", outcome=summed(told), nodes=len(allowed), other=other)


def summed(outcomes: Iterable[Unallocatable]) -> Unallocatable:
    """What fell on several nodes together. Of a need the most devices that any node has free."""
    counts: dict[tuple[str, str, str], int] = {}
    needs: dict[str, Need] = {}
    steps = 0
    for outcome in outcomes:
        steps += outcome.steps
        for fall in outcome.falls:
            key = (fall.test, fall.subject, fall.detail)
            counts[key] = counts.get(key, 0) + fall.count
        for need in outcome.needs:
            known = needs.get(need.subject)
            if known is None or (need.free, need.wanted) > (known.free, known.wanted):
                needs[need.subject] = need
    return Unallocatable(
        falls=tuple(
            Fall(test=test, subject=subject, detail=detail, count=count)
            for (test, subject, detail), count in counts.items()
        ),
        needs=tuple(needs.values()),
        steps=steps,
    )
