"""Jobs, JobSets, training jobs and Spark: how many of which pods start together."""

from typing import Any

import pytest
from tests.workloads.builders import Shown, constraints, gangs_of, obj, only, owner, pod, shown

from aliquot.model.core import Pod
from aliquot.model.meta import KubernetesObject

INDEX = "batch.kubernetes.io/job-completion-index"


def job(
    name: str = "j", parallelism: int = 4, completions: int | None = 4, **fields: Any
) -> KubernetesObject:
    spec = {"parallelism": parallelism, **({"completions": completions} if completions is not None else {})}
    return obj("Job", "batch/v1", name, spec=spec, **fields)


def job_pod(number: int, name: str = "j", **fields: Any) -> Pod:
    labels = {INDEX: str(number), **fields.pop("labels", {})}
    return pod(f"{name}-{number}", labels, owner=owner("Job", "batch/v1", name), **fields)


@pytest.mark.parametrize(
    ("parallelism", "completions", "phases", "minimum"),
    [
        (4, 4, ["", "", "", ""], 4),
        (2, 10, ["", ""], 2),
        (4, 6, ["Succeeded"] * 3 + [""] * 3, 3),
        (4, 10, ["Succeeded"] * 3 + [""] * 4, 4),
        (4, None, ["", "", "", ""], 4),
        (4, None, ["Succeeded", "", "", ""], 3),
        (4, 4, ["Failed", "", "", "", ""], 4),
    ],
)
def test_a_job_needs_what_may_run_at_a_time(
    parallelism: int, completions: int | None, phases: list[str], minimum: int
) -> None:
    pods = [job_pod(number, phase=phase) for number, phase in enumerate(phases)]
    gang = only([job("j", parallelism, completions), *pods])
    assert (gang.minimum, shown(gang.root)) == (minimum, minimum)
    assert len(gang.members) == sum(1 for phase in phases if not phase)
    assert str(gang.ref) == "job/team/j"


def test_a_job_goes_by_completion_index_and_pods_of_an_unknown_job_wait_for_it() -> None:
    pods = [job_pod(number) for number in (10, 2, 1)]
    assert [item.name for item in only([job(parallelism=3, completions=20), *pods]).members] == [
        "j-1",
        "j-2",
        "j-10",
    ]
    unknown = only(pods)
    assert (len(unknown.members), unknown.ref.kind) == (3, "Job")
    assert unknown.problem is not None
    assert (unknown.problem.test, unknown.problem.subject) == ("owner", "job/team/j")


def test_kai_says_how_many_pods_of_a_job_are_enough() -> None:
    marked = job(annotations={"kai.scheduler/batch-min-member": "2"})
    assert only([marked, *(job_pod(number) for number in range(4))]).minimum == 2
    broken = job(annotations={"kai.scheduler/batch-min-member": "many"})
    gang = only([broken, job_pod(0)])
    assert gang.problem is not None
    assert gang.problem.subject == "kai.scheduler/batch-min-member"


def job_set(*roles: dict[str, Any], **fields: Any) -> KubernetesObject:
    return obj("JobSet", "jobset.x-k8s.io/v1alpha2", "js", spec={"replicatedJobs": list(roles)}, **fields)


def role(name: str, replicas: int, parallelism: int, **fields: Any) -> dict[str, Any]:
    spec = {"parallelism": parallelism, "completions": parallelism, "completionMode": "Indexed"}
    return {"name": name, "replicas": replicas, "template": {"spec": spec}, **fields}


def job_set_pods(name: str, replicas: int, parallelism: int, **fields: Any) -> list[Pod]:
    found = []
    for number in range(replicas):
        for index in range(parallelism):
            labels = {
                "jobset.sigs.k8s.io/jobset-name": "js",
                "jobset.sigs.k8s.io/replicatedjob-name": name,
                "jobset.sigs.k8s.io/replicatedjob-replicas": str(replicas),
                "jobset.sigs.k8s.io/job-index": str(number),
            }
            found.append(job_pod(index, f"js-{name}-{number}", labels=labels, **fields))
    return found


def jobs_of(name: str, replicas: int, parallelism: int) -> list[KubernetesObject]:
    above = owner("JobSet", "jobset.x-k8s.io/v1alpha2", "js")
    return [job(f"js-{name}-{i}", parallelism, parallelism, owner=above) for i in range(replicas)]


