"""The names by which a scenario's facts are written on Kubernetes objects, in one place."""

GANG = "aliquot.dev/gang"
GANG_SIZE = "aliquot.dev/gang-size"
SUBGROUPS = "aliquot.dev/subgroups"
"""Annotation: the tree of subgroups as JSON, equal on all pods of a gang."""
SUBGROUP = "aliquot.dev/subgroup"
"""Annotation: the leaf that the pod belongs to."""
STALE_SINCE = "aliquot.dev/stale-since"
STALENESS_GRACE = "aliquot.dev/staleness-grace"

QUEUE = "kai.scheduler/queue"
PREEMPTIBILITY = "kai.scheduler/preemptibility"
PREEMPTION_DELAY = "kai.scheduler/preemption-delay"
TASK_PRIORITY = "kai.scheduler/task-priority"
NODE_NAME = "kai.scheduler/type"
"""Node label that equals the node's name; required node names refer to it."""

GPU = "nvidia.com/gpu"
GPU_FRACTION = "gpu-fraction"
GPU_MEMORY = "gpu-memory"
GPU_DEVICES = "gpu-fraction-num-devices"
GPU_GROUP = "runai-gpu-group"
"""Label: the one shared device of a pod; `runai-gpu-group/<name>: <name>` for each of several."""
GPU_MEMORY_LABEL = "nvidia.com/gpu.memory"
MIG_STRATEGY_LABEL = "nvidia.com/mig.strategy"
LEGACY_MIG = "nvidia.com/mig-1g.5gb"
"""Annotation by which pods once asked for a MIG device without a resource request."""

OTHER_GATE = "example.com/hold"
NAMESPACE = "kai"
"""Where objects of a scenario go that name no namespace."""


def gpu_group_labels(groups: tuple[str, ...]) -> dict[str, str]:
    """The labels that say which shared devices a pod holds."""
    if len(groups) == 1:
        return {GPU_GROUP: groups[0]}
    return {f"{GPU_GROUP}/{group}": group for group in groups}
