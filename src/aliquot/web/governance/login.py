"""A login with one token, before pages that are served to other machines than this one.

The token is made at random (`new_token`), shown once, and kept as a digest. Who gives it gets a cookie that
is signed with a key of this process, readable by no script (HttpOnly) and sent by no other site
(SameSite=Strict): it ends after HOURS, at logout, and when the process ends. Attempts are bounded over all
callers: a token of 256 bits cannot be guessed, and nobody's attempts may keep the machine busy.

This stands before everything else of an application: what is not the login itself needs the cookie, streams
of events, too.
"""

import hashlib
import hmac
import secrets
from collections import deque
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aliquot.web.security import HEADERS, LOOPBACK_NAMES, host_name

HOURS = 12
MAX_BODY = 4096
ATTEMPTS = 20
WINDOW_S = 60.0
PATH = "/login"
LOGOUT = "/logout"
FILES = {
    "/login.css": ("governance/static/login.css", "text/css; charset=utf-8"),
    "/login.svg": ("static/icon.svg", "image/svg+xml"),
}
"""What the page of the login consists of."""
OPEN = frozenset({"/healthz"})
"""Paths of the application that tell nothing and are answered without a login."""

_STATIC = Path(__file__).with_name("static")
# The form may be sent to this page only; everything else is as on other pages.
_HEADERS = HEADERS | {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
}


def new_token() -> str:
    """A token to log in with: 256 random bits."""
    return secrets.token_urlsafe(32)


def digest_of(token: str) -> str:
    """What is kept of a token, in hex."""
    return hashlib.sha256(token.encode()).hexdigest()


def leaves_loopback(host: str) -> bool:
    """Whether a page bound to this address can be reached from other machines, so that it needs a login."""
    name = f"[{host}]" if ":" in host else host
    return not (name.lower() in LOOPBACK_NAMES or host.startswith("127."))


class Login:
    """Answers the login itself, and lets through to `app` who has logged in.

    token_digest: of the token (`digest_of`). secure: pages are served over TLS, so the cookie is for TLS
    only. clock: seconds that never go back.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        token_digest: str,
        secure: bool,
        clock: Callable[[], float],
        key: bytes | None = None,
    ) -> None:
        self._app = app
        self._digest = token_digest
        self._secure = secure
        self._clock = clock
        self._key = key or secrets.token_bytes(32)
        self._attempts: deque[float] = deque()
        #: Cookies that were logged out before their time, with the time when they would have ended.
        self._ended: dict[str, float] = {}

    @property
    def cookie(self) -> str:
        """The cookie's name; the prefix binds it to this host and to TLS (RFC 6265bis)."""
        return "__Host-aliquot" if self._secure else "aliquot"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
            await send(message)

        path, method = scope["path"], scope["method"]
        if path == PATH and method == "POST":
            response = await self._log_in(scope, receive)
        elif path == PATH and method in ("GET", "HEAD"):
            response = FileResponse(_STATIC / "login.html", media_type="text/html; charset=utf-8")
        elif path in FILES and method in ("GET", "HEAD"):
            name, media_type = FILES[path]
            response = FileResponse(_STATIC.parents[1] / name, media_type=media_type)
        elif path == LOGOUT and method == "POST":
            response = self._log_out(scope)
        elif path in OPEN or self._known(scope):
            await self._app(scope, receive, send)
            return
        elif _wants_page(scope):
            response = RedirectResponse(PATH, status_code=303)
        else:
            response = PlainTextResponse("Log in first.\n", status_code=401)
        await response(scope, receive, guarded)

    def _known(self, scope: Scope) -> bool:
        value = _cookies(scope).get(self.cookie, "")
        ends, _, signature = value.partition(".")
        if not ends.isascii() or not ends.isdigit() or len(ends) > 12 or value in self._ended:
            return False
        return hmac.compare_digest(signature, self._sign(ends)) and self._clock() < int(ends)

    def _sign(self, ends: str) -> str:
        return hmac.new(self._key, f"aliquot page {ends}".encode(), hashlib.sha256).hexdigest()

    async def _log_in(self, scope: Scope, receive: Receive) -> Response:
        if not _same_site(scope):
            return PlainTextResponse("The form was sent by another site.\n", status_code=403)
        now = self._clock()
        while self._attempts and self._attempts[0] <= now - WINDOW_S:
            self._attempts.popleft()
        if len(self._attempts) >= ATTEMPTS:
            wait = str(max(1, round(self._attempts[0] + WINDOW_S - now)))
            return PlainTextResponse(
                "Too many attempts; wait a minute.\n", status_code=429, headers={"Retry-After": wait}
            )
        body = await _body(receive)
        if body is None:
            return PlainTextResponse("The form is too large.\n", status_code=413)
        try:
            token = parse_qs(body.decode("ascii"), max_num_fields=4).get("token", [""])[0]
        except ValueError:
            token = ""
        if not hmac.compare_digest(digest_of(token.strip()), self._digest):
            self._attempts.append(now)
            return HTMLResponse(_wrong(), status_code=401)
        ends = str(int(now) + HOURS * 3600)
        response = RedirectResponse("/", status_code=303)
        response.set_cookie(
            self.cookie,
            f"{ends}.{self._sign(ends)}",
            max_age=HOURS * 3600,
            path="/",
            secure=self._secure,
            httponly=True,
            samesite="strict",
        )
        return response

    def _log_out(self, scope: Scope) -> Response:
        if not _same_site(scope):
            return PlainTextResponse("The form was sent by another site.\n", status_code=403)
        now = self._clock()
        self._ended = {value: ends for value, ends in self._ended.items() if ends > now}
        if self._known(scope):
            value = _cookies(scope)[self.cookie]
            self._ended[value] = float(value.partition(".")[0])
        response = RedirectResponse(PATH, status_code=303)
        response.delete_cookie(self.cookie, path="/", secure=self._secure, httponly=True, samesite="strict")
        return response


def _cookies(scope: Scope) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        if name == b"cookie":
            for piece in value.decode("latin-1").split(";"):
                key, _, text = piece.strip().partition("=")
                # The first of a name is the one with the longest path, and ours have the same.
                found.setdefault(key, text)
    return found


def _same_site(scope: Scope) -> bool:
    """Whether a form was sent from these pages: the browser says so, or says nothing and is no browser."""
    headers = Headers(scope=scope)
    site = headers.get("sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    if origin is None:
        return True
    if origin == "null":
        return site == "same-origin"
    return host_name(urlsplit(origin).netloc) == host_name(headers.get("host", ""))


def _wants_page(scope: Scope) -> bool:
    return scope["method"] in ("GET", "HEAD") and "text/html" in Headers(scope=scope).get("accept", "")


def _wrong() -> str:
    """The page of the login, saying that the token was wrong."""
    page = (_STATIC / "login.html").read_text("utf-8")
    return page.replace('role="alert" hidden', 'role="alert"').replace(
        "required autofocus", 'required autofocus aria-invalid="true"'
    )


async def _body(receive: Receive) -> bytes | None:
    """The body of a request; None if it is too large or breaks off."""
    found = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        found += bytes(message.get("body", b""))
        if len(found) > MAX_BODY:
            return None
        if not message.get("more_body"):
            return found
