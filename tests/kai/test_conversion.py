"""A scenario's facts on the objects that a decision is made from."""

import msgspec
import pytest
from tests.kai import objects, wire
from tests.kai.pods import Standing, pods
from tests.kai.rounds import Run
from tests.kai.scenario import (
    ClaimSpec,
    Closeness,
    DraSpec,
    GroupSpec,
    JobSpec,
    NodeSpec,
    PodAffinitySpec,
    QueueSpec,
    RequestSpec,
    Scenario,
    ScenarioError,
    SliceSpec,
    TaskSpec,
    Terms,
    parse,
)

from aliquot.cel.quantity import Quantity
from aliquot.model.core import PLACEMENT_GATE, Pod


def scenario(*jobs: JobSpec, **fields) -> Scenario:  # type: ignore[no-untyped-def]
    return Scenario(schema="kai-scenario/1", id="test", jobs=jobs, **fields)


def leaf(name: str, minimum: int, **fields) -> GroupSpec:  # type: ignore[no-untyped-def]
    return GroupSpec(name=name, min_available=minimum, **fields)


def job(*tasks: TaskSpec, minimum: int = 1, **fields) -> JobSpec:  # type: ignore[no-untyped-def]
    root = fields.pop("sub_groups", GroupSpec(children=(leaf("default", minimum),)))
    return JobSpec(name="train", queue="team", sub_groups=root, tasks=tasks, **fields)


def pod(task: TaskSpec, **fields) -> Pod:  # type: ignore[no-untyped-def]
    standing = Standing(task.status, task.node or "", task.gpu_groups)
    (found,) = pods(job(task, **fields), {task.name: standing})
    return found


def limits(request: RequestSpec) -> dict[str, str]:
    resources = pod(TaskSpec(name="one", request=request)).spec.containers[0].resources
    return {name: str(amount) for name, amount in resources.limits.items()}


@pytest.mark.parametrize(
    ("status", "phase", "bound", "gates", "deleted"),
    [
        ("Pending", "Pending", False, [PLACEMENT_GATE], False),
        ("Gated", "Pending", False, [PLACEMENT_GATE, wire.OTHER_GATE], False),
        ("Pipelined", "Pending", False, [PLACEMENT_GATE], False),
        ("Running", "Running", True, [], False),
        ("Bound", "Pending", True, [], False),
        ("Binding", "Pending", True, [], False),
        ("Releasing", "Running", True, [], True),
        ("StuckInReleasing", "Running", True, [], True),
        ("Succeeded", "Succeeded", True, [], False),
        ("Failed", "Failed", True, [], False),
    ],
)
def test_a_task_is_a_pod_in_its_state(
    status: str, phase: str, bound: bool, gates: list[str], deleted: bool
) -> None:
    found = pod(TaskSpec(name="one", status=status, node="node0"))
    assert found.status.phase == phase
    assert bool(found.spec.node_name) is bound
    assert [gate.name for gate in found.spec.scheduling_gates] == gates
    assert (found.metadata.deletion_timestamp is not None) is deleted


def test_a_waiting_task_keeps_no_node_of_the_past() -> None:
    assert pod(TaskSpec(name="one", status="Pending", node="node0")).spec.node_name == ""


def test_a_deleted_task_has_no_pod() -> None:
    assert not list(pods(job(TaskSpec(name="one")), {"one": Standing("Deleted")}))


def test_a_pod_stuck_in_deletion_has_been_so_for_longer_than_one_that_leaves() -> None:
    stuck = pod(TaskSpec(name="one", status="StuckInReleasing", node="node0")).metadata
    leaving = pod(TaskSpec(name="one", status="Releasing", node="node0")).metadata
    assert stuck.deletion_timestamp is not None
    assert leaving.deletion_timestamp is not None
    assert stuck.deletion_timestamp < leaving.deletion_timestamp


