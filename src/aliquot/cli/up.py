"""`aliquot up`."""

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import uvloop

from aliquot.catalog.fleet import demo_fleet, expand
from aliquot.cli.embedding import fill
from aliquot.cli.failures import Failure
from aliquot.cli.fleet import fleet_objects
from aliquot.cli.output import note
from aliquot.cli.serving import address, listen
from aliquot.embedded.admission import Admission
from aliquot.embedded.server import DirectoryInUseError, EmbeddedServer
from aliquot.embedded.standins import StandIns
from aliquot.kube.client import cancel_and_wait
from aliquot.store.database import JournalError
from aliquot.store.journal import JOURNAL, Journal

DEMO = Path("demo")
"""Stands for the fleet that is packaged with the catalogue."""
LOCK = "up.lock"
READY_S = 20.0
STOP_S = 10.0
RESTART_FIRST_S, RESTART_MOST_S = 0.2, 10.0
MAX_LOG_BYTES = 8 << 20


@click.command(
    short_help="Run a GPU control plane on this machine: cluster, controller, page.",
    epilog="Exit status: 0 stopped, 2 error.",
)
@click.option(
    "--fleet",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="The hardware to pretend; a demo fleet of eleven nodes if left out.",
)
@click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".aliquot"),
    show_default=True,
    help="Folder of the cluster's state, the journal and the kubeconfig.",
)
@click.option("--port", default=0, type=click.IntRange(0, 65535), help="Port of the API server.")
@click.option("--web-port", default=0, type=click.IntRange(0, 65535), help="Port of the page.")
@click.option("--fresh", is_flag=True, help="Forget the state of earlier runs.")
def up(fleet: Path | None, state: Path, port: int, web_port: int, fresh: bool) -> None:
    """Run an embedded Kubernetes API server with a fleet, Aliquot's controller and its page, until Ctrl-C.

    For development: it listens on loopback only and runs no containers; pods start, run and finish in name.
    Without --port and --web-port the ports of the last run are taken again if they are free.
    """
    chosen = fleet or DEMO
    objects = fleet_objects(chosen, (1, 36)) if fleet else list(expand(demo_fleet(), (1, 36)))
    state = state.absolute()
    with _owned(state, fresh=fresh):
        try:
            Journal.open(state / JOURNAL).close()
        except JournalError as error:
            raise Failure(str(error)) from None
        uvloop.run(_Up(state, chosen, objects, port, web_port).run())


