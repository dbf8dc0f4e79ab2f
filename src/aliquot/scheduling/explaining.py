"""From what was found on the nodes to a verdict: one dominant reason, facts, and the nearest fix."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction

from msgspec.structs import replace

from aliquot.fractions.refusals import Ground
from aliquot.model.core import Pod
from aliquot.model.index import Remembered
from aliquot.model.resource import MAX_CONSUMERS
from aliquot.model.verdicts import Fact, Fix, Reason, Verdict
from aliquot.queues.amounts import exact, shown
from aliquot.queues.tree import Excess
from aliquot.scheduling.accounts import Holding
from aliquot.scheduling.confined import Confinement, confinement
from aliquot.scheduling.facts import PodFacts
from aliquot.scheduling.fixes import free_devices, free_part, free_resource, raise_limit
from aliquot.scheduling.gang_placing import GangPlacer
from aliquot.scheduling.gang_state import Member
from aliquot.scheduling.observer import Observer
from aliquot.scheduling.placing import Failure
from aliquot.scheduling.requests import pod_requests, written
from aliquot.scheduling.ruling_out import ruled_out
from aliquot.scheduling.survey import DeviceShortage, Finding, Group, survey
from aliquot.workloads.gang import Gang

MAX_FACTS = 12
"""Groups of nodes that a verdict tells apart; the smallest are left out beyond that."""


class Explainer:
    """Explains failures of one decision."""

    def __init__(
        self, gangs: GangPlacer, holdings: Callable[[str], Iterable[Holding]], observer: Observer | None
    ) -> None:
        self._gangs = gangs
        self._placer = gangs.placer
        self._holdings = holdings
        self._observer = observer
        self._known = Remembered()

    def explain(self, gang: Gang, pods: Sequence[Member], failure: Failure) -> Verdict:
        """The verdict on pods that had to be placed together and were not. The state is left as it is."""
        if failure.full_claim is not None:
            return _full(failure)
        if failure.excess is not None:
            return self._over_limit(gang, pods, failure, failure.excess)
        confined = confinement(self._gangs, pods[0].crew, pods)
        if isinstance(confined, Confinement):
            return self._confined(pods, confined)
        failure = confined or failure
        state = self._placer.state
        point = state.mark()
        for placement in failure.placed:
            state.place(placement)
        found = survey(self._placer, failure.facts)
        reason, facts, fix = self._judge(pods, failure, found.groups())
        if self._observer is not None:
            for number, finding in enumerate(found.by_node):
                fact = _node_fact(Group(finding, 1 << number))
                if fact is not None:
                    self._observer.fell(gang.ref, failure.facts.pod.ref, state.table.names[number], fact)
        state.undo(point)
        if failure.placed:
            members = Fact(
                test="members",
                count=len(pods) - len(failure.placed),
                unit="pods",
                wanted=str(len(pods)),
                available=str(len(failure.placed)),
            )
            cause = Fact(test="cause", subject=reason.value)
            return Verdict(reason=Reason.GANG_DOES_NOT_FIT, facts=(members, cause, *facts), fix=fix)
        return Verdict(reason=reason, facts=facts, fix=fix)

    def _over_limit(self, gang: Gang, pods: Sequence[Member], failure: Failure, excess: Excess) -> Verdict:
        """The limit, and what the whole gang wants of it: members with a place at their own charge."""
        before = sum((Fraction(item.charge.get(excess.resource, 0)) for item in failure.placed), Fraction(0))
        missing = len(pods) - len(failure.placed)
        wanted = exact(before + Fraction(excess.wanted) * missing)
        used = exact(Fraction(excess.used) - before)
        subject = f"{excess.queue}/{excess.resource}"
        fact = Fact(
            test=excess.term,
            subject=subject,
            wanted=shown(wanted, excess.resource),
            available=shown(max(0, excess.limit - used), excess.resource),
        )
        facts = [
            fact,
            Fact(test="used", subject=subject, available=shown(used, excess.resource)),
            Fact(test=f"{excess.term}Is", subject=subject, available=shown(excess.limit, excess.resource)),
        ]
        fix = raise_limit(self._holdings, excess, exact(used + wanted - excess.limit))
        return Verdict(reason=_over(excess), facts=tuple(facts), fix=fix)

    def _confined(self, pods: Sequence[Member], found: Confinement) -> Verdict:
        """What the required closeness leaves, and who would have to go from the domain that comes nearest."""
        if found.facts[0].test == "topologyLevel":
            name = Fix(change="nameTopology", subject=found.facts[0].wanted)
            return Verdict(reason=Reason.TOPOLOGY_NOT_MET, facts=found.facts, fix=name)
        assert pods[0].facts is not None
        domain = sum(1 << number for number in found.nodes)
        everywhere = survey(self._placer, pods[0].facts).groups()
        inside = [group for item in everywhere if (group := item.within(domain)) is not None]
        state = self._placer.state
        taken = [item for item in inside if _test(item) == "inUse"]
        lacking = [
            item for item in inside if item.finding.devices is None and item.finding.resource is not None
        ]
        fix = free_devices(state, taken, frozenset(), found.missing) if taken else None
        fix = fix or free_resource(state, lacking, frozenset(), self._requests)
        if fix is None:
            wider = next((fact for fact in found.facts if fact.test == "coarserLevel"), None)
            fix = Fix(change="relaxTopology", subject=wider.subject if wider is not None else "")
        elif taken and found.missing > 1:
            fix = replace(fix, subject=f"{fix.subject} in {found.domain}")
        return Verdict(reason=Reason.TOPOLOGY_NOT_MET, facts=found.facts, fix=fix)

    def over_limit(self, excess: Excess) -> Verdict:
        """The verdict on members whose requests together exceed a limit, or the quota if they cannot be
        preempted."""
        subject = f"{excess.queue}/{excess.resource}"
        facts = (
            Fact(
                test=excess.term,
                subject=subject,
                wanted=shown(excess.wanted, excess.resource),
                available=shown(max(0, excess.limit - excess.used), excess.resource),
            ),
            Fact(test="used", subject=subject, available=shown(excess.used, excess.resource)),
            Fact(test=f"{excess.term}Is", subject=subject, available=shown(excess.limit, excess.resource)),
        )
        return Verdict(
            reason=_over(excess), facts=facts, fix=raise_limit(self._holdings, excess, excess.short)
        )

    def _judge(
        self, pods: Sequence[Member], failure: Failure, findings: Sequence[Group]
    ) -> tuple[Reason, tuple[Fact, ...], Fix | None]:
        """The reason, its facts, and the nearest fix."""
        facts = failure.facts
        invalid = [item for item in findings if _test(item) == "invalid"]
        if invalid:
            shortage = invalid[0].finding.devices
            assert shortage is not None
            fact = Fact(test="invalid", subject=shortage.subject, available=shortage.detail)
            return Reason.INVALID_CLAIM, (fact,), Fix(change="correctClaim", subject=shortage.subject)
        reason = _reason(facts, findings)
        fix = self._free(pods, failure, reason, findings) or self._fix(reason, facts, findings)
        told = _facts(reason, findings)
        if reason is Reason.NO_MATCHING_DEVICES:
            told = (*told, *ruled_out(self._placer.state.devices.fleet, facts))
        return reason, told, fix

    def _free(
        self,
        pods: Sequence[Member],
        failure: Failure,
        reason: Reason,
        findings: Sequence[Group],
    ) -> Fix | None:
        """What would have to be freed, if freeing helps. The gang's own pods are no one to ask."""
        state = self._placer.state
        reachable = [item for item in findings if item.finding.place is None]
        if reason is Reason.DEVICES_IN_USE:
            near = [item for item in reachable if _test(item) == "inUse"]
            part = failure.facts.device_part
            if part is not None and not near:
                return free_part(state, reachable, part)
            own = frozenset(claim.key for item in failure.placed for claim, _ in item.allocated)
            return free_devices(state, near or findings, own, len(pods) - len(failure.placed))
        if reason is Reason.NODE_UNFIT:
            lacking = [
                item
                for item in reachable
                if item.finding.devices is None and item.finding.resource is not None
            ]
            own_pods = frozenset(item.facts.pod.key for item in failure.placed)
            return free_resource(state, lacking, own_pods, self._requests)
        return None

    def _requests(self, pod: Pod) -> Mapping[str, int]:
        """What a pod takes of its node: the same nodes come nearest to taking many gangs."""
        found = self._known.get(pod)
        if found is None:
            found = pod_requests(pod.spec)
            self._known.put(pod, found)
        return found  # type: ignore[return-value]

    def _fix(self, reason: Reason, facts: PodFacts, findings: Sequence[Group]) -> Fix | None:
        """What would have to change, if freeing does not help."""
        if reason is Reason.FRACTION_REFUSED:
            grounds: Counter[Ground] = Counter()
            for item in findings:
                if item.finding.refusal is not None:
                    grounds[item.finding.refusal.ground] += item.count
            ground = min(grounds, key=lambda item: (_NO_SUCH.get(item, 0), -grounds[item], item))
            return Fix(
                change=f"fraction{ground.value[0].upper()}{ground.value[1:]}", amount=str(grounds[ground])
            )
        if reason is Reason.NODE_UNFIT:
            blocked: Counter[tuple[str, str]] = Counter()
            for item in findings:
                if item.finding.devices is None and item.finding.place:
                    blocked[item.finding.place] += item.count
            if blocked:
                (test, subject), count = min(blocked.items(), key=lambda item: (-item[1], item[0]))
                return Fix(change=_PLACE_FIXES.get(test, "changePod"), subject=subject, amount=str(count))
            short = [item.finding.resource for item in findings if item.finding.resource is not None]
            if short:
                resource, wanted, _ = short[0]
                classes = self._classes_for(resource)
                if classes:
                    return Fix(change="useClaim", subject=classes[0], amount=written(resource, wanted))
                return Fix(change="addNode", subject=resource, amount=written(resource, wanted))
            return Fix(change="addNode")
        if reason is Reason.CLAIM_IN_USE:
            claim = facts.held[0][0].name if facts.held else ""
            return Fix(change="freeClaimNode", subject=claim)
        shortages = [item.finding.devices for item in findings if item.finding.devices is not None]
        subject = shortages[0].subject if shortages else ""
        match reason:
            case Reason.NO_MATCHING_DEVICES:
                return Fix(change="relaxSelector", subject=subject)
            case Reason.TOO_FEW_DEVICES:
                most = max((item.matching for item in shortages), default=0)
                wanted = max((item.wanted for item in shortages), default=0)
                return Fix(change="askForFewer", subject=subject, amount=f"{most} instead of {wanted}")
            case Reason.DEVICES_TAINTED:
                tainted = [item for item in shortages if item.test == "taint"]
                return Fix(change="tolerateDeviceTaint", subject=tainted[0].subject if tainted else subject)
            case Reason.CONSTRAINT_NOT_MET:
                unmet = [item for item in shortages if item.test in ("constraint", "combination")]
                return Fix(change="relaxConstraint", subject=unmet[0].subject if unmet else subject)
            case Reason.SEARCH_BUDGET_EXCEEDED:
                return Fix(change="raiseSearchBudget")
            case _:
                return None

    def _classes_for(self, resource: str) -> list[str]:
        """Device classes whose devices a pod would get by this extended resource (KEP-5004), by name."""
        return sorted(
            item.metadata.name
            for item in self._placer.state.devices.fleet.device_classes
            if resource in (item.spec.extended_resource_name, f"{IMPLICIT_RESOURCE}{item.metadata.name}")
        )


