"""`decide`: one pure function from the state of a cluster to a plan.

First what is wrong is put right (pods beside their devices, claims that nobody uses). Then the workloads that
wait are taken in order: queue priority, workload priority, first come first served. Each is placed whole or
waits with a verdict; one that waits does not hold up those behind it unless the policy asks for strict order.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

import msgspec

from aliquot.model.core import Pod
from aliquot.model.index import Key, SnapshotIndex
from aliquot.model.meta import ObjectRef
from aliquot.model.snapshot import Snapshot
from aliquot.model.verdicts import Fact, Reason, Verdict
from aliquot.queues.tree import QueueTree
from aliquot.scheduling import binding, evicting, recording, repairs
from aliquot.scheduling.accounts import Holding, running_usage
from aliquot.scheduling.blockers import room_reason, too_early
from aliquot.scheduling.explaining import Explainer
from aliquot.scheduling.facts import PodFacts
from aliquot.scheduling.interpod import PodNeighbours
from aliquot.scheduling.memory import Memory
from aliquot.scheduling.nodes import NodeTable
from aliquot.scheduling.observer import Observer
from aliquot.scheduling.pending import Board, members_by_gang, sort_out, users_of_new_claims
from aliquot.scheduling.placing import Failure, Placer
from aliquot.scheduling.plan import Decision, Plan
from aliquot.scheduling.policy import Policy
from aliquot.scheduling.served import ExtendedResources, abandoned, given_up, held_twice
from aliquot.scheduling.settling import Settling, settling_verdict
from aliquot.scheduling.state import ClusterState, PodPlacement
from aliquot.scheduling.users import ClaimUsers
from aliquot.workloads.gangs import Gang, gangs


def decide(
    snapshot: Snapshot,
    policy: Policy,
    now: datetime,
    observer: Observer | None = None,
    memory: Memory | None = None,
) -> Plan:
    """The plan for a cluster: every action to take, and a verdict for every workload that waits.

    Equal snapshot, policy and time give an equal plan, whatever the order in which objects came to be and
    whatever was decided before. now: aware, UTC. memory: speeds up successive decisions about one cluster.
    """
    plan = _Deciding(snapshot, policy, now, observer, memory or Memory()).plan()
    if observer is not None:
        for decision in plan.decisions:
            observer.decided(decision)
    return plan


class _Deciding:
    """One call of `decide`."""

    def __init__(
        self, snapshot: Snapshot, policy: Policy, now: datetime, observer: Observer | None, memory: Memory
    ) -> None:
        self._policy = policy
        self._now = now
        self._observer = observer
        self._memory = memory
        self._index: SnapshotIndex = memory.index(snapshot)
        self._tree: QueueTree = memory.tree(snapshot.queues)
        self._decisions: list[Decision] = []
        self._failed: dict[tuple[object, ...], Verdict] = {}
        self._blocking: dict[str, ObjectRef] = {}
        self._released: set[Key] = set()
        self._users: dict[Key, list[PodFacts]] = {}

    def plan(self) -> Plan:
        policy, memory, index = self._policy, self._memory, self._index
        managed = memory.manager(index.snapshot, policy)
        self._resources = ExtendedResources(index, policy.kubernetes)
        self._claim_users = ClaimUsers(index)
        self._managed = managed
        board = sort_out(index, memory, managed, policy.every_pod, self._resources)
        leaving = self._repair(board, managed)
        if board.todo:
            ordered = self._ordered(board)
            state, holdings = self._state(board)
            self._users = users_of_new_claims(board)
            self._settling = self._settle(state, board)
            placer = Placer(state, memory.static_fits(index.snapshot.nodes), policy.gang_search)
            explainer = Explainer(placer, holdings, self._observer)
            for gang, facts in ordered:
                self._gang(gang, facts, leaving, placer, explainer)
        return Plan(decisions=tuple(self._ranked()))

    def _state(self, board: Board) -> tuple[ClusterState, list[Holding]]:
        index = self._index
        fleet = self._memory.fleet(index.snapshot, self._policy)
        table = NodeTable(index.snapshot.nodes)
        devices = self._memory.devices(fleet, index.snapshot, self._policy, table.nodes)
        placed = []
        for pod, node, demand in board.placed:
            table.occupy(node, demand)
            placed.append((pod, node))
        neighbours = PodNeighbours(index.namespaces, index.nodes, placed)
        known = self._memory.charges(fleet)
        queues, holdings = running_usage(
            index, self._tree, devices, board.placed, self._policy.default_queue, known
        )
        return ClusterState(index, table, neighbours, devices, queues), holdings

    def _settle(self, state: ClusterState, board: Board) -> Settling:
        """What is left to the scheduler, or has to be seen by it, before the other of the two decides."""
        policy, index = self._policy, self._index
        found = Settling(
            state.devices.fleet, state.devices.usage, index.nodes, self._now, policy.settle_seconds
        )
        patience = policy.bind_patience_seconds
        in_flight = [node for pod, node in board.in_flight.values() if not given_up(pod, self._now, patience)]
        found.recall(index.snapshot.resource_claims, in_flight)
        return found

    def _ordered(self, board: Board) -> list[tuple[Gang, list[PodFacts]]]:
        """The workloads that wait, the first to be served first."""
        members = members_by_gang(self._index, board)
        found = gangs(self._index, self._tree, members, self._policy.default_queue)
        pairs = [(gang, board.todo[key]) for gang, key in zip(found, members, strict=True)]
        return sorted(pairs, key=lambda pair: self._order(pair[0]))

    def _order(self, gang: Gang) -> tuple[object, ...]:
        return (self._tree.order(gang.queue), -gang.priority, gang.created, gang.key)

    def _repair(self, board: Board, managed: repairs.Managed) -> frozenset[Key]:
        """Decide what is to be put right; gives the waiting pods that leave by that."""
        index = self._index
        found = [
            *repairs.misplaced(index, index.snapshot.pods, managed),
            *repairs.blocked_by_deletion(index, board.waiting, managed),
            *repairs.stuck(index, board.let_go, self._now, self._policy.bind_patience_seconds, managed),
        ]
        leaving: set[Key] = set()
        released = self._released
        for repair in (*self._device_faults(board, managed), *found):
            if isinstance(repair, repairs.Release):
                leaving.update(pod.key for pod in repair.pods)
                if repair.claim.key not in released:
                    released.add(repair.claim.key)
                    self._decisions.append(
                        recording.deallocated(repair.claim, self._now, repair.verdict, repair.pods)
                    )
                continue
            if repair.pod.key in leaving:
                continue
            leaving.add(repair.pod.key)
            replaced = [repair.pod] if repair.replace else []
            self._decisions.append(
                recording.waits(repair.pod.ref, "", [repair.pod], repair.verdict, self._now, replaced)
            )
        for claim in repairs.unused(index, managed):
            if claim.key not in released:
                self._decisions.append(recording.deallocated(claim, self._now))
        return frozenset(leaving)

    def _device_faults(
        self, board: Board, managed: repairs.Managed
    ) -> Iterator[repairs.Repair | repairs.Release]:
        index, policy, now = self._index, self._policy, self._now
        users = self._claim_users
        fleet = self._memory.fleet(index.snapshot, policy)
        yield from evicting.tainted(index, fleet, users, managed, now, policy.taint_patience_seconds)
        yield from binding.failed(
            index, users, managed, now, policy.binding_timeout_seconds, policy.bind_patience_seconds
        )
        yield from held_twice(index, self._resources, managed)
        yield from abandoned(board.in_flight, now, policy.bind_patience_seconds)

    def _gang(
        self,
        gang: Gang,
        facts: Sequence[PodFacts],
        leaving: frozenset[Key],
        placer: Placer,
        explainer: Explainer,
    ) -> None:
        """Decide for one workload: what must start together, then what may start one by one."""
        todo = sorted((item for item in facts if item.pod.key not in leaving), key=lambda item: item.pod.key)
        if not todo:
            return
        waiting_keys = {item.pod.key for item in facts}
        active = sum(1 for pod in gang.members if pod.key not in waiting_keys)
        needed = max(0, gang.minimum - active)
        verdict = too_early(gang, todo, needed, self._tree)
        if verdict is None and self._policy.strict_fifo and gang.queue in self._blocking:
            blocker = Fact(test="queueOrder", subject=str(self._blocking[gang.queue]))
            verdict = Verdict(reason=Reason.BEHIND_IN_QUEUE, facts=(blocker,))
        if verdict is not None:
            self._wait(gang, todo, verdict)
            return
        ready = [item for item in todo if not item.gated_by_others and item.claims.problem is None]
        ready.sort(key=_packing_order)
        together, rest = ready[:needed], ready[needed:]
        placements: list[PodPlacement] = []
        if together:
            found = self._place(gang, together, placer, explainer)
            if isinstance(found, Verdict):
                self._wait(gang, todo, found)
                return
            placements += found
        left: list[tuple[PodFacts, Verdict]] = []
        for item in rest:
            alone = self._place(gang, [item], placer, explainer)
            if isinstance(alone, Verdict):
                left.append((item, alone))
            else:
                placements += alone
        go, later = self._settling.split(placements)
        kept = [item for item in later if item.reserved or len(item.allocated) > 1]
        if go or kept:
            self._decisions.append(recording.placed(gang.ref, gang.queue, go, self._now, kept))
        left += [(item.facts, settling_verdict(item.node)) for item in later]
        held_up = [item for item in todo if item.gated_by_others or item.claims.problem is not None]
        left += [(item, _own_blocker(gang, item, self._tree)) for item in held_up]
        if left:
            self._wait(gang, [item for item, _ in left], left[0][1])

    def _place(
        self, gang: Gang, pods: Sequence[PodFacts], placer: Placer, explainer: Explainer
    ) -> list[PodPlacement] | Verdict:
        """Place the pods or say why they cannot be; equal pods that failed before fail at once."""
        shapes = _shapes(pods, placer.state)
        keys = [(None, shapes), (gang.queue, shapes)] if shapes is not None else []
        for key in keys:
            known = self._failed.get(key)
            if known is not None:
                return known
        found = placer.place(pods, gang.queue, self._meeting_point(pods, placer))
        if not isinstance(found, Failure):
            return found
        others = [item.alternative or item for item in pods]
        if any(item.alternative for item in pods):
            again = placer.place(others, gang.queue)
            if not isinstance(again, Failure):
                return again
            pods, found = others, again
        verdict = explainer.explain(gang, pods, found)
        if keys and verdict.reason is not Reason.INVALID_CLAIM:
            self._failed[keys[1] if verdict.reason is Reason.OVER_LIMIT else keys[0]] = verdict
        return verdict

    def _meeting_point(self, pods: Sequence[PodFacts], placer: Placer) -> int | None:
        """Where to start a pod whose new claim other waiting pods share, so that they find room beside it."""
        if len(pods) != 1 or pods[0].claims_shape is not None or not pods[0].wanted:
            return None
        own = pods[0]
        sharers: dict[Key, PodFacts] = {}
        for claim in own.wanted:
            if placer.state.claims.allocation(claim) is not None:
                continue
            for other in self._users.get(claim.key, ()):
                if other.pod.key != own.pod.key and not other.gated_by_others:
                    sharers[other.pod.key] = other
        return placer.meeting_point([own, *sharers.values()]) if sharers else None

    def _wait(self, gang: Gang, todo: Sequence[PodFacts], verdict: Verdict) -> None:
        """Record that pods of a workload wait.

        Pods whose own claims were written for a place that the gang cannot use any more are replaced, so
        that they do not hold devices for nothing.
        """
        room = room_reason(verdict.reason)
        if room and gang.queue:
            self._blocking.setdefault(gang.queue, gang.ref)
        replaced: list[Pod] = []
        if room and verdict.reason is not Reason.BEHIND_IN_QUEUE:
            waiting = [item.pod for item in todo if item.gated]
            for claim in repairs.idle_shared(waiting, self._index, self._claim_users, self._managed):
                if claim.key not in self._released:
                    self._released.add(claim.key)
                    self._decisions.append(recording.deallocated(claim, self._now))
            replaced = [
                item.pod for item in todo if item.written and item.pod.metadata.controller is not None
            ]
        pods = [item.pod for item in todo]
        self._decisions.append(recording.waits(gang.ref, gang.queue, pods, verdict, self._now, replaced))

    def _ranked(self) -> list[Decision]:
        """The decisions, with each waiting one's position in its queue and how often it was overtaken."""
        position: dict[str, int] = {}
        placed_behind: dict[str, int] = {}
        found: list[Decision] = []
        for decision in reversed(self._decisions):
            if decision.placements:
                placed_behind[decision.queue] = placed_behind.get(decision.queue, 0) + 1
            elif decision.verdict is not None and room_reason(decision.verdict.reason):
                overtakers = placed_behind.get(decision.queue, 0)
                if overtakers:
                    fact = Fact(test="overtaken", count=overtakers, unit="workloads")
                    verdict = msgspec.structs.replace(decision.verdict, facts=(*decision.verdict.facts, fact))
                    decision = msgspec.structs.replace(decision, verdict=verdict)
            found.append(decision)
        found.reverse()
        for number, decision in enumerate(found):
            if decision.verdict is not None and decision.pods:
                place = position[decision.queue] = position.get(decision.queue, 0) + 1
                found[number] = msgspec.structs.replace(decision, position=place)
        return found


