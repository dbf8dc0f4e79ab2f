"""Why a workload cannot even be tried: its pods, claims or queue are not there, or another gate holds it."""

from collections.abc import Iterable, Mapping, Sequence

from aliquot.model.topology import Topology
from aliquot.model.verdicts import Fact, Fix, Reason, Verdict
from aliquot.queues.tree import QueueTree
from aliquot.scheduling.choosing import torn
from aliquot.scheduling.facts import PodFacts
from aliquot.scheduling.gang_state import Crew, Leaf, Status
from aliquot.topology.findings import problem as constraint_problem
from aliquot.topology.levels import Levels
from aliquot.workloads.gang import Gang
from aliquot.workloads.subgroups import SubGroup, leaves, satisfied

_NOT_ROOM = frozenset(
    {
        Reason.WAITING_FOR_MEMBERS,
        Reason.WAITING_FOR_CLAIMS,
        Reason.UNKNOWN_QUEUE,
        Reason.INVALID_CLAIM,
        Reason.GATED_BY_OTHERS,
        Reason.CLAIM_ELSEWHERE,
        Reason.CLAIM_UNUSED,
        Reason.DEVICE_EVICTED,
        Reason.BINDING_FAILED,
        Reason.NODE_SETTLING,
        Reason.DEVICE_HELD_TWICE,
        Reason.HAND_PLACED,
        Reason.NOT_BOUND_IN_TIME,
        Reason.BUDGET_EXHAUSTED,
    }
)


def room_reason(reason: Reason) -> bool:
    """Whether a workload with this reason waits for room, so that what overtakes it may delay it."""
    return reason not in _NOT_ROOM


def too_early(
    gang: Gang,
    todo: Sequence[PodFacts],
    needed: int,
    tree: QueueTree,
    *,
    alone: bool = False,
    topologies: Mapping[str, Topology] | None = None,
) -> Verdict | None:
    """The first thing in the way of trying to place `needed` of the pods, or None.

    alone: the pods are looked at by themselves, as those beyond the gang's minimum are. topologies: those
    that constraints may name, by name; None if constraints are not honoured.
    """
    if gang.problem is not None:
        fix = Fix(change="createOwner" if gang.problem.test == "owner" else "setGangSize")
        fix = Fix(change=fix.change, subject=gang.problem.subject, amount=gang.problem.wanted)
        return Verdict(reason=Reason.WAITING_FOR_MEMBERS, facts=(gang.problem,), fix=fix)
    if gang.queue:
        problem = tree.problem(gang.queue)
        if problem is not None:
            fact = Fact(test=f"queue{problem.kind[0].upper()}{problem.kind[1:]}", subject=problem.subject)
            change = "createQueue" if problem.kind != "cycle" else "breakCycle"
            return Verdict(
                reason=Reason.UNKNOWN_QUEUE, facts=(fact,), fix=Fix(change=change, subject=problem.subject)
            )
    if topologies is not None:
        found = _constraint(gang.root, topologies)
        if found is not None:
            return found
    if not alone and len(todo) < needed:
        live = len(gang.members)
        fact = Fact(
            test="members",
            subject=str(gang.ref),
            count=needed - len(todo),
            unit="pods",
            wanted=str(gang.minimum),
            available=str(live),
        )
        fix = Fix(change="createPods", subject=str(gang.ref), amount=str(needed - len(todo)))
        return Verdict(reason=Reason.WAITING_FOR_MEMBERS, facts=(fact,), fix=fix)
    if not todo:
        # All have their places, by an earlier step of this decision.
        return None
    gated = [item for item in todo if item.gated_by_others]
    lacking = [item for item in todo if item.claims.problem is not None]
    malformed = [item for item in todo if item.malformed is not None]
    ready = len([item for item in todo if not item.held_up])
    if ready >= needed and not (needed == 0 and ready == 0):
        return None
    if malformed:
        return _malformed(malformed)
    if lacking:
        return _lacking_claims(lacking)
    gates = sorted({gate for item in gated for gate in item.gated_by_others})
    facts = tuple(
        Fact(
            test="gate",
            subject=gate,
            count=sum(gate in item.gated_by_others for item in gated),
            unit="pods",
        )
        for gate in gates
    )
    return Verdict(reason=Reason.GATED_BY_OTHERS, facts=facts, fix=Fix(change="liftGate", subject=gates[0]))


