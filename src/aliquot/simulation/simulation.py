"""The event loop of virtual time: what happens, then a decision about it, then what it leads to.

    simulation = Simulation.of(snapshot, workloads, Settings(until=86_400))
    result = simulation.run()

`decide` is the production one, and what it gets is a real Snapshot. It knows nothing that a cluster would
not tell: run times only where workloads say them.
"""

from collections.abc import Callable, Iterable, Sequence

from msgspec.structs import replace

from aliquot.model.resource import ResourceSlice
from aliquot.model.snapshot import Snapshot
from aliquot.queues.tree import QueueTree
from aliquot.scheduling.decide import decide
from aliquot.scheduling.memory import Memory
from aliquot.scheduling.plan import Plan
from aliquot.scheduling.policy import Policy, fairness
from aliquot.simulation import objects, saving
from aliquot.simulation.agenda import PodGone, PodStarts, WorkTurns
from aliquot.simulation.cluster import Cluster
from aliquot.simulation.enacting import enact, goes_on
from aliquot.simulation.machines import Machines
from aliquot.simulation.meter import Machine, Meter
from aliquot.simulation.past import note_use
from aliquot.simulation.rates import in_order, node_rates
from aliquot.simulation.results import Result
from aliquot.simulation.saving import Pace, Saved
from aliquot.simulation.settings import Settings
from aliquot.simulation.spare import Spare
from aliquot.simulation.summary import result_of
from aliquot.simulation.workload import Workload
from aliquot.simulation.world import World

MOST_PATIENCE = 16
"""While nothing changes, the time between decisions doubles up to so many times the first."""

Observe = Callable[["Simulation"], None]
"""Called after every decision, for progress and for saving; it must not change anything."""


