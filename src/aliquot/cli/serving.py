"""Serving the page: sockets, and uvicorn in a running event loop."""

import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.applications import Starlette

from aliquot.cli.failures import Failure
from aliquot.web.connections import BoundedConnection


def listen(host: str, port: int, *, remembered: int = 0) -> socket.socket:
    """A listening socket on `host`; of port 0, on `remembered` if it is free, else on any. Raises Failure."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    wanted = [port] if port else [remembered, 0] if remembered else [0]
    for number, one in enumerate(wanted):
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, one))
            listener.listen(128)
        except OSError as error:
            listener.close()
            if number == len(wanted) - 1:
                raise Failure(
                    f"the page cannot be served on {host}:{one}: {error.strerror}; give another port"
                ) from None
            continue
        listener.setblocking(False)
        return listener
    raise AssertionError("unreachable: the last port either binds or raises")


def address(listener: socket.socket) -> str:
    """The URL of what is served on a socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


class PageServer(uvicorn.Server):
    """Serves the page's application on a socket until `should_exit` is set. Signals are the caller's."""

    def __init__(self, app: Starlette) -> None:
        self._page = app
        super().__init__(
            uvicorn.Config(
                app,
                loop="none",
                http=BoundedConnection,
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=2,
                limit_concurrency=256,
            )
        )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams of events, then wait for what else is under way."""
        self._page.state.close_streams()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
