"""From what was found to the decisions of a plan, gang by gang in the order in which they were served."""

from collections import Counter
from collections.abc import Iterable

import msgspec

from aliquot.model.core import Pod
from aliquot.model.verdicts import Fact, Fix, Reason, Verdict
from aliquot.scheduling import recording
from aliquot.scheduling.blockers import room_reason, too_early, too_few_beyond
from aliquot.scheduling.choosing import torn
from aliquot.scheduling.claims import claim_keys
from aliquot.scheduling.entitlement import Entitlement, with_entitlement
from aliquot.scheduling.gang_state import ALLOCATED, Crew, Line, Member, Status
from aliquot.scheduling.plan import Decision
from aliquot.scheduling.session import Removal, Session
from aliquot.scheduling.settling import settling_verdict
from aliquot.workloads.subgroups import SubGroup, leaves, satisfied

MOST_NODES = 8
"""So many nodes are named in the verdict on a gang that was promised places."""
MOST_SUBGROUPS = 8
"""So many subgroups are named in the verdict on a gang that can do without them."""


def decisions(session: Session) -> list[Decision]:
    """What is done for and to each gang. Pods that leave come with the gang that they leave for, or with
    their own."""
    found: list[Decision] = []
    by_gang: dict[int, list[Removal]] = {}
    for removal in session.findings.removals:
        by_gang.setdefault(id(removal.for_whom or removal.member.crew), []).append(removal)
        session.findings.served(removal.for_whom or removal.member.crew)
    entitlement = Entitlement(session)
    for crew in session.findings.handled.values():
        removals = by_gang.get(id(crew), [])
        if crew.touched or removals:
            found += _changed(session, crew, removals)
        line = _line(crew)
        if line.members:
            found += _waiting(session, crew, line, entitlement)
    return found


def _changed(session: Session, crew: Crew, removals: list[Removal]) -> Iterable[Decision]:
    """What is done for a gang, and to whom for its sake."""
    gang, now = crew.gang, session.now
    if crew.touched:
        settling = session.findings.settling
        placed = [member for member in crew.members if member.status is Status.PLACED]
        go = [member for member in placed if id(member) not in settling]
        early = [member for member in placed if id(member) in settling]
        kept = [member for member in early if recording.written(member)]
        if go or kept:
            yield recording.placed(gang, go, now, kept)
        if early:
            pods = [member.pod for member in early]
            yield recording.waits(gang.ref, gang.queue, pods, settling_verdict(early[0].node), now)
    promised = [
        member
        for member in (crew.members if crew.touched else ())
        if member.status is Status.PROMISED and not member.moved
    ]
    if promised or removals:
        yield recording.promised(gang, promised, removals, _promise(promised, removals), now)


def _waiting(session: Session, crew: Crew, line: Line, entitlement: Entitlement) -> list[Decision]:
    """Why what waits of a gang does so, and what it has to give back."""
    gang, now = crew.gang, session.now
    found: list[Decision] = []
    verdict = session.findings.verdicts.get(id(crew)) or _held_up(session, crew, line)
    verdict = with_entitlement(verdict, crew, entitlement)
    if crew.lines is not None:
        verdict = msgspec.structs.replace(verdict, facts=(*verdict.facts, *_subgroups(crew)))
    replaced: tuple[Pod, ...] = ()
    if room_reason(verdict.reason) and verdict.reason is not Reason.BEHIND_IN_QUEUE:
        for claim in session.idle(line.gated) if line.gated else ():
            found.append(recording.deallocated(claim, now))
        # What was written for a place that the gang cannot use any more holds devices for nothing.
        replaced = line.stranded
    found.append(
        recording.waits(gang.ref, gang.queue, line.pods, verdict, now, replaced, line.refs, line.named)
    )
    return found