def test_whole_devices_and_mig_instances_are_extended_resources() -> None:
    assert limits(RequestSpec(type="whole", gpus=2)) == {wire.GPU: "2"}
    assert limits(RequestSpec(type="mig", mig={"nvidia.com/mig-1g.10gb": 3})) == {
        "nvidia.com/mig-1g.10gb": "3"
    }


@pytest.mark.parametrize(
    ("request_spec", "annotations"),
    [
        (RequestSpec(type="fraction", gpu_fraction=0.5), {wire.GPU_FRACTION: "0.5"}),
        (
            RequestSpec(type="fraction", gpu_fraction=0.25, gpu_devices=2),
            {wire.GPU_FRACTION: "0.25", wire.GPU_DEVICES: "2"},
        ),
        (RequestSpec(type="gpu_memory", gpu_memory_mib=40), {wire.GPU_MEMORY: "40"}),
        (RequestSpec(type="cpu"), {}),
    ],
)
def test_parts_of_devices_are_annotations(request_spec: RequestSpec, annotations: dict[str, str]) -> None:
    found = pod(TaskSpec(name="one", request=request_spec)).metadata.annotations
    assert {name: text for name, text in found.items() if name.startswith("gpu-")} == annotations
    assert not limits(request_spec)


def test_cpu_and_memory_are_exact() -> None:
    request = RequestSpec(type="cpu", cpu_millis=1500, memory_bytes=1_000_000_001)
    wanted = pod(TaskSpec(name="one", request=request)).spec.containers[0].resources.requests
    assert wanted == {"cpu": Quantity.parse("1500m"), "memory": Quantity.of(1_000_000_001)}


def test_best_effort_asks_for_nothing() -> None:
    request = RequestSpec(type="cpu", cpu_millis=0, memory_bytes=0)
    assert pod(TaskSpec(name="one", request=request)).spec.containers[0].resources.requests == {}


def test_shared_devices_are_labels_of_pods_that_hold_them() -> None:
    held = TaskSpec(name="one", status="Running", node="node0", gpu_groups=("a",))
    assert pod(held).metadata.labels[wire.GPU_GROUP] == "a"
    several = TaskSpec(name="one", status="Running", node="node0", gpu_groups=("a", "b"))
    labels = pod(several).metadata.labels
    assert {name for name in labels if name.startswith(wire.GPU_GROUP)} == {
        f"{wire.GPU_GROUP}/a",
        f"{wire.GPU_GROUP}/b",
    }
    waiting = TaskSpec(name="one", status="Pending", gpu_groups=("a",))
    assert wire.GPU_GROUP not in pod(waiting).metadata.labels


def test_a_holder_of_parts_that_names_no_device_is_alone_on_one() -> None:
    half = RequestSpec(type="fraction", gpu_fraction=0.5)
    tasks = [TaskSpec(name=name, status="Running", node="node0", request=half) for name in ("one", "two")]
    standings = Run(scenario(*(job(task) for task in tasks))).standings
    assert standings["one"].groups
    assert not set(standings["one"].groups) & set(standings["two"].groups)


def test_the_job_decides_about_queue_priority_and_preemption() -> None:
    found = pod(TaskSpec(name="one", task_priority=2), priority=100, preemptible=False)
    assert found.spec.priority == 100
    labels = found.metadata.labels
    assert labels[wire.QUEUE] == "team"
    assert labels[wire.PREEMPTIBILITY] == "non-preemptible"
    assert labels[wire.TASK_PRIORITY] == "2"


def test_of_two_jobs_of_one_age_the_one_of_lower_rank_came_first() -> None:
    first = pod(TaskSpec(name="one"), creation_rank=0, age_seconds=60).metadata.creation_timestamp
    second = pod(TaskSpec(name="two"), creation_rank=1, age_seconds=60).metadata.creation_timestamp
    older = pod(TaskSpec(name="six"), creation_rank=5, age_seconds=120).metadata.creation_timestamp
    assert first is not None
    assert second is not None
    assert older is not None
    assert older < first < second


