"""Queue (aliquot.dev/v1alpha1): a place in the tree along which an organisation shares its accelerators."""

from aliquot.cel.quantity import Quantity
from aliquot.model.meta import Condition, KubernetesObject, Record


class QueueResource(Record, frozen=True):
    """The terms for one resource.

    name: "gpu" (devices, parts of one as exact fractions), "cpu" (cores), "memory" (bytes), or the name of a
    DeviceClass (devices of that class). quota: guaranteed, None means nothing. limit: never exceeded, None
    means no limit. over_quota_weight: part of what is left over when every quota is met.
    """

    name: str = ""
    quota: Quantity | None = None
    limit: Quantity | None = None
    over_quota_weight: int = 1


class QueueSpec(Record, frozen=True):
    """parent: the queue above ("" at the top of the tree). priority: the higher goes first."""

    parent: str = ""
    priority: int = 100
    resources: tuple[QueueResource, ...] = ()


class QueueStatus(Record, frozen=True):
    conditions: tuple[Condition, ...] = ()


class Queue(KubernetesObject, frozen=True, tag_field="kind", tag="Queue"):
    spec: QueueSpec = QueueSpec()
    status: QueueStatus = QueueStatus()
