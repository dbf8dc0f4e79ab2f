"""Where workloads keep the templates of their pods, and which of these ask for accelerators."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Path = tuple[str, ...]

EACH = "*"
"""In a path: every element of a list or every value of a mapping."""

_TEMPLATE: Path = ("spec", "template")
_RAY_CLUSTER: tuple[Path, ...] = (("headGroupSpec", "template"), ("workerGroupSpecs", EACH, "template"))
_JOB_TEMPLATE: Path = ("spec", "replicatedJobs", EACH, "template", "spec", "template")


def _ray(*above: str) -> tuple[Path, ...]:
    return tuple((*above, *path) for path in _RAY_CLUSTER)


def _replicas(field: str) -> tuple[Path, ...]:
    return (("spec", field, EACH, "template"),)


#: Group and kind to the paths of its pod templates (objects with metadata and spec). The groups are those of
#: Kubernetes and of the projects named by them; see the API reference of each.
TEMPLATES: Mapping[tuple[str, str], tuple[Path, ...]] = {
    ("", "Pod"): ((),),
    ("", "PodTemplate"): (("template",),),
    ("", "ReplicationController"): (_TEMPLATE,),
    ("apps", "DaemonSet"): (_TEMPLATE,),
    ("apps", "Deployment"): (_TEMPLATE,),
    ("apps", "ReplicaSet"): (_TEMPLATE,),
    ("apps", "StatefulSet"): (_TEMPLATE,),
    ("batch", "Job"): (_TEMPLATE,),
    ("batch", "CronJob"): (("spec", "jobTemplate", "spec", "template"),),
    ("jobset.x-k8s.io", "JobSet"): (_JOB_TEMPLATE,),
    ("leaderworkerset.x-k8s.io", "LeaderWorkerSet"): (
        ("spec", "leaderWorkerTemplate", "leaderTemplate"),
        ("spec", "leaderWorkerTemplate", "workerTemplate"),
    ),
    ("ray.io", "RayCluster"): _ray("spec"),
    ("ray.io", "RayJob"): (*_ray("spec", "rayClusterSpec"), ("spec", "submitterPodTemplate")),
    ("ray.io", "RayService"): _ray("spec", "rayClusterConfig"),
    ("kubeflow.org", "JAXJob"): _replicas("jaxReplicaSpecs"),
    ("kubeflow.org", "MPIJob"): _replicas("mpiReplicaSpecs"),
    ("kubeflow.org", "PaddleJob"): _replicas("paddleReplicaSpecs"),
    ("kubeflow.org", "PyTorchJob"): _replicas("pytorchReplicaSpecs"),
    ("kubeflow.org", "TFJob"): _replicas("tfReplicaSpecs"),
    ("kubeflow.org", "XGBoostJob"): _replicas("xgbReplicaSpecs"),
    ("kubeflow.org", "Notebook"): (_TEMPLATE,),
    ("trainer.kubeflow.org", "TrainingRuntime"): (("spec", "template", *_JOB_TEMPLATE),),
    ("trainer.kubeflow.org", "ClusterTrainingRuntime"): (("spec", "template", *_JOB_TEMPLATE),),
    ("batch.volcano.sh", "Job"): (("spec", "tasks", EACH, "template"),),
    ("machinelearning.seldon.io", "SeldonDeployment"): (
        ("spec", "predictors", EACH, "componentSpecs", EACH),
    ),
}

#: Kinds that are known to make pods of a template that is not in them, with what to do instead.
ELSEWHERE: Mapping[tuple[str, str], str] = {
    ("trainer.kubeflow.org", "TrainJob"): "put the gate on the TrainingRuntime that it names",
    ("sparkoperator.k8s.io", "SparkApplication"): "its pods take no gate from the manifest; use the policy",
    ("serving.kserve.io", "InferenceService"): "put the gate on its ServingRuntime, or use the policy",
    ("serving.knative.dev", "Service"): "Knative refuses gates in manifests; use the policy",
}

ACCELERATORS = re.compile(
    r"^(nvidia\.com/(gpu|gpu\.shared|gpumem|gpumem-percentage|gpucores|mig-.+)|amd\.com/gpu.*"
    r"|gpu\.intel\.com/(i915|xe)|intel\.com/(gpu|gaudi)|habana\.ai/gaudi|google\.com/tpu"
    r"|aws\.amazon\.com/neuron.*|deviceclass\.resource\.kubernetes\.io/.+)$"
)
"""Extended resources that stand for accelerators; the same as in the policy gate.aliquot.dev."""

FRACTIONS = (
    "gpu-fraction",
    "gpu-memory",
    "gpu-fraction-num-devices",
    "aliquot.dev/gpu-fraction",
    "aliquot.dev/gpu-memory",
    "aliquot.dev/gpu-fraction-num-devices",
)
"""Annotations by which a pod asks for a part of a device."""

MIG_ANNOTATION = "nvidia.com/mig-"
"""How those begin by which pods once asked for MIG instances; a pod with one is told why it waits."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a kind: the paths of its templates, or why there are none in it."""

    paths: tuple[Path, ...] = ()
    elsewhere: str = ""


def known(api_version: str, kind: str) -> Known | None:
    """What is known of a kind; None if nothing is."""
    key = (api_version.rpartition("/")[0], kind)
    if key in TEMPLATES:
        return Known(TEMPLATES[key])
    if key in ELSEWHERE:
        return Known(elsewhere=ELSEWHERE[key])
    return None


def asks(template: Mapping[str, Any]) -> bool:
    """Whether pods of this template ask for accelerators, as the policy gate.aliquot.dev judges it."""
    spec = template.get("spec")
    if not isinstance(spec, Mapping):
        return False
    if spec.get("resourceClaims"):
        return True
    annotations = (template.get("metadata") or {}).get("annotations") or {}
    if any(name in FRACTIONS or str(name).startswith(MIG_ANNOTATION) for name in annotations):
        return True
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    return any(
        ACCELERATORS.match(str(name))
        for container in containers
        if isinstance(container, Mapping)
        for name in ((container.get("resources") or {}).get("limits") or {})
    )


def templates(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The pod templates of an object; none where nothing is known of its kind."""
    what = known(str(document.get("apiVersion", "")), str(document.get("kind", "")))
    for path in what.paths if what is not None else ():
        for found in _under(document, path):
            if isinstance(found, Mapping):
                yield found


def _under(value: object, path: Path) -> Iterator[object]:
    if not path:
        yield value
    elif path[0] == EACH:
        children = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
        for child in children:
            yield from _under(child, path[1:])
    elif isinstance(value, Mapping) and path[0] in value:
        yield from _under(value[path[0]], path[1:])
