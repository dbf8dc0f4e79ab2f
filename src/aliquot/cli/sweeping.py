"""Running several simulations side by side, on as many processes as asked for, interruptible at any time.

Every run has a folder of its own. What is under way is kept there now and then and when it is interrupted; a
run whose result is there is not made again. The same command goes on where it was interrupted.
"""

import contextlib
import gc
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from queue import Empty
from types import FrameType
from typing import Any

import msgspec

from aliquot.cli.failures import Failure
from aliquot.cli.garbage import SELDOM
from aliquot.cli.simulation_input import Beginning
from aliquot.scheduling.policy import Policy
from aliquot.simulation.adoption import adopt
from aliquot.simulation.objects import FormError
from aliquot.simulation.results import Result
from aliquot.simulation.saving import SavedError
from aliquot.simulation.settings import Settings
from aliquot.simulation.simulation import Simulation
from aliquot.traces import results
from aliquot.traces.errors import TraceError

TELL_SECONDS = 0.2
KEEP_SECONDS = 60.0
LISTEN_SECONDS = 0.2
STOPPING = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def seldom_collected() -> Iterator[None]:
    """Inside, what is there already is never looked through for garbage, and what comes is more seldom.

    A simulation makes and drops many objects and hardly any cycles of them: looking through tens of thousands
    of pods again and again took a sixth of its time (2,000 nodes), and found nothing.
    """
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(*SELDOM)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One simulation to make. name: of its folder."""

    name: str
    policy: Policy
    settings: Settings


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a run is: seconds of virtual time, workloads done, with a place, waiting, and still to come."""

    run: int
    now: int = 0
    done: int = 0
    placed: int = 0
    waiting: int = 0
    coming: int = 0


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """A run has ended. problem: what went wrong, "" if nothing did. interrupted: it can go on later."""

    run: int
    interrupted: bool = False
    problem: str = ""


Tell = Callable[[Progress | Ended], None]


def sweep(
    beginning: Beginning, runs: Sequence[Run], folder: Path, processes: int, form: str, tell: Tell
) -> bool:
    """Make all runs; whether all of them ended. `tell` is called in this process. Raises Failure."""
    if processes <= 1 or len(runs) == 1:
        stop = _Stop()
        with stop.on_interrupt():
            for number, run in enumerate(runs):
                ended = perform(number, run, beginning, folder / run.name, form, tell, stop)
                tell(ended)
                if ended.problem:
                    raise Failure(ended.problem)
                if ended.interrupted:
                    return False
        return True
    return _side_by_side(beginning, runs, folder, processes, form, tell)


def perform(
    number: int,
    run: Run,
    beginning: Beginning,
    folder: Path,
    form: str,
    tell: Callable[[Progress], None],
    stop: "_Stop",
) -> Ended:
    """Make one run, or go on with it, or find that it was made."""
    try:
        simulation = _simulation(run, beginning, folder)
        if simulation is None:
            return Ended(run=number)
        with seldom_collected():
            going = _run(simulation, lambda: tell(progress_of(number, simulation)), folder, stop)
        if going:
            results.write_state(folder, simulation.save())
            return Ended(run=number, interrupted=True)
        tell(progress_of(number, simulation))
        results.write_result(folder, simulation.result(), simulation.fingerprint, form)
        results.drop_state(folder)
    except (FormError, SavedError) as error:
        return Ended(
            run=number, problem=f"{folder}: {error}" if isinstance(error, SavedError) else str(error)
        )
    except TraceError as error:
        return Ended(run=number, problem=str(error))
    return Ended(run=number)


def _run(simulation: Simulation, tell: Callable[[], None], folder: Path, stop: "_Stop") -> bool:
    """Go on until the end or until asked to stop; whether there is more to do."""
    spoken = kept = time.monotonic()
    going = True
    while going and not stop.asked:
        going = simulation.step()
        now = time.monotonic()
        if now - spoken >= TELL_SECONDS:
            spoken = now
            tell()
        if now - kept >= KEEP_SECONDS:
            results.write_state(folder, simulation.save())
            kept = time.monotonic()
    return going


def _simulation(run: Run, beginning: Beginning, folder: Path) -> Simulation | None:
    """The run's simulation, new or taken up again; None if its result is there."""
    snapshot = beginning.snapshot
    workloads = [
        *adopt(snapshot, run.settings.start, run.policy),
        *beginning.all_workloads(run.settings.seed),
    ]
    simulation = Simulation.of(snapshot, workloads, run.settings, run.policy)
    if (folder / results.RESULT).exists():
        made = results.read_result(folder)
        if made.fingerprint == simulation.fingerprint:
            return None
        raise TraceError(
            str(folder / results.RESULT),
            None,
            "",
            "is the result of another simulation",
            "remove the folder, or name another one with --out",
        )
    state = results.read_state(folder)
    if state is None:
        return simulation
    return Simulation.resumed(state, snapshot, workloads, run.settings, run.policy)


