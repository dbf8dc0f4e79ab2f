"""Those who watch see the newest state and hold nothing up."""

import asyncio

from aliquot.controller.live import Live
from aliquot.model.snapshot import Snapshot
from aliquot.scheduling.plan import Plan


async def test_a_slow_reader_gets_the_newest_version_and_misses_those_between() -> None:
    live = Live()
    versions = live.subscribe()
    live.publish(Snapshot(), Plan())
    assert await anext(versions) == 1
    for _ in range(100):
        live.publish(Snapshot(), Plan())
    assert await anext(versions) == 101
    waiting = asyncio.ensure_future(anext(versions))
    await asyncio.sleep(0)
    assert not waiting.done()
    live.publish(Snapshot(), Plan())
    assert await asyncio.wait_for(waiting, 5) == 102
