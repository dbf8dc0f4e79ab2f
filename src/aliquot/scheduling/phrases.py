"""Phrases for what nodes lack, used by the sentences of `wording`."""

from collections.abc import Callable, Sequence

from aliquot.model.verdicts import Fact

_PLACES = {
    "pcieRoot": "on one PCIe root",
    "numaNode": "on one NUMA node",
    "clique": "in one NVLink clique",
    "cliqueId": "in one NVLink clique",
}
"""Attributes (without their domain) that say where a device is."""


def count(number: int | str, noun: str) -> str:
    """ "1 node", "2 nodes"."""
    return f"{number} {noun}" if str(number) == "1" else f"{number} {noun}s"


def listed(names: Sequence[str], most: int = 4) -> str:
    """ "a, b and 3 more"."""
    shown, left = list(names[:most]), len(names) - most
    if left > 0:
        return f"{', '.join(shown)} and {left} more"
    if len(shown) > 1:
        return f"{', '.join(shown[:-1])} and {shown[-1]}"
    return shown[0] if shown else "nothing"


def attribute_phrase(fact: Fact | None) -> str:
    """ "on one PCIe root", for a constraint on such an attribute."""
    if fact is None or not fact.subject:
        return "that go together"
    bare = fact.subject.rpartition("/")[2]
    return _PLACES.get(bare, f"with the same {fact.subject}")


def devices_phrase(fact: Fact | None, kind: str) -> str:
    """ "4 free devices of gpu.nvidia.com"; the class is left out where the fact does not name one."""
    if fact is None or not fact.wanted:
        return f"enough {kind}devices"
    noun = "device" if fact.wanted == "1" else "devices"
    of_class = f" of {fact.subject}" if fact.subject and fact.test != "constraint" else ""
    return f"{fact.wanted} {kind}{noun}{of_class}"


def node_group(fact: Fact) -> str:
    """What a group of nodes lacks, as a predicate: "have too few free devices (3 of 4)"."""
    one = fact.count == 1
    have, are, lack = ("has", "is", "lacks") if one else ("have", "are", "lack")
    write = _GROUPS.get(fact.test)
    if write is not None:
        return write(fact, have, are, lack)
    best = "" if one else " at best"
    return f"{lack} {fact.test} ({fact.wanted} wanted, {fact.available} free{best})"


def _in_use(fact: Fact, have: str, are: str, lack: str) -> str:
    if fact.available == "0":
        return f"{have} none free"
    best = "" if fact.count == 1 else " at best"
    return f"{have} too few free ({fact.available} of {fact.wanted}{best})"


def _too_few(fact: Fact, have: str, are: str, lack: str) -> str:
    best = "" if fact.count == 1 else " at most"
    return f"{have} too few ({fact.available} of {fact.wanted}{best})"


def _selector(fact: Fact, have: str, are: str, lack: str) -> str:
    if fact.subject == "affinity":
        return f"{are} ruled out by node affinity"
    return f"{lack} the label {fact.subject}"


def domain_phrase(fact: Fact) -> str:
    """The best domain of a level: "rack r3 holds 6 of 8 pods, the best of 4"."""
    level, _, domain = fact.subject.partition(" ")
    if not domain:
        return f"there is no {level}"
    unit = fact.unit
    if fact.wanted == fact.available:
        return f"{level} {domain} has {fact.available} {unit} in all, but not together for each pod"
    best = f", the best of {fact.count}" if fact.count > 1 else ""
    verb = "holds" if unit == "pods" else "has"
    return f"{level} {domain} {verb} {fact.available} of {fact.wanted} {unit}{best}"


def ruling_phrase(facts: Sequence[Fact]) -> str:
    """Which selector rules out how many devices, as a clause; "" if that was not counted."""
    found = [fact for fact in facts if fact.test == "rulesOut"]
    if not found:
        return ""
    whole = found[0].count + int(found[0].available)
    told = [
        f"{fact.count} {'is' if fact.count == 1 else 'are'} ruled out by "
        f"{f'device class {fact.wanted}' if fact.wanted else f'the selector {fact.subject}'}"
        for fact in found
        if fact.count
    ]
    return f"of {count(whole, 'device')} {listed(told, 6)}" if told else ""


def reclaim_phrase(facts: Sequence[Fact]) -> str:
    """Why reclaim does not help, as a clause; "" if that was not asked."""
    found = [fact for fact in facts if fact.test == "reclaim"]
    if not found:
        return ""
    first = found[0]
    ground, _, queue = first.subject.partition(" ")
    if ground == "overFairShare":
        return (
            f"reclaim does not help: with this, queue {queue} would hold {first.wanted} {first.unit} "
            f"of its fair share of {first.available}"
        )
    if ground == "overQuota":
        return (
            f"reclaim does not help: this cannot be preempted, and such work of queue {queue} would hold "
            f"{first.wanted} {first.unit} of its quota of {first.available}"
        )
    if ground == "nothing":
        return f"its queue is entitled to {first.wanted} {first.unit}, but no other queue holds any"
    told = [_RECLAIM[key](fact, rest) for fact in found for key, _, rest in [fact.subject.partition(" ")]]
    return (
        f"its queue is entitled to {first.wanted} {first.unit} more, "
        f"but of what others hold {listed(told, 6)}"
    )