def test_a_job_set_is_one_gang_with_a_subgroup_per_replicated_job() -> None:
    pods = [*job_set_pods("driver", 1, 1), *job_set_pods("workers", 2, 4)]
    objects = [*jobs_of("driver", 1, 1), *jobs_of("workers", 2, 4), *pods]
    gang = only([job_set(role("driver", 1, 1), role("workers", 2, 4)), *objects])
    assert shown(gang.root) == {"driver": 1, "workers": 8}
    assert gang.minimum == 9
    assert gang.leaf_of[("team", "js-workers-1-3")] == "workers"
    assert str(gang.ref) == "jobset/team/js"


def test_labels_and_jobs_tell_of_a_job_set_that_cannot_be_read() -> None:
    pods = [*job_set_pods("driver", 1, 1), *job_set_pods("workers", 2, 4)]
    gang = only([*jobs_of("driver", 1, 1), *jobs_of("workers", 2, 4), *pods])
    assert shown(gang.root) == {"driver": 1, "workers": 8}


@pytest.mark.parametrize(
    "staged",
    [
        {"spec": {"startupPolicy": {"startupPolicyOrder": "InOrder"}}},
        {"depends": [{"name": "prepare", "status": "Complete"}]},
    ],
)
def test_replicated_jobs_that_start_in_turn_are_gangs_of_their_own(staged: dict[str, Any]) -> None:
    roles = [role("prepare", 1, 1), role("train", 2, 2, dependsOn=staged.get("depends", []))]
    spec = {"replicatedJobs": roles, **staged.get("spec", {})}
    found = gangs_of(
        [
            obj("JobSet", "jobset.x-k8s.io/v1alpha2", "js", spec=spec),
            *job_set_pods("prepare", 1, 1),
            *job_set_pods("train", 2, 2),
        ]
    )
    assert {name: gang.minimum for name, gang in found.items()} == {
        "jobset/team/js/prepare": 1,
        "jobset/team/js/train": 4,
    }


@pytest.mark.parametrize(
    ("leaders_on", "labelled_before", "tree"),
    [
        ([], False, {"w-0": 1, "w-1": 1}),
        ([0], False, {"w-0": 3, "w-1": 1}),
        ([0, 1], False, {"w-0": 3, "w-1": 3}),
        ([], True, {"w-0": 3, "w-1": 3}),
    ],
)
def test_jobs_with_a_domain_for_themselves_start_with_their_leaders(
    leaders_on: list[int], labelled_before: bool, tree: Shown
) -> None:
    """JobSet does not let followers be created before their leader has a node."""
    marks = {"alpha.jobset.sigs.k8s.io/exclusive-topology": "rack"}
    if labelled_before:
        marks["alpha.jobset.sigs.k8s.io/node-selector"] = "true"
    pods = []
    for item in job_set_pods("w", 2, 3, annotations=marks):
        number = int(item.metadata.labels["jobset.sigs.k8s.io/job-index"])
        leads = item.metadata.labels[INDEX] == "0"
        if leads and number in leaders_on:
            item = pod(item.name, item.metadata.labels, marks, node=f"n{number}")
        elif not leads and number not in leaders_on and not labelled_before:
            continue
        pods.append(item)
    gang = only([job_set(role("w", 2, 3), annotations=marks), *pods])
    assert shown(gang.root) == tree
    assert constraints(gang.root) == {"w-0": ("", "rack", ""), "w-1": ("", "rack", "")}


def training(kind: str, name: str = "t", version: str = "kubeflow.org/v1", **spec: Any) -> KubernetesObject:
    return obj(kind, version, name, spec=spec)


def training_pod(kind: str, role: str, number: int, **fields: Any) -> Pod:
    operator = "mpi-operator" if kind == "MPIJob" else f"{kind.lower()}-controller"
    labels = {
        "training.kubeflow.org/job-name": "t",
        "training.kubeflow.org/operator-name": operator,
        "training.kubeflow.org/replica-index": str(number),
    }
    if kind == "MPIJob":
        labels["training.kubeflow.org/job-role"] = role
    else:
        labels["training.kubeflow.org/replica-type"] = role
    version = "kubeflow.org/v2beta1" if kind == "MPIJob" else "kubeflow.org/v1"
    return pod(f"t-{role}-{number}", labels, owner=owner(kind, version, "t"), **fields)


ELASTIC = {"elasticPolicy": {"minReplicas": 2, "maxReplicas": 16}}
FOUR = {"runPolicy": {"schedulingPolicy": {"minAvailable": 4}}}
FIELDS = {
    "PyTorchJob": "pytorchReplicaSpecs",
    "TFJob": "tfReplicaSpecs",
    "XGBoostJob": "xgbReplicaSpecs",
    "JAXJob": "jaxReplicaSpecs",
    "PaddleJob": "paddleReplicaSpecs",
    "MPIJob": "mpiReplicaSpecs",
}


