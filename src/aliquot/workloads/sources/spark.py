"""Spark on Kubernetes, with or without the Spark operator: a driver, which asks for its executors itself.

Executors do not exist before the driver runs, so it starts alone; Spark then asks for them in batches, so no
more of them are waited for than there are.
"""

from aliquot.model.core import Pod
from aliquot.model.meta import KubernetesObject
from aliquot.model.owners import SparkApplication
from aliquot.workloads import labels
from aliquot.workloads.lookup import Lookup
from aliquot.workloads.sources.source import Group, GroupKey, Membership, Shape, Source, number
from aliquot.workloads.subgroups import SubGroup, together, without

DRIVER = "driver"
EXECUTORS = "executors"


def in_spark_application(pod: Pod, lookup: Lookup) -> Membership | None:
    """Labels that Spark puts on its pods: the application's id, driver or executor, the executor's id."""
    meta = pod.metadata
    role = meta.labels.get(labels.SPARK_ROLE)
    if role not in ("driver", "executor"):
        return None
    run = meta.labels[labels.SPARK_APPLICATION]
    key = ("SparkApplication", meta.namespace, meta.labels.get(labels.SPARK_OPERATOR_NAME, run), run)
    if role == "driver":
        return Membership(key, DRIVER, leader=True)
    return Membership(key, EXECUTORS, index=number(meta.labels.get(labels.SPARK_EXECUTOR)) or 0)


def _owner(key: GroupKey, lookup: Lookup) -> KubernetesObject | None:
    return lookup.find("SparkApplication", key[1], key[2])


def _shape(group: Group) -> Shape:
    application = next((owner for owner in group.owners if isinstance(owner, SparkApplication)), None)
    wanted, maximum = 0, None
    if application is not None:
        spec = application.spec
        wanted = 1 if spec.executor.instances is None else spec.executor.instances
        dynamic = spec.dynamic_allocation
        if dynamic is not None and dynamic.enabled:
            wanted = dynamic.min_executors or 0
            maximum = None if dynamic.max_executors is None else dynamic.max_executors + 1
    needed = max(0, wanted - group.succeeded().get(EXECUTORS, 0))
    needed = min(needed, group.live_by_leaf().get(EXECUTORS, 0))
    driver = without(SubGroup(DRIVER, 1), group.succeeded())
    return Shape(together([driver, SubGroup(EXECUTORS, needed)]), maximum)


SOURCES = (Source("SparkApplication", _owner, _shape),)
