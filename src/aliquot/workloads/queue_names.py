"""The queue that a workload is in."""

from collections.abc import Sequence

from aliquot.model.core import QUEUE_LABELS, Pod
from aliquot.model.index import SnapshotIndex
from aliquot.model.meta import KubernetesObject
from aliquot.model.owners import TrainingJob
from aliquot.model.podgroups import KaiPodGroup, VolcanoPodGroup
from aliquot.queues.tree import QueueTree

_QUEUE_LABELS = frozenset(QUEUE_LABELS)


def queue_name(
    index: SnapshotIndex,
    tree: QueueTree,
    pod: Pod,
    owners: Sequence[KubernetesObject],
    default_queue: str,
) -> str:
    """By label on the pod, on its owners from the nearest up, in a pod group, on its namespace, else the
    default; "" outside queues.

    A default queue that does not exist stands for no queue at all.
    """
    meta = pod.metadata
    namespace = index.namespaces.get(meta.namespace)
    if namespace is None or not namespace.managed:
        return ""
    found = _labelled(meta.labels)
    if found:
        return found
    for owner in owners:
        found = _labelled(owner.metadata.labels) or _in_spec(owner)
        if found:
            return found
    found = _labelled(namespace.metadata.labels)
    if found:
        return found
    return default_queue if default_queue in tree.queues else ""


def _labelled(labels: dict[str, str]) -> str:
    if labels and not _QUEUE_LABELS.isdisjoint(labels):
        for label in QUEUE_LABELS:
            named = labels.get(label)
            if named:
                return named
    return ""


def _in_spec(owner: KubernetesObject) -> str:
    if isinstance(owner, KaiPodGroup):
        return owner.spec.queue
    if isinstance(owner, VolcanoPodGroup):
        # Volcano itself fills "default" in where nothing was said.
        return owner.spec.queue if owner.spec.queue != "default" else ""
    if isinstance(owner, TrainingJob):
        policy = owner.spec.run_policy.scheduling_policy
        return policy.queue if policy is not None else ""
    return ""
