"""Who has which part of every device, as accounting takes it, from the tables of a snapshot."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from math import ceil, lcm

from aliquot.accounting.entries import Account, Category, Device, Holding, Occupancy, Place, PodRef, Spare
from aliquot.accounting.leftovers import Demand, Room, spare_of
from aliquot.accounting.price_files import milliseconds
from aliquot.dra.fleet import Fleet
from aliquot.dra.pools import BLOCKING_EFFECTS
from aliquot.fractions.resources import extended_devices
from aliquot.inventory import legacy
from aliquot.inventory.devices import DeviceState, DeviceTable, Holder, device_table
from aliquot.inventory.layout import Board, Layout
from aliquot.inventory.owners import Owners
from aliquot.model.core import Node, Pod
from aliquot.model.index import SnapshotIndex, live
from aliquot.model.resource import DeviceTaint, DeviceTaintRule, ResourceClaim
from aliquot.model.snapshot import Snapshot
from aliquot.queues.tree import QueueTree
from aliquot.scheduling.affinity import as_new
from aliquot.scheduling.objectives import POWER_LABEL, PRICE_LABEL
from aliquot.scheduling.requests import CPU, MEMORY, amounts, pod_requests
from aliquot.simulation.rates import INSTANCE_TYPE, REGION, is_spot

MODEL_LABELS = (
    "aliquot.dev/model",
    "llm-d.ai/model",
    "model.aibrix.ai/name",
    "serving.kserve.io/inferenceservice",
)
"""Labels (or annotations) of pods that say which AI model they serve or train, the first present wins."""

OWNER_LABELS = ("aliquot.dev/owner", "owner")
"""Labels (or annotations) that say who answers for a workload; else its service account does."""

NOISE = frozenset(
    {
        "apps.kubernetes.io/pod-index",
        "batch.kubernetes.io/controller-uid",
        "batch.kubernetes.io/job-completion-index",
        "controller-revision-hash",
        "controller-uid",
        "pod-template-generation",
        "pod-template-hash",
        "statefulset.kubernetes.io/pod-name",
    }
)
"""Labels that Kubernetes puts on pods for itself; nobody is billed by them."""

MOST_LABELS = 32
_RESERVED_LABELS = {"karpenter.sh/capacity-type": "reserved"}
NOTHING = Fraction(0)
WHOLE = Fraction(1)


@dataclass(frozen=True, slots=True)
class Seen:
    """What of a snapshot's tables accounting needs; what did not change is taken over from the one before."""

    snapshot: Snapshot
    index: SnapshotIndex
    tree: QueueTree
    fleet: Fleet
    layout: Layout
    devices: DeviceTable

    @staticmethod
    def of(snapshot: Snapshot, default_queue: str, previous: "Seen | None" = None) -> "Seen":
        fleet = Fleet.of(
            snapshot.resource_slices,
            snapshot.device_classes,
            snapshot.device_taint_rules,
            previous=previous.fleet if previous is not None else None,
        )
        layout = Layout.of(fleet, previous.layout if previous is not None else None)
        index = SnapshotIndex.of(snapshot, previous.index if previous is not None else None)
        tree = QueueTree.of(snapshot.queues)
        owners = Owners.of(index, tree, default_queue)
        plugins = {node.name: legacy.boards(node) for node in snapshot.nodes}
        devices = device_table(
            snapshot,
            layout,
            owners,
            {name: boards for name, boards in plugins.items() if boards},
            previous.devices if previous is not None else None,
        )
        return Seen(snapshot, index, tree, fleet, layout, devices)


class Occupancies:
    """Makes occupancies from one look after the other. decisions: ids by the uid of a claim or pod."""

    def __init__(self, decisions: Mapping[str, str]) -> None:
        self._decisions = decisions

    def of(self, seen: Seen) -> tuple[Occupancy, ...]:
        """One for every accelerator that is published or advertised, in the order of the device table."""
        index = seen.index
        pods = {pod.key: pod for pod in seen.snapshot.pods}
        accounts = _Accounts(index, seen.tree, pods, self._decisions)
        states = [state for state in seen.devices.devices if state.board.accelerator]
        by_node: dict[str, list[DeviceState]] = {}
        for state in states:
            by_node.setdefault(state.board.node or f"pool {state.board.pool}", []).append(state)
        demands = _demands(seen, states, pods)
        left = _left(seen.snapshot.pods, index.nodes)
        found: list[Occupancy] = []
        for own in by_node.values():
            node = index.nodes.get(own[0].board.node)
            found += _of_node(own, node, accounts, demands, left, seen)
        return tuple(found)


