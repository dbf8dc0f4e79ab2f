"""Owners of pods in common use, as far as they say how many pods belong together.

Only what grouping reads is decoded; a field that another version of the kind has besides is passed over.
Sources: the API references of Kubernetes (apps/v1), JobSet (jobset.x-k8s.io/v1alpha2), LeaderWorkerSet
(leaderworkerset.x-k8s.io/v1), KubeRay (ray.io/v1), the Spark operator (sparkoperator.k8s.io/v1beta2), KServe
(serving.kserve.io/v1beta1) and Seldon Core (machinelearning.seldon.io/v1).
"""

import msgspec

from aliquot.model.meta import KubernetesObject, ObjectMeta, Record
from aliquot.model.workloads import JobSpec


class ReplicasSpec(Record, frozen=True):
    """How many pods are to run; None where a controller has not filled in the default (1) yet."""

    replicas: int | None = None


class Deployment(KubernetesObject, frozen=True, tag_field="kind", tag="Deployment"):
    spec: ReplicasSpec = ReplicasSpec()


class ReplicaSet(KubernetesObject, frozen=True, tag_field="kind", tag="ReplicaSet"):
    spec: ReplicasSpec = ReplicasSpec()


class StatefulSet(KubernetesObject, frozen=True, tag_field="kind", tag="StatefulSet"):
    spec: ReplicasSpec = ReplicasSpec()


class JobTemplate(Record, frozen=True):
    metadata: ObjectMeta = ObjectMeta()
    spec: JobSpec = JobSpec()


class DependsOn(Record, frozen=True):
    """The replicated job that must be Ready or Complete before this one is created."""

    name: str = ""
    status: str = ""


class ReplicatedJob(Record, frozen=True):
    """`replicas` Jobs from one template."""

    name: str = ""
    replicas: int = 1
    template: JobTemplate = JobTemplate()
    depends_on: tuple[DependsOn, ...] = ()


class StartupPolicy(Record, frozen=True):
    """startup_policy_order: AnyOrder (the default) or InOrder (a replicated job is created once those before
    it in the list are ready)."""

    startup_policy_order: str = "AnyOrder"


class JobSetSpec(Record, frozen=True):
    replicated_jobs: tuple[ReplicatedJob, ...] = ()
    startup_policy: StartupPolicy | None = None
    suspend: bool = False


class JobSet(KubernetesObject, frozen=True, tag_field="kind", tag="JobSet"):
    spec: JobSetSpec = JobSetSpec()


class SubGroupPolicy(Record, frozen=True):
    """A group is cut into runs of `sub_group_size` pods; the leader is part of the first one
    (LeaderWorker, the default) or of none (LeaderExcluded)."""

    sub_group_policy_type: str = "LeaderWorker"
    sub_group_size: int = 0


class LeaderWorkerTemplate(Record, frozen=True):
    """size: pods of one group, the leader included."""

    size: int = 1
    sub_group_policy: SubGroupPolicy | None = None


class LeaderWorkerSetSpec(Record, frozen=True):
    """startup_policy: LeaderCreated (the default), or LeaderReady: workers are created once their leader is
    ready."""

    replicas: int | None = None
    leader_worker_template: LeaderWorkerTemplate = LeaderWorkerTemplate()
    startup_policy: str = "LeaderCreated"


class LeaderWorkerSet(KubernetesObject, frozen=True, tag_field="kind", tag="LeaderWorkerSet"):
    spec: LeaderWorkerSetSpec = LeaderWorkerSetSpec()


class WorkerGroup(Record, frozen=True):
    """replicas of num_of_hosts pods each; the autoscaler moves replicas between the bounds."""

    group_name: str = ""
    replicas: int | None = None
    min_replicas: int | None = None
    max_replicas: int | None = None
    num_of_hosts: int = 1
    suspend: bool = False


class RayClusterSpec(Record, frozen=True):
    enable_in_tree_autoscaling: bool = False
    suspend: bool = False
    worker_group_specs: tuple[WorkerGroup, ...] = ()


class RayCluster(KubernetesObject, frozen=True, tag_field="kind", tag="RayCluster"):
    spec: RayClusterSpec = RayClusterSpec()


class RayJob(KubernetesObject, frozen=True, tag_field="kind", tag="RayJob"):
    """Makes a RayCluster and a Job that submits work to it."""


class RayService(KubernetesObject, frozen=True, tag_field="kind", tag="RayService"):
    """Makes a RayCluster, and a second one while it is upgraded."""


class SparkExecutor(Record, frozen=True):
    instances: int | None = None


class DynamicAllocation(Record, frozen=True):
    enabled: bool = False
    initial_executors: int | None = None
    min_executors: int | None = None
    max_executors: int | None = None


class SparkApplicationSpec(Record, frozen=True):
    executor: SparkExecutor = SparkExecutor()
    dynamic_allocation: DynamicAllocation | None = None


class SparkApplication(KubernetesObject, frozen=True, tag_field="kind", tag="SparkApplication"):
    spec: SparkApplicationSpec = SparkApplicationSpec()


class WorkerSpec(Record, frozen=True):
    """A server that spans nodes: the number of nodes is the product of the two sizes."""

    pipeline_parallel_size: int | None = None
    tensor_parallel_size: int | None = None