IMPLICIT_RESOURCE = "deviceclass.resource.kubernetes.io/"
"""Prefix of the extended resource that every device class stands for without saying so (KEP-5004)."""

_PLACE_FIXES = {
    "nodeTaint": "tolerateTaint",
    "nodeSelector": "changeNodeSelector",
    "nodeUnschedulable": "uncordonNode",
    "nodeReady": "repairNode",
    "podAffinity": "relaxPodAffinity",
    "podAntiAffinity": "relaxPodAffinity",
    "claimNode": "freeClaimNode",
}


_NO_SUCH = {Ground.NO_DEVICES: 1, Ground.OTHER_DEVICES: 1}
"""Grounds that say more about the node than about the request: others are told first."""


def _over(excess: Excess) -> Reason:
    return Reason.OVER_QUOTA if excess.term == "quota" else Reason.OVER_LIMIT


def _full(failure: Failure) -> Verdict:
    claim = failure.full_claim
    assert claim is not None
    fact = Fact(
        test="consumers",
        subject=claim.name,
        wanted=str(MAX_CONSUMERS + 1),
        available=str(MAX_CONSUMERS),
    )
    return Verdict(
        reason=Reason.CLAIM_IN_USE, facts=(fact,), fix=Fix(change="useAnotherClaim", subject=claim.name)
    )


