"""One request to an API server: TLS, credentials, time-outs, bounds on size."""

import socket
import ssl
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp

from aliquot.kube.clock import Clock
from aliquot.kube.config import Connection
from aliquot.kube.credentials import Credential
from aliquot.kube.errors import OversizeError, TransportError, error_from
from aliquot.kube.tls import context_for

Query = dict[str, str]


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on one request. Seconds; bytes; attempts include the first."""

    connect_seconds: float = 10.0
    request_seconds: float = 30.0
    list_seconds: float = 120.0
    watch_idle_seconds: float = 150.0
    """A watch that brings nothing for so long is taken up again: servers send a bookmark about every
    minute.
    """
    object_bytes: int = 16 << 20
    page_bytes: int = 256 << 20
    attempts: int = 6
    page_size: int = 500
    connections: int = 64


class Wire(Protocol):
    """Carries single requests, as `Transport` does."""

    async def close(self) -> None:
        """Give back what is held open."""

    def stream(self, name: str, path: str, query: Query, seconds: float) -> AsyncGenerator[bytes, None]:
        """The body of an answer as it comes; see `Transport.stream`."""

    async def once(
        self,
        name: str,
        method: str,
        path: str,
        query: Query | None,
        data: bytes | None,
        content_type: str,
        seconds: float | None,
        limit: int | None,
    ) -> bytes:
        """One request and its whole answer; see `Transport.once`."""


class Transport:
    """Sends single requests over a pool of connections; nothing is tried again here."""

    def __init__(self, connection: Connection, clock: Clock, limits: Limits, user_agent: str) -> None:
        self._connection = connection
        self._clock = clock
        self._limits = limits
        self._user_agent = user_agent
        self._session: aiohttp.ClientSession | None = None
        self._tls: tuple[tuple[str | None, str | None], ssl.SSLContext] | None = None

    async def close(self) -> None:
        """Give back all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def stream(self, name: str, path: str, query: Query, seconds: float) -> AsyncGenerator[bytes, None]:
        """The body of an answer as it comes; an empty first chunk says that the server has accepted.

        Raises ApiError and TransportError.
        """
        timeout = aiohttp.ClientTimeout(
            total=seconds + self._limits.request_seconds,
            sock_connect=self._limits.connect_seconds,
            sock_read=self._limits.watch_idle_seconds,
        )
        credential = await self._connection.credentials.current(self._clock)
        try:
            async with self._send("GET", path, query, None, "", timeout, credential) as answer:
                if answer.status != 200:
                    if answer.status == 401:
                        self._connection.credentials.reject()
                    body = await _read(answer, name, self._limits.object_bytes)
                    raise error_from(answer.status, body, answer.headers.get("Retry-After"), name)
                yield b""
                async for chunk in answer.content.iter_any():
                    yield chunk
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise TransportError(name, _problem(error), sent=True) from error

    async def once(
        self,
        name: str,
        method: str,
        path: str,
        query: Query | None,
        data: bytes | None,
        content_type: str,
        seconds: float | None,
        limit: int | None,
    ) -> bytes:
        """One request and its whole answer, of at most `limit` bytes within `seconds`.

        Raises ApiError and TransportError.
        """
        timeout = aiohttp.ClientTimeout(
            total=seconds or self._limits.request_seconds, sock_connect=self._limits.connect_seconds
        )
        credential = await self._connection.credentials.current(self._clock)
        try:
            async with self._send(method, path, query, data, content_type, timeout, credential) as answer:
                content = await _read(answer, name, limit or self._limits.object_bytes)
        except aiohttp.ClientConnectorError as error:
            raise TransportError(name, _problem(error), sent=False) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise TransportError(name, _problem(error), sent=True) from error
        if answer.status >= 300:
            raise error_from(answer.status, content, answer.headers.get("Retry-After"), name)
        return content

    def _send(
        self,
        method: str,
        path: str,
        query: Query | None,
        data: bytes | None,
        content_type: str,
        timeout: aiohttp.ClientTimeout,
        credential: Credential,
    ) -> "aiohttp.client._RequestContextManager":
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=self._limits.connections, socket_factory=_socket, keepalive_timeout=30
                ),
                headers={
                    "Accept": "application/json",
                    "Accept-Encoding": "identity",
                    "User-Agent": self._user_agent,
                },
                cookie_jar=aiohttp.DummyCookieJar(),
                read_bufsize=1 << 20,
            )
        headers = {"Content-Type": content_type} if data is not None else {}
        if credential.token:
            headers["Authorization"] = f"Bearer {credential.token}"
        return self._session.request(
            method,
            self._connection.server + path,
            params=query,
            data=data,
            headers=headers,
            timeout=timeout,
            ssl=self._context(credential),
            server_hostname=self._connection.tls_server_name or None,
            proxy=self._connection.proxy or None,
            allow_redirects=False,
        )

    def _context(self, credential: Credential) -> ssl.SSLContext:
        key = (credential.certificate, credential.key)
        if self._tls is None or self._tls[0] != key:
            self._tls = (key, context_for(self._connection, credential))
        return self._tls[1]


def _socket(address: tuple[Any, ...]) -> socket.socket:
    """A socket that notices a peer that went away without a word: probes after 30 s of silence, every 10
    s.
    """
    made = socket.socket(family=address[0], type=address[1], proto=address[2])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for option, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    return made


def _problem(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    # The text of aiohttp's errors names host and port and, for a bad answer, its URL; headers are never in
    # it.
    return str(error) or type(error).__name__


async def _read(answer: aiohttp.ClientResponse, name: str, limit: int) -> bytes:
    if (answer.content_length or 0) > limit:
        answer.close()
        raise OversizeError(name, limit)
    chunks: list[bytes] = []
    size = 0
    async for chunk in answer.content.iter_any():
        size += len(chunk)
        if size > limit:
            answer.close()
            raise OversizeError(name, limit)
        chunks.append(chunk)
    return b"".join(chunks)
