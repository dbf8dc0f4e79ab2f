"""Queues and trees for tests, in whole units."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from aliquot.cel.quantity import Quantity
from aliquot.model.meta import ObjectMeta
from aliquot.model.queue import Queue, QueueResource, QueueSpec
from aliquot.queues.amounts import UNIT, Amount
from aliquot.queues.tree import QueueTree

START = datetime(2026, 11, 1, tzinfo=UTC)


def queue(
    name: str,
    parent: str = "",
    *,
    quota: Mapping[str, str] | None = None,
    limit: Mapping[str, str] | None = None,
    weight: Mapping[str, int] | None = None,
    priority: int = 100,
    created: int = 0,
    preempt: str = "",
    reclaim: str = "",
) -> Queue:
    """quota, limit, weight: by resource. created: seconds after START."""
    names = dict.fromkeys([*(quota or {}), *(limit or {}), *(weight or {})])
    resources = tuple(
        QueueResource(
            name=resource,
            quota=Quantity.parse(quota[resource]) if quota and resource in quota else None,
            limit=Quantity.parse(limit[resource]) if limit and resource in limit else None,
            over_quota_weight=(weight or {}).get(resource, 1),
        )
        for resource in names
    )
    return Queue(
        metadata=ObjectMeta(name=name, creation_timestamp=START + timedelta(seconds=created)),
        spec=QueueSpec(
            parent=parent,
            priority=priority,
            resources=resources,
            preempt_min_runtime=preempt,
            reclaim_min_runtime=reclaim,
        ),
    )


def gpus(number: int) -> dict[str, Amount]:
    return {"gpu": number * UNIT}


@st.composite
def trees(draw: st.DrawFn, most: int = 9) -> QueueTree:
    """Trees of up to `most` queues with random terms for gpu and cpu."""
    number = draw(st.integers(1, most))
    terms = st.integers(-1, 6).map(str)
    queues = []
    for index in range(number):
        above = draw(st.integers(-1, index - 1))
        queues.append(
            queue(
                f"q{index}",
                f"q{above}" if above >= 0 else "",
                quota={"gpu": draw(terms), "cpu": draw(terms)},
                limit={"gpu": draw(st.integers(-1, 12).map(str))},
                weight={"gpu": draw(st.integers(0, 3))},
                priority=draw(st.sampled_from([50, 100])),
                created=draw(st.integers(0, 2)),
            )
        )
    return QueueTree.of(queues)


charges = st.fixed_dictionaries({}, optional={"gpu": st.integers(0, 4), "cpu": st.integers(0, 4)}).map(
    lambda amounts: {name: number * UNIT for name, number in amounts.items()}
)
