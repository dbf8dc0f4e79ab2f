"""Plain English made from verdicts, fixes and plans: for events, tables, pages and the command line.

`sentence` is one line, starts in lower case and has no full stop, so that it can stand after a colon;
`paragraph` says everything, in whole sentences.
"""

from collections.abc import Callable, Sequence

from aliquot.model.verdicts import Fact, Reason, Verdict
from aliquot.scheduling.phrases import (
    attribute_phrase,
    count,
    devices_phrase,
    domain_phrase,
    listed,
    node_group,
    reclaim_phrase,
    ruling_phrase,
    subgroups_phrase,
)
from aliquot.scheduling.plan import Allocate, Deallocate, Decision, Evict, Plan
from aliquot.scheduling.remedies import fix_sentence

__all__ = ["decision_sentence", "fix_sentence", "paragraph", "plan_sentence", "sentence"]

GROUPS_IN_A_SENTENCE = 3
"""Groups of nodes that a one-line text tells; a paragraph tells all."""


def sentence(verdict: Verdict) -> str:
    """Why a workload waits, in one line."""
    return _sentence(verdict, GROUPS_IN_A_SENTENCE)


def paragraph(verdict: Verdict) -> str:
    """Why a workload waits with all facts, whether it was overtaken, and the nearest fix."""
    parts = [_sentence(verdict, len(verdict.facts))]
    ruling = ruling_phrase(verdict.facts)
    if ruling:
        parts.append(ruling)
    subgroups = subgroups_phrase(verdict.facts)
    if subgroups:
        parts.append(subgroups)
    overtaken = _fact(verdict.facts, "overtaken")
    if overtaken is not None:
        later = count(overtaken.count, "workload")
        parts.append(f"{later} of its queue that came later and fit went ahead")
    reclaim = reclaim_phrase(verdict.facts)
    if reclaim:
        parts.append(reclaim)
    if verdict.fix is not None and verdict.fix.change != "wait":
        parts.append(f"nearest fix: {fix_sentence(verdict.fix)}")
    return " ".join(f"{part[:1].upper()}{part[1:]}." for part in parts)


def decision_sentence(decision: Decision) -> str:
    """What was decided for one workload, in one line."""
    replaced = [action.pod for action in decision.actions if isinstance(action, Evict)]
    cleared = [action.claim for action in decision.actions if isinstance(action, Deallocate)]
    if decision.verdict is None:
        nodes = sorted({spot.node for spot in decision.placements})
        devices = sum(
            len(action.allocation.devices.results)
            for action in decision.actions
            if isinstance(action, Allocate)
        )
        given = f" with {count(devices, 'device')}" if devices else ""
        return f"{decision.workload}: {count(len(decision.pods), 'pod')} placed{given} on {listed(nodes)}"
    text = f"{decision.workload}: {sentence(decision.verdict)}"
    if cleared:
        text += "; its devices are given back"
    own = [str(pod) for pod in replaced if pod in decision.pods]
    others = [str(pod) for pod in replaced if pod not in decision.pods]
    if own:
        text += f"; {listed(own)} to be replaced"
    if others:
        text += f"; {listed(others)} must leave"
    return text


def plan_sentence(plan: Plan) -> str:
    """A plan in one line: how much is placed, how much waits."""
    placed = [item for item in plan.decisions if item.placements]
    waiting = [item for item in plan.decisions if item.verdict is not None and item.pods]
    pods = sum(len(item.placements) for item in placed)
    return f"{count(len(placed), 'workload')} ({count(pods, 'pod')}) placed, {len(waiting)} waiting"


def _sentence(verdict: Verdict, groups: int) -> str:
    facts = verdict.facts
    if verdict.reason is Reason.GANG_DOES_NOT_FIT:
        return _gang(facts, groups)
    return _by_reason(verdict.reason, facts, groups)


def _by_reason(reason: Reason, facts: Sequence[Fact], groups: int) -> str:
    write = _NODES.get(reason)
    if write is not None:
        told = _groups(facts, groups)
        return write(facts) + (f": {told}" if told else "")
    direct = _DIRECT.get(reason)
    return direct(facts) if direct is not None else reason.value


def _gang(facts: Sequence[Fact], groups: int) -> str:
    members = _fact(facts, "members")
    cause = _fact(facts, "cause")
    text = "not all pods that must start together find a place"
    if members is not None:
        text = f"only {members.available} of {members.wanted} pods that must start together find a place"
    if cause is not None:
        rest = [fact for fact in facts if fact.test not in ("members", "cause")]
        text += f"; for the next, {_by_reason(Reason(cause.subject), rest, groups)}"
    return text


