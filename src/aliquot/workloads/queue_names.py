"""The queue that a workload is in."""

from collections.abc import Iterable

from aliquot.model.core import QUEUE_LABELS, Pod
from aliquot.model.index import SnapshotIndex
from aliquot.model.meta import KubernetesObject
from aliquot.model.owners import TrainingJob
from aliquot.model.podgroups import KaiPodGroup, VolcanoPodGroup
from aliquot.queues.tree import QueueTree

_QUEUE_LABELS = frozenset(QUEUE_LABELS)


def queue_name(index: SnapshotIndex, tree: QueueTree, pod: Pod, owners_queue: str, default_queue: str) -> str:
    """By label on the pod, what its owners name, by label on its namespace, else the default; "" outside
    queues.

    A default queue that does not exist stands for no queue at all.
    """
    meta = pod.metadata
    namespace = index.namespaces.get(meta.namespace)
    if namespace is None or not namespace.managed:
        return ""
    found = _labelled(meta.labels) or owners_queue or _labelled(namespace.metadata.labels)
    if found:
        return found
    return default_queue if default_queue in tree.queues else ""


def queue_of_owners(owners: Iterable[KubernetesObject]) -> str:
    """The queue that the first of these objects names that names one, by label or in a pod group; "" if none
    does."""
    for owner in owners:
        found = _labelled(owner.metadata.labels) or _in_spec(owner)
        if found:
            return found
    return ""


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
