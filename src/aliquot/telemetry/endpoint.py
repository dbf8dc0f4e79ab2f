"""HTTP to sources of telemetry: addresses, credentials from files, TLS, bounds of size and time, retries."""

import asyncio
import base64
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from aliquot.telemetry.errors import SourceError

TIMEOUT_S = 30.0
ATTEMPTS = 3
FIRST_PAUSE_S = 0.25
MOST_BYTES = 64 << 20
"""A longer answer is refused."""
_MOST_SECRET_BYTES = 64 << 10
_MOST_ERROR_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a source is and how to get in.

    url: http or https, without user and password. bearer_file: file with a token, read anew for every request
    because tokens in pods are rotated. user, password_file: for basic authentication. ca_file: whom to trust;
    cert_file, key_file: who we are. insecure: take any certificate. tenant: X-Scope-OrgID of Mimir and
    others.
    """

    url: str
    bearer_file: str = ""
    user: str = ""
    password_file: str = ""
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    insecure: bool = False
    tenant: str = ""

    def checked(self) -> "Endpoint":
        """The same. Raises SourceError for an address that cannot be used."""
        try:
            parts = urlsplit(self.url)
            port_is_fine = parts.port is None or parts.port >= 0
        except ValueError:
            parts, port_is_fine = urlsplit(""), False
        if parts.username or parts.password:
            raise SourceError(
                f"{parts.scheme}://{parts.hostname}",
                "has a user or password in its address",
                "give a file with the password or token instead",
            )
        if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_fine:
            raise SourceError(self.url[:200], "is not an address", "write http://host:port")
        if self.bearer_file and self.user:
            raise SourceError(self.name, "has a token and a user", "leave one out")
        if ":" in self.user:
            raise SourceError(self.name, "has a user with a colon in it", "RFC 7617 does not allow that")
        return self

    @property
    def name(self) -> str:
        """The address for people: without query."""
        return self.url.partition("?")[0].rstrip("/")

    def tls(self) -> ssl.SSLContext | bool:
        """What to check of the server, as aiohttp wants it. Raises SourceError."""
        if not self.url.startswith("https:"):
            return True
        try:
            context = ssl.create_default_context(cafile=self.ca_file or None)
            if self.insecure:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            if self.cert_file:
                context.load_cert_chain(self.cert_file, self.key_file or None)
        except (OSError, ssl.SSLError) as error:
            raise SourceError(
                self.name, f"its certificates cannot be read: {error}", "check the paths"
            ) from None
        return context

    def headers(self) -> dict[str, str]:
        """The headers that let us in; files are read now. Raises SourceError."""
        found: dict[str, str] = {}
        if self.bearer_file:
            found["Authorization"] = f"Bearer {self._secret(self.bearer_file)}"
        elif self.user:
            password = self._secret(self.password_file) if self.password_file else ""
            both = base64.b64encode(f"{self.user}:{password}".encode()).decode()
            found["Authorization"] = f"Basic {both}"
        if self.tenant:
            found["X-Scope-OrgID"] = self.tenant
        return found

    def _secret(self, path: str) -> str:
        try:
            with Path(path).open("rb") as file:
                text = file.read(_MOST_SECRET_BYTES + 1)
            secret = text.decode().strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise SourceError(self.name, f"{path} cannot be read: {reason}", "check the file") from None
        if len(text) > _MOST_SECRET_BYTES or not secret or not secret.isprintable():
            raise SourceError(self.name, f"{path} does not hold one token or password", "check the file")
        return secret


class Source:
    """A session with one endpoint. Use as `async with`."""

    def __init__(self, endpoint: Endpoint, *, timeout_s: float = TIMEOUT_S, most: int = MOST_BYTES) -> None:
        self.endpoint = endpoint.checked()
        self._timeout_s = timeout_s
        self._most = most
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Source":
        connector = aiohttp.TCPConnector(ssl=self.endpoint.tls(), limit=4)
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=self._timeout_s),
            trust_env=False,
            auto_decompress=True,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(self, path: str = "", *, accept: str = "*/*") -> bytes:
        """The body at the endpoint's address with `path` added. Raises SourceError."""
        return await self._attempts("GET", path, None, accept)

    async def post(self, path: str, form: Mapping[str, str | list[str]]) -> bytes:
        """The answer to a form. Raises SourceError."""
        return await self._attempts("POST", path, form, "application/json")

    async def _attempts(
        self, method: str, path: str, form: Mapping[str, str | list[str]] | None, accept: str
    ) -> bytes:
        pause = FIRST_PAUSE_S
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._once(method, path, form, accept)
            except SourceError as error:
                if not error.retry or attempt == ATTEMPTS:
                    raise
            await asyncio.sleep(pause)
            pause *= 2
        raise AssertionError("unreachable")

    async def _once(
        self, method: str, path: str, form: Mapping[str, str | list[str]] | None, accept: str
    ) -> bytes:
        assert self._session is not None, "use the source with `async with`"
        name = self.endpoint.name
        data = None if form is None else aiohttp.FormData(_pairs(form))
        try:
            async with self._session.request(
                method,
                self.endpoint.url.rstrip("/") + path if path else self.endpoint.url,
                data=data,
                headers={"Accept": accept, **self.endpoint.headers()},
                allow_redirects=False,
            ) as answer:
                if answer.status >= 300:
                    text = (await answer.content.read(_MOST_ERROR_BYTES)).decode("utf-8", "replace")
                    raise _refusal(name, answer.status, text)
                body = bytearray()
                async for piece in answer.content.iter_any():
                    body += piece
                    if len(body) > self._most:
                        raise SourceError(
                            name,
                            f"answers with more than {self._most >> 20} MiB",
                            "ask for less time or fewer devices",
                            too_much=True,
                        )
                return bytes(body)
        except TimeoutError:
            raise SourceError(
                name,
                f"did not answer within {self._timeout_s:.0f} s",
                "is it up, and is the time asked for too long?",
                retry=True,
                too_much=True,
            ) from None
        except aiohttp.ClientConnectorCertificateError as error:
            raise SourceError(
                name, f"its certificate is not trusted: {error.certificate_error}", "name the CA's file"
            ) from None
        except aiohttp.ClientError as error:
            raise SourceError(
                name,
                f"cannot be reached: {error or type(error).__name__}",
                "check address and network",
                retry=True,
            ) from None


def _pairs(form: Mapping[str, str | list[str]]) -> list[tuple[str, str]]:
    return [
        (key, item) for key, value in form.items() for item in (value if isinstance(value, list) else [value])
    ]


_FIXES = {
    301: "use the address that it sends to",
    302: "use the address that it sends to; is there a login page in front of it?",
    401: "give a token or a user with a password file",
    403: "the token or user may not read here",
    404: "check the path of the address",
    413: "ask for less time",
    422: "ask for less time or fewer devices",
}


def _refusal(name: str, status: int, text: str) -> SourceError:
    line = " ".join(text.split())[:300]
    too_much = status in (413, 422, 502, 503, 504)
    return SourceError(
        name,
        f"answers {status}" + (f": {line}" if line else ""),
        _FIXES.get(status, "see its log"),
        retry=status in (429, 500, 502, 503, 504),
        too_much=too_much,
    )
