"""Random clusters that queues share, as scenarios, and what may be asked of any decision about them."""

from collections.abc import Iterator, Mapping
from fractions import Fraction

from hypothesis import strategies as st
from msgspec.structs import replace
from tests.kai.pods import BOUND
from tests.kai.rounds import Run, Standings, Step
from tests.kai.scenario import (
    SCHEMA,
    ClaimSpec,
    DraSpec,
    GroupSpec,
    JobSpec,
    NodeSpec,
    QueueSpec,
    RequestSpec,
    RunSpec,
    Scenario,
    SliceSpec,
    TaskSpec,
    Terms,
)

from aliquot.scheduling.policy import KAI, Policy
from aliquot.scheduling.policy import Step as PolicyStep

UNLIMITED = -1
QUEUE_LABEL = "kai.scheduler/queue"
ACTIONS = ("allocate", "consolidation", "reclaim", "preempt", "stalegangeviction")

ALIQUOT = Policy(
    every_pod=True,
    trust_fractions=True,
    steps=(
        PolicyStep.ALLOCATE,
        PolicyStep.CONSOLIDATE,
        PolicyStep.RECLAIM,
        PolicyStep.PREEMPT,
        PolicyStep.EVICT_STALE,
    ),
)
"""Aliquot's own policy with every step, for pods without gates too."""

LIKE_KAI = replace(KAI, every_pod=True, smallest_device_mib=100)

POLICIES = st.sampled_from([ALIQUOT, LIKE_KAI])


@st.composite
def terms(draw, flat: bool) -> Terms:
    quota = draw(st.integers(0, 3))
    limit = draw(st.sampled_from([UNLIMITED, UNLIMITED, quota, quota + 1, quota + 2]))
    weight = draw(st.sampled_from([1, 1, 2] if flat else [0, 1, 1, 2]))
    return Terms(quota=quota, limit=UNLIMITED if flat else limit, over_quota_weight=weight)


@st.composite
def queues(draw, flat: bool = False) -> tuple[QueueSpec, ...]:
    """One to three teams below a root, or, nested, in two departments."""
    departments = ["root"] if flat else ["root", "other"][: draw(st.integers(1, 2))]
    found = [
        QueueSpec(
            name=name,
            creation_rank=rank,
            gpu=Terms() if flat or draw(st.booleans()) else draw(terms(flat)),
        )
        for rank, name in enumerate(departments)
    ]
    for rank in range(draw(st.integers(2 if flat else 1, 3))):
        runtime = st.sampled_from([None, None, 30, 3600])
        found.append(
            QueueSpec(
                name=f"team{rank}",
                parent=draw(st.sampled_from(departments)),
                creation_rank=rank,
                priority=draw(st.sampled_from([100, 100, 100, 200])),
                gpu=draw(terms(flat)),
                preempt_min_runtime_seconds=None if flat else draw(runtime),
                reclaim_min_runtime_seconds=None if flat else draw(runtime),
            )
        )
    return tuple(found)


@st.composite
def requests(draw, kinds: str) -> RequestSpec:
    kind = draw(st.sampled_from(kinds.split()))
    if kind == "whole":
        return RequestSpec(type="whole", gpus=draw(st.sampled_from([1, 1, 2, 3])))
    if kind == "fraction":
        part = draw(st.sampled_from([0.25, 0.5, 0.75]))
        return RequestSpec(type="fraction", gpu_fraction=part, gpus=part)
    if kind == "dra":
        return RequestSpec(type="dra", dra_gpus={"gpu": draw(st.sampled_from([1, 1, 2, 3]))})
    return RequestSpec(type="cpu")


