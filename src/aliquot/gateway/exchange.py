"""HTTP/1.1 towards upstreams: pooled connections, one exchange at a time on each."""

import asyncio
import contextlib
import ssl
from collections import deque
from typing import cast
from urllib.parse import urlsplit

import httptools

HIGH_WATER = 512 * 1024
"""An upstream is read no further while this much waits to be taken."""

MAX_HEAD_BYTES = 64 * 1024
CONNECT_SECONDS = 5.0
IDLE_SECONDS = 50.0
"""Servers often drop connections after 60 or 75 s without a request."""


class ExchangeError(Exception):
    """No complete answer came. sent: whether the upstream may have begun to work on the request."""

    def __init__(self, upstream: str, problem: str, *, sent: bool) -> None:
        super().__init__(f"upstream {upstream}: {problem}")
        self.upstream = upstream
        self.problem = problem
        self.sent = sent


class Answer:
    """An answer of an upstream: its head, and a body to be read once."""

    __slots__ = ("_connection", "content_type", "status")

    def __init__(self, connection: "_UpstreamConnection", status: int, content_type: bytes) -> None:
        self._connection = connection
        self.status = status
        self.content_type = content_type

    async def read(self, limit: int) -> bytes:
        """The whole body. Raises ExchangeError if it is longer than `limit`."""
        pieces: list[bytes] = []
        size = 0
        while piece := await self._connection.piece():
            size += len(piece)
            if size > limit:
                raise self._connection.error(f"the answer is larger than {limit} bytes")
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def piece(self, seconds: float) -> bytes:
        """The next piece of the body, b"" at its end. Raises ExchangeError."""
        connection = self._connection
        if connection.ready():
            return connection.take()
        try:
            async with asyncio.timeout(seconds):
                return await connection.piece()
        except TimeoutError:
            raise connection.error("the upstream stopped in the middle of its answer") from None

    def close(self) -> None:
        """Done with this answer. If it has not ended, its connection is cut, so that the upstream stops."""
        self._connection.release()


class _UpstreamConnection(asyncio.Protocol):
    def __init__(self, pool: "Pool") -> None:
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._pieces: deque[bytes] = deque()
        self._buffered = 0
        self._waiter: asyncio.Future[None] | None = None
        self._paused = False
        self._headers: dict[bytes, bytes] = {}
        self._head_bytes = 0
        self._head: tuple[int, bytes] | None = None
        self._complete = True
        self.lost = False
        self._problem = ""
        self._reusable = True
        self.uses = 0
        self.idle_since = 0.0
        self.peer = ""
        self._parser = httptools.HttpResponseParser(self)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        address = transport.get_extra_info("peername")
        self.peer = f"{address[0]}:{address[1]}" if isinstance(address, tuple) else ""

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        if not self._complete and self._head is not None and not self._problem:
            # An answer without a length ends with its connection.
            with contextlib.suppress(httptools.HttpParserError):
                self._parser.feed_data(b"")
        if not self._complete and not self._problem:
            self._problem = "closed the connection"
        self._pool.forget(self)
        self._wake()

    def data_received(self, data: bytes) -> None:
        if self._complete:
            # Nothing was asked, so nothing may be said: whatever it is must not answer the next request.
            self._reusable = False
            self.abort()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail("wants to change the protocol")
        except httptools.HttpParserError as error:
            self._fail(f"sent malformed HTTP: {error}")

    def eof_received(self) -> bool:
        return False

    # httptools callbacks

    def on_message_begin(self) -> None:
        self._headers = {}
        self._head_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._fail("sent too large a head")
            return
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200:
            self._head = (status, self._headers.get(b"content-type", b""))
            if self._headers.get(b"content-encoding", b"identity").lower() not in (b"identity", b""):
                self._fail("sent an encoding that was not asked for")
            self._wake()

    def on_body(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._buffered += len(piece)
        if self._buffered > HIGH_WATER and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def on_message_complete(self) -> None:
        if self._head is None:
            return
        self._complete = True
        if not self._parser.should_keep_alive():
            self._reusable = False
        self._wake()

    # Use by one exchange

    async def exchange(self, request: bytes, seconds: float) -> Answer:
        self._complete = False
        self._head = None
        self._problem = ""
        self._pieces.clear()
        self._buffered = 0
        self.uses += 1
        self._parser = httptools.HttpResponseParser(self)
        if self._transport is None or self.lost:
            self._problem = "closed the connection"
            raise self.error(self._problem)
        self._transport.write(request)
        try:
            async with asyncio.timeout(seconds):
                while (head := self._arrived()) is None:
                    await self._wait()
        except TimeoutError:
            raise self.error(f"no answer within {seconds:g} s") from None
        return Answer(self, *head)

    def _arrived(self) -> tuple[int, bytes] | None:
        if self._head is None and self._problem:
            raise self.error(self._problem)
        return self._head

    @property
    def silent(self) -> bool:
        """Whether nothing of an answer came."""
        return self._head is None

    def ready(self) -> bool:
        return bool(self._pieces) or (self._complete and not self._problem)

    def take(self) -> bytes:
        """What has arrived, b"" at the end."""
        if not self._pieces:
            return b""
        taken = self._pieces.popleft() if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._buffered = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return taken

    async def piece(self) -> bytes:
        while not self.ready():
            if self._problem:
                raise self.error(self._problem)
            await self._wait()
        return self.take()

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, problem: str) -> None:
        self._problem = problem
        self._reusable = False
        self.abort()
        self._wake()

    def error(self, problem: str) -> ExchangeError:
        self._problem = self._problem or problem
        return ExchangeError(self._pool.name, problem, sent=True)

    def release(self) -> None:
        if self._complete and self._reusable and not self.lost and not self._problem:
            self._pieces.clear()
            self._pool.give_back(self)
        else:
            self.abort()
            self._pool.forget(self)
            self._pool.returned(self)

    def abort(self) -> None:
        self._reusable = False
        if self._transport is not None:
            self._transport.abort()