def _groups(facts: Sequence[Fact], most: int) -> str:
    """ "12 of 16 nodes have ..., 3 are cordoned": the groups of nodes by what they fell at."""
    total = _fact(facts, "nodes")
    nodes = [fact for fact in facts if fact.unit == "nodes" and fact.test != "nodes"]
    if not nodes:
        return "there is no node" if total is not None and total.count == 0 else ""
    whole = total.count if total is not None else sum(fact.count for fact in nodes)
    told = []
    for number, fact in enumerate(nodes[:most]):
        if number:
            subject = str(fact.count)
        elif whole == 1:
            subject = "the only node"
        elif fact.count == whole:
            subject = f"all {whole} nodes"
        else:
            subject = f"{fact.count} of {whole} nodes"
        told.append(f"{subject} {node_group(fact)}")
    left = sum(fact.count for fact in nodes[most:])
    if left:
        told.append(f"{left} for other reasons")
    return ", ".join(told)


def _members(facts: Sequence[Fact]) -> str:
    fact = facts[0]
    if fact.test == "owner":
        return f"{fact.subject} does not exist or sets no gang policy"
    if fact.test == "gangSize":
        given = f"is {fact.available!r}" if fact.available else "is missing"
        return f"the annotation {fact.subject} {given}, it must be {fact.wanted}"
    if fact.test == "subgroups":
        return f"the annotation {fact.subject} has to give {fact.wanted}: {fact.available}"
    return f"{fact.subject} needs {fact.wanted} pods at once and has {fact.available}"


def _claims(facts: Sequence[Fact]) -> str:
    fact = facts[0]
    texts = {
        "claimNotMade": f"the claim for {fact.subject} has not been made from its template yet",
        "claimMissing": f"claim {fact.subject} does not exist",
        "claimNotOwned": f"claim {fact.subject} was made for another pod",
        "claimDeleting": f"claim {fact.subject} is being deleted",
    }
    text = texts.get(fact.test, f"claim {fact.subject} is not ready")
    return f"{text} ({count(fact.count, 'pod')})" if fact.count > 1 else text


def _queue(facts: Sequence[Fact]) -> str:
    fact = facts[0]
    if fact.test == "queueNotLeaf":
        return f"queue {fact.subject} has queues below it, and no work of its own can be in it"
    if fact.test == "queueCycle":
        return f"queue {fact.subject} is its own ancestor"
    role = "parent queue" if fact.test == "queueParentMissing" else "queue"
    return f"{role} {fact.subject} does not exist"


def _limit(facts: Sequence[Fact]) -> str:
    fact = facts[0]
    queue, _, resource = fact.subject.rpartition("/")
    limit, used = _fact(facts, "limitIs"), _fact(facts, "used")
    text = f"queue {queue} would exceed its limit"
    if limit is not None:
        text += f" of {limit.available} {resource}"
    if used is not None:
        text += f": {used.available} used, {fact.wanted} wanted"
    return text


def _quota(facts: Sequence[Fact]) -> str:
    fact = facts[0]
    queue, _, resource = fact.subject.rpartition("/")
    quota, used = _fact(facts, "quotaIs"), _fact(facts, "used")
    text = f"work that cannot be preempted would exceed the quota of queue {queue}"
    if quota is not None:
        text += f", {quota.available} {resource}"
    if used is not None:
        text += f": {used.available} held by such work, {fact.wanted} wanted"
    return text


def _money(facts: Sequence[Fact]) -> str:
    fact = facts[0]
    if fact.test == "fundsUnread":
        return f"it is not known what is left of budgets: {fact.subject}"
    return (
        f"budget {fact.subject} has {fact.available} {fact.unit} left, and its devices for"
        f" {count(fact.count, 'hour')} take {fact.wanted}"
    )


def _topology(facts: Sequence[Fact]) -> str:
    fact = facts[0]
    if fact.test == "topology":
        return f"topology {fact.subject} does not exist (there are: {fact.available})"
    if fact.test == "topologyLevel" and not fact.subject:
        return f"no topology has the level {fact.wanted}, or several have it and none is named"
    if fact.test == "topologyLevel":
        wrong = f"has no level {fact.wanted}" if fact.wanted else "is named without a level"
        return f"topology {fact.subject} {wrong} (it has: {fact.available})"
    if fact.test == "topologyOrder":
        return (
            f"the preferred level {fact.wanted} of topology {fact.subject} is above "
            f"the required level {fact.available}"
        )
    of = f" of {fact.available}" if fact.available else ""
    text = f"no {fact.wanted} has room for {count(fact.count, 'pod')}{of} that must be in one"
    best = [domain_phrase(item) for item in facts if item.test == "topologyDomain"]
    coarser = _fact(facts, "coarserLevel")
    if coarser is not None:
        best.append(f"{coarser.subject} {coarser.available} would hold {'it' if fact.count == 1 else 'them'}")
    return f"{text}: {', '.join(best)}" if best else text