def _of_node(
    states: Sequence[DeviceState],
    node: Node | None,
    accounts: "_Accounts",
    demands: Sequence[Demand],
    left: Mapping[str, tuple[int, int]],
    seen: Seen,
) -> Iterable[Occupancy]:
    """The occupancies of one node's devices, which share its price."""
    cpu, memory = left.get(states[0].board.node, (1 << 60, 1 << 60))
    held = [accounts.holdings(state) for state in states]
    rests = [_rest(state, own) for state, own in zip(states, held)]
    problems = [
        (state.problem or _tainted(state.board, seen)) if rest else "" for state, rest in zip(states, rests)
    ]
    free = {
        str(number): rest
        for number, (rest, problem) in enumerate(zip(rests, problems))
        if rest and not problem
    }
    models = {state.board.product for state in states}
    model = models.pop() if len(models) == 1 else ""
    spare = spare_of(Room(free=free, model=model, cpu_milli=cpu, memory=memory), demands) if free else {}
    places: dict[tuple[str, str, str], Place] = {}
    slices = lcm(*(_capacity(state).denominator for state in states))
    widths = [int(_capacity(state) * slices) for state in states]
    ends = list(accumulate(widths))
    for number, (state, holdings, rest, problem) in enumerate(zip(states, held, rests, problems)):
        board = state.board
        key = (board.driver, board.pool, board.product)
        if key not in places:
            places[key] = place_of(board, node)
        parts: tuple[Spare, ...] = ()
        if rest:
            reserved = Spare(category=Category.SYSTEM, share=rest, reason=problem)
            parts = (reserved if problem else spare[str(number)],)
        yield Occupancy(
            device=Device(place=places[key], name=board.name),
            holdings=holdings,
            spare=parts,
            index=ends[number] - widths[number],
            width=widths[number],
            of=ends[-1],
            capacity=_capacity(state),
        )


def _rest(state: DeviceState, holdings: Sequence[Holding]) -> Fraction:
    """What nobody holds of a device."""
    capacity = _capacity(state)
    if len(holdings) <= 1:
        # Most devices are held whole or not at all, and fractions are slow.
        taken = holdings[0].share if holdings else 0
        return NOTHING if taken is capacity or taken == capacity else capacity - taken
    return capacity - sum((item.share for item in holdings), NOTHING)


def _capacity(state: DeviceState) -> Fraction:
    """1; a MIG instance of a device plugin is so much of a device as its slices are."""
    return state.board.parts[0].share if state.board.driver == legacy.KIND else WHOLE


def place_of(board: Board, node: Node | None) -> Place:
    """Where a board is, as prices tell places apart."""
    labels = node.metadata.labels if node is not None else {}
    reserved = next((word for name, word in _RESERVED_LABELS.items() if labels.get(name) == word), "")
    return Place(
        node=board.node,
        pool=board.pool,
        driver=board.driver,
        model=board.product,
        instance_type=labels.get(INSTANCE_TYPE, ""),
        region=labels.get(REGION, ""),
        capacity_type="spot" if node is not None and is_spot(node) else reserved,
        price_label=labels.get(PRICE_LABEL, ""),
        watts_label=labels.get(POWER_LABEL, ""),
    )


def _tainted(board: Board, seen: Seen) -> str:
    """The key of a taint that keeps work from the whole board, "" if there is none."""
    pool = seen.fleet.pools.get((board.driver, board.pool))
    if pool is None:
        return ""
    whole = max(board.parts, key=lambda part: part.share)
    taints: list[DeviceTaint] = list(pool.taints.get(whole.number, ()))
    taints += _by_rules(seen.snapshot.device_taint_rules, board, whole.name)
    key = next((taint.key for taint in taints if taint.effect in BLOCKING_EFFECTS), None)
    return "" if key is None else f"Tainted:{key}"


