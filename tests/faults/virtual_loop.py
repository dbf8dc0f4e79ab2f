"""An event loop in which waiting takes no time: when nothing is ready, its clock jumps to the next timer."""

import asyncio
import itertools
import selectors
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

T = TypeVar("T")

START = datetime(2026, 1, 1, tzinfo=UTC)


class _Selector(selectors.SelectSelector):
    """Never waits; what the loop would have waited is added to its clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if not found:
            if timeout is None:
                raise RuntimeError("everybody waits for somebody else")
            # A timer that is due "now" must be due after rounding, too.
            self.now += max(timeout, 1e-9) if timeout > 0 else 0.0
        return found


class _NumberedFuture(asyncio.Future[Any]):
    """Its hash is its number, so that the order of a set is no accident of where things lie in memory."""

    def __init__(self, *, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        assert isinstance(loop, VirtualLoop)
        self._number = loop.number()

    def __hash__(self) -> int:
        return self._number


class _NumberedTask(asyncio.Task[Any]):
    """See `_NumberedFuture`."""

    _number = 0

    def __init__(self, loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> None:
        assert isinstance(loop, VirtualLoop)
        self._number = loop.number()
        super().__init__(coro, loop=loop, **options)

    def __hash__(self) -> int:
        return self._number


class VirtualLoop(asyncio.SelectorEventLoop):
    """Deterministic as long as nothing in it reads a socket, a thread or the machine's clock: work that is
    handed to a thread is done at once."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        self._numbers = itertools.count(1)
        super().__init__(self._virtual)
        self.set_task_factory(_NumberedTask)

    def time(self) -> float:
        return self._virtual.now

    def number(self) -> int:
        """A number that nothing in this loop has had."""
        return next(self._numbers)

    def create_future(self) -> "asyncio.Future[Any]":
        return _NumberedFuture(loop=self)

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> "asyncio.Future[T]":
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future


class LoopClock:
    """The loop's time as a wall clock. skew: seconds by which this machine's wall clock is wrong."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.skew = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self._loop.time() + self.skew)

    def monotonic(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def ended(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel tasks until they have ended: `asyncio.wait_for` of Python 3.11 loses a cancellation that comes
    in the same turn of the loop as what it waits for.
    """
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=0.01)
    await asyncio.gather(*tasks, return_exceptions=True)


def run(make: Callable[[VirtualLoop], Coroutine[Any, Any, T]]) -> T:
    """Run to its end what `make` gives for a new loop."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, VirtualLoop)
        return runner.run(make(loop))
