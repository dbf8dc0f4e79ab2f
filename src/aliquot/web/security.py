"""What every request has to pass and every answer carries.

The page is served without a login on loopback, so a page of somebody else's in the same browser must not be
able to read it: the Host header has to be one of ours (against DNS rebinding), only GET and HEAD are
answered, nothing may be framed or loaded from elsewhere, and no answer may be read across origins.
"""

from collections.abc import Iterable

from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def host_name(header: str) -> str:
    """The name in a Host header, without the port: `localhost:8080` is `localhost`, `[::1]:80` is `[::1]`."""
    if header.startswith("["):
        return header[: header.find("]") + 1].lower()
    return header.partition(":")[0].lower()


class Guard:
    """Refuses requests to other hosts and with other methods; adds HEADERS to every answer."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str] = LOOPBACK_NAMES) -> None:
        self._app = app
        self._hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1 or host_name(hosts[0].decode("latin-1")) not in self._hosts:
            refusal = PlainTextResponse("This page is served under other names.\n", status_code=421)
            await refusal(scope, receive, guarded)
        elif scope["method"] not in ("GET", "HEAD"):
            refusal = PlainTextResponse(
                "Only GET is answered.\n", status_code=405, headers={"Allow": "GET, HEAD"}
            )
            await refusal(scope, receive, guarded)
        else:
            await self._app(scope, receive, guarded)
