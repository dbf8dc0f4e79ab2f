"""How far simulations are, on a terminal."""

import sys
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from aliquot.cli.sweeping import Ended, Progress, Run

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

DAY = 86_400


class Display:
    """Lines on stderr, one for each run under way and one for all; nothing where stderr is no terminal."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self._runs = runs
        self._bars: Bars | None = None
        self._lines: dict[int, TaskID] = {}
        self._whole: TaskID | None = None
        self._ended = 0

    def __enter__(self) -> "Display":
        if not sys.stderr.isatty():
            return self
        # Only where it is shown: rich takes its time to load.
        from rich.console import Console
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        self._bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=16),
            TaskProgressColumn(),
            TextColumn("{task.fields[state]}", markup=False),
            TimeRemainingColumn(compact=True),
            console=Console(stderr=True),
            transient=True,
        )
        if len(self._runs) > 1:
            self._whole = self._bars.add_task("all", total=len(self._runs), state=self._state())
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def tell(self, message: Progress | Ended) -> None:
        """Show what a run says."""
        if self._bars is None:
            return
        if isinstance(message, Ended):
            self._ended += 1
            if message.run in self._lines:
                self._bars.remove_task(self._lines.pop(message.run))
            if self._whole is not None:
                self._bars.update(self._whole, completed=self._ended, state=self._state())
            return
        run = self._runs[message.run]
        if message.run not in self._lines:
            self._lines[message.run] = self._bars.add_task(run.name, total=1.0, state="")
        self._bars.update(
            self._lines[message.run],
            completed=_part(message, run.settings.until),
            state=f"{clock(message.now)}  {message.done} done, {message.placed} running, "
            f"{message.waiting} waiting",
        )

    def _state(self) -> str:
        return f"{self._ended} of {len(self._runs)} simulations"


def _part(progress: Progress, until: int | None) -> float:
    """How much of a run is over, 0 to 1: of its time if that is limited, else of its workloads."""
    if until:
        return min(1.0, progress.now / until)
    known = progress.done + progress.placed + progress.waiting + progress.coming
    return progress.done / known if known else 0.0


def clock(seconds: int) -> str:
    """Virtual time for people: 2d 07:45."""
    days, rest = divmod(seconds, DAY)
    time = f"{rest // 3600:02}:{rest // 60 % 60:02}"
    return f"{days}d {time}" if days else time