def _fraction(facts: Sequence[Fact]) -> str:
    fact = facts[0]
    if fact.test == "gpuRequest":
        which = f" ({count(fact.count, 'pod')})" if fact.count > 1 else ""
        return f"the request {fact.subject} {fact.available!r} {fact.wanted}{which}"
    return "no node gives parts of its devices in the way that the pod asks for"


def _promised(facts: Sequence[Fact]) -> str:
    fact, leaving = facts[0], _fact(facts, "leaving")
    text = f"{count(fact.count, 'pod')} {'has its place' if fact.count == 1 else 'have their places'}"
    nodes = [item.subject for item in facts if item.test == "promisedNode"]
    if nodes:
        text += f" on {listed(nodes)}"
    if leaving is None:
        return f"{text} when what is leaving already is gone"
    gone = "is" if leaving.count == 1 else "are"
    return f"{text} when {count(leaving.count, 'pod')} that must leave for it {gone} gone"


def _for_whom(facts: Sequence[Fact]) -> str:
    found = _fact(facts, "forWorkload")
    return found.subject if found is not None else "another workload"


def _reclaimed(facts: Sequence[Fact]) -> str:
    text = f"has to leave for {_for_whom(facts)}"
    shares = [
        f"queue {fact.subject.rpartition('/')[0]} held {fact.available} {fact.subject.rpartition('/')[2]} "
        f"with a fair share of {fact.wanted}"
        for fact in facts
        if fact.test == "fairShare"
    ]
    return f"{text}: {', '.join(shares)}" if shares else text


def _preempted(facts: Sequence[Fact]) -> str:
    text, priority = f"has to leave for {_for_whom(facts)}", _fact(facts, "priority")
    if priority is None:
        return text
    return f"{text}, which has priority {priority.wanted} in the same queue; its own is {priority.available}"


def _broken(facts: Sequence[Fact]) -> str:
    short = [fact for fact in facts if fact.test == "members"]
    grace = _fact(facts, "grace")
    parts = [
        f"{f'subgroup {fact.subject}' if fact.subject else 'the gang'} has {fact.available} of the "
        f"{count(fact.wanted, 'pod')} that it needs"
        for fact in short
    ]
    text = listed(parts) if parts else "the gang lacks pods that it needs"
    return f"{text}, for longer than {grace.wanted}" if grace is not None else text


def _not_bound_in_time(facts: Sequence[Fact]) -> str:
    limit, why = _fact(facts, "admission"), _fact(facts, "unbound")
    short = [fact for fact in facts if fact.test == "members"]
    parts = [
        f"{fact.available} of {count(fact.wanted, 'pod')}"
        + (f" of subgroup {fact.subject}" if fact.subject else "")
        for fact in short
    ]
    text = f"only {listed(parts)} were bound"
    if limit is not None:
        text += f" within {limit.wanted} of the first being let go"
    if why is not None and why.available:
        text += f"; of {why.subject} the scheduler says: {why.available}"
    return text


def _claim_in_use(facts: Sequence[Fact]) -> str:
    for fact in facts:
        if fact.test == "consumers":
            return f"claim {fact.subject} has {fact.available} consumers, as many as a claim takes"
    tied = _fact(facts, "claimNode")
    subject = tied.subject if tied is not None else "of the pod"
    told = _groups([fact for fact in facts if fact.test != "claimNode"], GROUPS_IN_A_SENTENCE)
    text = f"claim {subject} has its devices where the pod finds no room"
    return f"{text}: {told}" if told else text


def _invalid(facts: Sequence[Fact]) -> str:
    failing = _fact(facts, "selectorError")
    if failing is not None:
        return f"a selector fails on devices of {count(failing.count, 'node')}: {failing.available}"
    return f"claim {facts[0].subject}: {facts[0].available}"


def _elsewhere(facts: Sequence[Fact]) -> str:
    fact = facts[0]
    return f"the pod is on node {fact.available} and the devices of claim {fact.subject} on {fact.wanted}"


def _gates(facts: Sequence[Fact]) -> str:
    return f"held by the scheduling gate {listed([fact.subject for fact in facts if fact.test == 'gate'])}"


def _evicted(facts: Sequence[Fact]) -> str:
    fact = facts[0]
    return f"device {fact.subject} has the taint {fact.available}, which the claim does not tolerate"