class Predictor(Record, frozen=True):
    worker_spec: WorkerSpec | None = None


class InferenceServiceSpec(Record, frozen=True):
    predictor: Predictor = Predictor()


class InferenceService(KubernetesObject, frozen=True, tag_field="kind", tag="InferenceService"):
    spec: InferenceServiceSpec = InferenceServiceSpec()


class SeldonDeployment(KubernetesObject, frozen=True, tag_field="kind", tag="SeldonDeployment"):
    """Makes a Deployment for each of its predictors; only its labels and annotations matter here."""


class ReplicaSpec(Record, frozen=True):
    """The pods of one role of a training job."""

    replicas: int | None = None


class TrainingSchedulingPolicy(Record, frozen=True):
    min_available: int | None = None
    queue: str = ""
    priority_class: str = ""


class RunPolicy(Record, frozen=True):
    suspend: bool = False
    scheduling_policy: TrainingSchedulingPolicy | None = None


class ElasticPolicy(Record, frozen=True):
    min_replicas: int | None = None
    max_replicas: int | None = None


class TrainingJobSpec(Record, frozen=True):
    """The replica specs of the one role map that the kind has, by role name (Master, Worker, PS ...).

    launcher_creation_policy: of MPIJobs, AtStartup (the default) or WaitForWorkersReady.
    """

    launcher_creation_policy: str = ""
    run_policy: RunPolicy = RunPolicy()
    elastic_policy: ElasticPolicy | None = None
    pytorch_replica_specs: dict[str, ReplicaSpec] = msgspec.field(
        name="pytorchReplicaSpecs", default_factory=dict
    )
    tf_replica_specs: dict[str, ReplicaSpec] = msgspec.field(name="tfReplicaSpecs", default_factory=dict)
    xgb_replica_specs: dict[str, ReplicaSpec] = msgspec.field(name="xgbReplicaSpecs", default_factory=dict)
    jax_replica_specs: dict[str, ReplicaSpec] = msgspec.field(name="jaxReplicaSpecs", default_factory=dict)
    paddle_replica_specs: dict[str, ReplicaSpec] = msgspec.field(
        name="paddleReplicaSpecs", default_factory=dict
    )
    mpi_replica_specs: dict[str, ReplicaSpec] = msgspec.field(name="mpiReplicaSpecs", default_factory=dict)

    @property
    def roles(self) -> dict[str, ReplicaSpec]:
        return (
            self.pytorch_replica_specs
            or self.tf_replica_specs
            or self.xgb_replica_specs
            or self.jax_replica_specs
            or self.paddle_replica_specs
            or self.mpi_replica_specs
        )


class TrainingJob(KubernetesObject, frozen=True):
    """A job of the Kubeflow training operator (kubeflow.org/v1) or of the MPI operator (v2beta1)."""

    spec: TrainingJobSpec = TrainingJobSpec()


class PyTorchJob(TrainingJob, frozen=True, tag_field="kind", tag="PyTorchJob"):
    pass


class TFJob(TrainingJob, frozen=True, tag_field="kind", tag="TFJob"):
    pass


class XGBoostJob(TrainingJob, frozen=True, tag_field="kind", tag="XGBoostJob"):
    pass


class JAXJob(TrainingJob, frozen=True, tag_field="kind", tag="JAXJob"):
    pass


class PaddleJob(TrainingJob, frozen=True, tag_field="kind", tag="PaddleJob"):
    pass


class MPIJob(TrainingJob, frozen=True, tag_field="kind", tag="MPIJob"):
    pass


class TrainJob(KubernetesObject, frozen=True, tag_field="kind", tag="TrainJob"):
    """Kubeflow Trainer (trainer.kubeflow.org/v1alpha1): makes a JobSet, which says how many pods it has."""


OWNERS: dict[type[KubernetesObject], tuple[str, ...]] = {
    Deployment: ("apps/v1",),
    ReplicaSet: ("apps/v1",),
    StatefulSet: ("apps/v1",),
    JobSet: ("jobset.x-k8s.io/v1alpha2",),
    LeaderWorkerSet: ("leaderworkerset.x-k8s.io/v1",),
    RayCluster: ("ray.io/v1", "ray.io/v1alpha1"),
    RayJob: ("ray.io/v1", "ray.io/v1alpha1"),
    RayService: ("ray.io/v1", "ray.io/v1alpha1"),
    PyTorchJob: ("kubeflow.org/v1",),
    TFJob: ("kubeflow.org/v1",),
    XGBoostJob: ("kubeflow.org/v1",),
    JAXJob: ("kubeflow.org/v1",),
    PaddleJob: ("kubeflow.org/v1",),
    MPIJob: ("kubeflow.org/v2beta1", "kubeflow.org/v1"),
    TrainJob: ("trainer.kubeflow.org/v1alpha1",),
    SparkApplication: ("sparkoperator.k8s.io/v1beta2",),
    InferenceService: ("serving.kserve.io/v1beta1",),
    SeldonDeployment: ("machinelearning.seldon.io/v1",),
}
"""The kinds of this module with the apiVersions they are read in, the preferred first."""
