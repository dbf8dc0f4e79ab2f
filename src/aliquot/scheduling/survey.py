"""Looking at every node for a pod that found none: at which test each falls, and how short it is."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from aliquot.dra.outcome import BudgetExceeded, Fall, Invalid, Unallocatable
from aliquot.fractions.refusals import Refusal
from aliquot.fractions.requests import WHOLE, GpuRequest, Kind
from aliquot.model.resource import AllocationResult, ResourceClaim
from aliquot.scheduling.affinity import matches_node
from aliquot.scheduling.alike import Likeness
from aliquot.scheduling.allocating import DeviceFall
from aliquot.scheduling.facts import PodFacts
from aliquot.scheduling.holdings import request_classes
from aliquot.scheduling.placing import Placer


@dataclass(frozen=True, slots=True)
class DeviceShortage:
    """Why a node's devices do not do. subject: the device class (or attribute, selector problem).

    test: selector, selectorError, pool, tooFew, taint, binding, inUse, constraint, combination, budget,
    invalid. wanted and free count devices; matching are those that pass the selectors, free or not.
    """

    test: str
    subject: str
    wanted: int = 0
    free: int = 0
    matching: int = 0
    detail: str = ""

    @property
    def short(self) -> int:
        return max(0, self.wanted - self.free)


@dataclass(frozen=True, slots=True)
class NodeFinding:
    """What is in the way on one node, one field for each stage of tests; None where a stage is passed.

    place: labels, taints, other pods and claims that tie the pod elsewhere (test, subject). resource: the
    shortest resource (name, wanted, free). devices: what the allocator lacks, or the sharers of devices of a
    device plugin. refusal: why parts of such devices are not to be had there, whatever is free.
    """

    number: int
    node: str
    place: tuple[str, str] | None
    resource: tuple[str, int, int] | None
    devices: DeviceShortage | None
    refusal: Refusal | None = None

    @property
    def open(self) -> bool:
        return (self.place, self.resource, self.devices, self.refusal) == (None, None, None, None)


def survey(placer: Placer, facts: PodFacts) -> list[NodeFinding]:
    """Every node's finding in the state as it is now."""
    state = placer.state
    falls = placer.static_fit(facts).falls
    held: list[tuple[ResourceClaim, AllocationResult]] = list(facts.held)
    wanted: list[ResourceClaim] = []
    for claim in facts.wanted:
        decided = state.claims.allocation(claim)
        if decided is None:
            wanted.append(claim)
        else:
            held.append((claim, decided))
    classes: dict[str, str] = {}
    for claim in wanted:
        for request, name in request_classes(claim).items():
            classes[request] = name
    findings: list[NodeFinding] = []
    likeness = Likeness(state.devices.fleet, state.devices.usage, wanted)
    known: dict[Hashable, DeviceShortage | None] = {}
    for number, node in enumerate(state.table.nodes):
        place = falls.get(number)
        if place is None:
            for claim, allocation in held:
                if allocation.node_selector is not None and not matches_node(allocation.node_selector, node):
                    place = ("claimNode", claim.name)
                    break
        if place is None and state.neighbours.concerns(facts.pod):
            fall = state.neighbours.fall(facts.pod, node.metadata.name)
            place = (fall, "") if fall is not None else None
        resource = state.table.fall(number, facts.traits.demand)
        devices: DeviceShortage | None = None
        if wanted:
            alike = likeness.of(node)
            if alike is None or alike not in known:
                found = state.devices.allocate(node, wanted, explain=True)
                devices = shortage(found, classes) if isinstance(found, DeviceFall) else None
                known[alike] = devices
            else:
                devices = known[alike]
        refusal: Refusal | None = None
        if facts.gpus is not None and resource is None:
            refusal = state.parts.refusal(number, facts.gpus)
        part = facts.device_part
        if part is not None and refusal is None and not state.parts.fits_now(number, part):
            devices = devices or DeviceShortage("partInUse", part_phrase(part), part.devices)
        findings.append(NodeFinding(number, node.metadata.name, place, resource, devices, refusal))
        if devices is not None and devices.test == "invalid":
            break
    return findings


def part_phrase(part: GpuRequest) -> str:
    """ "0.5", "4096Mi": what a request wants of each device."""
    if part.kind is Kind.MEMORY:
        return f"{part.memory_mib}Mi"
    whole, rest = divmod(part.part, WHOLE)
    return f"{whole}.{rest:09}".rstrip("0").rstrip(".")


def shortage(fall: DeviceFall, classes: dict[str, str]) -> DeviceShortage:
    """What an allocator's answer comes down to: the shortest request, and what keeps devices from it."""
    outcome = fall.outcome
    if isinstance(outcome, Invalid):
        test = "pool" if outcome.node_only else "invalid"
        subject = f"{outcome.claim} {outcome.path}".strip()
        return DeviceShortage(test, subject, detail=_one_line(outcome.problem))
    if isinstance(outcome, BudgetExceeded):
        return DeviceShortage("budget", "", detail=str(outcome.steps))
    return _of_unallocatable(outcome, classes)


def _one_line(text: str) -> str:
    """A message without line breaks and runs of blanks, of a bounded length."""
    return " ".join(text.split())[:500]


def _of_unallocatable(outcome: Unallocatable, classes: dict[str, str]) -> DeviceShortage:
    short = [need for need in outcome.needs if need.free < need.wanted or not need.wanted]
    if not short:
        last = outcome.falls[-1] if outcome.falls else None
        if last is None:
            return DeviceShortage("combination", "")
        wanted = sum(need.wanted for need in outcome.needs)
        free = sum(need.free for need in outcome.needs)
        test = "combination" if last.detail in ("", "combination") else "constraint"
        return DeviceShortage(test, last.detail, wanted, free, free)
    need = min(short, key=lambda item: (item.free / item.wanted if item.wanted else 0.0, item.subject))
    counts = {fall.test: fall.count for fall in outcome.falls if fall.subject == need.subject}
    details = {fall.test: fall.detail for fall in outcome.falls if fall.subject == need.subject}
    subject = _class_of(need.subject, classes)
    kept = {test: counts.get(test, 0) for test in ("inUse", "counters", "capacity", "taint", "binding")}
    matching = need.free + sum(kept.values())
    test, detail = _main_test(need.wanted, need.free, kept, counts, outcome.falls)
    if not detail:
        detail = details.get(test, "")
    return DeviceShortage(test, subject, need.wanted, need.free, matching, _one_line(detail))


def _main_test(
    wanted: int, free: int, kept: dict[str, int], counts: dict[str, int], falls: Sequence[Fall]
) -> tuple[str, str]:
    if free + sum(kept.values()) == 0:
        for test in ("selectorError", "pool"):
            if counts.get(test):
                return test, ""
        return "selector", ""
    if free + sum(kept.values()) < wanted:
        return "tooFew", ""
    freeable = kept["inUse"] + kept["counters"] + kept["capacity"]
    if free + freeable >= wanted:
        return "inUse", ""
    return ("taint" if kept["taint"] else "binding"), ""


def _class_of(subject: str, classes: dict[str, str]) -> str:
    """The device class of an allocator's subject "claim/request" or "claim/request/alternative"."""
    parts = subject.split("/")
    for start in range(len(parts)):
        found = classes.get("/".join(parts[start:]))
        if found is not None:
            return found
    return subject