def _by_rules(rules: Iterable[DeviceTaintRule], board: Board, device: str) -> list[DeviceTaint]:
    return [
        rule.spec.taint
        for rule in rules
        for selector in (rule.spec.device_selector,)
        if selector is not None
        and selector.driver in (None, board.driver)
        and selector.pool in (None, board.pool)
        and selector.device in (None, device)
    ]


class _Accounts:
    """Who holds: from holders of the device table to holdings with accounts."""

    def __init__(
        self,
        index: SnapshotIndex,
        tree: QueueTree,
        pods: Mapping[tuple[str, str], Pod],
        decisions: Mapping[str, str],
    ) -> None:
        self._index = index
        self._tree = tree
        self._pods = pods
        self._decisions = decisions

    def holdings(self, state: DeviceState) -> tuple[Holding, ...]:
        """What is held of a device; shares that claims take of one part beyond what it is are scaled down."""
        found: dict[str, Holding] = {}
        for part in state.parts:
            for holder in part.holders:
                if holder.admin or holder.share <= 0:
                    continue
                made = self._holding(state, part.part.name, part.part.profile, holder)
                known = found.get(made.key)
                if known is not None:
                    made = Holding(
                        key=made.key,
                        account=known.account,
                        share=known.share + made.share,
                        since_ms=known.since_ms,
                    )
                found[made.key] = made
        total = sum((item.share for item in found.values()), NOTHING) if len(found) > 1 else NOTHING
        if total > state.allocated:
            scale = state.allocated / total
            return tuple(
                Holding(key=item.key, account=item.account, share=item.share * scale, since_ms=item.since_ms)
                for item in found.values()
            )
        return tuple(found.values())

    def _holding(self, state: DeviceState, part: str, profile: str, holder: Holder) -> Holding:
        claim: ResourceClaim | None = None
        since = None
        if holder.claim is not None:
            claim = self._index.claims.get((holder.claim.namespace, holder.claim.name))
            key = f"claim {holder.claim.uid or holder.claim.name} {part}"
            if claim is not None and claim.status.allocation is not None:
                stamp = claim.status.allocation.allocation_timestamp
                since = milliseconds(stamp) if stamp is not None else None
        else:
            pod = holder.pods[0]
            key = f"pod {pod.uid or pod.name}"
            known = self._pods.get((pod.namespace, pod.name))
            if known is not None and known.status.start_time is not None:
                since = milliseconds(known.status.start_time)
        return Holding(
            key=key,
            account=self._account(state.mode, profile, holder, claim),
            share=holder.share,
            since_ms=since,
        )

    def _account(self, mode: str, profile: str, holder: Holder, claim: ResourceClaim | None) -> Account:
        first = holder.pods[0] if holder.pods else None
        pod = self._pods.get((first.namespace, first.name)) if first is not None else None
        namespace = holder.claim.namespace if holder.claim is not None else first.namespace if first else ""
        described = pod.metadata if pod is not None else claim.metadata if claim is not None else None
        labels = dict(described.labels) if described is not None else {}
        said = {**described.annotations, **labels} if described is not None else {}
        space = self._index.namespaces.get(namespace)
        # What a namespace says holds for its pods, unless they say otherwise: teams are often marked there.
        labels = {**(space.metadata.labels if space is not None else {}), **labels}
        kept = sorted((key, value) for key, value in labels.items() if key not in NOISE)
        account = pod.spec.service_account_name if pod is not None else ""
        uids = [pod_ref.uid for pod_ref in holder.pods]
        if holder.claim is not None:
            uids.insert(0, holder.claim.uid)
        path = self._tree.path(holder.queue)
        return Account(
            queue=holder.queue,
            queue_path="/" + "".join(f"{name}/" for name in reversed(path)) if path else "",
            namespace=namespace,
            workload=f"{holder.workload.kind.lower()}/{holder.workload.name}" if holder.workload else "",
            workload_uid=holder.workload.uid if holder.workload else "",
            claim=holder.claim.name if holder.claim is not None else "",
            claim_uid=holder.claim.uid if holder.claim is not None else "",
            owner=next((said[name] for name in OWNER_LABELS if said.get(name)), account),
            model=next((said[name] for name in MODEL_LABELS if said.get(name)), ""),
            mode=mode,
            profile=profile,
            decision=next((self._decisions[uid] for uid in uids if uid in self._decisions), ""),
            pods=tuple(PodRef(item.name, item.uid) for item in holder.pods),
            labels=tuple(kept[:MOST_LABELS]),
        )


