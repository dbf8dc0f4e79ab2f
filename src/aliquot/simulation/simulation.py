"""The event loop of virtual time: what happens, then a decision about it, then what it leads to.

    simulation = Simulation.of(snapshot, workloads, Settings(until=86_400))
    result = simulation.run()

`decide` is the production one, and what it gets is a real Snapshot. It knows nothing that a cluster would
not tell: run times only where workloads say them.
"""

from collections.abc import Callable, Iterable, Sequence

from msgspec.structs import replace

from aliquot.model.meta import ObjectRef
from aliquot.model.snapshot import Snapshot
from aliquot.model.verdicts import Reason
from aliquot.queues.tree import QueueTree
from aliquot.scheduling.decide import decide
from aliquot.scheduling.memory import Memory
from aliquot.scheduling.plan import Allocate, Deallocate, Decision, Evict, Plan, Reserve
from aliquot.scheduling.policy import Policy, fairness
from aliquot.simulation import objects
from aliquot.simulation.agenda import MachineFails, MachineReturns, PodGone, PodStarts, SpotGone, WorkTurns
from aliquot.simulation.cluster import Cluster
from aliquot.simulation.meter import Machine, Meter, in_order
from aliquot.simulation.rates import node_rates
from aliquot.simulation.results import Cause, Outcome, Result, WorkloadResult
from aliquot.simulation.settings import Settings
from aliquot.simulation.standing import Standing
from aliquot.simulation.workload import Workload
from aliquot.simulation.world import World

_CAUSES = {
    Reason.RECLAIMED: Cause.RECLAIMED,
    Reason.PREEMPTED: Cause.PREEMPTED,
    Reason.CONSOLIDATED: Cause.CONSOLIDATED,
    Reason.GANG_BROKEN: Cause.GANG_BROKEN,
    Reason.DEVICE_EVICTED: Cause.DEVICE_EVICTED,
}

Observe = Callable[["Simulation"], None]
"""Called after every decision, for progress and for saving; it must not change anything."""


