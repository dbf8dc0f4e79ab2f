"""Deciding within the funds of a snapshot: who would be placed without money for its devices waits.

What a workload commits is what its devices cost for `hours` (`aliquot.model.funds`), whatever it has run
already. It is committed as long as the workload has the devices, and free again when it is gone: what is
committed follows from the snapshot alone, so nothing has to be held, renewed or given back, and nothing is
left behind by a process that dies. Nobody who runs is asked to leave for want of money.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from fractions import Fraction
from math import ceil

from msgspec.structs import replace

from aliquot.approvals.references import LABEL
from aliquot.model.core import Pod
from aliquot.model.funds import Funds, Purse
from aliquot.model.index import Key
from aliquot.model.meta import ObjectRef
from aliquot.model.snapshot import Snapshot
from aliquot.model.verdicts import Fact, Fix, Reason, Verdict
from aliquot.queues.amounts import GPU, UNIT, Amount
from aliquot.scheduling.accounts import Charges, Holding, plugin_charges
from aliquot.scheduling.affinity import named_node
from aliquot.scheduling.affordability import Affordable, Ask, Unaffordable, affordable
from aliquot.scheduling.claims import claim_keys
from aliquot.scheduling.cluster import Cluster, Share, follow
from aliquot.scheduling.memory import Memory
from aliquot.scheduling.plan import Allocate, Decision, Plan
from aliquot.scheduling.policy import Policy
from aliquot.scheduling.recording import decision_id
from aliquot.workloads.gang import Gang

Rates = Callable[[str | None], int]


def within_means(
    snapshot: Snapshot, policy: Policy, now: datetime, memory: Memory, decide: Callable[[Snapshot], Plan]
) -> Plan:
    """The plan for a snapshot with funds. decide: makes the plan for one without."""
    (funds,) = snapshot.funds
    bare = replace(snapshot, funds=())
    cluster = follow(memory, bare, policy)
    means = _Means(funds, cluster, memory, policy)
    asks = [
        Ask(
            workload=share.gang.ref,
            purses=purses,
            pods=tuple(facts.pod.ref for facts in share.portion.todo),
        )
        for share in cluster.shares.values()
        if share.portion.todo and (purses := means.purses(share.gang))
    ]
    if not asks:
        return decide(bare)
    found = affordable(bare, asks, means.left(), decide, means.price)
    return _told(found, {ask.workload: ask.pods for ask in asks}, funds, now)


class _Means:
    """Who pays for what, and how much of it is left, as the cluster is before the decision."""

    def __init__(self, funds: Funds, cluster: Cluster, memory: Memory, policy: Policy) -> None:
        spec = funds.spec
        self._spec = spec
        self._purses = {purse.name: purse for purse in spec.purses}
        self._lines: dict[tuple[str, str, frozenset[str]], tuple[str, ...]] = {}
        self._index = cluster.index
        self._links = cluster.links
        self._shares = list(cluster.shares.values())
        self._path = cluster.tree.path
        self._queues = cluster.tree.queues
        self._devices = cluster.state.devices
        self._gpus = plugin_charges(memory.traits, cluster.index.nodes, policy)
        self._charges = Charges(cluster.index, memory.traits, cluster.state.devices, policy)
        self._by_node = {rate.node: rate.micros for rate in spec.rates}
        self._pods = cluster.links.pods

    def purses(self, gang: Gang) -> tuple[str, ...]:
        """The purses that have to have the money for a gang; none if it needs none."""
        models = frozenset(name for pod in gang.members if (name := pod.metadata.labels.get(LABEL, "")))
        if not models and not self._spec.every_workload:
            return ()
        place = (gang.queue, gang.ref.namespace, models)
        found = self._lines.get(place)
        if found is None:
            found = self._lines[place] = tuple(self._line(*place))
        return found

    def _line(self, queue: str, namespace: str, models: frozenset[str]) -> Iterable[str]:
        if self._spec.unread:
            return [""]
        path = frozenset(self._path(queue)) | {queue} if queue else frozenset[str]()
        found: dict[str, None] = {}
        for purse in self._spec.purses:
            if _pays(purse, path, namespace) and (not purse.models or not models.isdisjoint(purse.models)):
                name = purse.name
                while name in self._purses and name not in found:
                    found[name] = None
                    name = self._purses[name].parent
        return [name for name in found if self._purses[name].left is not None]

    def left(self) -> dict[str, int]:
        """What may still be committed: what is left, without what those who run have committed."""
        found = {purse.name: purse.left for purse in self._spec.purses if purse.left is not None}
        for share in self._shares:
            purses = self.purses(share.gang) if _has_devices(share) else ()
            amount = self._held(share) if purses else 0
            for name in purses:
                if name in found:
                    found[name] -= amount
        return found

    def _held(self, share: Share) -> int:
        """What the devices commit that a gang has."""
        total: Amount = 0
        gang, portion, links = share.gang, share.portion, self._links
        holdings: Iterable[Holding] = share.holdings
        if not (gang.queue and self._queues):
            # What is in no queue is charged nowhere, and costs the same.
            members, known, meant_for = gang.members, links.pods, links.meant_for
            holdings = self._charges.of(gang.queue, portion.placed, members, known, meant_for)
        places = {pod.key: node for pod, node, _ in portion.placed}
        for holding in holdings:
            gpus = holding.charge.get(GPU, 0)
            if gpus:
                node = holding.pod.spec.node_name or places.get(holding.pod.key) or self._node_of(holding.pod)
                total += self._cost(gpus, node)
        return ceil(Fraction(total, UNIT))

    def _node_of(self, pod: Pod) -> str | None:
        """The node that the claims of a pod leave it."""
        for claim in self._links.meant_for(pod.key):
            allocation = claim.status.allocation
            if allocation is not None and (node := named_node(allocation.node_selector)):
                return node
        return None

    def price(self, decision: Decision) -> int:
        """What a decision commits: its devices, and for places that are promised those that are wanted."""
        own = {(pod.namespace, pod.name) for pod in decision.pods}
        nodes = {
            (spot.pod.namespace, spot.pod.name): spot.node
            for spot in (*decision.placements, *decision.promised)
        }
        total: Amount = 0
        given: set[Key] = set()
        for action in decision.actions:
            if isinstance(action, Allocate):
                key = (action.claim.namespace, action.claim.name)
                given.add(key)
                users = (nodes.get((key[0], user.name)) for user in action.consumers)
                node = next(filter(None, users), None) or named_node(action.allocation.node_selector)
                charge = self._devices.charge(self._links.claims[key], action.allocation)
                total += self._cost(charge.get(GPU, 0), node)
        for key, node in nodes.items():
            pod = self._pods.get(key)
            if pod is None or key not in own:
                continue
            total += self._cost(self._gpus(pod, node), node)
            for name in claim_keys(pod):
                claim = self._links.claims.get(name)
                if claim is not None and claim.status.allocation is None and name not in given:
                    given.add(name)
                    total += self._cost(self._devices.wanted(claim).get(GPU, 0), node)
        amount = ceil(Fraction(total, UNIT))
        # Where prices are not known either, devices are not to be had for nothing.
        return max(amount, 1) if self._spec.unread else amount

    def _cost(self, gpus: Amount, node: str | None) -> Amount:
        """What devices commit, in billionths of a micro-unit."""
        return gpus * self._by_node.get(node or "", self._spec.rate) * self._spec.hours


def _pays(purse: Purse, path: frozenset[str], namespace: str) -> bool:
    if purse.queue and purse.queue not in path:
        return False
    if purse.namespace and purse.namespace != namespace:
        return False
    return bool(purse.queue or purse.namespace or purse.everyone)


def _has_devices(share: Share) -> bool:
    return bool(share.running or share.portion.placed or share.portion.let_go or share.portion.in_flight)


def _told(
    found: Affordable, pods: Mapping[ObjectRef, tuple[ObjectRef, ...]], funds: Funds, now: datetime
) -> Plan:
    """The plan with a verdict for everybody who waits for money. pods: that wait, by workload."""
    decisions = list(found.plan.decisions)
    for short in found.unaffordable:
        decisions.append(_waiting(short.decision, pods[short.workload], _verdict(short, funds), now))
    for one in found.cut:
        if one.verdict is None or one.actions:
            verdict = Verdict(reason=Reason.SEARCH_BUDGET_EXCEEDED)
            one = _waiting(one, one.pods, verdict, now)
        decisions.append(one)
    last: dict[str, int] = {}
    for number, decision in enumerate(decisions):
        place = last.get(decision.queue, 0)
        if number >= len(found.plan.decisions) and decision.pods:
            decisions[number] = replace(decision, position=place + 1)
        last[decision.queue] = max(place, decisions[number].position)
    return replace(found.plan, decisions=tuple(decisions))


def _waiting(decision: Decision, pods: tuple[ObjectRef, ...], verdict: Verdict, now: datetime) -> Decision:
    """That the workload of a decision waits instead."""
    return Decision(
        id=decision_id(now, decision.workload, pods, verdict),
        workload=decision.workload,
        queue=decision.queue,
        pods=pods,
        verdict=verdict,
    )


def _verdict(one: Unaffordable, funds: Funds) -> Verdict:
    spec = funds.spec
    if spec.unread:
        fact = Fact(test="fundsUnread", subject=spec.unread)
        return Verdict(reason=Reason.BUDGET_EXHAUSTED, facts=(fact,), fix=Fix(change="readFunds"))
    fact = Fact(
        test="money",
        subject=one.purse,
        count=spec.hours,
        unit=spec.currency,
        wanted=money(one.needed),
        available=money(max(0, one.left)),
    )
    fix = Fix(change="raiseBudget", subject=one.purse, amount=f"{money(one.needed)} {spec.currency}".strip())
    return Verdict(reason=Reason.BUDGET_EXHAUSTED, facts=(fact,), fix=fix)


def money(micros: int) -> str:
    """Micro-units of money as a decimal with two places at least: 12500000 is "12.50"."""
    whole, rest = divmod(micros, 10**6)
    decimals = f"{rest:06d}".rstrip("0")
    return f"{whole}.{decimals:0<2}"


__all__ = ["money", "within_means"]
