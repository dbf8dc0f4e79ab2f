"""Queue (aliquot.dev/v1alpha1): a place in the tree along which an organisation shares its accelerators."""

from datetime import datetime
from typing import Annotated

import msgspec

from aliquot.cel.quantity import Quantity
from aliquot.model.meta import Condition, KubernetesObject, Record

DURATION = r"^(0|([0-9]{1,12}(\.[0-9]{0,9})?(h|m|s|ms))+)?$"
"""What the API server admits as a duration: Go's form without a sign, such as 5m, 1h30m or 1.5h."""

Duration = Annotated[str, msgspec.Meta(pattern=DURATION, max_length=64)]


class QueueResource(Record, frozen=True):
    """The terms for one resource.

    name: "gpu" (devices, parts of one as exact fractions), "gpuMemory" (bytes of device memory), "cpu"
    (cores), "memory" (bytes), or the name of a DeviceClass (devices of that class). quota: guaranteed, None
    means nothing and -1 that there is no bound: everything that the queue above has. limit: never exceeded,
    None and -1 mean no limit. over_quota_weight: part of what is left over when every quota is met.
    """

    name: str = ""
    quota: Quantity | None = None
    limit: Quantity | None = None
    over_quota_weight: int = 1


class QueueSpec(Record, frozen=True):
    """parent: the queue above ("" at the top of the tree). priority: the higher goes first.

    preempt_min_runtime, reclaim_min_runtime: how long work runs before work of its own queue may preempt it,
    and before other queues may reclaim what it holds, as Go durations; "" means as the queue above says.
    """

    parent: str = ""
    priority: int = 100
    preempt_min_runtime: Duration = ""
    reclaim_min_runtime: Duration = ""
    resources: tuple[QueueResource, ...] = ()


class ResourceUsage(Record, frozen=True):
    """What a queue has used of a resource over time, where use long ago counts less.

    value: use so far in units times seconds (GPU-seconds, core-seconds, byte-seconds), each second halved
    once per half-life since then. capacity: the same of all there was to use. as_of: the moment that both
    speak of.
    """

    name: str = ""
    value: Quantity = Quantity(0)
    capacity: Quantity = Quantity(0)
    as_of: datetime | None = None


class QueueStatus(Record, frozen=True):
    conditions: tuple[Condition, ...] = ()
    usage: tuple[ResourceUsage, ...] = ()


class Queue(KubernetesObject, frozen=True, tag_field="kind", tag="Queue"):
    spec: QueueSpec = QueueSpec()
    status: QueueStatus = QueueStatus()