@contextlib.contextmanager
def _owned(state: Path, *, fresh: bool) -> Iterator[None]:
    """Hold the state folder, so that two runs do not share it; with `fresh` empty it first."""
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (state / LOCK).open("a")
    except OSError as error:
        raise Failure(
            f"{state}: cannot be used: {error.strerror}; give another folder with --state"
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Failure(
                f"{state}: another `aliquot up` runs on it; stop that, or give another --state"
            ) from None
        if fresh:
            _empty(state)
        yield


def _empty(state: Path) -> None:
    """Delete what earlier runs left. A folder that holds anything but a cluster's state is not touched."""
    left = [entry for entry in state.iterdir() if entry.name not in (LOCK, "lock")]
    if left and not (state / "state.db").exists():
        raise Failure(
            f"{state}: holds no state of an embedded cluster; name another folder, or leave out --fresh"
        )
    for entry in left:
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


class _Up:
    """One run."""

    def __init__(
        self, state: Path, fleet: Path, objects: list[dict[str, Any]], port: int, web_port: int
    ) -> None:
        self._state = state
        self._fleet = fleet
        self._objects = objects
        self._port = port
        self._web_port = web_port

    async def run(self) -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        listener = self._page_socket()
        try:
            server = EmbeddedServer(self._state)
        except DirectoryInUseError as error:
            raise Failure(str(error)) from None
        server.registry.admission = Admission(server.registry)
        filled = fill(server.registry, self._fleet.stem, self._objects)
        standins = asyncio.create_task(StandIns(server.registry).run(), name="stand-ins")
        try:
            url = await server.start(port=self._port)
        except OSError as error:
            await cancel_and_wait(standins)
            await server.stop()
            raise Failure(
                f"the API server cannot listen on 127.0.0.1:{self._port}: {error.strerror}; choose a --port"
            ) from None
        keeper = asyncio.create_task(self._keep_controller(server, listener, stop), name="controller")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            ready = asyncio.create_task(_answers(listener), name="page")
            await asyncio.wait({ready, stopping, keeper, standins}, return_when=asyncio.FIRST_COMPLETED)
            await cancel_and_wait(ready)
            if not stop.is_set():
                changed = filled.created + filled.changed + filled.deleted
                self._greet(server.kubeconfig, url, address(listener), changed)
            await asyncio.wait({stopping, keeper, standins}, return_when=asyncio.FIRST_COMPLETED)
            for task in (keeper, standins):
                if task.done():
                    task.result()
        finally:
            stop.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_S + 5):
                    await asyncio.wait({keeper})
            await cancel_and_wait(keeper, standins, stopping)
            await server.stop()
            listener.close()
        note("Stopped; the state is kept, and the next `aliquot up` goes on from it.")

    def _page_socket(self) -> socket.socket:
        remembered = self._state / "web-port"
        text = remembered.read_text().strip() if remembered.exists() else ""
        last = int(text) if text.isdigit() and len(text) < 6 else 0
        listener = listen("127.0.0.1", self._web_port, remembered=last)
        remembered.write_text(f"{listener.getsockname()[1]}\n")
        return listener

    def _greet(self, kubeconfig: Path, url: str, page: str, changed: int) -> None:
        nodes = sum(1 for item in self._objects if item["kind"] == "Node")
        shown = [
            f"Aliquot is up: {_summary(self._objects)}",
            "",
            f"  page     {page}",
            f"  server   {url.removeprefix('https://')} (development only: loopback, no containers)",
            f"  fleet    {self._fleet} ({nodes} nodes{', written anew' if changed else ''})",
            "",
            f"export KUBECONFIG={_quoted(kubeconfig)}",
            "",
        ]
        for line in shown:
            click.echo(line)
        sys.stdout.flush()
        note("Ctrl-C stops it.")

    async def _keep_controller(
        self, server: EmbeddedServer, listener: socket.socket, stop: asyncio.Event
    ) -> None:
        """Run the controller as a process of its own; when it ends before it should, start it again."""
        pause = RESTART_FIRST_S
        while not stop.is_set():
            started = time.monotonic()
            process = await self._start_controller(server, listener)
            ended = asyncio.create_task(process.wait())
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if stop.is_set():
                await _end(process)
                await cancel_and_wait(ended, stopping)
                return
            note(f"The controller ended with status {process.returncode} and is started again.")
            if time.monotonic() - started > 60:
                pause = RESTART_FIRST_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await stopping
            await cancel_and_wait(stopping)
            pause = min(2 * pause, RESTART_MOST_S)

    async def _start_controller(
        self, server: EmbeddedServer, listener: socket.socket
    ) -> asyncio.subprocess.Process:
        log = self._state / "controller.log"
        if log.exists() and log.stat().st_size > MAX_LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
        listener.set_inheritable(True)
        with log.open("ab") as stream:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "aliquot",
                "controller",
                "--kubeconfig",
                str(server.controller_kubeconfig),
                "--state",
                str(self._state),
                "--web-socket",
                str(listener.fileno()),
                "--with-parent",
                "--lease-seconds",
                "5",
                stdin=asyncio.subprocess.PIPE,
                stdout=stream,
                stderr=stream,
                pass_fds=(listener.fileno(),),
                start_new_session=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )


async def _end(process: asyncio.subprocess.Process) -> None:
    """Ask the process to end; insist after a while."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(STOP_S):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _answers(listener: socket.socket) -> bool:
    """Whether the page answers before the patience is over."""
    host, port = listener.getsockname()[:2]
    end = time.monotonic() + READY_S
    while time.monotonic() < end:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(end - time.monotonic()):
                reader, writer = await asyncio.open_connection(host, port)
                writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                line = await reader.readline()
                writer.close()
                if b" 200 " in line:
                    return True
        await asyncio.sleep(0.1)
    return False


def _summary(objects: list[dict[str, Any]]) -> str:
    nodes = sum(1 for item in objects if item["kind"] == "Node")
    types = Counter(
        item["metadata"].get("labels", {}).get("node.kubernetes.io/instance-type", "")
        for item in objects
        if item["kind"] == "Node"
    )
    named = ", ".join(f"{count} {name}" for name, count in types.items() if name)
    return f"{nodes} nodes" + (f" ({named})" if named else "")


def _quoted(path: Path) -> str:
    text = str(path)
    return text if all(character.isalnum() or character in "/._-+" for character in text) else f"'{text}'"
