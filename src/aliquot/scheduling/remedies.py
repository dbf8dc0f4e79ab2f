"""Fixes in plain English: the nearest change that would let a workload start, as an instruction."""

from collections.abc import Callable

from aliquot.model.verdicts import Fix
from aliquot.scheduling.phrases import count, listed


def fix_sentence(fix: Fix) -> str:
    """The nearest change that would help, as an instruction in one line."""
    write = _FIXES.get(fix.change)
    text = write(fix) if write is not None else f"{fix.change} {fix.subject} {fix.amount}".strip()
    if fix.holders:
        text += f" (held by {listed(fix.holders)})"
    return text


ENFORCE = (
    "ask for the part through a claim, or have HAMi, MPS or another keep parts apart on a node "
    "and say so with the label aliquot.dev/fractions"
)

_FIXES: dict[str, Callable[[Fix], str]] = {
    **{
        f"fraction{ground}": lambda fix, text=text: text  # type: ignore[misc]
        for ground, text in {
            "NotEnforced": ENFORCE,
            "TimeSliced": ENFORCE,
            "OnlyByHami": "run HAMi on nodes, or ask for the part through a claim",
            "OnlyInHamisWords": (
                "ask in HAMi's words (limits nvidia.com/gpu, nvidia.com/gpumem, nvidia.com/gpucores)"
            ),
            "OnlyReplicas": "ask for nvidia.com/gpu in the container's limits: one is a replica, a part",
            "TooLarge": "ask for less memory of a device, or add nodes with larger ones",
            "TooManyDevices": "ask for fewer devices",
            "PartTooLarge": "ask for a smaller part, or for a whole device",
            "MemoryUnknown": "have the node's memory label set, or ask for a part instead of memory",
            "NoDevices": "add nodes with such devices",
            "OtherDevices": "add nodes with such devices",
            "NoMig": "have GPUs of a node cut into MIG instances",
            "OnlyMig": "ask for a MIG instance, or add nodes with whole GPUs",
            "OnlyWhole": "ask for a whole GPU, or for the part through a claim",
            "LegacyMig": "ask for MIG instances by resource (nvidia.com/mig-...) or by a claim",
            "BesideLegacyMig": "wait until the pod with MIG instances by annotation is gone",
        }.items()
    },
    "addNode": lambda fix: (
        f"add a node with {fix.amount} {fix.subject}" if fix.subject else "add a node that takes the pod"
    ),
    "askForFewer": lambda fix: f"ask for {fix.amount} devices of {fix.subject} on one node",
    "breakCycle": lambda fix: f"give queue {fix.subject} a parent that is not below it",
    "changeNodeSelector": lambda fix: (
        f"change the pod's {fix.subject if fix.subject == 'affinity' else 'selector ' + fix.subject}"
        f", which rules out {count(fix.amount, 'node')} that would do"
    ),
    "changePod": lambda fix: f"change what the pod asks of nodes ({fix.subject})",
    "correctClaim": lambda fix: f"correct claim {fix.subject}",
    "correctRequest": lambda fix: f"correct {fix.subject}: {fix.amount}",
    "createTopology": lambda fix: f"create topology {fix.subject}, or name one of: {fix.amount}",
    "createClaim": lambda fix: f"create claim {fix.subject}",
    "createOwner": lambda fix: f"create {fix.subject}",
    "createPods": lambda fix: f"have {fix.subject} create {count(fix.amount, 'more pod')}",
    "createQueue": lambda fix: f"create queue {fix.subject}",
    "freeClaimNode": lambda fix: f"make room where claim {fix.subject} has its devices, or use another claim",
    "freeDevices": lambda fix: f"free {count(fix.amount, 'device')} of {fix.subject}",
    "freePart": lambda fix: (
        f"free {fix.amount if fix.amount.endswith('Mi') else fix.amount + ' of a device'}"
        f"{f' on node {fix.subject}' if fix.subject else ''}"
    ),
    "freeHostPort": lambda fix: f"free host port {fix.subject}",
    "freeResource": lambda fix: f"free {fix.amount} of {fix.subject}",
    "liftGate": lambda fix: f"remove the scheduling gate {fix.subject}",
    "raiseLimit": lambda fix: _raise_limit(fix),
    "nameLeafQueue": lambda fix: f"name a queue below {fix.subject}",
    "nameTopology": lambda fix: f"name the topology that has the level {fix.subject}, or create one",
    "nameLevel": lambda fix: f"name one of the levels of topology {fix.subject}: {fix.amount}",
    "raiseQuota": lambda fix: f"{_raise_limit(fix, 'quota')}, or let the work be preemptible",
    "relaxTopology": lambda fix: (
        f"ask for level {fix.subject}"
        if fix.subject
        else "ask for a coarser level, or add nodes close together"
    ),
    "raiseBudget": lambda fix: f"have {fix.amount} left in budget {fix.subject}, or ask for fewer devices",
    "readFunds": lambda fix: "have the controller read the budgets again; its log says what is wrong",
    "wait": lambda fix: "wait",
    "waitUntil": lambda fix: f"wait until {fix.amount}, when the first minimum run time is over",
    "waitDelay": lambda fix: f"wait until {fix.amount}, as its {fix.subject} says",
    "raiseSearchBudget": lambda fix: "raise the search budget of the policy, or ask for devices more simply",
    "relaxConstraint": lambda fix: f"relax the constraint on {fix.subject or 'the requests'}",
    "relaxPodAffinity": lambda fix: "relax the pod's affinity to other pods",
    "relaxSelector": lambda fix: f"relax the selectors of the request for {fix.subject}, or add such devices",
    "repairDevice": lambda fix: f"repair device {fix.subject}, or tolerate its taint",
    "repairNode": lambda fix: f"bring one of {count(fix.amount, 'node')} back to ready",
    "replaceClaim": lambda fix: f"let claim {fix.subject} go and make it anew",
    "replacePod": lambda fix: f"delete {fix.subject} and create it again",
    "setGangSize": lambda fix: f"write {fix.amount} into {fix.subject}",
    "tolerateDeviceTaint": lambda fix: f"tolerate the taint of the devices of {fix.subject}",
    "tolerateTaint": lambda fix: f"tolerate the taint {fix.subject} of {count(fix.amount, 'node')}",
    "uncordonNode": lambda fix: f"uncordon one of {count(fix.amount, 'node')}",
    "useClaim": lambda fix: (
        f"ask for {count(fix.amount, 'device')} of class {fix.subject} by a claim: "
        "no node offers them by count"
    ),
    "useAnotherClaim": lambda fix: f"use another claim than {fix.subject}",
    "waitForClaim": lambda fix: f"wait for the claim {fix.subject} to be made",
}


def _raise_limit(fix: Fix, term: str = "limit") -> str:
    queue, _, resource = fix.subject.rpartition("/")
    return f"raise the {term} of queue {queue} by {fix.amount} {resource}"