def progress_of(number: int, simulation: Simulation) -> Progress:
    meter = simulation.world.meter
    return Progress(
        run=number,
        now=simulation.now,
        done=simulation.finished,
        placed=len(meter.placed_set),
        waiting=len(meter.waiting),
        coming=len(simulation.world.workloads) - simulation.pace.arrived,
    )


class _Stop:
    """Whether to stop: on Ctrl-C or SIGTERM, and in a worker when the process that began it is gone."""

    def __init__(self, parent: int | None = None) -> None:
        self._asked = False
        self._parent = parent

    @property
    def asked(self) -> bool:
        return self._asked or self.orphaned

    @property
    def orphaned(self) -> bool:
        return self._parent is not None and os.getppid() != self._parent

    def on_interrupt(self) -> "_Handling":
        return _Handling(self)

    def ask(self, number: int = 0, frame: FrameType | None = None) -> None:
        self._asked = True


class _Handling:
    """Inside, the first Ctrl-C or SIGTERM asks to stop; a second one ends the process at once."""

    def __init__(self, stop: _Stop) -> None:
        self._stop = stop
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> None:
        def first(number: int, frame: FrameType | None) -> None:
            self._stop.ask()
            signal.signal(number, signal.default_int_handler)

        self._before = {number: signal.signal(number, first) for number in STOPPING}

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def _side_by_side(
    beginning: Beginning, runs: Sequence[Run], folder: Path, processes: int, form: str, tell: Tell
) -> bool:
    # A forked process has what was read without a copy of it; no thread runs yet.
    context = multiprocessing.get_context("fork")
    todo: Any = context.Queue()
    told: Any = context.Queue()
    workers: list[BaseProcess] = []
    stop = _Stop()
    ended: dict[int, Ended] = {}
    try:
        with stop.on_interrupt():
            # A signal that comes while a worker begins waits until the worker has its own handlers.
            signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
            try:
                for _ in range(min(processes, len(runs))):
                    workers.append(_worker(context, beginning, runs, folder, form, todo, told))
            finally:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
            for number in (*range(len(runs)), *(None for _ in workers)):
                todo.put(number)
            for message in _messages(told, workers, stop):
                tell(message)
                if isinstance(message, Ended):
                    ended[message.run] = message
                    if message.problem:
                        raise Failure(message.problem)
    finally:
        for worker in workers:
            _interrupt(worker)
            worker.join()
    dead = [worker.exitcode for worker in workers if worker.exitcode]
    if dead and not stop.asked:
        raise Failure(
            f"a simulating process ended with status {dead[0]}; "
            "if memory was short, use fewer processes with --processes"
        )
    return len(ended) == len(runs) and not any(item.interrupted for item in ended.values())


def _worker(
    context: BaseContext,
    beginning: Beginning,
    runs: Sequence[Run],
    folder: Path,
    form: str,
    todo: Any,
    told: Any,
) -> BaseProcess:
    process: BaseProcess = context.Process(  # type: ignore[attr-defined]
        target=_work, args=(beginning, runs, folder, form, todo, told, os.getpid()), daemon=True
    )
    process.start()
    return process


def _work(
    beginning: Beginning,
    runs: Sequence[Run],
    folder: Path,
    form: str,
    todo: Any,
    told: Any,
    parent: int,
) -> None:
    stop = _Stop(parent)
    for kind in STOPPING:
        signal.signal(kind, stop.ask)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
    while not stop.asked:
        try:
            number = todo.get(timeout=LISTEN_SECONDS)
        except Empty:
            continue
        if number is None:
            break
        run = runs[number]
        told.put(perform(number, run, beginning, folder / run.name, form, told.put, stop))
    if stop.orphaned:
        # Nobody reads any more; what was not read must not keep this process from ending.
        told.cancel_join_thread()


def _interrupt(worker: BaseProcess) -> None:
    """Ask a worker to keep what it has and end; again and again is the same as once."""
    if worker.is_alive() and worker.pid is not None:
        os.kill(worker.pid, signal.SIGINT)


def _messages(told: Any, workers: Sequence[BaseProcess], stop: _Stop) -> Iterator[Progress | Ended]:
    """What the workers say, until all have ended and everything was heard."""
    passed_on = False
    while True:
        if stop.asked and not passed_on:
            passed_on = True
            for worker in workers:
                _interrupt(worker)
        alive = any(worker.is_alive() for worker in workers)
        try:
            yield told.get(timeout=LISTEN_SECONDS)
        except Empty:
            if not alive:
                return


def results_of(runs: Sequence[Run], folder: Path) -> Mapping[str, Result]:
    """The results that are there, by the names of the runs. Raises Failure."""
    found: dict[str, Result] = {}
    for run in runs:
        if (folder / run.name / results.RESULT).exists():
            try:
                found[run.name] = results.read_result(folder / run.name).result
            except TraceError as error:
                raise Failure(str(error)) from None
    return found
