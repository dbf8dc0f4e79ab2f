"""The cluster and the workloads on it, and everything that can happen to a pod.

Each change is made in all places at once: the object in the cluster, the member's phase, the meter, the
agenda.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from msgspec.structs import replace

from aliquot.fractions.groups import GROUPS_ANNOTATION
from aliquot.model.core import PLACEMENT_GATE, Pod
from aliquot.model.index import Key
from aliquot.model.meta import Condition
from aliquot.model.resource import DELETE_PROTECTION, ResourceClaim
from aliquot.model.verdicts import PLACED, Reason
from aliquot.scheduling.claims import claim_keys, owned_by
from aliquot.scheduling.plan import Allocate, Deallocate, Placement, Reserve, Staleness
from aliquot.simulation import draws
from aliquot.simulation.agenda import Agenda, PodGone, PodStarts, WorkTurns
from aliquot.simulation.cluster import Cluster
from aliquot.simulation.meter import Meter
from aliquot.simulation.objects import Maker
from aliquot.simulation.results import Cause, Interruption
from aliquot.simulation.settings import Settings
from aliquot.simulation.standing import Member, Phase, Standing
from aliquot.simulation.workload import Workload
from aliquot.workloads.labels import STALE_SINCE


class World:
    """workloads: in order of submission; standings: of those that were submitted, by number.

    owners: the workload of each of their pods; on_node: their pods by node. whole: the devices of each node
    that is in order, in billionths. now: seconds of virtual time.
    """

    def __init__(
        self, cluster: Cluster, workloads: Sequence[Workload], settings: Settings, maker: Maker, meter: Meter
    ) -> None:
        self.cluster = cluster
        self.workloads = workloads
        self.settings = settings
        self.meter = meter
        self.agenda = Agenda()
        self.standings: dict[int, Standing] = {}
        self.owners: dict[Key, int] = {}
        self.on_node: dict[str, set[Key]] = {}
        self.whole = {name: machine.rates.devices for name, machine in meter.machines.items()}
        self.now = 0
        self._maker = maker

    def moment(self, seconds: int) -> datetime:
        """The moment of a time of the simulation."""
        return self.settings.start + timedelta(seconds=seconds)

    def submit(self, number: int) -> None:
        """The workload comes; its pods wait."""
        workload = self.workloads[number]
        standing = self.standings[number] = Standing(
            number=number, since=self.now, queued_since=min(workload.submitted, self.now)
        )
        self.meter.spare.arrived(workload)
        if workload.objects:
            self._adopt(workload, standing)
            return
        standing.attempts = [0] * workload.pods
        for slot in range(workload.pods):
            self._make(workload, standing, slot)
        self.meter.submitted(workload, standing)

    def _adopt(self, workload: Workload, standing: Standing) -> None:
        """The workload's objects are in the cluster, some of its pods perhaps on nodes."""
        for item in workload.objects:
            if isinstance(item, ResourceClaim):
                self.cluster.claims.put(item)
                continue
            slot = len(standing.members)
            self.cluster.pods.put(item)
            self.owners[item.key] = standing.number
            standing.attempts.append(1)
            standing.members[item.name] = Member(slot=slot, name=item.name, devices=workload.amounts[slot])
        self.meter.submitted(workload, standing)
        standing.done = standing.saved = workload.worked_seconds * workload.pods
        if workload.checkpoint_seconds is None:
            standing.saved = 0
        for item in workload.objects:
            if isinstance(item, ResourceClaim) or not item.spec.node_name:
                continue
            member = standing.members[item.name]
            member.node = item.spec.node_name
            member.phase = Phase.STARTING
            self._settle(workload, standing, member)
            if item.metadata.deletion_timestamp is not None:
                member.phase = Phase.LEAVING
                left = item.metadata.deletion_timestamp - self.settings.start
                gone = max(self.now + 1, int(left.total_seconds()))
                self.agenda.add(gone, PodGone(standing.number, member.name))
            elif item.status.phase == "Running":
                member.phase = Phase.RUNNING
            else:
                self.agenda.add(
                    self.now + self._delay(standing, member), PodStarts(standing.number, item.name)
                )
        if not standing.count(Phase.WAITING, Phase.STARTING, Phase.RUNNING):
            # All of it is on its way out, and nothing takes its place.
            standing.placed = standing.started = min(self.now, workload.started or self.now)
            standing.finished, standing.queued_since = self.now, None
            self.meter.finished(workload, standing)
            return
        standing.promised = self._promised(workload, standing)
        standing.wait(workload, self.now)
        if standing.placed is not None:
            standing.placed = workload.started if workload.started is not None else self.now
            standing.queued = standing.placed - workload.submitted
            if standing.count(Phase.RUNNING) >= workload.minimum:
                standing.started = standing.placed
                # What it says of its start-up was part of the time that it has run already.
                standing.ready = self.now
        self._work(workload, standing)

    def _promised(self, workload: Workload, standing: Standing) -> bool:
        """Whether pods of it that wait say that room was promised to them."""
        pods = (self.cluster.pods.get((workload.namespace, name)) for name in standing.members)
        return any(
            item.type == PLACED and item.reason == Reason.ROOM_PROMISED.value
            for pod in pods
            if pod is not None and not pod.spec.node_name
            for item in pod.status.conditions
        )

    def _settle(self, workload: Workload, standing: Standing, member: Member) -> None:
        """Count a pod on its node."""
        key = (workload.namespace, member.name)
        self.on_node.setdefault(member.node, set()).add(key)
        self.meter.placed(workload, standing, member)
        pod = self.cluster.pods.get(key)
        self.meter.spare.take(member.node, key, workload, self._devices_of(pod) if pod is not None else ())

    def _devices_of(self, pod: Pod) -> list[str]:
        """ "driver/pool/device" of what the pod's claims were given."""
        found = []
        for key in claim_keys(pod):
            claim = self.cluster.claims.get(key)
            if claim is not None and claim.status.allocation is not None:
                results = claim.status.allocation.devices.results
                found += [f"{item.driver}/{item.pool}/{item.device}" for item in results]
        return found

    def _delay(self, standing: Standing, member: Member) -> int:
        """How long a pod that has its node takes until it runs."""
        mean = self.settings.pod_start_seconds
        return draws.around(self.settings.seed, "start", _draw(standing, member), mean)

    def _make(self, workload: Workload, standing: Standing, slot: int, before: Pod | None = None) -> None:
        """A pod waits, with its claims; before: the one that it replaces, where that was no made one."""
        attempt = standing.attempts[slot]
        if before is None:
            pod, claims = self._maker.objects(workload, standing.number, slot, attempt)
        else:
            pod, claims = self._maker.again(before, self._own_claims(before), attempt)
        standing.attempts[slot] = attempt + 1
        devices = workload.amounts[slot] if workload.amounts else workload.devices_of_pod
        standing.members[pod.name] = Member(slot=slot, name=pod.name, devices=devices)
        self.owners[pod.key] = standing.number
        self.cluster.pods.put(pod)
        for claim in claims:
            self.cluster.claims.put(claim)

    def _own_claims(self, pod: Pod) -> list[ResourceClaim]:
        """The claims that were made for a pod and go with it."""
        found = (self.cluster.claims.get(key) for key in claim_keys(pod))
        return [claim for claim in found if claim is not None and owned_by(claim, pod)]

    def bind(self, spot: Placement) -> None:
        """A pod gets its node, and runs there some time later."""
        key = (spot.pod.namespace, spot.pod.name)
        pod = self.cluster.pods.get(key)
        number = self.owners.get(key)
        if pod is None or number is None or pod.spec.node_name:
            return
        standing, workload = self.standings[number], self.workloads[number]
        member = standing.members[pod.name]
        delay = self._delay(standing, member)
        gates = tuple(gate for gate in pod.spec.scheduling_gates if gate.name != PLACEMENT_GATE)
        meta = pod.metadata
        if spot.groups:
            meta = replace(meta, annotations=meta.annotations | {GROUPS_ANNOTATION: ",".join(spot.groups)})
        status = replace(
            pod.status,
            phase="Pending" if delay else "Running",
            start_time=self.moment(self.now),
            conditions=_without_promise(pod.status.conditions),
        )
        spec = replace(pod.spec, node_name=spot.node, scheduling_gates=gates)
        self.cluster.pods.put(replace(pod, metadata=meta, spec=spec, status=status))
        standing.advance(workload, self.now)
        member.node = spot.node
        member.phase = Phase.STARTING
        self._settle(workload, standing, member)
        if delay:
            self.agenda.add(self.now + delay, PodStarts(number, pod.name))
            standing.wait(workload, self.now)
            return
        member.phase = Phase.RUNNING
        standing.wait(workload, self.now)
        self._work(workload, standing)

    def starts(self, event: PodStarts) -> None:
        """A pod begins to run, unless it has left meanwhile."""
        standing = self.standings.get(event.number)
        member = standing.members.get(event.pod) if standing is not None else None
        if standing is None or member is None or member.phase is not Phase.STARTING:
            return
        workload = self.workloads[event.number]
        pod = self.cluster.pods.get((workload.namespace, member.name))
        if pod is not None:
            self.cluster.pods.put(replace(pod, status=replace(pod.status, phase="Running")))
        member.phase = Phase.RUNNING
        self._work(workload, standing)

    def _work(self, workload: Workload, standing: Standing) -> None:
        turns = standing.work(workload, self.now)
        if turns is not None:
            self.agenda.add(turns, WorkTurns(standing.number, standing.epoch))

    def turns(self, event: WorkTurns) -> bool:
        """A workload's start-up or work is over, if that still holds; whether it is done for good."""
        standing = self.standings.get(event.number)
        if standing is None or standing.epoch != event.epoch or standing.finished is not None:
            return False
        workload = self.workloads[event.number]
        standing.advance(workload, self.now)
        if standing.began is None or standing.left(workload) != 0:
            self._work(workload, standing)
            return False
        self._finish(workload, standing)
        return True

    def _finish(self, workload: Workload, standing: Standing) -> None:
        for member in list(standing.members.values()):
            self._remove(workload, standing, member)
        standing.finished = self.now
        standing.epoch += 1
        standing.began = standing.ready = None
        standing.rate = 0
        self.meter.finished(workload, standing)

    def interrupt(
        self,
        number: int,
        names: Iterable[str],
        cause: Cause,
        grace: int,
        beneficiary: str = "",
    ) -> None:
        """Pods of a workload lose their places, each after its grace, and new ones wait instead."""
        workload, standing = self.workloads[number], self.standings[number]
        standing.advance(workload, self.now)
        before = standing.lost
        members = [standing.members[name] for name in names if name in standing.members]
        members = [member for member in members if member.phase is not Phase.LEAVING]
        if not members:
            return
        held = sum(member.devices for member in members if member.phase is not Phase.WAITING)
        for member in members:
            before_it = self.cluster.pods.get((workload.namespace, member.name)) if workload.objects else None
            self._make(workload, standing, member.slot, before_it)
            if member.phase is Phase.WAITING or grace <= 0:
                self._remove(workload, standing, member)
            else:
                self._let_leave(workload, standing, member, grace)
            self.meter.made_again(workload, standing, member)
        standing.wait(workload, self.now)
        self._work(workload, standing)
        if cause.decided:
            standing.evictions += 1
        else:
            standing.failures += 1
        lost = (standing.lost - before) // workload.pods
        self.meter.interrupted(
            Interruption(
                time=self.now,
                namespace=workload.namespace,
                name=workload.name,
                queue=workload.queue,
                cause=cause,
                pods=len(members),
                devices=held,
                lost=lost,
                beneficiary=beneficiary,
            )
        )

    def _let_leave(self, workload: Workload, standing: Standing, member: Member, grace: int) -> None:
        pod = self.cluster.pods.get((workload.namespace, member.name))
        if pod is not None:
            gone = self.moment(self.now + grace)
            self.cluster.pods.put(replace(pod, metadata=replace(pod.metadata, deletion_timestamp=gone)))
        member.phase = Phase.LEAVING
        self.agenda.add(self.now + grace, PodGone(standing.number, member.name))

    def gone(self, event: PodGone) -> bool:
        """A pod that leaves is gone; False if it was before."""
        standing = self.standings.get(event.number)
        member = standing.members.get(event.pod) if standing is not None else None
        if standing is None or member is None or member.phase is not Phase.LEAVING:
            return False
        self._remove(self.workloads[event.number], standing, member)
        return True

    def clear(self, node: str) -> None:
        """Pods that were leaving a node are gone with it."""
        for key in sorted(self.on_node.get(node, ())):
            standing = self.standings[self.owners[key]]
            member = standing.members[key[1]]
            if member.phase is Phase.LEAVING:
                self._remove(self.workloads[standing.number], standing, member)

    def _remove(self, workload: Workload, standing: Standing, member: Member) -> None:
        key = (workload.namespace, member.name)
        pod = self.cluster.pods.remove(key)
        self.owners.pop(key, None)
        if member.node:
            self.on_node[member.node].discard(key)
            self.meter.spare.give(member.node, key, workload)
        del standing.members[member.name]
        if pod is not None:
            self._release(pod)
        self.meter.removed(workload, standing, member)

    def _release(self, pod: Pod) -> None:
        """Claims that were made for the pod go with it; others lose its reservation, and with the last one
        their allocation."""
        for key in claim_keys(pod):
            claim = self.cluster.claims.get(key)
            if claim is None:
                continue
            if owned_by(claim, pod):
                self.cluster.claims.remove(claim.key)
                continue
            left = tuple(item for item in claim.status.reserved_for if item.uid != pod.metadata.uid)
            if len(left) != len(claim.status.reserved_for):
                allocation = claim.status.allocation if left else None
                status = replace(claim.status, reserved_for=left, allocation=allocation)
                self.cluster.claims.put(replace(claim, status=status))

    def write(self, action: Allocate | Reserve | Deallocate) -> None:
        """A claim is allocated, reserved or given back."""
        claim = self.cluster.claims.get((action.claim.namespace, action.claim.name))
        if claim is not None:
            self.cluster.claims.put(_written(claim, action, self.moment(self.now)))

    def promise(self, number: int, promised: bool) -> None:
        """Note on the waiting pods of a workload that room was promised to it, or is not any more."""
        standing = self.standings[number]
        if standing.promised == promised:
            return
        standing.promised = promised
        for member in standing.members.values():
            pod = self.cluster.pods.get((self.workloads[number].namespace, member.name))
            if pod is None or member.phase is not Phase.WAITING:
                continue
            conditions = _without_promise(pod.status.conditions)
            if promised:
                told = Condition(
                    type=PLACED,
                    status="False",
                    reason=Reason.ROOM_PROMISED.value,
                    last_transition_time=self.moment(self.now),
                )
                conditions = (*conditions, told)
            self.cluster.pods.put(replace(pod, status=replace(pod.status, conditions=conditions)))

    def note_staleness(self, found: Staleness) -> None:
        """Write on the pods of a gang since when it has had too few members, or that it has enough."""
        for ref in found.pods:
            pod = self.cluster.pods.get((ref.namespace, ref.name))
            if pod is None:
                continue
            kept = {name: text for name, text in pod.metadata.annotations.items() if name != STALE_SINCE}
            if found.since is not None:
                kept[STALE_SINCE] = found.since.isoformat()
            self.cluster.pods.put(replace(pod, metadata=replace(pod.metadata, annotations=kept)))


def _draw(standing: Standing, member: Member) -> int:
    """A number of its own for every pod of the simulation."""
    return (standing.number << 24) + (member.slot << 8) + standing.attempts[member.slot] % 256


def _without_promise(conditions: tuple[Condition, ...]) -> tuple[Condition, ...]:
    if not conditions:
        return conditions
    return tuple(item for item in conditions if item.type != PLACED)


def _written(claim: ResourceClaim, action: Allocate | Reserve | Deallocate, now: datetime) -> ResourceClaim:
    status = claim.status
    if isinstance(action, Deallocate):
        return replace(claim, status=replace(status, allocation=None, reserved_for=(), devices=()))
    known = status.reserved_for
    reserved = (*known, *(item for item in action.consumers if item not in known))
    if isinstance(action, Reserve):
        return replace(claim, status=replace(status, reserved_for=reserved))
    allocation = replace(action.allocation, allocation_timestamp=now)
    meta = claim.metadata
    if DELETE_PROTECTION not in meta.finalizers:
        meta = replace(meta, finalizers=(*meta.finalizers, DELETE_PROTECTION))
    return replace(claim, metadata=meta, status=replace(status, allocation=allocation, reserved_for=reserved))
