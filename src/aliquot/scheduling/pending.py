"""Which pods hold what already, and which are to be decided."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from aliquot.model.core import Pod
from aliquot.model.index import Key, SnapshotIndex, live
from aliquot.scheduling import repairs
from aliquot.scheduling.affinity import matches_node, named_node, required_nodes
from aliquot.scheduling.claims import pod_claims
from aliquot.scheduling.extended import imagined_claim, without
from aliquot.scheduling.facts import PodFacts, pod_facts, with_extended
from aliquot.scheduling.memory import Memory
from aliquot.scheduling.nodes import Demand
from aliquot.scheduling.repairs import Managed, Repair
from aliquot.scheduling.served import ExtendedResources
from aliquot.workloads.gang import Gang
from aliquot.workloads.labels import STALE_SINCE


@dataclass(frozen=True, slots=True)
class Portion:
    """The pods of one gang, sorted out.

    placed: pods that count on a node: bound ones that have not ended, and let-go ones whose claims or
    affinity leave them one node; with what they take of it besides what their claims hold. let_go: unbound
    pods that need nothing more, with that node. todo: pods to be decided. in_flight: pods that were let go
    with extended resources for which the scheduler has made no claim yet, with their node. misplaced,
    blocked: what is wrong with pods on nodes and with others, see `repairs`.
    """

    placed: tuple[tuple[Pod, str, Demand], ...] = ()
    let_go: tuple[tuple[Pod, str | None], ...] = ()
    todo: tuple[PodFacts, ...] = ()
    in_flight: tuple[tuple[Pod, str], ...] = ()
    misplaced: tuple[Repair, ...] = ()
    blocked: tuple[Repair, ...] = ()


def may_be_short(gang: Gang, portion: Portion, pods: Sequence[Pod]) -> bool:
    """Whether a gang with these pods may be short of members, or was noted to be: cheaper to tell than
    whether it is."""
    if gang.stale_since is not None or gang.root.children:
        return True
    if len(portion.placed) < gang.minimum:
        placed = {pod.key for pod, _, _ in portion.placed} | {pod.key for pod, _ in portion.let_go}
        if len(placed) < gang.minimum:
            return True
    return any(STALE_SINCE in pod.metadata.annotations for pod in pods)


def sort_out(
    pods: Sequence[Pod],
    index: SnapshotIndex,
    memory: Memory,
    managed: Managed,
    every_pod: bool,
    resources: ExtendedResources,
    unbound_users: Callable[[Key], int],
) -> Portion:
    """Sort the pods of a gang out.

    To be decided are unbound pods that hold Aliquot's gate, or that have a claim of a managed driver which is
    not allocated or not reserved for them; with every_pod, all other unbound ones too. unbound_users: how
    many unbound live pods name a claim.
    """
    traits = memory.traits
    placed: list[tuple[Pod, str, Demand]] = []
    in_flight: list[tuple[Pod, str]] = []
    unbound: list[Pod] = []
    for pod in pods:
        if pod.finished:
            continue
        if pod.spec.node_name:
            demand = traits(pod).demand
            if resources.any:
                demand = _on_node(pod, pod.spec.node_name, demand, resources, in_flight)
            placed.append((pod, pod.spec.node_name, demand))
        elif live(pod):
            unbound.append(pod)
    misplaced: tuple[Repair, ...] = ()
    bound = [pod for pod, _, _ in placed if pod.spec.resource_claims]
    if bound:
        misplaced = (*repairs.misplaced(index, bound, managed), *repairs.by_hand(index, bound, managed))
    if not unbound:
        return Portion(tuple(placed), in_flight=tuple(in_flight), misplaced=misplaced)
    let_go: list[tuple[Pod, str | None]] = []
    todo: list[PodFacts] = []
    for pod in unbound:
        facts = _facts(pod, index, memory, unbound_users, managed, resources)
        if _to_decide(facts, every_pod):
            todo.append(facts)
            continue
        node = fixed_node(facts, index) or resources.pinned(pod)
        if facts.held:
            let_go.append((pod, node))
        if node is not None:
            placed.append((pod, node, _on_node(pod, node, traits(pod).demand, resources, in_flight)))
    waiting = [pod for pod in unbound if pod.spec.resource_claims]
    blocked = tuple(repairs.blocked_by_deletion(index, waiting, managed))
    return Portion(tuple(placed), tuple(let_go), tuple(todo), tuple(in_flight), misplaced, blocked)


def _on_node(
    pod: Pod, node: str, demand: Demand, resources: ExtendedResources, in_flight: list[tuple[Pod, str]]
) -> Demand:
    """What the pod takes of its node besides what its claims hold, that of the scheduler's making included.

    Until that one is there the pod counts as if a device plugin served it.
    """
    names = resources.by_class(demand.requests, node)
    if not names:
        return demand
    if pod.metadata.uid not in resources.special_claims:
        in_flight.append((pod, node))
        return demand
    return Demand.of(without(pod, names))


def _facts(
    pod: Pod,
    index: SnapshotIndex,
    memory: Memory,
    unbound_users: Callable[[Key], int],
    managed: Managed,
    resources: ExtendedResources,
) -> PodFacts:
    claims = pod_claims(pod, index)
    most = max((unbound_users(claim.key) for claim in claims.claims), default=0)
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
