"""How far simulations are, on a terminal."""

import sys
from collections.abc import Sequence
from types import TracebackType

from aliquot.cli.sweeping import Ended, Progress, Run

DAY = 86_400


class Display:
    """Lines on stderr, one for each run under way and one for all; nothing where stderr is no terminal."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self._runs = runs
        self._shown = sys.stderr.isatty()
        self._lines: dict[int, object] = {}
        self._progress: object = None

    def __enter__(self) -> "Display":
        if self._shown:
            from rich.console import Console
            from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bars

            self._bars = Bars(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TaskProgressColumn(),
                TextColumn("{task.fields[state]}"),
                TimeRemainingColumn(compact=True),
                console=Console(stderr=True),
                transient=True,
            )
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown:
            self._bars.stop()

    def tell(self, message: Progress | Ended) -> None:
        """Show what a run says."""
        if not self._shown:
            return
        run = self._runs[message.run]
        task = self._lines.get(message.run)
        if isinstance(message, Ended):
            if task is not None:
                self._bars.remove_task(self._lines.pop(message.run))  # type: ignore[arg-type]
            return
        if task is None:
            task = self._lines[message.run] = self._bars.add_task(run.name, total=1.0, state="")
        known = message.done + message.placed + message.waiting + message.coming
        part = message.done / known if known else 0.0
        if run.settings.until:
            part = max(part, message.now / run.settings.until)
        state = (
            f"{clock(message.now)}  {message.done} done, {message.placed} running, {message.waiting} waiting"
            f"  {message.decisions} decisions"
        )
        self._bars.update(task, completed=min(1.0, part), state=state)  # type: ignore[arg-type]


def clock(seconds: int) -> str:
    """Virtual time for people: 2d 07:45."""
    days, rest = divmod(seconds, DAY)
    time = f"{rest // 3600:02}:{rest // 60 % 60:02}"
    return f"{days}d {time}" if days else time