def _subgroups(crew: Crew) -> Iterable[Fact]:
    """How many subgroups a gang that can do without some needs, if it has fewer; else which of those beyond
    wait: how many pods of each have a place, are there, and are needed for the next step."""
    root, has = crew.gang.root, crew.allocated_of
    if not satisfied(root, has):
        if root.minimum < len(root.children):
            yield Fact(test="subgroupsNeeded", count=len(root.children), wanted=str(root.minimum))
        return
    waiting: dict[str, SubGroup] = {}
    for name, leaf in crew.leaves.items():
        if any(member.status in (Status.WAITING, Status.HELD) for member in leaf.members):
            group = torn(crew, name, has) or leaf.group
            waiting.setdefault(group.name, group)
    for group in list(waiting.values())[:MOST_SUBGROUPS]:
        parts = [crew.leaves[leaf.name] for leaf in leaves(group)]
        there = [item for leaf in parts for item in leaf.members if item.status in _THERE]
        yield Fact(
            test="subgroupWaits",
            subject=group.name,
            count=sum(item.status in (Status.WAITING, Status.HELD) for item in there),
            unit="pods",
            wanted=str(max(group.least, 1 + sum(leaf.allocated for leaf in parts))),
            available=str(len(there)),
        )


_THERE = ALLOCATED | {Status.WAITING, Status.HELD, Status.EVICTED}


def _line(crew: Crew) -> Line:
    """Who waits, kept as long as nothing is done to the gang."""
    if crew.line is not None and not crew.touched:
        return crew.line
    left = [member for member in crew.members if member.status in (Status.WAITING, Status.HELD)]
    waiting = [(member, member.facts) for member in left if member.facts is not None]
    gated = [member.pod for member, facts in waiting if facts.gated]
    stranded = [member.pod for member, facts in waiting if facts.written and member.pod.metadata.controller]
    ordered = sorted((member for member, _ in waiting), key=lambda member: member.key)
    refs = tuple(member.pod.ref for member in ordered)
    found = Line(
        tuple(member for member, _ in waiting),
        tuple(member.pod for member in ordered),
        refs,
        recording.naming(crew.gang.ref, refs),
        tuple(gated) if any(claim_keys(pod) for pod in gated) else (),
        tuple(stranded),
    )
    if not crew.touched:
        crew.line = found
    return found


def _promise(promised: list[Member], removals: list[Removal]) -> Verdict:
    """Why members that were promised a place wait; for a gang that is taken down, why."""
    if not promised:
        return removals[0].verdict
    nodes = Counter(member.node for member in promised)
    facts = [Fact(test="promised", count=len(promised), unit="pods")]
    facts += [
        Fact(test="promisedNode", subject=node, count=count, unit="pods")
        for node, count in nodes.most_common(MOST_NODES)
    ]
    if removals:
        facts.append(Fact(test="leaving", count=len(removals), unit="pods"))
    return Verdict(reason=Reason.ROOM_PROMISED, facts=tuple(facts), fix=Fix(change="wait"))


def _held_up(session: Session, crew: Crew, line: Line) -> Verdict:
    """Why members beyond those that were placed wait."""
    if crew.lines is not None and (verdict := too_few_beyond(crew, session.tree)) is not None:
        return verdict
    left = line.members
    first = next((member for member in left if member.status is Status.HELD), left[0])
    assert first.facts is not None
    verdict = too_early(crew.gang, [first.facts], 1, session.tree, alone=True)
    return verdict or Verdict(reason=Reason.WAITING_FOR_MEMBERS)


def ranked(decisions: list[Decision]) -> list[Decision]:
    """The decisions, with each waiting one's position in its queue and how often it was overtaken."""
    position: dict[str, int] = {}
    placed_behind: dict[str, int] = {}
    found: list[Decision] = []
    for decision in reversed(decisions):
        if decision.placements:
            placed_behind[decision.queue] = placed_behind.get(decision.queue, 0) + 1
        elif decision.verdict is not None and room_reason(decision.verdict.reason):
            overtakers = placed_behind.get(decision.queue, 0)
            if overtakers:
                fact = Fact(test="overtaken", count=overtakers, unit="workloads")
                verdict = msgspec.structs.replace(decision.verdict, facts=(*decision.verdict.facts, fact))
                decision = msgspec.structs.replace(decision, verdict=verdict)
        found.append(decision)
    found.reverse()
    for number, decision in enumerate(found):
        if decision.verdict is not None and decision.pods:
            place = position[decision.queue] = position.get(decision.queue, 0) + 1
            found[number] = msgspec.structs.replace(decision, position=place)
    return found