def _not_bound(facts: Sequence[Fact]) -> str:
    fact = facts[0]
    if fact.test == "bindingTimeout":
        return f"device {fact.subject} was not ready on its node after {fact.wanted}"
    return f"device {fact.subject} could not be made ready on its node: {fact.available}"


def _settling(facts: Sequence[Fact]) -> str:
    return f"the devices of node {facts[0].subject} are being allocated for another pod"


def _behind(facts: Sequence[Fact]) -> str:
    first = facts[0]
    if first.test == "roomHeld":
        return f"could only start on nodes that are held for {first.subject}, which has waited long"
    return f"waits behind {first.subject}, which is first in the queue"


def _held_twice(facts: Sequence[Fact]) -> str:
    fact = facts[0]
    return f"the scheduler chose device {fact.subject}, which claim {fact.available} has already"


def _in_use(facts: Sequence[Fact]) -> str:
    part = _fact(facts, "partInUse")
    if part is not None and _fact(facts, "inUse") is None:
        amount = part.subject if part.subject.endswith("Mi") else f"{part.subject} of it"
        devices = "a device" if part.wanted == "1" else f"{part.wanted} devices"
        return f"no node has {devices} with {amount} free"
    return f"no node has {devices_phrase(_fact(facts, 'inUse'), 'free ')}"


def _unfit(facts: Sequence[Fact]) -> str:
    for fact in facts:
        if fact.test == "nodeGone":
            return f"node {fact.subject}, where the pod's devices are, is gone"
        if fact.test == "unschedulable":
            text = f"the scheduler found no way to bind the pod for more than {fact.wanted}"
            return f"{text}: {fact.available}" if fact.available else text
    return "no node takes the pod"


_NODES: dict[Reason, Callable[[Sequence[Fact]], str]] = {
    Reason.NODE_UNFIT: _unfit,
    Reason.DEVICES_IN_USE: lambda facts: _in_use(facts),
    Reason.TOO_FEW_DEVICES: lambda facts: (
        f"no node has {devices_phrase(_fact(facts, 'tooFew'), '')}, free or not"
    ),
    Reason.NO_MATCHING_DEVICES: lambda facts: "no device matches",
    Reason.DEVICES_TAINTED: lambda facts: "the devices that would do are tainted",
    Reason.CONSTRAINT_NOT_MET: lambda facts: (
        f"no node has {devices_phrase(_fact(facts, 'constraint'), 'free ')} "
        f"{attribute_phrase(_fact(facts, 'constraint'))}"
        if _fact(facts, "constraint") is not None
        else "no node has free devices for all requests together"
    ),
    Reason.SEARCH_BUDGET_EXCEEDED: lambda facts: "the search for devices was cut off before it was through",
    Reason.FRACTION_REFUSED: _fraction,
}

_DIRECT: dict[Reason, Callable[[Sequence[Fact]], str]] = {
    Reason.WAITING_FOR_MEMBERS: _members,
    Reason.WAITING_FOR_CLAIMS: _claims,
    Reason.UNKNOWN_QUEUE: _queue,
    Reason.OVER_LIMIT: _limit,
    Reason.OVER_QUOTA: _quota,
    Reason.BUDGET_EXHAUSTED: _money,
    Reason.TOPOLOGY_NOT_MET: _topology,
    Reason.ROOM_PROMISED: _promised,
    Reason.RECLAIMED: _reclaimed,
    Reason.PREEMPTED: _preempted,
    Reason.CONSOLIDATED: lambda facts: f"is moved so that {_for_whom(facts)} fits; it has another place",
    Reason.GANG_BROKEN: _broken,
    Reason.HAND_PLACED: lambda facts: (
        f"was put on node {facts[0].available} past the scheduler; claim {facts[0].subject} has no devices"
    ),
    Reason.NOT_BOUND_IN_TIME: _not_bound_in_time,
    Reason.CLAIM_IN_USE: _claim_in_use,
    Reason.CLAIM_ELSEWHERE: _elsewhere,
    Reason.CLAIM_UNUSED: lambda facts: "the claim holds devices that no pod uses",
    Reason.DEVICE_EVICTED: _evicted,
    Reason.BINDING_FAILED: _not_bound,
    Reason.NODE_SETTLING: _settling,
    Reason.DEVICE_HELD_TWICE: _held_twice,
    Reason.GATED_BY_OTHERS: _gates,
    Reason.INVALID_CLAIM: _invalid,
    Reason.BEHIND_IN_QUEUE: _behind,
}


def _fact(facts: Sequence[Fact], test: str) -> Fact | None:
    return next((fact for fact in facts if fact.test == test), None)