class Pool:
    """Connections to one upstream, at most `most` at a time; further exchanges wait their turn.

    url: with the prefix of the API. key: sent as a bearer token, "" for none.
    """

    def __init__(
        self, name: str, url: str, *, key: str = "", tls: ssl.SSLContext | None = None, most: int = 256
    ) -> None:
        parts = urlsplit(url)
        self.name = name
        self._host = parts.hostname or ""
        self._tls = (tls or ssl.create_default_context()) if parts.scheme == "https" else None
        self._port = parts.port or (443 if self._tls else 80)
        self._prefix = parts.path.rstrip("/")
        self._root = self._prefix.removesuffix("/v1")
        lines = f"Host: {parts.netloc}\r\nUser-Agent: aliquot\r\nAccept-Encoding: identity\r\n"
        if key:
            lines += f"Authorization: Bearer {key}\r\n"
        self._lines = lines.encode("latin-1")
        self._idle: list[_UpstreamConnection] = []
        self._all: set[_UpstreamConnection] = set()
        self._turns = asyncio.Semaphore(most)
        self._out: set[_UpstreamConnection] = set()

    async def send(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        accept: str,
        seconds: float,
        request: str = "",
        at_root: bool = False,
    ) -> tuple[Answer, str]:
        """Send a request; its answer, and the address that gave it. `Answer.close` has to be called.

        at_root: the path is beside the API's /v1, not below it.

        A connection that was kept open may turn out to be closed; then another one is tried. Raises
        ExchangeError.
        """
        prefix = self._root if at_root else self._prefix
        head = (
            f"{method} {prefix}{path} HTTP/1.1\r\nAccept: {accept}\r\nContent-Length: {len(body)}\r\n"
            f"X-Request-Id: {request}\r\nContent-Type: application/json\r\n"
        ).encode("latin-1")
        message = b"".join((head, self._lines, b"\r\n", body))
        await self._turns.acquire()
        while True:
            try:
                connection = self._reusable() or await self._connect()
            except BaseException:
                self._turns.release()
                raise
            self._out.add(connection)
            try:
                return await connection.exchange(message, seconds), connection.peer
            except ExchangeError:
                stale = connection.uses > 1 and connection.silent and connection.lost
                if stale:
                    self._out.discard(connection)
                    continue
                connection.release()
                raise
            except BaseException:
                connection.release()
                raise

    def _reusable(self) -> _UpstreamConnection | None:
        now = asyncio.get_running_loop().time()
        while self._idle:
            connection = self._idle.pop()
            if now - connection.idle_since < IDLE_SECONDS:
                return connection
            connection.abort()
        return None

    async def _connect(self) -> _UpstreamConnection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, connection = await loop.create_connection(
                    lambda: _UpstreamConnection(self), self._host, self._port, ssl=self._tls
                )
        except TimeoutError:
            raise ExchangeError(self.name, "cannot be connected to: timed out", sent=False) from None
        except (OSError, ssl.SSLError) as error:
            raise ExchangeError(self.name, f"cannot be connected to: {error}", sent=False) from error
        self._all.add(connection)
        return connection

    def give_back(self, connection: _UpstreamConnection) -> None:
        if connection in self._out:
            self._out.discard(connection)
            self._turns.release()
            connection.idle_since = asyncio.get_running_loop().time()
            self._idle.append(connection)

    def forget(self, connection: _UpstreamConnection) -> None:
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def returned(self, connection: _UpstreamConnection) -> None:
        """A connection that cannot be used again frees its turn."""
        if connection in self._out:
            self._out.discard(connection)
            self._turns.release()

    def close(self) -> None:
        for connection in list(self._all):
            connection.abort()
        self._idle.clear()
