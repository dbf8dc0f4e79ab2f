"""The page says of a workload why taking from others does not help it."""

from typing import Any

import aiohttp
from tests.scheduling.builders import cluster, gpu_node, queue
from tests.scheduling.test_taking_explained import running, wanting
from tests.web.world import plan_of, served

from aliquot.controller.live import Live


async def details(live: Live, name: str) -> dict[str, Any]:
    async with served(live) as url, aiohttp.ClientSession() as session:
        query = {"kind": "pod", "namespace": "team", "name": name}
        async with session.get(f"{url}api/workload", params=query) as answer:
            found: dict[str, Any] = await answer.json()
            return found


async def test_reclaim_preemption_and_consolidation_are_told_of_whoever_waits_for_room() -> None:
    snapshot = cluster(
        gpu_node("n1"), queue("a", quota={"gpu": "4"}), running("h", 8, priority=5), wanting(4)
    )
    live = Live()
    live.publish(snapshot, plan_of(snapshot))

    assert (await details(live, "w"))["taking"] == [
        "Reclaim does not help: with this, queue a would hold 12 gpu of its fair share of 8.",
        "Preemption does not help: nothing that runs in its queue has a lower priority "
        "(1 workload holds 8 gpu).",
        "Consolidation is off by policy.",
    ]
    assert (await details(live, "h"))["taking"] == []