def _reason(facts: PodFacts, groups: Sequence[Group]) -> Reason:
    """The test that has to change first, judged by the nodes that are nearest to taking the pod.

    Nodes whose devices would do lack only room or permission. Otherwise, among the nodes that permit the pod
    (all nodes, if none does): constraints stand in the way of free devices; else devices are taken; else
    tainted; else too few exist; else none match.
    """
    if not groups:
        return Reason.NODE_UNFIT
    findings = [group.finding for group in groups]
    if any(item.place is not None and item.place[0] == "claimNode" for item in findings) and not any(
        item.place is None and item.devices is not None for item in findings
    ):
        return Reason.CLAIM_IN_USE
    open_to = [item for item in findings if item.place is None and item.resource is None]
    if any(item.refusal is not None for item in open_to) and all(
        item.refusal is not None or (item.devices is None and facts.device_part is None) for item in open_to
    ):
        return Reason.FRACTION_REFUSED
    if any(item.devices is None and item.refusal is None for item in findings if item.place is None):
        return Reason.NODE_UNFIT
    reachable = {item.devices.test for item in findings if item.place is None and item.devices is not None}
    tests = reachable or {item.devices.test for item in findings if item.devices is not None}
    if any(item.devices is None for item in findings):
        serious = reachable & {"inUse", "partInUse", "constraint", "combination", "taint", "budget"}
        if not serious:
            return Reason.NODE_UNFIT
    for test, reason in _BY_TEST:
        if test in tests:
            return reason
    return Reason.NODE_UNFIT