@pytest.mark.parametrize(
    ("kind", "roles", "extra", "tree", "first"),
    [
        ("PyTorchJob", {"Master": 1, "Worker": 3}, {}, {"master": 1, "worker": 3}, "master"),
        ("PyTorchJob", {"Worker": 8}, ELASTIC, {"worker": 2}, "worker"),
        ("PyTorchJob", {"Master": 1, "Worker": 7}, FOUR, {"master": 1, "worker": 3}, "master"),
        ("TFJob", {"Chief": 1, "PS": 2, "Worker": 4}, {}, {"chief": 1, "ps": 2, "worker": 4}, "chief"),
        ("XGBoostJob", {"Master": 1, "Worker": 2}, {}, {"master": 1, "worker": 2}, "master"),
        ("JAXJob", {"Worker": 4}, {}, {"worker": 4}, "worker"),
        ("PaddleJob", {"Worker": 2}, {}, {"worker": 2}, "worker"),
        ("MPIJob", {"Launcher": 1, "Worker": 4}, {}, {"launcher": 1, "worker": 4}, "launcher"),
    ],
)
def test_training_jobs(
    kind: str, roles: dict[str, int], extra: dict[str, Any], tree: Shown, first: str
) -> None:
    version = "kubeflow.org/v2beta1" if kind == "MPIJob" else "kubeflow.org/v1"
    specs = {name: {"replicas": count} for name, count in roles.items()}
    pods = [training_pod(kind, name.lower(), i) for name, count in roles.items() for i in range(count)]
    gang = only([training(kind, version=version, **{FIELDS[kind]: specs}, **extra), *pods])
    assert shown(gang.root) == tree
    assert gang.members[0].name == f"t-{first}-0"
    assert str(gang.ref) == f"{kind.lower()}/team/t"
    assert gang.maximum == (16 if extra is ELASTIC else sum(roles.values()))


def test_a_launcher_that_waits_for_its_workers_is_not_waited_for() -> None:
    specs = {"Launcher": {"replicas": 1}, "Worker": {"replicas": 2}}
    whole = training(
        "MPIJob",
        version="kubeflow.org/v2beta1",
        mpiReplicaSpecs=specs,
        launcherCreationPolicy="WaitForWorkersReady",
    )
    workers = [training_pod("MPIJob", "worker", number) for number in range(2)]
    assert shown(only([whole, *workers]).root) == {"worker": 2}
    launched = [whole, *workers, training_pod("MPIJob", "launcher", 0)]
    assert shown(only(launched).root) == {"launcher": 1, "worker": 2}


def test_a_trainer_job_is_the_gang_of_its_job_set_with_its_queue() -> None:
    above = owner("TrainJob", "trainer.kubeflow.org/v1alpha1", "tj")
    train = obj(
        "TrainJob", "trainer.kubeflow.org/v1alpha1", "tj", labels={"kueue.x-k8s.io/queue-name": "research"}
    )
    pods = job_set_pods("node", 1, 4)
    gang = only([train, job_set(role("node", 1, 4), owner=above), *jobs_of("node", 1, 4), *pods])
    assert (gang.minimum, gang.queue) == (4, "research")


def spark_pod(role: str, number: int = 0, **fields: Any) -> Pod:
    labels = {
        "spark-app-selector": "spark-1234",
        "spark-role": role,
        "sparkoperator.k8s.io/app-name": "etl",
    }
    if role == "executor":
        labels["spark-exec-id"] = str(number + 1)
    return pod(f"etl-{role}-{number}", labels, **fields)


@pytest.mark.parametrize(
    ("spec", "executors", "tree", "maximum"),
    [
        ({"executor": {"instances": 4}}, 0, {"driver": 1, "executors": 0}, None),
        ({"executor": {"instances": 4}}, 2, {"driver": 1, "executors": 2}, None),
        ({"executor": {"instances": 4}}, 4, {"driver": 1, "executors": 4}, None),
        (
            {"dynamicAllocation": {"enabled": True, "minExecutors": 2, "maxExecutors": 8}},
            5,
            {"driver": 1, "executors": 2},
            9,
        ),
    ],
)
def test_a_spark_driver_starts_alone_and_executors_as_many_as_there_are(
    spec: dict[str, Any], executors: int, tree: Shown, maximum: int | None
) -> None:
    application = obj("SparkApplication", "sparkoperator.k8s.io/v1beta2", "etl", spec=spec)
    pods = [spark_pod("executor", number) for number in range(executors)]
    gang = only([application, spark_pod("driver", node="n"), *pods])
    assert (shown(gang.root), gang.maximum) == (tree, maximum)
    assert gang.members[0].name == "etl-driver-0"