def _left(pods: Iterable[Pod], nodes: Mapping[str, Node]) -> dict[str, tuple[int, int]]:
    """CPU (thousandths) and memory (bytes) that no pod has requested, by node."""
    found = {}
    for name, node in nodes.items():
        has = amounts(node.status.allocatable)
        found[name] = [has.get(CPU, 0), has.get(MEMORY, 0)]
    for pod in pods:
        room = found.get(pod.spec.node_name)
        if room is not None and not pod.finished:
            wants = pod_requests(pod.spec)
            room[0] -= wants.get(CPU, 0)
            room[1] -= wants.get(MEMORY, 0)
    return {name: (cpu, memory) for name, (cpu, memory) in found.items()}


def _demands(
    seen: Seen, states: Sequence[DeviceState], pods: Mapping[tuple[str, str], Pod]
) -> tuple[Demand, ...]:
    """What pods ask for that wait, and what those that run have; each once."""
    held: dict[tuple[str, str], list[Fraction]] = {}
    models: dict[tuple[str, str], set[str]] = {}
    classes: dict[str, Fraction] = {}
    claims = {claim.key: claim for claim in seen.snapshot.resource_claims}
    for state in states:
        for holder in state.holders:
            if holder.admin:
                continue
            for user in holder.pods:
                held.setdefault((user.namespace, user.name), []).append(holder.share)
                models.setdefault((user.namespace, user.name), set()).add(state.board.product)
            claim = claims.get((holder.claim.namespace, holder.claim.name)) if holder.claim else None
            for name in _classes(claim):
                classes[name] = min(classes.get(name, Fraction(1)), holder.share)
    found: dict[Demand, None] = {}
    for pod in pods.values():
        if not live(pod):
            continue
        wants = pod_requests(pod.spec)
        shares = held.get(pod.key) or _asked(pod, wants, claims, classes)
        if not shares:
            continue
        small = max(shares) < 1
        demand = Demand(
            devices=1 if small else ceil(sum(shares, Fraction(0))),
            share=max(shares) if small else Fraction(1),
            cpu_milli=wants.get(CPU, 0),
            memory=wants.get(MEMORY, 0),
            models=tuple(sorted(models.get(pod.key, ()))) if _picky(pod) else (),
            waiting=not pod.spec.node_name,
        )
        found[demand] = None
    return tuple(sorted(found, key=lambda item: (not item.waiting, item.devices, item.share)))


def _picky(pod: Pod) -> bool:
    """The pod names nodes it wants, so that work like it is only expected on the same model."""
    affinity = as_new(pod).spec.affinity
    return bool(pod.spec.node_selector) or (affinity is not None and affinity.node_affinity is not None)


def _classes(claim: ResourceClaim | None) -> list[str]:
    if claim is None:
        return []
    return [
        request.exactly.device_class_name
        for request in claim.spec.devices.requests
        if request.exactly is not None
    ]


def _asked(
    pod: Pod,
    wants: Mapping[str, int],
    claims: Mapping[tuple[str, str], ResourceClaim],
    classes: Mapping[str, Fraction],
) -> list[Fraction]:
    """What a pod without devices asks for: a claim's devices are as large as others of its class."""
    found: list[Fraction] = []
    made = {item.name: item.resource_claim_name for item in pod.status.resource_claim_statuses}
    for item in pod.spec.resource_claims:
        claim = claims.get((pod.metadata.namespace, item.resource_claim_name or made.get(item.name, "")))
        for request in claim.spec.devices.requests if claim is not None else ():
            if request.exactly is not None:
                share = classes.get(request.exactly.device_class_name, Fraction(1))
                found += [share] * min(request.exactly.count or 1, 1024)
    plugin = Fraction(extended_devices(wants, None))
    if plugin:
        found += [Fraction(1)] * int(plugin) or [plugin]
    return found
