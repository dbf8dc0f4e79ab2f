"""Scenarios of the schema `kai-scenario/1`: one cluster, how often to decide, and what is expected of it.

All quantities are resolved: no default is left to the reader, and -1 means unlimited in quotas and limits.
Fields that neither a decision nor a comparison needs are dropped when a file is read.
"""

import gzip
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

SCHEMA = "kai-scenario/1"
Number = int | float


class NodeSpec(msgspec.Struct, frozen=True, kw_only=True):
    """gpus: what can be scheduled, devices of ResourceSlices included; physical_gpus: without those.

    gpu_memory_mib: of each GPU. mig_strategy: "single", "mixed" (GPUs exist only as mig_instances) or None.
    """

    name: str
    gpus: int = 0
    physical_gpus: int = 0
    gpu_memory_mib: int = 100
    cpu_millis: Number = 20_000_000
    memory_bytes: Number = 20_000_000_000
    max_pods: int = 110
    mig_strategy: str | None = None
    mig_instances: dict[str, int] = {}
    labels: dict[str, str] = {}


class TopologySpec(msgspec.Struct, frozen=True, kw_only=True):
    """levels: keys of node labels, the coarsest first."""

    name: str
    levels: tuple[str, ...] = ()


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """Of one resource in one queue; -1 is unlimited."""

    quota: Number = -1
    limit: Number = -1
    over_quota_weight: Number = 1


class QueueSpec(msgspec.Struct, frozen=True, kw_only=True):
    """memory_mb counts in 10^6 bytes. creation_rank: the lower came earlier, among siblings."""

    name: str
    parent: str | None = None
    priority: int = 100
    creation_rank: int = 0
    gpu: Terms = Terms()
    cpu_millis: Terms = Terms()
    memory_mb: Terms = Terms()
    preempt_min_runtime_seconds: Number | None = None
    reclaim_min_runtime_seconds: Number | None = None


class Closeness(msgspec.Struct, frozen=True, kw_only=True):
    """A topology constraint; without a topology it constrains nothing."""

    topology: str = ""
    required_level: str = ""
    preferred_level: str = ""


class GroupSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A node of the tree of subgroups. A leaf has min_available (pods), an inner node has children."""

    name: str = ""
    min_available: int | None = None
    min_sub_groups: int | None = None
    topology_constraint: Closeness | None = None
    children: tuple["GroupSpec", ...] = ()


class RequestSpec(msgspec.Struct, frozen=True, kw_only=True):
    """type: whole, fraction, gpu_memory, mig, dra or cpu. gpu_memory_mib is wanted of each device."""

    type: str = "whole"
    gpus: Number = 0
    gpu_fraction: Number = 0
    gpu_devices: int = 1
    gpu_memory_mib: int = 0
    mig: dict[str, int] = {}
    dra_gpus: dict[str, int] = {}
    cpu_millis: Number = 1000
    memory_bytes: Number = 1_000_000_000


class PodAffinitySpec(msgspec.Struct, frozen=True, kw_only=True):
    """The pod's labels, and the node labels over which it must be near (far from) pods with the same ones."""

    labels: dict[str, str] = {}
    affinity_topology_key: str = ""
    anti_affinity_topology_key: str = ""


class TaskSpec(msgspec.Struct, frozen=True, kw_only=True):
    """sub_group names a leaf. gpu_groups: the shared devices held on the node, by names without meaning."""

    name: str
    sub_group: str = "default"
    status: str = "Pending"
    node: str | None = None
    request: RequestSpec = RequestSpec()
    gpu_groups: tuple[str, ...] = ()
    task_priority: int | None = None
    required_node_names: tuple[str, ...] = ()
    pod_affinity: PodAffinitySpec | None = None
    resource_claims: tuple[str, ...] = ()
    resource_claim_templates: dict[str, str] = {}
    legacy_mig: bool = False
    annotations: dict[str, str] = {}


class JobSpec(msgspec.Struct, frozen=True, kw_only=True):
    """creation_rank: 0 is the oldest. stale_for_seconds: how long its gang is known to be broken."""

    name: str
    queue: str
    namespace: str = ""
    priority: int = 50
    preemptible: bool = True
    creation_rank: int = 0
    age_seconds: Number = 60
    last_start_age_seconds: Number | None = None
    stale_for_seconds: Number | None = None
    sub_groups: GroupSpec = GroupSpec()
    tasks: tuple[TaskSpec, ...] = ()
    evicted_tasks_stay_releasing: bool = False
    preemption_delay_seconds: Number | None = None
    staleness_grace_seconds: Number | None = None


