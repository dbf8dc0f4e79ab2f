"""Plain English made from verdicts, fixes and plans: for events, tables, pages and the command line.

`sentence` is one line, starts in lower case and has no full stop, so that it can stand after a colon;
`paragraph` says everything, in whole sentences.
"""

from collections.abc import Callable, Sequence

from aliquot.model.verdicts import Fact, Fix, Reason, Verdict
from aliquot.scheduling.phrases import attribute_phrase, devices_phrase, node_group
from aliquot.scheduling.plan import Allocate, Deallocate, Decision, Evict, Plan

GROUPS_IN_A_SENTENCE = 3
"""Groups of nodes that a one-line text tells; a paragraph tells all."""


def sentence(verdict: Verdict) -> str:
    """Why a workload waits, in one line."""
    return _sentence(verdict, GROUPS_IN_A_SENTENCE)


def paragraph(verdict: Verdict) -> str:
    """Why a workload waits with all facts, whether it was overtaken, and the nearest fix."""
    parts = [_sentence(verdict, len(verdict.facts))]
    overtaken = _fact(verdict.facts, "overtaken")
    if overtaken is not None:
        later = _count(overtaken.count, "workload")
        parts.append(f"{later} of its queue that came later and fit went ahead")
    if verdict.fix is not None:
        parts.append(f"nearest fix: {fix_sentence(verdict.fix)}")
    return " ".join(f"{part[:1].upper()}{part[1:]}." for part in parts)


def fix_sentence(fix: Fix) -> str:
    """The nearest change that would help, as an instruction in one line."""
    write = _FIXES.get(fix.change)
    text = write(fix) if write is not None else f"{fix.change} {fix.subject} {fix.amount}".strip()
    if fix.holders:
        text += f" (held by {_listed(fix.holders)})"
    return text


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
        given = f" with {_count(devices, 'device')}" if devices else ""
        return f"{decision.workload}: {_count(len(decision.pods), 'pod')} placed{given} on {_listed(nodes)}"
    text = f"{decision.workload}: {sentence(decision.verdict)}"
    if cleared:
        text += "; its devices are given back"
    if replaced:
        text += f"; {_listed([str(pod) for pod in replaced])} to be replaced"
    return text


def plan_sentence(plan: Plan) -> str:
    """A plan in one line: how much is placed, how much waits."""
    placed = [item for item in plan.decisions if item.placements]
    waiting = [item for item in plan.decisions if item.verdict is not None and item.pods]
    pods = sum(len(item.placements) for item in placed)
    return f"{_count(len(placed), 'workload')} ({_count(pods, 'pod')}) placed, {len(waiting)} waiting"


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
    return f"{text} ({_count(fact.count, 'pod')})" if fact.count > 1 else text


def _queue(facts: Sequence[Fact]) -> str:
    fact = facts[0]
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
        return f"a selector fails on devices of {_count(failing.count, 'node')}: {failing.available}"
    return f"claim {facts[0].subject}: {facts[0].available}"


def _elsewhere(facts: Sequence[Fact]) -> str:
    fact = facts[0]
    return f"the pod is on node {fact.available} and the devices of claim {fact.subject} on {fact.wanted}"


def _gates(facts: Sequence[Fact]) -> str:
    return f"held by the scheduling gate {_listed([fact.subject for fact in facts if fact.test == 'gate'])}"


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


def _held_twice(facts: Sequence[Fact]) -> str:
    fact = facts[0]
    return f"the scheduler chose device {fact.subject}, which claim {fact.available} has already"


def _unfit(facts: Sequence[Fact]) -> str:
    for fact in facts:
        if fact.test == "nodeGone":
            return f"node {fact.subject}, where the pod's devices are, is gone"
        if fact.test == "unschedulable":
            return f"the scheduler found no way to bind the pod for more than {fact.wanted}"
    return "no node takes the pod"


_NODES: dict[Reason, Callable[[Sequence[Fact]], str]] = {
    Reason.NODE_UNFIT: _unfit,
    Reason.DEVICES_IN_USE: lambda facts: f"no node has {devices_phrase(_fact(facts, 'inUse'), 'free ')}",
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
}