class Simulation:
    """One simulation under way. `now`: seconds of virtual time."""

    def __init__(self, world: World, policy: Policy, devices: int, queues: tuple[str, ...]) -> None:
        self.world = world
        self.policy = policy
        self.settings = world.settings
        self.last_plan = Plan()
        self._memory = Memory()
        self._arrived = 0
        self._due: int | None = None
        self._decided: int | None = None
        self._acted = False
        self._next_sample = 0
        self._running = 0
        self._devices = devices
        self._nodes = len(world.cluster.nodes)
        self._queues = queues
        self._complete = False

    @staticmethod
    def of(
        snapshot: Snapshot,
        workloads: Iterable[Workload],
        settings: Settings | None = None,
        policy: Policy | None = None,
    ) -> "Simulation":
        """A simulation that starts with a cluster as it is and has these workloads come to it.

        Pods of the snapshot that hold devices keep them for ever, unless they are among the objects of a
        workload. Raises FormError for a workload that the cluster's devices cannot express.
        """
        settings, policy = settings or Settings(), policy or Policy()
        ordered = sorted(workloads, key=lambda item: (item.submitted, item.namespace, item.name))
        form = objects.Form.of(snapshot)
        for workload in ordered:
            objects.check(workload, form)
        namespaces = (*snapshot.namespaces, *objects.namespaces(ordered, snapshot))
        snapshot = replace(snapshot, namespaces=tuple(sorted(namespaces, key=lambda item: item.key)))
        machines = _machines(snapshot)
        tree = QueueTree.of(snapshot.queues)
        meter = Meter(machines, tree, fairness(policy))
        world = World(Cluster(snapshot), ordered, settings, objects.Maker(form, settings.start), meter)
        devices = sum(machine.rates.devices for machine in machines.values())
        return Simulation(world, policy, devices, tuple(tree.names))

    @property
    def now(self) -> int:
        return self.world.now

    @property
    def finished(self) -> int:
        """How many workloads are done."""
        return len(self.world.standings) - len(self.world.meter.placed_set) - len(self.world.meter.waiting)

    def run(self, observe: Observe | None = None) -> Result:
        """Go on to the end."""
        while self.step():
            if observe is not None:
                observe(self)
        return self.result()

    def step(self) -> bool:
        """Go on until one decision more is made; False at the end."""
        decisions = self.world.meter.decisions
        while self.world.meter.decisions == decisions:
            if self._complete or not self._advance():
                self._complete = True
                return False
        return True

    def _advance(self) -> bool:
        """Everything that happens at the next moment at which anything does."""
        moment = self._next()
        until = self.settings.until
        if moment is None or (until is not None and moment > until):
            self._move(max(self.now, until) if until is not None else self.now)
            return False
        self._move(moment)
        changed = self._arrivals()
        changed = self._events() or changed
        if changed:
            self._mark(moment)
        if self._due is not None and self._due <= moment:
            self._decide()
        if self._next_sample <= moment and self.settings.sample_seconds:
            self.world.meter.sample(moment)
            self._next_sample = moment + self.settings.sample_seconds
        return True

    def _move(self, moment: int) -> None:
        self.world.meter.tick(moment)
        self.world.now = moment

    def _next(self) -> int | None:
        """The next moment at which something happens; None if nothing ever will."""
        times = [] if self._due is None else [self._due]
        if self._arrived < len(self.world.workloads):
            times.append(self.world.workloads[self._arrived].submitted)
        first = self.world.agenda.next()
        if first is not None:
            times.append(first)
        if not times:
            return None
        if not self._alive():
            return None
        if self.settings.sample_seconds:
            times.append(max(self._next_sample, self.now))
        return min(times)

    def _alive(self) -> bool:
        """Whether anything can still become of a workload."""
        meter = self.world.meter
        if self._arrived < len(self.world.workloads) or meter.placed_set:
            return True
        if not meter.waiting:
            return False
        return self._acted or self._due is None or self._due <= self.now or bool(self.world.agenda.entries)

    def _mark(self, moment: int) -> None:
        """Something changed: decide at the next multiple of the decision interval."""
        interval = max(1, self.settings.decision_seconds)
        due = -(-moment // interval) * interval
        if self._decided is not None and due <= self._decided:
            due = self._decided + interval
        if self._due is None or due < self._due:
            self._due = due

    def _arrivals(self) -> bool:
        world = self.world
        before = self._arrived
        while self._arrived < len(world.workloads) and world.workloads[self._arrived].submitted <= world.now:
            world.submit(self._arrived)
            self._arrived += 1
        world.meter.events += self._arrived - before
        return self._arrived > before

    def _events(self) -> bool:
        """What is due; whether the cluster has other room or other work by that."""
        world = self.world
        changed = False
        while (event := world.agenda.take(world.now)) is not None:
            world.meter.events += 1
            if isinstance(event, PodStarts):
                world.starts(event)
            elif isinstance(event, PodGone):
                changed = world.gone(event) or changed
            elif isinstance(event, WorkTurns):
                changed = world.turns(event) or changed
            elif isinstance(event, (MachineFails, MachineReturns, SpotGone)):
                changed = True
        return changed

    def _decide(self) -> None:
        world = self.world
        now = world.now
        plan = decide(world.cluster.snapshot(), self.policy, world.moment(now), memory=self._memory)
        self.last_plan = plan
        world.meter.decisions += 1
        self._decided, self._due = now, None
        self._acted = self._enact(plan)
        if self._acted and any(isinstance(action, Deallocate) for action in plan.actions):
            self._mark(now + 1)
        elif world.meter.waiting or world.meter.placed_set:
            again = now + max(1, self.settings.again_seconds)
            self._due = again if self._due is None else min(self._due, again)

    def _enact(self, plan: Plan) -> bool:
        """Carry out a plan; whether it changed anything."""
        world = self.world
        acted = False
        for decision in plan.decisions:
            acted = self._evict(decision) or acted
        for decision in plan.decisions:
            for action in decision.actions:
                if isinstance(action, (Allocate, Reserve, Deallocate)):
                    world.write(action)
                    acted = True
            for spot in decision.placements:
                world.bind(spot)
                acted = True
            self._tell(decision)
        for found in plan.staleness:
            world.note_staleness(found)
        return acted

    def _evict(self, decision: Decision) -> bool:
        leaving: dict[tuple[int, Cause], list[str]] = {}
        for action in decision.actions:
            if not isinstance(action, Evict):
                continue
            number = self.world.owners.get((action.pod.namespace, action.pod.name))
            if number is not None:
                cause = _CAUSES.get(action.verdict.reason, Cause.OTHER_EVICTION)
                leaving.setdefault((number, cause), []).append(action.pod.name)
        own = self._numbers(decision.pods)
        beneficiary = f"{decision.workload.namespace}/{decision.workload.name}"
        for (number, cause), names in leaving.items():
            for_whom = "" if number in own else beneficiary
            self.world.interrupt(number, names, cause, self.settings.grace_seconds, for_whom)
        return bool(leaving)

    def _numbers(self, pods: Sequence[ObjectRef]) -> set[int]:
        found = (self.world.owners.get((pod.namespace, pod.name)) for pod in pods)
        return {number for number in found if number is not None}

    def _tell(self, decision: Decision) -> None:
        """Note why a workload waits, and whether it was promised room."""
        verdict = decision.verdict
        for number in self._numbers(decision.pods[:1]):
            standing = self.world.standings[number]
            standing.reason = "" if verdict is None else verdict.reason.value
            promised = verdict is not None and verdict.reason is Reason.ROOM_PROMISED
            self.world.promise(number, promised)

    def result(self) -> Result:
        """What has come of it so far."""
        world = self.world
        found = []
        useful = lost = 0
        for standing in world.standings.values():
            workload = world.workloads[standing.number]
            standing.advance(workload, world.now)
            useful += standing.done * workload.devices_of_pod
            lost += standing.lost * workload.devices_of_pod
            found.append(_result_of(workload, standing, world.now))
        meter = world.meter
        states = [item.outcome for item in found]
        totals = replace(
            meter.totals(),
            useful=useful,
            lost=lost,
            submitted=len(found),
            finished=states.count(Outcome.FINISHED),
            running=states.count(Outcome.RUNNING),
            waiting=states.count(Outcome.WAITING),
        )
        return Result(
            label=self.settings.label,
            seed=self.settings.seed,
            start=self.settings.start,
            seconds=world.now,
            complete=self._complete,
            nodes=self._nodes,
            devices=self._devices,
            queues=self._queues,
            workloads=tuple(found),
            samples=tuple(meter.samples),
            interruptions=tuple(meter.interruptions),
            totals=totals,
        )


def _result_of(workload: Workload, standing: Standing, now: int) -> WorkloadResult:
    if standing.finished is not None:
        outcome = Outcome.FINISHED
    else:
        outcome = Outcome.WAITING if standing.queued_since is not None else Outcome.RUNNING
    waiting = now - standing.queued_since if standing.queued_since is not None else 0
    return WorkloadResult(
        namespace=workload.namespace,
        name=workload.name,
        kind=workload.kind,
        queue=workload.queue,
        priority=workload.priority,
        pods=workload.pods,
        devices=workload.devices_of_all,
        submitted=workload.submitted,
        run_seconds=workload.run_seconds,
        placed=standing.placed,
        started=standing.started,
        finished=standing.finished,
        queued=standing.queued + (waiting if outcome is Outcome.WAITING else 0),
        worked=standing.done // workload.pods,
        lost=standing.lost // workload.pods,
        evictions=standing.evictions,
        failures=standing.failures,
        outcome=outcome,
        reason=standing.reason if outcome is Outcome.WAITING else "",
    )


def _machines(snapshot: Snapshot) -> dict[str, Machine]:
    by_node: dict[str, list[object]] = {}
    for item in snapshot.resource_slices:
        if item.spec.node_name:
            by_node.setdefault(item.spec.node_name, []).append(item)
    return {
        node.name: Machine(node_rates(node, by_node.get(node.name, [])), ready=in_order(node))  # type: ignore[arg-type]
        for node in snapshot.nodes
    }