class SliceSpec(msgspec.Struct, frozen=True, kw_only=True):
    """`count` equal devices of `driver` on `node`."""

    name: str
    node: str
    driver: str
    count: int = 0
    device_class: str = ""


class ClaimSpec(msgspec.Struct, frozen=True, kw_only=True):
    """`count` devices of one class; status as in the Kubernetes API."""

    name: str
    namespace: str = ""
    labels: dict[str, str] = {}
    device_class: str = ""
    count: int = 1
    status: dict[str, Any] = {}


class DraSpec(msgspec.Struct, frozen=True, kw_only=True):
    device_classes: tuple[str, ...] = ()
    resource_slices: tuple[SliceSpec, ...] = ()
    resource_claims: tuple[ClaimSpec, ...] = ()


class PluginSpec(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    arguments: dict[str, str] = {}


class RunSpec(msgspec.Struct, frozen=True, kw_only=True):
    """How to decide: the actions of a session in order, and what of the usual rules is left out.

    plugins: when given, only these are active. max_consolidation_preemptees: -1 is unlimited.
    """

    mode: str = "single_pass"
    actions: tuple[str, ...] = ()
    skip_plugins: tuple[str, ...] = ()
    plugins: tuple[PluginSpec, ...] | None = None
    staleness_grace_seconds: Number = 60
    min_node_gpu_memory_mib: int = 100
    max_consolidation_preemptees: int = 16
    allow_consolidating_reclaim: bool = True
    rounds_until_match: int = 1
    rounds_after_match: int = 0


class ExpectedTask(msgspec.Struct, frozen=True, kw_only=True):
    """node None: anywhere, or nowhere."""

    status: str
    node: str | None = None


class ExpectedNode(msgspec.Struct, frozen=True, kw_only=True):
    idle_gpus: Number
    releasing_gpus: Number


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """What must hold. `jobs` holds for every task of the job; names that do not exist are passed over."""

    jobs: dict[str, ExpectedTask] = {}
    tasks: dict[str, ExpectedTask] = {}
    nodes: dict[str, ExpectedNode] = {}


class ObservedTask(msgspec.Struct, frozen=True, kw_only=True):
    """What the reference did with one task. varies: not the same in all of its runs."""

    status: str
    node: str | None = None
    gpu_groups: tuple[str, ...] = ()
    varies: Any = None


class ObservedStage(msgspec.Struct, frozen=True, kw_only=True):
    tasks: dict[str, ObservedTask] = {}


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """What the reference had after the one pass, or before and after the rounds that must change nothing."""

    after: ObservedStage | None = None
    after_until_rounds: ObservedStage | None = None
    after_last_round: ObservedStage | None = None


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    schema: str
    id: str
    area: str = ""
    name: str = ""
    run: RunSpec = RunSpec()
    nodes: tuple[NodeSpec, ...] = ()
    topologies: tuple[TopologySpec, ...] = ()
    queues: tuple[QueueSpec, ...] = ()
    jobs: tuple[JobSpec, ...] = ()
    dra: DraSpec = DraSpec()
    expected: Expected = Expected()
    observed: Observed = Observed()


class ScenarioError(Exception):
    """A file is no scenario. `path`: the file, with the line where it has several; `problem`: why."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


def parse(text: bytes, where: str) -> Scenario:
    """One scenario from JSON; what is null counts as not given. Raises ScenarioError."""
    try:
        found = msgspec.convert(_given(msgspec.json.decode(text)), Scenario)
    except msgspec.DecodeError as error:
        raise ScenarioError(where, str(error)) from error
    if found.schema != SCHEMA:
        raise ScenarioError(where, f"schema is {found.schema!r}, must be {SCHEMA!r}")
    return found


def _given(value: Any) -> Any:
    """A document without what is null."""
    if isinstance(value, dict):
        return {name: _given(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_given(item) for item in value]
    return value


def files(paths: Iterable[Path]) -> Iterator[Path]:
    """The files named, and those below the folders named that may hold scenarios, in order of path."""
    for path in paths:
        if path.is_dir():
            yield from (item for item in sorted(path.rglob("*.json")) if _may_hold(item))
        else:
            yield path


def _may_hold(path: Path) -> bool:
    with path.open("rb") as file:
        return SCHEMA.encode() in file.read(4096)


def load(path: Path) -> Iterator[Scenario]:
    """The scenarios of a file: one JSON document, or one a line in `.jsonl` and `.jsonl.gz`."""
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if ".jsonl" not in path.name:
        yield parse(text, str(path))
        return
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield parse(line, f"{path}:{number}")
