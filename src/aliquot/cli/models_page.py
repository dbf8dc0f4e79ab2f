"""`aliquot models page`: the pages of governance on an address of their own."""

import asyncio
import contextlib
import time
from pathlib import Path

import click
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from aliquot.approvals.documents import KIND, parse_all
from aliquot.approvals.model import ApprovedModel
from aliquot.cli import manifests as files
from aliquot.cli.cluster import Target, target_options
from aliquot.cli.failures import Failure
from aliquot.cli.gateway import configured
from aliquot.cli.output import note
from aliquot.cli.report_input import Source
from aliquot.install.cluster import Cluster
from aliquot.kube.client import Client
from aliquot.store.ledger import Ledger
from aliquot.web.connections import BoundedConnection
from aliquot.web.governance.live import LiveSource
from aliquot.web.governance.login import Login, digest_of, leaves_loopback, new_token
from aliquot.web.governance.pages import routes
from aliquot.web.security import LOOPBACK_NAMES, Guard

MAX_TOKEN_BYTES = 4096
SHORTEST_TOKEN = 20


@click.command(epilog="Exit status: 0 ended, 2 error.")
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The gateway's configuration, for budgets and spend.",
)
@click.option(
    "-f", "--file", "sources", multiple=True, help="Manifests of models, where there is no cluster."
)
@click.option("--switches", type=click.Path(path_type=Path), help="The file of stopped agents.")
@click.option("--ledger", default="", help="The ledger of devices, for what tokens cost.")
@click.option("--no-cluster", is_flag=True, help="Ask no cluster.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Other than loopback needs the login.")
@click.option("--port", type=click.IntRange(0, 65535), default=8091, show_default=True)
@click.option("--name", "names", multiple=True, help="A further name under which the pages are asked for.")
@click.option("--token-file", type=click.Path(path_type=Path), help="The token to log in with.")
@click.option("--certificate", type=click.Path(path_type=Path), help="Certificate (PEM) for TLS.")
@click.option("--key", "key_file", type=click.Path(path_type=Path), help="Its private key (PEM).")
@target_options
def page(
    config_file: Path | None,
    sources: tuple[str, ...],
    switches: Path | None,
    ledger: str,
    no_cluster: bool,
    host: str,
    port: int,
    names: tuple[str, ...],
    token_file: Path | None,
    certificate: Path | None,
    key_file: Path | None,
    kubeconfig: str,
    context: str,
) -> None:
    """Serve the pages of budgets, models, agents and spend.

    On loopback they need no login. On any other address they need a token: that of --token-file, or a new
    one, which is printed once.
    """
    if bool(certificate) != bool(key_file):
        raise Failure("--certificate and --key go together")
    login = leaves_loopback(host) or token_file is not None
    digest = ""
    if login:
        token = token_of(token_file) if token_file else new_token()
        digest = digest_of(token)
        if token_file is None:
            note(f"log in with the token {token}")
        if certificate is None:
            note("warning: without --certificate the token and all pages cross the network in the clear")
    book = Source(ledger=ledger).open() if ledger else None
    configuration = configured(config_file) if config_file else None
    models = _models(sources) if sources else None

    async def serve() -> None:
        async with contextlib.AsyncExitStack() as stack:
            cluster = None
            if not no_cluster and not sources:
                connection = Target(kubeconfig, context).connection()
                cluster = Cluster(await stack.enter_async_context(Client(connection)))
            source = LiveSource(
                now_us=lambda: time.time_ns() // 1000,
                configuration=configuration,
                cluster=cluster,
                models=models,
                switches=switches,
                ledger=book,
            )
            app = application(
                source, hosts={*LOOPBACK_NAMES, host.lower(), *names}, digest=digest, secure=bool(certificate)
            )
            config = uvicorn.Config(
                app,
                host=host,
                port=port,
                log_level="warning",
                lifespan="off",
                http=BoundedConnection,
                ws="none",
                server_header=False,
                ssl_certfile=certificate,
                ssl_keyfile=key_file,
                timeout_keep_alive=20,
                limit_concurrency=256,
            )
            listener = config.bind_socket()
            # Whoever reads the address in the next line may connect at once.
            listener.listen()
            bound = listener.getsockname()[1]
            note(f"serving http{'s' if certificate else ''}://{host}:{bound}/governance")
            await uvicorn.Server(config).serve(sockets=[listener])

    try:
        asyncio.run(serve())
    except OSError as error:
        raise Failure(f"{host}:{port}: {error.strerror}; choose another --port") from None
    except SystemExit:
        raise Failure(f"{host}:{port}: cannot be served; choose another --port") from None
    finally:
        _close(book)


def application(source: LiveSource, *, hosts: set[str], digest: str, secure: bool) -> ASGIApp:
    """The pages behind their guards. digest: of the token; "" without a login."""

    async def home(request: Request) -> Response:
        return RedirectResponse("/governance", status_code=303)

    pages = Starlette(
        routes=[Route("/", home), *routes(source, login=bool(digest))],
        middleware=[Middleware(Guard, hosts=tuple(hosts))],
    )
    if not digest:
        return pages
    return Login(pages, token_digest=digest, secure=secure, clock=time.monotonic)


def token_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_TOKEN_BYTES + 1)
        token = content.decode("ascii").strip()
    except OSError as error:
        raise Failure(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Failure(f"{path}: holds no token of ASCII text") from None
    if not SHORTEST_TOKEN <= len(token) <= MAX_TOKEN_BYTES:
        raise Failure(f"{path}: a token has at least {SHORTEST_TOKEN} characters; make one at random")
    return token


def _models(sources: tuple[str, ...]) -> list[ApprovedModel]:
    try:
        read = files.read(list(sources))
    except files.InputError as error:
        raise Failure(str(error)) from None
    found, problems = parse_all([one.value for one in read if one.value.get("kind") == KIND])
    for problem in problems:
        note(f"note: {problem}")
    return sorted(found, key=lambda model: model.name)


def _close(book: Ledger | None) -> None:
    if book is not None:
        book.close()
