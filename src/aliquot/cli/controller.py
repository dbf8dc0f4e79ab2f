"""`aliquot controller`."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import click
import msgspec
import uvloop
import yaml
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.routing import BaseRoute

from aliquot.cli.cluster import Target, target_options
from aliquot.cli.failures import Failure
from aliquot.cli.funding import NO_ADVANCE, Advance, funding
from aliquot.cli.gateway import configured
from aliquot.cli.keeping import Books, Choices, Part, books
from aliquot.cli.models_page import token_of
from aliquot.cli.serving import PageServer, address, listen
from aliquot.controller.endpoints import Probes, create_endpoints, health_routes, metrics_routes
from aliquot.controller.health import Pulse
from aliquot.controller.live import Live
from aliquot.controller.registry import RegistryKeeper
from aliquot.controller.run import ControllerConfig, run
from aliquot.gateway.configuration import Configuration
from aliquot.install.cluster import Cluster
from aliquot.kube.client import Client, cancel_and_wait
from aliquot.kube.clock import SystemClock
from aliquot.scheduling.policy import Policy
from aliquot.scheduling.wording import sentence
from aliquot.store.database import JournalError
from aliquot.store.journal import JOURNAL, Journal
from aliquot.web.app import create_app
from aliquot.web.governance.live import LiveSource
from aliquot.web.governance.login import digest_of, leaves_loopback
from aliquot.web.governance.pages import routes as governance_routes
from aliquot.web.security import LOOPBACK_NAMES

MAX_POLICY_BYTES = 1 << 20


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
@click.option(
    "--leader-elect/--no-leader-elect",
    default=True,
    show_default=True,
    help="Decide only while holding the lease. Without it no second controller may run.",
)
@click.option("--lease-namespace", default="aliquot-system", show_default=True, help="Where the lease lies.")
@click.option("--lease-seconds", default=15, show_default=True, type=click.IntRange(2, 3600))
@click.option(
    "--metrics-bind-address",
    default="",
    metavar="HOST:PORT",
    help="Serve /metrics there; nowhere if left out.",
)
@click.option(
    "--health-probe-bind-address",
    default="",
    metavar="HOST:PORT",
    help="Serve /healthz and /readyz there; nowhere if left out.",
)
@click.option(
    "--ledger",
    default="",
    metavar="FILE|ADDRESS",
    help="Where the ledger is kept: a file, or a PostgreSQL address; in the state folder if left out.",
)
@click.option(
    "--prices",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    envvar="ALIQUOT_PRICES",
    help="Price book (YAML; or ALIQUOT_PRICES); what the catalogue says if left out.",
)
@click.option("--telemetry", default="", metavar="FILE", help="File of sources (see docs/telemetry.md).")
@click.option("--prometheus", default="", metavar="URL", help="Read how devices are used from there.")
@click.option(
    "--automation",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    envvar="ALIQUOT_AUTOMATION",
    help="What may be done about idle work and sizes without anybody asking (YAML; or ALIQUOT_AUTOMATION); "
    "nothing if left out.",
)
@click.option("--web-name", "web_names", multiple=True, help="A name under which the page is asked for.")
@click.option(
    "--web-token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="The token that the page asks for; needed where other machines can reach it.",
)
@click.option(
    "--gateway-config",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="Show the budgets and calls of this gateway on the page.",
)
@click.option(
    "--advance-hours",
    type=click.IntRange(0, 8784),
    default=0,
    help="Start what serves a model only if budgets have the money for its devices for so many hours.",
)
@click.option("--advance-all", is_flag=True, help="So for all work that a budget is about.")
@click.option("--web-socket", type=int, default=None, hidden=True, help="An inherited listening socket.")
@click.option("--with-parent", is_flag=True, hidden=True, help="Stop when standard input ends.")
def controller(
    kubeconfig: str,
    context: str,
    web: str,
    state: Path,
    policy_file: Path | None,
    leader_elect: bool,
    lease_namespace: str,
    lease_seconds: int,
    metrics_bind_address: str,
    health_probe_bind_address: str,
    ledger: str,
    prices: Path | None,
    telemetry: str,
    prometheus: str,
    automation: Path | None,
    web_names: tuple[str, ...],
    web_token_file: Path | None,
    gateway_config: Path | None,
    advance_hours: int,
    advance_all: bool,
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
    listener = _listener("--web", web, web_socket)
    metrics_listener = _listener("--metrics-bind-address", metrics_bind_address)
    probe_listener = (
        metrics_listener
        if health_probe_bind_address and health_probe_bind_address == metrics_bind_address
        else _listener("--health-probe-bind-address", health_probe_bind_address)
    )
    config = ControllerConfig(
        connection=connection,
        identity=f"{socket.gethostname()}_{os.getpid()}_{os.urandom(4).hex()}",
        lease_namespace=lease_namespace,
        lease_seconds=lease_seconds,
        elect=leader_elect,
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
    with (
        journal,
        books(state, Choices(ledger, prices, telemetry, prometheus, automation), journal, policy) as kept,
    ):
        sockets = Sockets(
            listener,
            metrics_listener,
            probe_listener,
            LOOPBACK_NAMES | {name.lower() for name in web_names},
            _login(listener, web_token_file),
            configured(gateway_config) if gateway_config is not None else None,
            Advance(advance_hours, advance_all),
        )
        uvloop.run(_run(config, policy, journal, kept, sockets, with_parent))


@dataclass(frozen=True, slots=True)
class Sockets:
    """Where to listen: for the page, for metrics, for probes; the last two may be one.

    names: under which the page answers. login: the digest of the token that it asks for, "" for none.
    gateway: whose budgets and calls the page shows. advance: whose budgets pay for devices, too.
    """

    page: socket.socket | None = None
    metrics: socket.socket | None = None
    probes: socket.socket | None = None
    names: frozenset[str] = LOOPBACK_NAMES
    login: str = ""
    gateway: Configuration | None = None
    advance: Advance = NO_ADVANCE


async def _run(
    config: ControllerConfig,
    policy: Policy,
    journal: Journal,
    kept: Books,
    sockets: Sockets,
    with_parent: bool,
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    live = Live()
    registry = CollectorRegistry()

    asked: list[Cluster] = []
    funds = funding(sockets.advance, sockets.gateway, kept, asked, lambda: live.snapshot)

    def parts(client: Client) -> list[Part]:
        asked[:] = [Cluster(client)]
        more = [partial(funds.run, client)] if funds is not None else []
        models = RegistryKeeper(client, lambda: datetime.now(UTC))
        return [*kept.parts(client, live, registry), models.run, *more]

    probes = Probes(live, Pulse(SystemClock()))
    tasks: list[asyncio.Task[Any]] = []
    servers: list[PageServer] = []
    stack = contextlib.AsyncExitStack()
    pages: list[BaseRoute] = []
    if sockets.page is not None:
        client = await stack.enter_async_context(Client(config.connection, user_agent="aliquot-page"))
        source = LiveSource(
            now_us=lambda: time.time_ns() // 1000,
            configuration=sockets.gateway,
            cluster=Cluster(client),
            ledger=kept.ledger,
        )
        pages = [*kept.pages(live), *governance_routes(source, login=bool(sockets.login), beside=True)]
    for name, app, listener in _served(sockets, live, journal, policy, pages, registry, probes):
        server = PageServer(app)
        servers.append(server)
        tasks.append(asyncio.create_task(server.serve(sockets=[listener]), name=name))
        logging.getLogger(__name__).info("%s at %s", name, address(listener))
    if with_parent:
        tasks.append(asyncio.create_task(_until_input_ends(stop), name="parent"))
    try:
        await run(
            config,
            policy,
            journal=journal,
            stop=stop,
            live=live,
            describe=sentence,
            registry=registry,
            probes=probes,
            parts=parts,
            funds=funds.attach if funds is not None else None,
        )
    finally:
        for server in servers:
            server.should_exit = True
        if servers:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(4):
                    await asyncio.wait(tasks[: len(servers)])
        await cancel_and_wait(*tasks)
        await stack.aclose()


def _served(
    sockets: Sockets,
    live: Live,
    journal: Journal,
    policy: Policy,
    pages: Sequence[BaseRoute],
    registry: CollectorRegistry,
    probes: Probes,
) -> Iterator[tuple[str, Starlette, socket.socket]]:
    """What is served where, with its name."""
    if sockets.page is not None:
        yield (
            "the page is",
            create_app(live, journal, policy, hosts=sockets.names, more=pages, login=sockets.login),
            sockets.page,
        )
    metrics, health = metrics_routes(registry), health_routes(probes)
    if sockets.metrics is not None and sockets.metrics is sockets.probes:
        yield "metrics and probes are", create_endpoints([*metrics, *health]), sockets.metrics
        return
    if sockets.metrics is not None:
        yield "metrics are", create_endpoints(metrics), sockets.metrics
    if sockets.probes is not None:
        yield "probes are", create_endpoints(health), sockets.probes


def _login(listener: socket.socket | None, token_file: Path | None) -> str:
    """The digest of the token that the page asks for; "" where it needs none. Raises Failure."""
    if token_file is not None:
        return digest_of(token_of(token_file))
    if listener is not None and leaves_loopback(str(listener.getsockname()[0])):
        raise Failure(
            "--web: other machines can reach the page, so it needs a login; give --web-token-file FILE"
        )
    return ""


async def _until_input_ends(stop: asyncio.Event) -> None:
    """Stop when the process that started this one is gone, however it ended."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()
    stop.set()


def _listener(option: str, web: str, inherited: int | None = None) -> socket.socket | None:
    """A listening socket for the value of an option; `:8080` means every address. None for none."""
    if inherited is not None:
        listener = socket.socket(fileno=inherited)
        listener.setblocking(False)
        return listener
    if not web:
        return None
    host, separator, port = web.rpartition(":")
    host = host.strip("[]")
    if not separator or not port.isdigit() or int(port) > 65535:
        raise Failure(f"{option}: {web!r} is not HOST:PORT; write 127.0.0.1:8080")
    everywhere = "127.0.0.1" if option == "--web" else "0.0.0.0"
    return listen(host or everywhere, int(port))


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
        raise Failure(
            f"{path}: is not valid YAML: {str(error).splitlines()[0]}; save it as UTF-8 text"
        ) from None
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