class Simulation:
    """One simulation under way. last_snapshot, last_plan: what was decided about last, and how."""

    def __init__(
        self,
        snapshot: Snapshot,
        workloads: Sequence[Workload],
        settings: Settings,
        policy: Policy,
        form: objects.Form,
    ) -> None:
        slices = _by_node(snapshot)
        machines = {
            node.name: Machine(node_rates(node, slices.get(node.name, ())), ready=in_order(node))
            for node in snapshot.nodes
        }
        self._tree = QueueTree.of(snapshot.queues)
        spare = Spare(snapshot.nodes, slices, {name: item.rates for name, item in machines.items()})
        meter = Meter(machines, self._tree, fairness(policy), spare)
        self.world = World(Cluster(snapshot), workloads, settings, objects.Maker(form, settings.start), meter)
        self.policy = policy
        self.settings = settings
        self.pace = Pace()
        self.last_snapshot = snapshot
        self.last_plan = Plan()
        self._machines = Machines(self.world, snapshot)
        self._memory = Memory()
        self._whole = sum(machine.rates.devices for machine in machines.values())
        self._snapshot = snapshot
        self._fingerprint = ""

    @staticmethod
    def of(
        snapshot: Snapshot,
        workloads: Iterable[Workload],
        settings: Settings | None = None,
        policy: Policy | None = None,
    ) -> "Simulation":
        """A simulation that starts with a cluster as it is and has these workloads come to it.

        Pods of the snapshot keep what they hold for ever, unless they are among the objects of a workload
        (`aliquot.simulation.adoption`). Raises FormError for a workload that the cluster's devices cannot
        express.
        """
        found = _prepared(snapshot, workloads, settings or Settings(), policy or Policy())
        found._machines.begin()
        return found

    @staticmethod
    def resumed(
        data: bytes,
        snapshot: Snapshot,
        workloads: Iterable[Workload],
        settings: Settings | None = None,
        policy: Policy | None = None,
    ) -> "Simulation":
        """The simulation that `save` gave these bytes for, made from the same things; it goes on as if it had
        never stopped. Raises SavedError, FormError."""
        found = _prepared(snapshot, workloads, settings or Settings(), policy or Policy())
        saved = saving.decoded(data)
        if saved.fingerprint != found.fingerprint:
            raise saving.SavedError(
                "the saved simulation is one of another cluster, other workloads, settings or policy",
                "give the same inputs as when it was begun, or remove it and begin anew",
            )
        saving.restore(saved, found.world, found._machines)
        found.pace = saved.pace
        return found

    def save(self) -> bytes:
        """Everything that is needed to go on in another process; see `resumed`."""
        return saving.encoded(self.saved())

    def saved(self) -> Saved:
        """The same as data."""
        return saving.saved(self.world, self._machines, self.pace, self.fingerprint)

    @property
    def fingerprint(self) -> str:
        """A digest of what the simulation was made from."""
        if not self._fingerprint:
            self._fingerprint = saving.fingerprint(
                self._snapshot, self.world.workloads, self.settings, self.policy
            )
        return self._fingerprint

    @property
    def now(self) -> int:
        """Seconds of virtual time."""
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

    def result(self) -> Result:
        """What has come of it so far."""
        return result_of(self.world, tuple(self._tree.names), self._whole, complete=self.pace.complete)

    def step(self) -> bool:
        """Go on until one decision more is made; False at the end."""
        meter = self.world.meter
        decisions = meter.decisions
        while meter.decisions == decisions:
            if self.pace.complete or not self._advance():
                self.pace.complete = True
                return False
        return True

    def _advance(self) -> bool:
        """Everything that happens at the next moment at which anything does; False if nothing will."""
        pace, until = self.pace, self.settings.until
        moment = self._next()
        if moment is None or (until is not None and moment > until):
            if until is not None:
                self._move(max(self.now, until))
            return False
        self._move(moment)
        arrived, happened = self._arrivals(), self._events()
        if arrived or happened:
            pace.patience = 1
            self._mark(moment)
        if pace.due is not None and pace.due <= moment:
            self._decide()
        if self.settings.sample_seconds and pace.next_sample <= moment:
            self.world.meter.sample(moment)
            pace.next_sample = moment + self.settings.sample_seconds
        return True

    def _move(self, moment: int) -> None:
        self.world.meter.tick(moment)
        self.world.now = self.pace.now = moment

    def _next(self) -> int | None:
        """The next moment at which something happens; None if nothing ever will."""
        pace, world = self.pace, self.world
        times = [] if pace.due is None else [pace.due]
        if pace.arrived < len(world.workloads):
            times.append(max(self.now, world.workloads[pace.arrived].submitted))
        first = world.agenda.next()
        if first is not None:
            times.append(first)
        if not times or not self._alive():
            return None
        if self.settings.sample_seconds:
            times.append(max(pace.next_sample, self.now))
        return min(times)

    def _alive(self) -> bool:
        """Whether anything can still become of a workload."""
        pace, world = self.pace, self.world
        if pace.arrived < len(world.workloads) or world.meter.placed_set:
            return True
        if not world.meter.waiting:
            return False
        # Only time passes for what waits: some more decisions show whether that is of any use.
        return bool(world.agenda.entries) or pace.acted or pace.patience < MOST_PATIENCE

    def _mark(self, moment: int) -> None:
        """Something changed: decide at the next multiple of the decision interval."""
        pace, interval = self.pace, max(1, self.settings.decision_seconds)
        due = -(-moment // interval) * interval
        if pace.decided is not None and due <= pace.decided:
            due = pace.decided + interval
        if pace.due is None or due < pace.due:
            pace.due = due

    def _arrivals(self) -> bool:
        pace, world = self.pace, self.world
        before = pace.arrived
        while pace.arrived < len(world.workloads) and world.workloads[pace.arrived].submitted <= world.now:
            world.submit(pace.arrived)
            pace.arrived += 1
        world.meter.events += pace.arrived - before
        return pace.arrived > before

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
            else:
                self._machines.happens(event)
                changed = True
        return changed

    def _decide(self) -> None:
        pace, world, settings = self.pace, self.world, self.settings
        now = world.now
        moment = world.moment(now)
        if self._tree.names and settings.usage_seconds and pace.next_use <= now:
            note_use(
                world.cluster, self._tree, world.meter.accounts, world.meter.capacity, self.policy, moment
            )
            pace.next_use = now + settings.usage_seconds
        snapshot = world.cluster.snapshot()
        plan = decide(snapshot, self.policy, moment, memory=self._memory)
        self.last_snapshot, self.last_plan = snapshot, plan
        world.meter.decisions += 1
        pace.decided, pace.due = now, None
        pace.acted = enact(plan, world)
        if pace.acted and goes_on(plan, self.policy):
            self._mark(now + 1)
        elif world.meter.waiting_pods:
            pace.patience = 1 if pace.acted else min(2 * pace.patience, MOST_PATIENCE)
            pace.due = now + max(1, settings.again_seconds) * pace.patience


def _prepared(
    snapshot: Snapshot, workloads: Iterable[Workload], settings: Settings, policy: Policy
) -> Simulation:
    ordered = sorted(workloads, key=lambda item: (item.submitted, item.namespace, item.name, item.kind))
    form = objects.Form.of(snapshot)
    for workload in ordered:
        objects.check(workload, form)
    namespaces = (*snapshot.namespaces, *objects.namespaces(ordered, snapshot))
    complete = replace(snapshot, namespaces=tuple(sorted(namespaces, key=lambda item: item.key)))
    return Simulation(complete, ordered, settings, policy, form)


def _by_node(snapshot: Snapshot) -> dict[str, list[ResourceSlice]]:
    found: dict[str, list[ResourceSlice]] = {}
    for item in snapshot.resource_slices:
        if item.spec.node_name:
            found.setdefault(item.spec.node_name, []).append(item)
    return found