_BY_TEST = (
    ("budget", Reason.SEARCH_BUDGET_EXCEEDED),
    ("constraint", Reason.CONSTRAINT_NOT_MET),
    ("combination", Reason.CONSTRAINT_NOT_MET),
    ("inUse", Reason.DEVICES_IN_USE),
    ("partInUse", Reason.DEVICES_IN_USE),
    ("taint", Reason.DEVICES_TAINTED),
    ("binding", Reason.NO_MATCHING_DEVICES),
    ("selectorError", Reason.INVALID_CLAIM),
    ("tooFew", Reason.TOO_FEW_DEVICES),
    ("pool", Reason.NO_MATCHING_DEVICES),
    ("selector", Reason.NO_MATCHING_DEVICES),
)


def _test(group: Group) -> str:
    """What devices lack there; "" if nothing."""
    return "" if group.finding.devices is None else group.finding.devices.test


def _facts(reason: Reason, findings: Sequence[Group]) -> tuple[Fact, ...]:
    """How many nodes there are, what is wanted, and how many fell where: the reason's own tests first."""
    total = Fact(test="nodes", count=sum(item.count for item in findings), unit="nodes")
    groups: dict[tuple[str, str], list[Group]] = {}
    for item in findings:
        key = _group(item.finding)
        if key is not None:
            groups.setdefault(key, []).append(item)
    own = _OWN_TESTS.get(reason, frozenset())
    facts = [_group_fact(key, items) for key, items in groups.items()]
    facts.sort(key=lambda fact: (fact.test not in own, -fact.count, fact.test, fact.subject))
    return (total, *facts[:MAX_FACTS])


_OWN_TESTS: dict[Reason, frozenset[str]] = {
    Reason.DEVICES_IN_USE: frozenset({"inUse", "partInUse"}),
    Reason.FRACTION_REFUSED: frozenset({"fraction"}),
    Reason.CONSTRAINT_NOT_MET: frozenset({"constraint", "combination"}),
    Reason.DEVICES_TAINTED: frozenset({"taint"}),
    Reason.TOO_FEW_DEVICES: frozenset({"tooFew"}),
    Reason.NO_MATCHING_DEVICES: frozenset({"selector", "pool", "binding"}),
    Reason.SEARCH_BUDGET_EXCEEDED: frozenset({"budget"}),
    Reason.INVALID_CLAIM: frozenset({"selectorError"}),
    Reason.CLAIM_IN_USE: frozenset({"claimNode"}),
}


def _group(item: Finding) -> tuple[str, str] | None:
    """The test that a node is counted under: the first stage that it fails, devices before resources.

    A node without any device that matches is counted under that, whatever else is in the way.
    """
    if item.devices is not None and item.devices.test in ("selector", "tooFew"):
        return (item.devices.test, item.devices.subject)
    if item.place is not None:
        return item.place
    if item.devices is not None:
        return (item.devices.test, item.devices.subject)
    if item.resource is not None:
        return (item.resource[0], "")
    if item.refusal is not None:
        return ("fraction", item.refusal.ground.value)
    return None


def _group_fact(key: tuple[str, str], items: Sequence[Group]) -> Fact:
    test, subject = key
    wanted, available = "", ""
    findings = [item.finding for item in items]
    refusal = findings[0].refusal
    if test == "fraction" and refusal is not None:
        wanted, available = refusal.wanted, refusal.available
    shortages = [item.devices for item in findings if item.devices is not None]
    if shortages and shortages[0].test == test:
        best: DeviceShortage = max(shortages, key=lambda item: (item.free, item.matching))
        if test == "tooFew":
            best = max(shortages, key=lambda item: item.matching)
            wanted, available = str(best.wanted), str(best.matching)
        elif test == "selectorError":
            available = best.detail
        elif best.wanted:
            wanted, available = str(best.wanted), str(best.free)
        elif best.detail:
            available = best.detail
    else:
        short = [item.resource for item in findings if item.resource is not None and item.resource[0] == test]
        if short:
            most = max(short, key=lambda item: item[2])
            wanted, available = written(test, most[1]), written(test, most[2])
    count = sum(item.count for item in items)
    return Fact(test=test, subject=subject, count=count, unit="nodes", wanted=wanted, available=available)


def _node_fact(item: Group) -> Fact | None:
    key = _group(item.finding)
    return None if key is None else _group_fact(key, [item])