def too_few(crew: Crew, tree: QueueTree) -> Verdict | None:
    """What keeps a subgroup from having the pods that it needs, though the whole gang may have enough; None
    where the gang can do without those that have too few."""
    if satisfied(crew.gang.root, lambda name: crew.leaves[name].ready):
        return None
    return _short(crew, crew.leaves.values(), tree)


def too_few_beyond(crew: Crew, tree: QueueTree) -> Verdict | None:
    """What keeps subgroups that the gang can do without, and of which pods wait, from having as many pods as
    they need."""
    short: list[Leaf] = []
    for name, leaf in crew.leaves.items():
        if leaf.waiting:
            group = torn(crew, name, lambda other: crew.leaves[other].ready)
            short += [] if group is None else [crew.leaves[part.name] for part in leaves(group)]
    return _short(crew, short, tree)


def _short(crew: Crew, parts: Iterable[Leaf], tree: QueueTree) -> Verdict | None:
    for leaf in parts:
        if leaf.ready >= leaf.minimum:
            continue
        there = [member for member in leaf.members if member.status not in _NOT_THERE]
        missing = leaf.minimum - len(there)
        if missing <= 0:
            todo = [member.facts for member in there if member.facts is not None and not member.hold]
            return too_early(crew.gang, todo, leaf.minimum - leaf.allocated, tree, alone=True)
        subject = f"{leaf.group.name} of {crew.gang.ref}"
        fact = Fact(
            test="members",
            subject=subject,
            count=missing,
            unit="pods",
            wanted=str(leaf.minimum),
            available=str(len(there)),
        )
        fix = Fix(change="createPods", subject=subject, amount=str(missing))
        return Verdict(reason=Reason.WAITING_FOR_MEMBERS, facts=(fact,), fix=fix)
    return None


_NOT_THERE = frozenset({Status.ENDED, Status.LEAVING})


def _lacking_claims(lacking: Sequence[PodFacts]) -> Verdict:
    first = lacking[0].claims.problem
    assert first is not None
    tests = [item.claims.problem for item in lacking if item.claims.problem is not None]
    same = sum(1 for fact in tests if fact.test == first.test)
    fact = Fact(test=first.test, subject=first.subject, count=same, unit="pods")
    change = {"claimMissing": "createClaim", "claimDeleting": "replaceClaim", "claimNotOwned": "replaceClaim"}
    fix = Fix(change=change.get(first.test, "waitForClaim"), subject=first.subject)
    return Verdict(reason=Reason.WAITING_FOR_CLAIMS, facts=(fact,), fix=fix)


def _malformed(found: Sequence[PodFacts]) -> Verdict:
    """A request for parts of devices that cannot be understood: where it stands, and what to write."""
    first = found[0].malformed
    assert first is not None
    same = sum(1 for item in found if item.malformed == first)
    fact = Fact(
        test="gpuRequest",
        subject=first.place,
        count=same,
        unit="pods",
        wanted=first.reason,
        available=first.value,
    )
    fix = Fix(change="correctRequest", subject=first.place, amount=first.fix)
    return Verdict(reason=Reason.FRACTION_REFUSED, facts=(fact,), fix=fix)


def _constraint(group: SubGroup, topologies: Mapping[str, Topology]) -> Verdict | None:
    """A constraint of the gang or of a part of it that names a topology or a level which does not exist."""
    own = group.constraint
    if own is not None and own.topology:
        fact = constraint_problem(
            topologies,
            own.topology,
            _of_nodes(topologies, own.topology, own.required),
            _of_nodes(topologies, own.topology, own.preferred),
        )
        inside = fact is not None and fact.test == "topologyLevel" and not fact.wanted
        if fact is not None and not inside:
            change = "createTopology" if fact.test == "topology" else "nameLevel"
            fix = Fix(change=change, subject=fact.subject, amount=fact.available)
            return Verdict(reason=Reason.TOPOLOGY_NOT_MET, facts=(fact,), fix=fix)
    for child in group.children:
        found = _constraint(child, topologies)
        if found is not None:
            return found
    return None


def _of_nodes(topologies: Mapping[str, Topology], topology: str, level: str) -> str:
    """The level, unless it is one inside a node (a PCIe root, a NUMA node), which every node has."""
    found = topologies.get(topology)
    if found is None or not level or not Levels.of(found).device_attributes(level):
        return level
    return ""
