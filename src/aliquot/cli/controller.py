"""`aliquot controller`."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import click
import msgspec
import uvloop
import yaml

from aliquot.cli.cluster import Target, target_options
from aliquot.cli.failures import Failure
from aliquot.cli.serving import PageServer, address, listen
from aliquot.controller.live import Live
from aliquot.controller.run import ControllerConfig, run
from aliquot.kube.client import cancel_and_wait
from aliquot.scheduling.policy import Policy
from aliquot.scheduling.wording import sentence
from aliquot.store.database import JournalError
from aliquot.store.journal import Journal
from aliquot.web.app import create_app

MAX_POLICY_BYTES = 1 << 20
JOURNAL = "journal.db"


@click.command(
    short_help="Run Aliquot's controller against a cluster.", epilog="Exit status: 0 stopped, 2 error."
)
@target_options
@click.option("--web", default="", metavar="HOST:PORT", help="Serve the page there; no page if left out.")
@click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".aliquot"),
    show_default=True,
    help="Folder of the journal.",
)
@click.option(
    "--policy",
    "policy_file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="How to decide (YAML): managedDrivers, defaultQueue, strictFifo ...",
)
@click.option("--lease-namespace", default="aliquot-system", show_default=True, help="Where the lease lies.")
@click.option("--lease-seconds", default=15, show_default=True, type=click.IntRange(2, 3600))
@click.option("--web-socket", type=int, default=None, hidden=True, help="An inherited listening socket.")
@click.option("--with-parent", is_flag=True, hidden=True, help="Stop when standard input ends.")
def controller(
    kubeconfig: str,
    context: str,
    web: str,
    state: Path,
    policy_file: Path | None,
    lease_namespace: str,
    lease_seconds: int,
    web_socket: int | None,
    with_parent: bool,
) -> None:
    """Decide for a cluster and carry it out: allocate claims, let pods go, say why the others wait.

    Runs until it is told to stop (Ctrl-C, SIGTERM). Several may run; the one that holds the lease decides.
    """
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    connection = Target(kubeconfig, context).connection()
    policy = read_policy(policy_file) if policy_file is not None else Policy()
    listener = _listener(web, web_socket)
    config = ControllerConfig(
        connection=connection,
        identity=f"{socket.gethostname()}_{os.getpid()}_{os.urandom(4).hex()}",
        lease_namespace=lease_namespace,
        lease_seconds=lease_seconds,
    )
    try:
        state.mkdir(parents=True, exist_ok=True)
        journal = Journal.open(state / JOURNAL)
    except OSError as error:
        raise Failure(
            f"{state}: cannot be used: {error.strerror}; give another folder with --state"
        ) from None
    except JournalError as error:
        raise Failure(str(error)) from None
    with journal:
        uvloop.run(_run(config, policy, journal, listener, with_parent))


async def _run(
    config: ControllerConfig,
    policy: Policy,
    journal: Journal,
    listener: socket.socket | None,
    with_parent: bool,
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    live = Live()
    tasks: list[asyncio.Task[Any]] = []
    server: PageServer | None = None
    if listener is not None:
        server = PageServer(create_app(live, journal, policy))
        tasks.append(asyncio.create_task(server.serve(sockets=[listener]), name="page"))
        logging.getLogger(__name__).info("the page is at %s", address(listener))
    if with_parent:
        tasks.append(asyncio.create_task(_until_input_ends(stop), name="parent"))
    try:
        await run(config, policy, journal=journal, stop=stop, live=live, describe=sentence)
    finally:
        if server is not None:
            server.should_exit = True
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(4):
                    await asyncio.wait(tasks[:1])
        await cancel_and_wait(*tasks)


async def _until_input_ends(stop: asyncio.Event) -> None:
    """Stop when the process that started this one is gone, however it ended."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()
    stop.set()


def _listener(web: str, inherited: int | None) -> socket.socket | None:
    if inherited is not None:
        listener = socket.socket(fileno=inherited)
        listener.setblocking(False)
        return listener
    if not web:
        return None
    host, separator, port = web.rpartition(":")
    host = host.strip("[]")
    if not separator or not port.isdigit() or int(port) > 65535:
        raise Failure(f"--web: {web!r} is not HOST:PORT; write 127.0.0.1:8080")
    return listen(host or "127.0.0.1", int(port))


def read_policy(path: Path) -> Policy:
    """The policy of a YAML file. Raises Failure naming the file and the field."""
    try:
        with path.open("rb") as stream:
            value = yaml.safe_load(stream.read(MAX_POLICY_BYTES))
    except OSError as error:
        raise Failure(f"{path}: cannot be read: {error.strerror}; check the path") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise Failure(f"{place}: is not valid YAML: {error.problem}; check this place") from None
    except yaml.YAMLError as error:
        raise Failure(f"{path}: is not valid YAML: {error}; save it as UTF-8 text") from None
    if not isinstance(value, dict):
        raise Failure(f"{path}: is not a mapping; write lines such as `defaultQueue: research`")
    known = {field.encode_name for field in msgspec.structs.fields(Policy)}
    for name in value:
        if name not in known:
            raise Failure(f"{path}: {name}: unknown field; known are {', '.join(sorted(known))}")
    try:
        return msgspec.convert(value, Policy)
    except msgspec.ValidationError as error:
        problem, _, where = str(error).partition(" - at `$.")
        raise Failure(f"{path}: {where.rstrip('`')}: {problem}; correct the value") from None