def _own_blocker(gang: Gang, item: PodFacts, tree: QueueTree) -> Verdict:
    verdict = too_early(gang, [item], 1, tree, alone=True)
    assert verdict is not None
    return verdict


def _packing_order(facts: PodFacts) -> tuple[object, ...]:
    """Pods that are tied to a place go first, then those that want most."""
    devices = sum(len(claim.spec.devices.requests) for claim in facts.wanted)
    requests = facts.traits.demand.requests
    return (not facts.held, -devices, -requests.get("cpu", 0), -requests.get("memory", 0), facts.pod.key)


def _shapes(pods: Sequence[PodFacts], state: ClusterState) -> tuple[object, ...] | None:
    """Equal for pods of which one cannot be placed if the other could not, in this order of decisions.

    Pods that share claims are alike if they share the same ones, as long as those stay without devices. Where
    pods on nodes avoid others, labels matter. None for pods with affinity of their own: more pods to be near
    may come to stand somewhere.
    """
    found: list[object] = []
    for item in pods:
        if item.traits.social:
            return None
        if state.neighbours.concerns(item.pod):
            meta = item.pod.metadata
            found.append((meta.namespace, tuple(sorted(meta.labels.items()))))
        if item.shape is not None:
            found.append(item.shape)
            continue
        traits = item.traits
        claims = tuple(
            (claim.key, state.claims.allocation(claim) is not None) for claim in item.claims.claims
        )
        found.append((traits.constraints, claims, traits.demand.items, traits.demand.ports))
    return tuple(found)
