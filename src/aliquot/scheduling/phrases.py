"""Phrases for what nodes lack, used by the sentences of `wording`."""

from collections.abc import Callable

from aliquot.model.verdicts import Fact

_PLACES = {
    "pcieRoot": "on one PCIe root",
    "numaNode": "on one NUMA node",
    "clique": "in one NVLink clique",
    "cliqueId": "in one NVLink clique",
}
"""Attributes (without their domain) that say where a device is."""


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


_Write = Callable[[Fact, str, str, str], str]
_GROUPS: dict[str, _Write] = {
    "inUse": _in_use,
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
