"""Policy: what an operator chooses, as data. `decide` reads nothing else."""

import msgspec

from aliquot.model.snapshot import Snapshot

NO_ACCELERATORS = frozenset(
    {
        "compute-domain.nvidia.com",
        "dra.cpu",
        "dra.memory",
        "dra.net",
        "qat.intel.com",
        "sriovnetwork.k8snetworkplumbingwg.io",
    }
)
"""Drivers known to publish something else than accelerators: IMEX channels, CPUs, memory, NICs, crypto."""


class Policy(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How to decide.

    managed_drivers: DRA drivers whose devices Aliquot allocates; None means those that the cluster's
    ConfigMap lists, or, in a snapshot without it, every driver that publishes slices. search_budget: how many
    steps the allocator may take for one claim set on one node. default_queue: the queue of workloads that
    name none; when no such Queue object exists they count against no limit. strict_fifo: nothing overtakes a
    workload of its queue that waits for room; otherwise what fits goes ahead, and the verdict of the one
    overtaken says so. every_pod: decide pending pods without gate and claims too, which otherwise are the
    scheduler's own. gang_search: how many times the placement of one gang may be taken back to try another
    node for an earlier member. bind_patience_seconds: how long a pod that was let go may be found
    unschedulable before it is replaced. kubernetes: (major, minor) of the cluster, which says which parts of
    Dynamic Resource Allocation it knows. uncounted_drivers: DRA drivers whose devices are no accelerators
    (network cards, channels, CPUs) and do not count as "gpu" in queues.
    """

    managed_drivers: frozenset[str] | None = None
    search_budget: int = 100_000
    default_queue: str = "default"
    strict_fifo: bool = False
    every_pod: bool = False
    gang_search: int = 200
    bind_patience_seconds: int = 60
    kubernetes: tuple[int, int] = (1, 36)
    uncounted_drivers: frozenset[str] = NO_ACCELERATORS


def managed_drivers(snapshot: Snapshot, policy: Policy) -> frozenset[str] | None:
    """The drivers whose devices Aliquot allocates in this cluster; None for every driver."""
    return snapshot.listed_drivers if policy.managed_drivers is None else policy.managed_drivers