@st.composite
def scenarios(
    draw, kinds: str = "whole whole fraction cpu", flat: bool = False, simple: bool = False
) -> Scenario:
    """A cluster of one or two nodes and three to seven gangs; most that came early run.

    kinds: types of requests. flat: one level of queues with quotas only. simple: gangs of one task, all
    preemptible and of one priority.
    """
    dra = "dra" in kinds.split()
    counts = draw(st.lists(st.integers(1, 4), min_size=1, max_size=2))
    nodes = tuple(
        NodeSpec(name=f"node{number}", gpus=count, physical_gpus=0 if dra else count)
        for number, count in enumerate(counts)
    )
    trees = draw(queues(flat))
    teams = [item.name for item in trees if item.parent]
    free = {node.name: Fraction(node.gpus) for node in nodes}
    jobs: list[JobSpec] = []
    claims: list[ClaimSpec] = []
    for rank in range(draw(st.integers(3, 7))):
        name = f"job{rank}"
        request = draw(requests(kinds))
        size = 1 if simple else draw(st.sampled_from([1, 1, 2, 3]))
        least = size if simple else draw(st.sampled_from([size, size, 1]))
        wanted = devices_of(request)
        whole = -(-wanted // 1)
        nodes_used = []
        if rank < 4 or draw(st.booleans()):
            nodes_used = _room_for(free, whole, size)
        runs = len(nodes_used) == size
        if not runs:
            nodes_used = [""] * size
        team = teams[0] if runs and draw(st.integers(0, 3)) else draw(st.sampled_from(teams))
        leaving = runs and draw(st.integers(0, 9)) == 0
        tasks = []
        for number, node in enumerate(nodes_used):
            task = f"{name}-{number}"
            status = ("Releasing" if leaving else "Running") if runs else "Pending"
            if runs:
                free[node] -= whole
            template: dict[str, str] = {}
            by_name: tuple[str, ...] = ()
            if request.type == "dra":
                if draw(st.booleans()):
                    template = {"gpu": f"{task}-claim"}
                else:
                    by_name = (f"{task}-claim",)
                taken = _taken(claims, node)
                made = _claim(f"{task}-claim", task, request, node if runs else "", taken)
                claims.append(replace(made, labels={QUEUE_LABEL: team}))
            tasks.append(
                TaskSpec(
                    name=task,
                    status=status,
                    node=node if runs else None,
                    request=request,
                    resource_claim_templates=template,
                    resource_claims=by_name,
                )
            )
        preemptible = simple or draw(st.sampled_from([True, True, True, False]))
        priority = 50 if simple else draw(st.sampled_from([50, 50, 75] if preemptible else [100, 125]))
        jobs.append(
            JobSpec(
                name=name,
                queue=team,
                priority=priority,
                preemptible=preemptible,
                creation_rank=rank,
                age_seconds=600 - 60 * rank,
                last_start_age_seconds=60 if runs else None,
                sub_groups=_groups(size, least),
                tasks=tuple(tasks),
            )
        )
    slices = tuple(
        SliceSpec(name=node.name, node=node.name, driver="gpu.example.com", count=node.gpus) for node in nodes
    )
    return Scenario(
        schema=SCHEMA,
        id="random",
        run=RunSpec(actions=ACTIONS, max_consolidation_preemptees=UNLIMITED),
        nodes=nodes,
        queues=trees,
        jobs=tuple(jobs),
        dra=_dra(slices, claims) if dra else DraSpec(),
    )


def _room_for(free: dict[str, Fraction], wanted: Fraction, size: int) -> list[str]:
    """Nodes for so many tasks, the fullest first; fewer if there is no room for all."""
    found: list[str] = []
    left = dict(free)
    for _ in range(size):
        node = min((node for node in left if left[node] >= wanted), key=lambda name: left[name], default=None)
        if node is not None:
            left[node] -= wanted
            found.append(node)
    return found


def _dra(slices: tuple[SliceSpec, ...], claims: list[ClaimSpec]) -> DraSpec:
    return DraSpec(device_classes=("gpu",), resource_slices=slices, resource_claims=tuple(claims))


def _groups(size: int, least: int) -> GroupSpec:
    return GroupSpec(children=(GroupSpec(name="default", min_available=least),))


def _taken(claims: list[ClaimSpec], node: str) -> int:
    found = 0
    for claim in claims:
        results = claim.status.get("allocation", {}).get("devices", {}).get("results", [])
        found += sum(1 for result in results if result["pool"] == node)
    return found


def _claim(name: str, task: str, request: RequestSpec, node: str, taken: int) -> ClaimSpec:
    count = request.dra_gpus["gpu"]
    status = {}
    if node:
        results = [
            {"request": name, "driver": "gpu.example.com", "pool": node, "device": str(taken + number)}
            for number in range(count)
        ]
        consumer = {"resource": "pods", "name": task, "uid": task}
        status = {"allocation": {"devices": {"results": results}}, "reservedFor": [consumer]}
    return ClaimSpec(name=name, device_class="gpu", count=count, status=status)


def devices_of(request: RequestSpec) -> Fraction:
    """How many devices a request counts for."""
    if request.type == "dra":
        return Fraction(sum(request.dra_gpus.values()))
    return Fraction(str(request.gpus)) if request.type in ("whole", "fraction") else Fraction(0)


HELD = frozenset({*BOUND, "Pipelined"})
"""States in which a task has a place, or the promise of one."""


def held(scenario: Scenario, standings: Standings) -> dict[str, Fraction]:
    """The devices that each queue has, those promised included, itself and everything below it."""
    return _held(scenario, standings, lambda job: True)


def held_for_good(scenario: Scenario, standings: Standings) -> dict[str, Fraction]:
    """The same of work that is not preemptible."""
    return _held(scenario, standings, lambda job: not job.preemptible)


def _held(scenario: Scenario, standings: Standings, counts) -> dict[str, Fraction]:  # type: ignore[no-untyped-def]
    parents = {queue.name: queue.parent for queue in scenario.queues}
    found = dict.fromkeys(parents, Fraction(0))
    for job in scenario.jobs:
        if not counts(job):
            continue
        for task in job.tasks:
            if standings[task.name].status in HELD:
                step: str | None = job.queue
                while step:
                    found[step] += devices_of(task.request)
                    step = parents[step]
    return found


def ways(scenario: Scenario, queue: str) -> Iterator[QueueSpec]:
    """The queue and those above it."""
    by_name = {item.name: item for item in scenario.queues}
    step: str | None = queue
    while step:
        yield by_name[step]
        step = by_name[step].parent


def used(scenario: Scenario, standings: Standings, states: frozenset[str]) -> dict[str, Fraction]:
    """Devices of each node that tasks in some of these states hold, shared ones as whole ones."""
    found = {node.name: Fraction(0) for node in scenario.nodes}
    groups: set[tuple[str, str]] = set()
    for job in scenario.jobs:
        for task in job.tasks:
            standing = standings[task.name]
            if standing.status not in states or standing.node not in found:
                continue
            if task.request.type == "fraction":
                groups.update((standing.node, group) for group in standing.groups)
            else:
                found[standing.node] += devices_of(task.request)
    for node, _ in groups:
        found[node] += 1
    return found


def lives(scenario: Scenario, policy: Policy, rounds: int) -> list[Step]:
    """Decisions one after the other: what was evicted waits anew, what was placed runs."""
    run = Run(scenario, under=policy)
    return [run.step() for _ in range(rounds)]


def evicted(step: Step) -> set[str]:
    """Tasks that ran, and leave or move."""
    return {
        name
        for name, standing in step.before.items()
        if standing.status in BOUND and step.after[name].status not in BOUND
    }


def settled(step: Step) -> bool:
    """Whether a decision changes nothing, and nothing leaves of itself."""
    return all(
        step.after[name] == standing and standing.status != "Releasing"
        for name, standing in step.before.items()
    )


def shares(scenario: Scenario, standings: Standings) -> Mapping[tuple[str, str], Fraction]:
    """How much of each shared device is held."""
    found: dict[tuple[str, str], Fraction] = {}
    for job in scenario.jobs:
        for task in job.tasks:
            standing = standings[task.name]
            if task.request.type == "fraction" and standing.status in HELD:
                for group in standing.groups:
                    key = (standing.node, group)
                    found[key] = found.get(key, Fraction(0)) + devices_of(task.request)
    return found
