"""Running a scenario: decide, read where every task stands, carry it over into the next round."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import msgspec
from msgspec.structs import replace
from tests.kai import objects, wire
from tests.kai.pods import HOLDING, LEAVING, WAITING, Standing, pods
from tests.kai.presets import policy
from tests.kai.scenario import JobSpec, Scenario, TaskSpec

from aliquot.model.core import Pod
from aliquot.model.meta import Condition, KubernetesObject
from aliquot.model.resource import ResourceClaim
from aliquot.model.snapshot import FIELDS, Snapshot
from aliquot.model.topology import Topology
from aliquot.model.verdicts import PLACED, Reason
from aliquot.scheduling.apply import apply
from aliquot.scheduling.decide import decide
from aliquot.scheduling.memory import Memory
from aliquot.scheduling.plan import Evict, Plan
from aliquot.scheduling.policy import Policy

PARTS = ("fraction", "gpu_memory")
"""Types of requests that share devices."""

Standings = Mapping[str, Standing]


@dataclass(frozen=True, slots=True)
class Stage:
    """What there is to compare at one point of a run.

    name: as in `observed`, or "round" for one that the reference left no record of. before: where tasks
    stood when the round began, which says what leaves its place in it.
    """

    name: str
    before: Standings
    after: Standings


@dataclass(frozen=True, slots=True)
class Step:
    """One decision: about what, what was decided, and where tasks stand before and after it."""

    snapshot: Snapshot
    plan: Plan
    before: Standings
    after: Standings


@dataclass(slots=True)
class Run:
    """A scenario on its way through the rounds.

    remember: decide with what earlier rounds left behind. under: the policy; None for that of the reference.
    """

    scenario: Scenario
    remember: bool = False
    under: Policy | None = None
    standings: Standings = field(init=False)
    _claims: dict[tuple[str, str], ResourceClaim] = field(init=False)
    _lasting: list[KubernetesObject] = field(init=False)
    _memory: Memory = field(default_factory=Memory)
    _promised: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        scenario = self.scenario
        self.standings = {task.name: _first(task) for job in scenario.jobs for task in job.tasks}
        owners = {
            (job.namespace or wire.NAMESPACE, claim): task.name
            for job, task in _tasks(scenario)
            for claim in task.resource_claim_templates.values()
        }
        claims = [
            objects.claim(spec, owners.get((spec.namespace or wire.NAMESPACE, spec.name), ""))
            for spec in scenario.dra.resource_claims
        ]
        self._claims = {claim.key: claim for claim in claims}
        self._lasting = [
            *objects.namespaces(scenario),
            *(objects.node(spec) for spec in scenario.nodes),
            *(objects.topology(spec) for spec in scenario.topologies if Topology in FIELDS),
            *objects.queues(scenario),
            *(objects.device_class(name) for name in scenario.dra.device_classes),
            *(objects.resource_slice(spec) for spec in scenario.dra.resource_slices),
        ]

    def stages(self) -> Iterator[Stage]:
        """Run the scenario to its end; what is to be compared on the way, in order."""
        run = self.scenario.run
        if run.mode == "single_pass":
            before, after, _ = self._decide()
            yield Stage("after", before, after)
            return
        for _ in range(run.rounds_until_match):
            self._carry(*self._decide()[1:])
        yield Stage("after_until_rounds", self.standings, self.standings)
        for number in range(run.rounds_after_match):
            before, after, claims = self._decide()
            last = number == run.rounds_after_match - 1
            yield Stage("after_last_round" if last else "round", before, after)
            self._carry(after, claims)

    def snapshot(self) -> Snapshot:
        """The cluster as it stands."""
        found: list[KubernetesObject] = [*self._lasting, *self._claims.values()]
        for job in self.scenario.jobs:
            found += (self._told(pod) for pod in pods(job, self.standings))
        return Snapshot.of(found)

    def _told(self, pod: Pod) -> Pod:
        """The pod with what the controller would have written about a promise in the round before."""
        if pod.name not in self._promised:
            return pod
        told = Condition(
            type=PLACED,
            status="False",
            reason=Reason.ROOM_PROMISED.value,
            last_transition_time=objects.NOW,
        )
        return replace(pod, status=replace(pod.status, conditions=(told,)))

    def plan(self, snapshot: Snapshot) -> Plan:
        """What is decided about the cluster."""
        chosen = policy(self.scenario.run) if self.under is None else self.under
        memory = self._memory if self.remember else Memory()
        return decide(snapshot, chosen, objects.NOW, memory=memory)

    def step(self) -> "Step":
        """Decide once and carry the result over into the next round."""
        before, snapshot = self.standings, self.snapshot()
        plan = self.plan(snapshot)
        after = outcome(before, plan)
        self._carry(after, _written(snapshot, plan))
        return Step(snapshot, plan, before, after)

    def _decide(self) -> tuple[Standings, Standings, Iterable[ResourceClaim]]:
        snapshot = self.snapshot()
        plan = self.plan(snapshot)
        return self.standings, outcome(self.standings, plan), _written(snapshot, plan)

    def _carry(self, after: Standings, claims: Iterable[ResourceClaim]) -> None:
        carried: dict[str, Standing] = {}
        gone: set[str] = set()
        for job, task in _tasks(self.scenario):
            carried[task.name] = carry(job, after[task.name])
            if carried[task.name].status in WAITING:
                gone.add(task.name)
        self._promised = {
            name
            for name, standing in after.items()
            if standing.status == "Pipelined" and self.standings[name].status in WAITING
        }
        self.standings = carried
        self._claims = {claim.key: _released(claim, gone) for claim in claims}


def _tasks(scenario: Scenario) -> Iterator[tuple[JobSpec, TaskSpec]]:
    for job in scenario.jobs:
        for task in job.tasks:
            yield job, task


def _first(task: TaskSpec) -> Standing:
    """Where a task stands at first: one that holds parts of devices without naming them is alone on them."""
    groups = task.gpu_groups
    if task.status in HOLDING and task.request.type in PARTS and not groups:
        groups = tuple(f"{task.name}-{number}" for number in range(task.request.gpu_devices))
    return Standing(task.status, task.node or "", groups)


def outcome(before: Standings, plan: Plan) -> dict[str, Standing]:
    """Where every task stands once a plan is decided, before anything of it has happened."""
    after = dict(before)
    for action in plan.actions:
        if isinstance(action, Evict) and before[action.pod.name].status in HOLDING:
            after[action.pod.name] = replace(before[action.pod.name], status="Releasing")
    for decision in plan.decisions:
        for placement in decision.placements:
            after[placement.pod.name] = Standing("Binding", placement.node, placement.groups)
        for placement in decision.promised:
            after[placement.pod.name] = Standing("Pipelined", placement.node, placement.groups)
    return after


def carry(job: JobSpec, standing: Standing) -> Standing:
    """Where a task stands in the next round: what was bound runs, what was evicted waits anew."""
    match standing.status:
        case "Binding":
            return replace(standing, status="Running")
        case "Releasing" if job.evicted_tasks_stay_releasing:
            return standing
        case "Releasing" | "Pipelined":
            return Standing("Pending")
        case _:
            return standing


def _written(snapshot: Snapshot, plan: Plan) -> tuple[ResourceClaim, ...]:
    """The claims as the plan writes them; whoever is evicted has not left yet."""
    kept = tuple(
        replace(
            decision,
            actions=tuple(action for action in decision.actions if not isinstance(action, Evict)),
        )
        for decision in plan.decisions
    )
    return apply(snapshot, Plan(decisions=kept), objects.NOW).resource_claims


def _released(claim: ResourceClaim, gone: set[str]) -> ResourceClaim:
    """The claim without the pods that have lost their place; with the last of them go its devices."""
    left = tuple(item for item in claim.status.reserved_for if item.uid not in gone)
    if len(left) == len(claim.status.reserved_for):
        return claim
    allocation = claim.status.allocation if left else None
    return replace(claim, status=replace(claim.status, reserved_for=left, allocation=allocation))


class Devices(msgspec.Struct, frozen=True):
    """Whole GPUs of a node: idle ones, and those that somebody leaves and nobody was promised."""

    idle_gpus: float
    releasing_gpus: float


def devices(scenario: Scenario, stage: Stage) -> dict[str, Devices]:
    """What is left of the GPUs of every node.

    A shared device is idle when nobody holds a part of it, and is being left when all who do are leaving.
    A promise is kept from what is being left, though nothing may be.
    """
    idle: dict[str, float] = {node.name: node.gpus for node in scenario.nodes}
    leaving = dict.fromkeys(idle, 0.0)
    staying_groups: set[tuple[str, str]] = set()
    leaving_groups: set[tuple[str, str]] = set()
    promised_groups: set[tuple[str, str]] = set()
    for _, task in _tasks(scenario):
        before, after = stage.before[task.name], stage.after[task.name]
        whole = _whole(task)
        moved = after.status == "Pipelined" and before.status in HOLDING
        place = before if moved else after
        if place.status in HOLDING and place.node in idle:
            leaves = moved or place.status in LEAVING
            idle[place.node] -= whole
            leaving[place.node] += whole if leaves else 0
            held = {(place.node, group) for group in place.groups if task.request.type in PARTS}
            (leaving_groups if leaves else staying_groups).update(held)
        if after.status == "Pipelined" and after.node in idle:
            leaving[after.node] -= whole
            promised_groups |= {(after.node, group) for group in after.groups if task.request.type in PARTS}
    for node, _ in leaving_groups | staying_groups:
        idle[node] -= 1
    for node, _ in leaving_groups - staying_groups:
        leaving[node] += 1
    for node, _ in promised_groups - staying_groups:
        leaving[node] -= 1
    return {node: Devices(idle[node], leaving[node]) for node in idle}


def _whole(task: TaskSpec) -> float:
    request = task.request
    if request.type == "dra":
        return sum(request.dra_gpus.values())
    return request.gpus if request.type == "whole" else 0
