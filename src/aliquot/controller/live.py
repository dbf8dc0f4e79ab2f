"""What the controller knows at this moment, for whoever shows it."""

import asyncio
from collections.abc import AsyncIterator

from aliquot.model.snapshot import Snapshot
from aliquot.scheduling.plan import Plan


class Live:
    """The newest snapshot and plan. version: grows with each publication; 0 before the first.

    leading: this process decides and writes. Lives in the controller's event loop.
    """

    def __init__(self) -> None:
        self.snapshot = Snapshot()
        self.plan = Plan()
        self.version = 0
        self.leading = False
        self._changed = asyncio.Event()

    def publish(self, snapshot: Snapshot, plan: Plan) -> None:
        """This is the state from now on."""
        self.snapshot = snapshot
        self.plan = plan
        self.version += 1
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait(self, since: int) -> int:
        """The version, once it is greater than `since`."""
        while self.version <= since:
            await self._changed.wait()
        return self.version

    async def subscribe(self) -> AsyncIterator[int]:
        """Versions as they are published; a slow reader misses those in between and never holds anything
        up.
        """
        seen = 0
        while True:
            seen = await self.wait(seen)
            yield seen