def test_only_a_job_that_runs_has_started() -> None:
    running = TaskSpec(name="one", status="Running", node="node0")
    started = pod(running, last_start_age_seconds=7).status.start_time
    assert started is not None
    assert (objects.NOW - started).total_seconds() == 7
    assert pod(TaskSpec(name="one", status="Failed", node="node0")).status.start_time is None


def test_a_plain_gang_is_a_number_and_a_tree_is_spelt_out() -> None:
    plain = pod(TaskSpec(name="one"), minimum=3).metadata.annotations
    assert plain[wire.GANG_SIZE] == "3"
    assert wire.SUBGROUPS not in plain
    close = Closeness(topology="t", required_level="zone", preferred_level="rack")
    root = GroupSpec(
        topology_constraint=close,
        min_sub_groups=1,
        children=(
            leaf("a", 2, topology_constraint=Closeness()),
            GroupSpec(name="b", children=(leaf("c", 1),)),
        ),
    )
    found = pod(TaskSpec(name="one", sub_group="c"), sub_groups=root).metadata.annotations
    assert found[wire.GANG_SIZE] == "3"
    assert found[wire.SUBGROUP] == "c"
    assert msgspec.json.decode(found[wire.SUBGROUPS]) == {
        "name": "",
        "minimum": 1,
        "topology": {"topology": "t", "required": "zone", "preferred": "rack"},
        "children": [
            {"name": "a", "minimum": 2},
            {"name": "b", "children": [{"name": "c", "minimum": 1}]},
        ],
    }


def test_required_nodes_and_neighbours_are_affinity() -> None:
    social = PodAffinitySpec(labels={"app": "db"}, anti_affinity_topology_key="zone")
    found = pod(TaskSpec(name="one", required_node_names=("node1",), pod_affinity=social))
    affinity = found.spec.affinity
    assert affinity is not None
    assert affinity.node_affinity is not None
    assert affinity.node_affinity.required is not None
    (term,) = affinity.node_affinity.required.node_selector_terms
    assert term.match_expressions[0].values == ("node1",)
    assert affinity.pod_affinity is None
    assert affinity.pod_anti_affinity is not None
    assert affinity.pod_anti_affinity.required[0].topology_key == "zone"
    assert found.metadata.labels["app"] == "db"


def test_a_node_lists_the_devices_of_its_plugin_only() -> None:
    spec = NodeSpec(
        name="node0", gpus=3, physical_gpus=1, gpu_memory_mib=200, mig_instances={"nvidia.com/mig-1g.5gb": 2}
    )
    found = objects.node(spec)
    assert found.status.allocatable[wire.GPU] == Quantity.of(1)
    assert found.status.allocatable["nvidia.com/mig-1g.5gb"] == Quantity.of(2)
    assert found.metadata.labels[wire.GPU_MEMORY_LABEL] == "200"
    assert found.metadata.labels[wire.NODE_NAME] == "node0"
    assert wire.GPU not in objects.node(NodeSpec(name="node0", gpus=2)).status.allocatable


def test_a_queue_keeps_its_terms_in_the_units_of_quantities() -> None:
    spec = QueueSpec(
        name="team",
        parent="org",
        gpu=Terms(quota=0.5, limit=4, over_quota_weight=2),
        cpu_millis=Terms(quota=1500),
        memory_mb=Terms(quota=2, limit=3),
    )
    (found,) = objects.queues(scenario(queues=(spec,)))
    terms = {item.name: item for item in found.spec.resources}
    assert found.spec.parent == "org"
    assert (terms["gpu"].quota, terms["gpu"].limit) == (Quantity.parse("500m"), Quantity.of(4))
    assert terms["gpu"].over_quota_weight == 2
    assert (terms["cpu"].quota, terms["cpu"].limit) == (Quantity.parse("1500m"), None)
    assert (terms["memory"].quota, terms["memory"].limit) == (Quantity.of(2_000_000), Quantity.of(3_000_000))


