"""Policy: what an operator chooses, as data. `decide` reads nothing else."""

import msgspec


class Policy(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How to decide.

    managed_drivers: DRA drivers whose devices Aliquot allocates; empty means every driver that publishes
    slices. search_budget: how many steps the allocator may take for one claim set on one node. default_queue:
    the queue of workloads that name none; when no such Queue object exists they count against no limit.
    """

    managed_drivers: frozenset[str] = frozenset()
    search_budget: int = 100_000
    default_queue: str = "default"
