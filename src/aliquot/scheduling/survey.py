"""Looking at every node for a pod that found none: at which test each falls, and how short it is."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from aliquot.dra.outcome import BudgetExceeded, Fall, Invalid, Unallocatable
from aliquot.fractions.refusals import Refusal
from aliquot.fractions.requests import WHOLE, GpuRequest, Kind
from aliquot.model.core import Node
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
class Finding:
    """What is in the way on a node, one field for each stage of tests; None where a stage is passed.

    place: labels, taints, other pods and claims that tie the pod elsewhere (test, subject). resource: the
    shortest resource (name, wanted, free). devices: what the allocator lacks, or the sharers of devices of a
    device plugin. refusal: why parts of such devices are not to be had there, whatever is free.
    """

    place: tuple[str, str] | None
    resource: tuple[str, int, int] | None
    devices: DeviceShortage | None
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Nodes on which the same is in the way. nodes: their numbers as a set of bits."""

    finding: Finding
    nodes: int

    @property
    def count(self) -> int:
        return self.nodes.bit_count()

    @property
    def first(self) -> int:
        """The number of the first of them."""
        return (self.nodes & -self.nodes).bit_length() - 1

    def within(self, nodes: int) -> "Group | None":
        """Those of them that are among these nodes; None if there are none."""
        found = self.nodes & nodes
        return Group(self.finding, found) if found else None


class Survey:
    """What is in the way of a pod on every node, kept up to date as nodes change."""

    def __init__(self, placer: Placer, facts: PodFacts) -> None:
        state = placer.state
        self._placer = placer
        self._facts = facts
        self._falls = placer.orders.static_fit(facts).falls
        self._held: list[tuple[ResourceClaim, AllocationResult]] = list(facts.held)
        self._wanted: list[ResourceClaim] = []
        for claim in facts.wanted:
            decided = state.claims.allocation(claim)
            if decided is None:
                self._wanted.append(claim)
            else:
                self._held.append((claim, decided))
        self._classes = {
            request: name for claim in self._wanted for request, name in request_classes(claim).items()
        }
        self._seen = len(state.table.changes)
        self.by_node: list[Finding] = []
        self._masks: dict[Finding, int] = {}
        likeness = _Alike(placer, self._wanted, self._classes)
        for number in range(len(state.table.nodes)):
            finding = self._look(number, likeness)
            self.by_node.append(finding)
            self._masks[finding] = self._masks.get(finding, 0) | 1 << number
            if finding.devices is not None and finding.devices.test == "invalid":
                break

    @property
    def keeps(self) -> bool:
        """Whether it holds for all pods of the same shape: nothing found has to do with names of claims."""
        return not any(
            finding.devices is not None and finding.devices.test in ("invalid", "pool")
            for finding in self._masks
        )

    def groups(self) -> list[Group]:
        """The nodes by what is in the way, in the order of the first of each."""
        self._catch_up()
        found = [Group(finding, nodes) for finding, nodes in self._masks.items()]
        return sorted(found, key=lambda group: group.first)

    def _catch_up(self) -> None:
        changes = self._placer.state.table.changes
        if self._seen == len(changes):
            return
        likeness = _Alike(self._placer, self._wanted, self._classes)
        masks = self._masks
        for number in set(changes[self._seen :]):
            if number >= len(self.by_node):
                continue
            old, new = self.by_node[number], self._look(number, likeness)
            if new == old:
                continue
            self.by_node[number] = new
            left = masks[old] ^ 1 << number
            if left:
                masks[old] = left
            else:
                del masks[old]
            masks[new] = masks.get(new, 0) | 1 << number
        self._seen = len(changes)

    def _look(self, number: int, likeness: "_Alike") -> Finding:
        state, facts = self._placer.state, self._facts
        node = state.table.nodes[number]
        place = self._falls.get(number)
        if place is None:
            for claim, allocation in self._held:
                if allocation.node_selector is not None and not matches_node(allocation.node_selector, node):
                    place = ("claimNode", claim.name)
                    break
        if place is None and state.neighbours.concerns(facts.pod):
            fall = state.neighbours.fall(facts.pod, node.metadata.name)
            place = (fall, "") if fall is not None else None
        resource = state.table.fall(number, facts.traits.demand)
        devices = likeness.shortage(node) if self._wanted else None
        refusal: Refusal | None = None
        if facts.gpus is not None and resource is None:
            refusal = state.parts.refusal(number, facts.gpus)
        part = facts.device_part
        if part is not None and refusal is None and not state.parts.fits_now(number, part):
            devices = devices or DeviceShortage("partInUse", part_phrase(part), part.devices)
        return Finding(place, resource, devices, refusal)


class _Alike:
    """What nodes' devices lack, worked out once for nodes that are alike."""

    def __init__(self, placer: Placer, wanted: Sequence[ResourceClaim], classes: dict[str, str]) -> None:
        devices = placer.state.devices
        self._devices = devices
        self._wanted = wanted
        self._classes = classes
        self._likeness = Likeness(devices.fleet, devices.usage, wanted)
        self._known: dict[Hashable, DeviceShortage | None] = {}

    def shortage(self, node: Node) -> DeviceShortage | None:
        alike = self._likeness.of(node)
        if alike is None or alike not in self._known:
            found = self._devices.allocate(node, self._wanted, explain=True)
            self._known[alike] = shortage(found, self._classes) if isinstance(found, DeviceFall) else None
        return self._known[alike]


def survey(placer: Placer, facts: PodFacts) -> Survey:
    """What is in the way of a pod on every node in the state as it is now; kept for pods of the same shape
    where only nodes' own changes matter to it."""
    shape = facts.shape
    state = placer.state
    if shape is None or state.devices.fleet.network or state.neighbours.concerns(facts.pod):
        return Survey(placer, facts)
    found = placer.surveys.get(shape)
    if isinstance(found, Survey):
        return found
    made = Survey(placer, facts)
    if made.keeps:
        placer.surveys[shape] = made
    return made


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
