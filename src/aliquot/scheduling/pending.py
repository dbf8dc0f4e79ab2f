"""Which pods hold what already, and which are to be decided."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from aliquot.model.core import Pod
from aliquot.model.index import Key, SnapshotIndex, live
from aliquot.model.resource import ResourceClaim
from aliquot.scheduling.affinity import matches_node, named_node, required_nodes
from aliquot.scheduling.claims import claim_keys, pod_claims
from aliquot.scheduling.extended import imagined_claim, without
from aliquot.scheduling.facts import PodFacts, pod_facts, with_extended
from aliquot.scheduling.memory import Memory
from aliquot.scheduling.nodes import Demand
from aliquot.scheduling.served import ExtendedResources
from aliquot.workloads.gangs import group_key
from aliquot.workloads.sources.source import GroupKey


@dataclass(slots=True)
class Board:
    """The pods of a snapshot, sorted out.

    placed: pods that count on a node: bound ones that have not ended, and let-go ones whose claims or
    affinity leave them one node; with what they take of it where that is not what follows from the pod
    alone. let_go: unbound pods that need nothing more, with that node. todo: pods to be decided, by gang.
    waiting: all unbound live pods with claims. in_flight: pods that were let go with extended resources
    for which the scheduler has made no claim yet, with their node.
    """

    placed: list[tuple[Pod, str, Demand | None]] = field(default_factory=list)
    let_go: dict[Key, tuple[Pod, str | None]] = field(default_factory=dict)
    todo: dict[GroupKey, list[PodFacts]] = field(default_factory=dict)
    waiting: list[Pod] = field(default_factory=list)
    in_flight: dict[Key, tuple[Pod, str]] = field(default_factory=dict)


def sort_out(
    index: SnapshotIndex,
    memory: Memory,
    managed: Callable[[ResourceClaim], bool],
    every_pod: bool,
    resources: ExtendedResources,
) -> Board:
    """Go through all pods once.

    To be decided are unbound pods that hold Aliquot's gate, or that have a claim of a managed driver which is
    not allocated or not reserved for them; with every_pod, all other unbound ones too.
    """
    board = Board()
    unbound: list[Pod] = []
    traits = memory.traits
    served = bool(index.snapshot.device_classes)
    for pod in index.snapshot.pods:
        if pod.finished:
            continue
        if pod.spec.node_name:
            demand = None
            if served:
                demand = _on_node(pod, pod.spec.node_name, traits(pod).demand, resources, board)
            board.placed.append((pod, pod.spec.node_name, demand))
        elif live(pod):
            unbound.append(pod)
    users: dict[Key, int] = {}
    for pod in unbound:
        if pod.spec.resource_claims:
            board.waiting.append(pod)
            for key in claim_keys(pod):
                users[key] = users.get(key, 0) + 1
    for pod in unbound:
        facts = _facts(pod, index, memory, users, managed, resources)
        if _to_decide(facts, every_pod):
            board.todo.setdefault(group_key(pod, index), []).append(facts)
            continue
        node = fixed_node(facts, index) or resources.pinned(pod)
        if facts.held:
            board.let_go[pod.key] = (pod, node)
        if node is not None:
            demand = _on_node(pod, node, traits(pod).demand, resources, board)
            board.placed.append((pod, node, demand))
    return board


def _on_node(pod: Pod, node: str, demand: Demand, resources: ExtendedResources, board: Board) -> Demand:
    """What the pod takes of its node besides what its claims hold, that of the scheduler's making included.

    Until that one is there the pod counts as if a device plugin served it.
    """
    names = resources.by_class(demand.requests, node)
    if not names:
        return demand
    if pod.metadata.uid not in resources.special_claims:
        board.in_flight[pod.key] = (pod, node)
        return demand
    return Demand.of(without(pod, names))


def _facts(
    pod: Pod,
    index: SnapshotIndex,
    memory: Memory,
    users: dict[Key, int],
    managed: Callable[[ResourceClaim], bool],
    resources: ExtendedResources,
) -> PodFacts:
    claims = pod_claims(pod, index)
    most = max((users.get(claim.key, 0) for claim in claims.claims), default=0)
    facts = pod_facts(pod, memory.traits(pod), claims, most, memory.claim_shapes, managed)
    if not facts.gated:
        return facts
    classes = resources.classes(facts.traits.demand.requests)
    if not classes:
        return facts
    imagined = imagined_claim(pod, classes)
    if not managed(imagined):
        return facts
    served = with_extended(facts, imagined, frozenset(classes))
    return served if resources.plugins.isdisjoint(classes) else replace(facts, alternative=served)


def _to_decide(facts: PodFacts, every_pod: bool) -> bool:
    if facts.gated:
        return True
    if facts.claims.problem is not None:
        return True
    if facts.wanted or facts.unreserved:
        return True
    return every_pod and not facts.held and not facts.foreign


def users_of_new_claims(board: Board) -> dict[Key, list[PodFacts]]:
    """For each claim without allocation that several pods wait for, those pods."""
    found: dict[Key, list[PodFacts]] = {}
    for facts in board.todo.values():
        for item in facts:
            if item.claims_shape is None and item.claims.problem is None:
                for claim in item.wanted:
                    found.setdefault(claim.key, []).append(item)
    return found


def fixed_node(facts: PodFacts, index: SnapshotIndex) -> str | None:
    """The one node that is left to an unbound pod by its claims and its required affinity, if it is one."""
    own = named_node(required_nodes(facts.pod.spec.affinity))
    if own is not None:
        return own
    selectors = [
        allocation.node_selector for _, allocation in facts.held if allocation.node_selector is not None
    ]
    for selector in selectors:
        named = named_node(selector)
        if named is not None:
            return named
    if not selectors:
        return None
    found = [
        name
        for name, node in index.nodes.items()
        if all(matches_node(selector, node) for selector in selectors)
    ]
    return found[0] if len(found) == 1 else None


def members_by_gang(index: SnapshotIndex, board: Board) -> dict[GroupKey, list[Pod]]:
    """All pods, ended ones included, of the gangs that have pods to be decided."""
    found: dict[GroupKey, list[Pod]] = {}
    for key, facts in board.todo.items():
        found[key] = [item.pod for item in facts] if key[0] == "Pod" else []
    if all(found.values()):
        return found
    for pod in index.snapshot.pods:
        key = group_key(pod, index)
        if key[0] != "Pod" and key in found:
            found[key].append(pod)
    return found