def test_minimum_run_times_are_durations() -> None:
    spec = QueueSpec(name="team", preempt_min_runtime_seconds=1_000_000, reclaim_min_runtime_seconds=1.5)
    (found,) = objects.queues(scenario(queues=(spec,)))
    assert found.spec.preempt_min_runtime == "1000000s"
    assert found.spec.reclaim_min_runtime == "1.5s"
    (found,) = objects.queues(scenario(queues=(QueueSpec(name="team"),)))
    assert found.spec.preempt_min_runtime == ""


def test_an_unlimited_quota_is_not_an_absent_one() -> None:
    (found,) = objects.queues(scenario(queues=(QueueSpec(name="team"),)))
    assert {str(item.quota) for item in found.spec.resources} == {"-1"}


def test_weights_keep_their_ratios_when_they_become_whole() -> None:
    specs = tuple(
        QueueSpec(name=name, gpu=Terms(over_quota_weight=weight))
        for name, weight in (("a", 0.5), ("b", 1), ("c", 0.25))
    )
    found = objects.queues(scenario(queues=specs))
    assert [queue.spec.resources[0].over_quota_weight for queue in found] == [2, 4, 1]


def test_an_allocated_claim_is_tied_to_its_node() -> None:
    status = {
        "allocation": {
            "devices": {"results": [{"request": "c", "driver": "d", "pool": "node1", "device": "0"}]}
        },
        "reservedFor": [{"resource": "pods", "name": "one", "uid": "one"}],
    }
    found = objects.claim(ClaimSpec(name="c", device_class="gpu", count=2, status=status))
    allocation = found.status.allocation
    assert allocation is not None
    assert allocation.node_selector is not None
    assert allocation.node_selector.node_selector_terms[0].match_fields[0].values == ("node1",)
    assert found.spec.devices.requests[0].exactly is not None
    assert found.spec.devices.requests[0].exactly.count == 2


def test_a_snapshot_holds_what_the_scenario_names() -> None:
    dra = DraSpec(
        device_classes=("gpu",),
        resource_slices=(SliceSpec(name="s", node="node0", driver="d", count=2),),
        resource_claims=(ClaimSpec(name="c", namespace="other", device_class="gpu"),),
    )
    found = Run(
        scenario(
            job(TaskSpec(name="one", resource_claims=("c",))),
            nodes=(NodeSpec(name="node0"),),
            queues=(QueueSpec(name="team"),),
            dra=dra,
        )
    ).snapshot()
    assert [item.name for item in found.namespaces] == [wire.NAMESPACE, "other"]
    assert all(item.managed for item in found.namespaces)
    assert [item.name for item in found.pods] == ["one"]
    assert len(found.resource_slices[0].spec.devices) == 2
    assert [item.key for item in found.resource_claims] == [("other", "c")]


def test_a_file_that_is_no_scenario_is_refused_with_its_place() -> None:
    with pytest.raises(ScenarioError, match=r"here: .*jobs"):
        parse(b'{"schema": "kai-scenario/1", "id": "a", "jobs": 3}', "here")
    with pytest.raises(ScenarioError, match="schema is 'other/1'"):
        parse(b'{"schema": "other/1", "id": "a"}', "here")


def test_what_is_null_counts_as_not_given() -> None:
    text = b'{"schema": "kai-scenario/1", "id": "a", "dra": null, "jobs": [{"name": "j", "queue": "q",'
    text += b' "tasks": [{"name": "t", "gpu_groups": null, "request": {"gpu_fraction": null}}]}]}'
    found = parse(text, "here")
    assert found.dra.resource_claims == ()
    assert found.jobs[0].tasks[0].gpu_groups == ()
    assert found.jobs[0].tasks[0].request.gpu_fraction == 0