_RECLAIM: dict[str, Callable[[Fact, str], str]] = {
    "victimWithinShare": lambda fact, rest: f"{fact.available} are within their fair share",
    "notPreemptible": lambda fact, rest: (
        f"{fact.available} are held by work that cannot be preempted ({count(fact.count, 'workload')})"
    ),
    "minRuntime": lambda fact, rest: (
        f"{fact.available} are held by work in its minimum run time (the first until {rest})"
    ),
    "takeable": lambda fact, rest: f"{fact.available} could be taken, but not so that this fits",
    "tooSoon": lambda fact, rest: (
        f"{fact.available} could be taken, but not before {rest} (preemption-delay)"
    ),
    "later": lambda fact, rest: (
        f"{fact.available} could be taken, which the next decision looks at: this one takes for others first"
    ),
}


_GROUNDS: dict[str, str] = {
    "noDevices": "{have} no such devices",
    "otherDevices": "{have} another vendor's devices",
    "noMig": "{have} no MIG instances",
    "onlyMig": "{have} all GPUs cut into MIG instances",
    "onlyWhole": "{have} MIG instances that stand for whole GPUs",
    "legacyMig": "{do} not hand out MIG instances by annotation any more",
    "besideLegacyMig": "{have} a pod with MIG instances by annotation",
    "memoryUnknown": "{do} not tell how much memory the devices have",
    "tooLarge": "{have} smaller devices ({available}, {wanted} wanted)",
    "tooManyDevices": "{have} too few devices ({available} of {wanted})",
    "notEnforced": "{have} nothing that keeps pods to their parts",
    "timeSliced": "{have} devices that pods take turns on, each with all the memory",
    "partTooLarge": "{do} not keep apart parts above {available} ({wanted} wanted)",
    "onlyByHami": "{do} not run HAMi, in whose words the request is",
    "onlyInHamisWords": "{run} HAMi, which reads no annotations",
    "onlyReplicas": "{share} devices by MPS, of which the device plugin gives parts by resource only",
}
"""What nodes have against a request for parts, by aliquot.fractions.refusals.Ground."""


def _fraction(fact: Fact, have: str, are: str, lack: str) -> str:
    do = "does" if have == "has" else "do"
    text = _GROUNDS.get(fact.subject, "{have} " + fact.subject)
    s = "s" if have == "has" else ""
    return text.format(
        have=have, do=do, run=f"run{s}", share=f"share{s}", wanted=fact.wanted, available=fact.available
    )


def _part_in_use(fact: Fact, have: str, are: str, lack: str) -> str:
    amount = fact.subject if fact.subject.endswith("Mi") else f"{fact.subject} of it"
    return f"{have} {'no device' if fact.wanted == '1' else 'too few'} with {amount} free"


_Write = Callable[[Fact, str, str, str], str]
_GROUPS: dict[str, _Write] = {
    "inUse": _in_use,
    "partInUse": _part_in_use,
    "fraction": _fraction,
    "tooFew": _too_few,
    "selector": lambda fact, have, are, lack: (
        f"{have} no device of {fact.subject or 'the class'} that matches"
    ),
    "selectorError": lambda fact, have, are, lack: (
        f"{have} devices on which the selector fails: {fact.available}"
    ),
    "taint": lambda fact, have, are, lack: f"{have} tainted devices of {fact.subject}",
    "binding": lambda fact, have, are, lack: f"{have} devices that must be attached first",
    "pool": lambda fact, have, are, lack: f"{have} device pools that are incomplete or not valid",
    "constraint": lambda fact, have, are, lack: f"{have} enough free, but not {attribute_phrase(fact)}",
    "combination": lambda fact, have, are, lack: f"{have} devices for each request, but not for all together",
    "budget": lambda fact, have, are, lack: f"{are} undecided",
    "nodeTaint": lambda fact, have, are, lack: f"{have} the taint {fact.subject}",
    "nodeUnschedulable": lambda fact, have, are, lack: f"{are} cordoned",
    "nodeReady": lambda fact, have, are, lack: f"{are} not ready",
    "nodeDeleting": lambda fact, have, are, lack: f"{are} being deleted",
    "nodeName": lambda fact, have, are, lack: f"{are} not the node {fact.subject} that the pod names",
    "nodeSelector": _selector,
    "claimNode": lambda fact, have, are, lack: f"{are} not where claim {fact.subject} has its devices",
    "podAffinity": lambda fact, have, are, lack: f"{are} not near the pods that the pod must be near",
    "podAntiAffinity": lambda fact, have, are, lack: f"{are} near pods that the pod must be apart from",
    "hostPort": lambda fact, have, are, lack: f"{have} the host port taken",
    "pods": lambda fact, have, are, lack: f"{have} no room for another pod",
}


def subgroups_phrase(facts: Sequence[Fact]) -> str:
    """Which subgroups wait that the gang can do without, or how many it needs; "" where there are none."""
    needed = next((fact for fact in facts if fact.test == "subgroupsNeeded"), None)
    if needed is not None:
        return f"{needed.wanted} of its {count(needed.count, 'subgroup')} must start together"
    found: list[str] = []
    for fact in facts:
        if fact.test == "subgroupWaits":
            text = f"subgroup {fact.subject} waits with {count(fact.count, 'pod')}"
            if int(fact.available) < int(fact.wanted):
                text += f" and has {fact.available} of the {fact.wanted} that it needs"
            found.append(text)
    return ", ".join(found)