_DIRECT: dict[Reason, Callable[[Sequence[Fact]], str]] = {
    Reason.WAITING_FOR_MEMBERS: _members,
    Reason.WAITING_FOR_CLAIMS: _claims,
    Reason.UNKNOWN_QUEUE: _queue,
    Reason.OVER_LIMIT: _limit,
    Reason.CLAIM_IN_USE: _claim_in_use,
    Reason.CLAIM_ELSEWHERE: _elsewhere,
    Reason.CLAIM_UNUSED: lambda facts: "the claim holds devices that no pod uses",
    Reason.DEVICE_EVICTED: _evicted,
    Reason.BINDING_FAILED: _not_bound,
    Reason.NODE_SETTLING: _settling,
    Reason.DEVICE_HELD_TWICE: _held_twice,
    Reason.GATED_BY_OTHERS: _gates,
    Reason.INVALID_CLAIM: _invalid,
    Reason.BEHIND_IN_QUEUE: lambda facts: f"waits behind {facts[0].subject}, which is first in the queue",
}

_FIXES: dict[str, Callable[[Fix], str]] = {
    "addNode": lambda fix: (
        f"add a node with {fix.amount} {fix.subject}" if fix.subject else "add a node that takes the pod"
    ),
    "askForFewer": lambda fix: f"ask for {fix.amount} devices of {fix.subject} on one node",
    "breakCycle": lambda fix: f"give queue {fix.subject} a parent that is not below it",
    "changeNodeSelector": lambda fix: (
        f"change the pod's {fix.subject if fix.subject == 'affinity' else 'selector ' + fix.subject}"
        f", which rules out {_count(fix.amount, 'node')} that would do"
    ),
    "changePod": lambda fix: f"change what the pod asks of nodes ({fix.subject})",
    "correctClaim": lambda fix: f"correct claim {fix.subject}",
    "createClaim": lambda fix: f"create claim {fix.subject}",
    "createOwner": lambda fix: f"create {fix.subject}",
    "createPods": lambda fix: f"have {fix.subject} create {_count(fix.amount, 'more pod')}",
    "createQueue": lambda fix: f"create queue {fix.subject}",
    "freeClaimNode": lambda fix: f"make room where claim {fix.subject} has its devices, or use another claim",
    "freeDevices": lambda fix: f"free {_count(fix.amount, 'device')} of {fix.subject}",
    "freeHostPort": lambda fix: f"free host port {fix.subject}",
    "freeResource": lambda fix: f"free {fix.amount} of {fix.subject}",
    "liftGate": lambda fix: f"remove the scheduling gate {fix.subject}",
    "raiseLimit": lambda fix: _raise_limit(fix),
    "raiseSearchBudget": lambda fix: "raise the search budget of the policy, or ask for devices more simply",
    "relaxConstraint": lambda fix: f"relax the constraint on {fix.subject or 'the requests'}",
    "relaxPodAffinity": lambda fix: "relax the pod's affinity to other pods",
    "relaxSelector": lambda fix: f"relax the selectors of the request for {fix.subject}, or add such devices",
    "repairDevice": lambda fix: f"repair device {fix.subject}, or tolerate its taint",
    "repairNode": lambda fix: f"bring one of {_count(fix.amount, 'node')} back to ready",
    "replaceClaim": lambda fix: f"let claim {fix.subject} go and make it anew",
    "replacePod": lambda fix: f"delete {fix.subject} and create it again",
    "setGangSize": lambda fix: f"set {fix.subject} to {fix.amount}",
    "tolerateDeviceTaint": lambda fix: f"tolerate the taint of the devices of {fix.subject}",
    "tolerateTaint": lambda fix: f"tolerate the taint {fix.subject} of {_count(fix.amount, 'node')}",
    "uncordonNode": lambda fix: f"uncordon one of {_count(fix.amount, 'node')}",
    "useClaim": lambda fix: (
        f"ask for {_count(fix.amount, 'device')} of class {fix.subject} by a claim: "
        "no node offers them by count"
    ),
    "useAnotherClaim": lambda fix: f"use another claim than {fix.subject}",
    "waitForClaim": lambda fix: f"wait for the claim {fix.subject} to be made",
}


def _raise_limit(fix: Fix) -> str:
    queue, _, resource = fix.subject.rpartition("/")
    return f"raise the limit of queue {queue} by {fix.amount} {resource}"


def _fact(facts: Sequence[Fact], test: str) -> Fact | None:
    return next((fact for fact in facts if fact.test == test), None)


def _count(number: int | str, noun: str) -> str:
    """ "1 node", "2 nodes"."""
    return f"{number} {noun}" if str(number) == "1" else f"{number} {noun}s"


def _listed(names: Sequence[str], most: int = 4) -> str:
    """ "a, b and 3 more"."""
    shown, left = list(names[:most]), len(names) - most
    if left > 0:
        return f"{', '.join(shown)} and {left} more"
    if len(shown) > 1:
        return f"{', '.join(shown[:-1])} and {shown[-1]}"
    return shown[0] if shown else "nothing"
