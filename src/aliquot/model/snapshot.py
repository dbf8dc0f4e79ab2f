"""Snapshot: the state of a cluster that one decision is made from."""

from collections.abc import Iterable
from typing import Any

import msgspec

from aliquot.model.core import DRIVERS_CONFIG_MAP, ConfigMap, Namespace, Node, Pod, PriorityClass
from aliquot.model.funds import Funds
from aliquot.model.kinds import encode
from aliquot.model.meta import KubernetesObject
from aliquot.model.owners import (
    Deployment,
    InferenceService,
    JAXJob,
    JobSet,
    LeaderWorkerSet,
    MPIJob,
    PaddleJob,
    PyTorchJob,
    RayCluster,
    RayJob,
    RayService,
    ReplicaSet,
    SeldonDeployment,
    SparkApplication,
    StatefulSet,
    TFJob,
    TrainJob,
    XGBoostJob,
)
from aliquot.model.ownership import Ownership
from aliquot.model.podgroups import CoschedulingPodGroup, KaiPodGroup, VolcanoPodGroup
from aliquot.model.queue import Queue
from aliquot.model.resource import (
    DeviceClass,
    DeviceTaintRule,
    ResourceClaim,
    ResourceClaimTemplate,
    ResourceSlice,
)
from aliquot.model.topology import KaiTopology, KueueTopology, Topology
from aliquot.model.workloads import Job, PodGroup, Workload


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Objects by kind, each tuple sorted by (namespace, name).

    Of all ConfigMaps only the one that lists the managed drivers is kept: others are none of a decision's
    business, and a snapshot is written to the journal. `funds` holds one object at most; it is not the
    cluster's but says what money there is (`aliquot.model.funds`).

    Objects are shared between snapshots: one that did not change is the same Python object in the next
    snapshot, so that whatever is derived from it can be remembered by identity.
    """

    config_maps: tuple[ConfigMap, ...] = ()
    namespaces: tuple[Namespace, ...] = ()
    nodes: tuple[Node, ...] = ()
    device_classes: tuple[DeviceClass, ...] = ()
    resource_slices: tuple[ResourceSlice, ...] = ()
    device_taint_rules: tuple[DeviceTaintRule, ...] = ()
    resource_claims: tuple[ResourceClaim, ...] = ()
    resource_claim_templates: tuple[ResourceClaimTemplate, ...] = ()
    pods: tuple[Pod, ...] = ()
    jobs: tuple[Job, ...] = ()
    workloads: tuple[Workload, ...] = ()
    pod_groups: tuple[PodGroup, ...] = ()
    deployments: tuple[Deployment, ...] = ()
    replica_sets: tuple[ReplicaSet, ...] = ()
    stateful_sets: tuple[StatefulSet, ...] = ()
    job_sets: tuple[JobSet, ...] = ()
    leader_worker_sets: tuple[LeaderWorkerSet, ...] = ()
    ray_clusters: tuple[RayCluster, ...] = ()
    ray_jobs: tuple[RayJob, ...] = ()
    ray_services: tuple[RayService, ...] = ()
    pytorch_jobs: tuple[PyTorchJob, ...] = ()
    tf_jobs: tuple[TFJob, ...] = ()
    xgboost_jobs: tuple[XGBoostJob, ...] = ()
    jax_jobs: tuple[JAXJob, ...] = ()
    paddle_jobs: tuple[PaddleJob, ...] = ()
    mpi_jobs: tuple[MPIJob, ...] = ()
    train_jobs: tuple[TrainJob, ...] = ()
    spark_applications: tuple[SparkApplication, ...] = ()
    inference_services: tuple[InferenceService, ...] = ()
    seldon_deployments: tuple[SeldonDeployment, ...] = ()
    kai_pod_groups: tuple[KaiPodGroup, ...] = ()
    volcano_pod_groups: tuple[VolcanoPodGroup, ...] = ()
    coscheduling_pod_groups: tuple[CoschedulingPodGroup, ...] = ()
    queues: tuple[Queue, ...] = ()
    topologies: tuple[Topology, ...] = ()
    kueue_topologies: tuple[KueueTopology, ...] = ()
    kai_topologies: tuple[KaiTopology, ...] = ()
    priority_classes: tuple[PriorityClass, ...] = ()
    funds: tuple[Funds, ...] = ()

    @staticmethod
    def of(objects: Iterable[KubernetesObject]) -> "Snapshot":
        """A snapshot of these objects; of several with one kind, namespace and name the last counts."""
        by_field: dict[str, dict[tuple[str, str], KubernetesObject]] = {
            field: {} for field in FIELDS.values()
        }
        for item in objects:
            if isinstance(item, ConfigMap) and item.key != DRIVERS_CONFIG_MAP:
                continue
            by_field[FIELDS[type(item)]][item.key] = item
        return Snapshot(
            **{field: tuple(found[key] for key in sorted(found)) for field, found in by_field.items()}  # type: ignore[arg-type]
        )

    @property
    def ownership(self) -> Ownership | None:
        """The devices that the cluster has handed to Aliquot; None when it has not said."""
        for item in self.config_maps:
            if item.key == DRIVERS_CONFIG_MAP:
                return Ownership.of(item.data)
        return None

    def objects(self) -> Iterable[KubernetesObject]:
        """All objects, kind by kind."""
        for field in FIELDS.values():
            yield from getattr(self, field)

    def to_list(self) -> dict[str, Any]:
        """The snapshot as a Kubernetes List document, the form in which it is saved."""
        return {"apiVersion": "v1", "kind": "List", "items": [encode(item) for item in self.objects()]}


FIELDS: dict[type[KubernetesObject], str] = {
    ConfigMap: "config_maps",
    Namespace: "namespaces",
    Node: "nodes",
    DeviceClass: "device_classes",
    ResourceSlice: "resource_slices",
    DeviceTaintRule: "device_taint_rules",
    ResourceClaim: "resource_claims",
    ResourceClaimTemplate: "resource_claim_templates",
    Pod: "pods",
    Job: "jobs",
    Workload: "workloads",
    PodGroup: "pod_groups",
    Deployment: "deployments",
    ReplicaSet: "replica_sets",
    StatefulSet: "stateful_sets",
    JobSet: "job_sets",
    LeaderWorkerSet: "leader_worker_sets",
    RayCluster: "ray_clusters",
    RayJob: "ray_jobs",
    RayService: "ray_services",
    PyTorchJob: "pytorch_jobs",
    TFJob: "tf_jobs",
    XGBoostJob: "xgboost_jobs",
    JAXJob: "jax_jobs",
    PaddleJob: "paddle_jobs",
    MPIJob: "mpi_jobs",
    TrainJob: "train_jobs",
    SparkApplication: "spark_applications",
    InferenceService: "inference_services",
    SeldonDeployment: "seldon_deployments",
    KaiPodGroup: "kai_pod_groups",
    VolcanoPodGroup: "volcano_pod_groups",
    CoschedulingPodGroup: "coscheduling_pod_groups",
    Queue: "queues",
    Topology: "topologies",
    KueueTopology: "kueue_topologies",
    KaiTopology: "kai_topologies",
    PriorityClass: "priority_classes",
    Funds: "funds",
}
"""Which field of a Snapshot holds which kind."""
