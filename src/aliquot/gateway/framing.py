"""HTTP/1.1 towards callers: one connection, strict about where a message begins and ends.

httptools (llhttp) does the parsing and refuses what request smuggling is made of: Content-Length together
with Transfer-Encoding, repeated or signed lengths, bare LF or CR, folded lines, other transfer codings. On
top of that this module refuses more than one Host, transfer codings in HTTP/1.0, trailers, chunk extensions
that outweigh their content, absolute-form targets, and heads and bodies over their bounds. After a refusal
the connection is closed, so that nothing behind it is read as another request.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, cast

import httptools

from aliquot.gateway.configuration import Bounds

REASONS = {
    200: b"OK",
    400: b"Bad Request",
    401: b"Unauthorized",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    413: b"Content Too Large",
    415: b"Unsupported Media Type",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
}
PIPELINED = 8
"""How many whole requests may wait on one connection behind the one that is answered."""

LINGER_SECONDS = 2.0
HIGH_WATER = 256 * 1024
CHUNK_OVERHEAD = 64 * 1024


class Request:
    """A request, whole. Answered once: by `respond`, or by `start`, `write` and `finish`.

    headers: names in lower case; of repeated ones all values. gone: set when the caller left.
    """

    __slots__ = ("_connection", "_keep", "_started", "body", "gone", "headers", "method", "target")

    def __init__(
        self,
        connection: "Connection",
        method: bytes,
        target: bytes,
        headers: dict[bytes, bytes],
        body: bytes,
        keep: bool,
    ) -> None:
        self._connection = connection
        self.method = method
        self.target = target
        self.headers = headers
        self.body = body
        self.gone = False
        self._keep = keep
        self._started = False

    @property
    def started(self) -> bool:
        return self._started

    @property
    def peer(self) -> str:
        """The address of whoever connected, without the port."""
        return self._connection.peer

    def respond(
        self, status: int, headers: list[tuple[bytes, bytes]], body: bytes, *, close: bool = False
    ) -> None:
        """Answer in one piece."""
        self._started = True
        self._keep = self._keep and not close
        content = b"" if self.method == b"HEAD" else body
        self._connection.send(
            _head(status, headers, b"Content-Length: %d\r\n" % len(body), self._keep) + content
        )
        self._connection.answered(self._keep)

    def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Begin an answer in pieces."""
        self._started = True
        self._connection.send(_head(status, headers, b"Transfer-Encoding: chunked\r\n", self._keep))

    def write(self, piece: bytes) -> None:
        if piece:
            self._connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))

    async def drain(self) -> None:
        """Wait until the caller has taken enough of what was written."""
        await self._connection.drain()

    def finish(self) -> None:
        self._connection.send(b"0\r\n\r\n")
        self._connection.answered(self._keep)

    def abort(self) -> None:
        """Close the connection in the middle of an answer, so that it is seen to be incomplete."""
        self._connection.abort()

    def on_gone(self, call: Callable[[], None] | None) -> None:
        """Have `call` called when the caller leaves before the answer ends."""
        self._connection.gone_callback = call
        if call is not None and self.gone:
            call()


def _head(status: int, headers: list[tuple[bytes, bytes]], length: bytes, keep: bool) -> bytes:
    lines = [b"HTTP/1.1 %d %b\r\n" % (status, REASONS.get(status, b"Status")), length]
    for name, value in headers:
        lines.append(b"%b: %b\r\n" % (name, value))
    if not keep:
        lines.append(b"Connection: close\r\n")
    lines.append(b"\r\n")
    return b"".join(lines)


Handler = Callable[[Request], Coroutine[Any, Any, None]]
Refusal = Callable[[int, str], bytes]
"""The body of a refusal: status and message."""


class Acceptor:
    """Makes connections, counts them, and ends those that take too long."""

    def __init__(self, handler: Handler, refusal: Refusal, bounds: Bounds) -> None:
        self.handler = handler
        self.refusal = refusal
        self.bounds = bounds
        self.connections: set[Connection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.closing = False

    def __call__(self) -> "Connection":
        return Connection(self)

    async def sweep(self) -> None:
        """End connections whose time is over; runs until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(1)
            now = loop.time()
            for connection in [one for one in self.connections if one.deadline < now]:
                connection.expire()

    async def drain(self, seconds: float) -> None:
        """Take no more requests, and give those under way some time."""
        self.closing = True
        for connection in list(self.connections):
            connection.close_if_idle()
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=seconds)
        for task in list(self.tasks):
            task.cancel()
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=5)
        for connection in list(self.connections):
            connection.abort()


class Connection(asyncio.Protocol):
    """One connection of a caller. Requests on it are answered in their order."""

    def __init__(self, acceptor: Acceptor) -> None:
        self._acceptor = acceptor
        self._bounds = acceptor.bounds
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self.deadline = self._loop.time() + self._bounds.head_seconds
        self.gone_callback: Callable[[], None] | None = None
        self.peer = ""
        self._waiting: deque[Request] = deque()
        self._current: Request | None = None
        self._writable: asyncio.Future[None] | None = None
        self._paused_writing = False
        self._refused = False
        self._begin()

    def _begin(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._reset()

    def _reset(self) -> None:
        self._wire = 0
        self._head_done = False
        self._in_message = False
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._head_bytes = 0
        self._body: list[bytes] = []
        self._body_bytes = 0

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        transport = self._transport
        address = transport.get_extra_info("peername")
        self.peer = str(address[0]) if isinstance(address, tuple) else ""
        transport.set_write_buffer_limits(HIGH_WATER)
        self._acceptor.connections.add(self)
        if self._acceptor.closing or len(self._acceptor.connections) > self._bounds.connections:
            self._refuse(503, "too many connections; try again later")

    def connection_lost(self, error: Exception | None) -> None:
        self._acceptor.connections.discard(self)
        self._transport = None
        self._waiting.clear()
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        if self._current is not None:
            self._current.gone = True
            if self.gone_callback is not None:
                self.gone_callback()
                self.gone_callback = None

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._wire += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(400, "Upgrade is not supported")
            return
        except httptools.HttpParserError as error:
            self._refuse(400, f"malformed HTTP: {error}")
            return
        if not self._refused and self._in_message:
            if not self._head_done and self._wire > self._bounds.head_bytes:
                self._refuse(431, f"the request's head is larger than {self._bounds.head_bytes} bytes")
            elif self._wire > self._head_bytes + 2 * self._body_bytes + CHUNK_OVERHEAD + len(data):
                self._refuse(400, "the chunks' framing outweighs their content")

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self._paused_writing = True

    def resume_writing(self) -> None:
        self._paused_writing = False
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    # httptools callbacks

    def on_message_begin(self) -> None:
        self._reset()
        self._in_message = True
        if self._current is None:
            self.deadline = self._loop.time() + self._bounds.head_seconds

    def on_url(self, target: bytes) -> None:
        self._target += target
        self._count_head(len(target))

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head_done:
            self._refuse(400, "trailers are not taken")
            return
        name = name.lower()
        if name in self._headers:
            if name in _SINGLE:
                self._refuse(400, f"more than one {name.decode('latin-1')} header")
                return
            value = self._headers[name] + b", " + value
        self._headers[name] = value
        self._count_head(len(name) + len(value) + 4)

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > self._bounds.head_bytes:
            self._refuse(431, f"the request's head is larger than {self._bounds.head_bytes} bytes")

    def on_headers_complete(self) -> None:
        self._head_done = True
        headers = self._headers
        if b"host" not in headers:
            self._refuse(400, "the Host header is missing")
        elif not self._target.startswith(b"/"):
            self._refuse(400, "the target has to be a path")
        elif b"upgrade" in headers or self._parser.get_method() == b"CONNECT":
            self._refuse(400, "this server speaks HTTP/1.1 and changes to nothing else")
        elif self._parser.get_http_version() != "1.1" and b"transfer-encoding" in headers:
            self._refuse(400, "HTTP/1.0 has no transfer codings")
        elif int(headers.get(b"content-length", b"0")) > self._bounds.body_bytes:
            self._refuse(413, f"the body is larger than {self._bounds.body_bytes} bytes")
        else:
            if self._current is None:
                self.deadline = self._loop.time() + self._bounds.body_seconds
            if headers.get(b"expect", b"").lower() == b"100-continue" and self._current is None:
                self.send(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, piece: bytes) -> None:
        if self._refused:
            return
        self._body_bytes += len(piece)
        if self._body_bytes > self._bounds.body_bytes:
            self._refuse(413, f"the body is larger than {self._bounds.body_bytes} bytes")
            return
        self._body.append(piece)

    def on_message_complete(self) -> None:
        if self._refused:
            return
        self._in_message = False
        request = Request(
            self,
            self._parser.get_method(),
            self._target,
            self._headers,
            b"".join(self._body),
            self._parser.should_keep_alive() and not self._acceptor.closing,
        )
        self._reset()
        if self._current is not None:
            if len(self._waiting) >= PIPELINED:
                self._refuse(400, "too many requests wait on this connection")
                return
            self._waiting.append(request)
            if len(self._waiting) == PIPELINED and self._transport is not None:
                self._transport.pause_reading()
            return
        self._answer(request)

    # Answering

    def _answer(self, request: Request) -> None:
        self._current = request
        self.deadline = self._loop.time() + self._bounds.call_seconds + 60
        task = self._loop.create_task(self._acceptor.handler(request))
        self._acceptor.tasks.add(task)
        task.add_done_callback(self._acceptor.tasks.discard)

    def send(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    async def drain(self) -> None:
        if self._paused_writing and self._transport is not None:
            self._writable = self._loop.create_future()
            await self._writable

    def answered(self, keep: bool) -> None:
        """The answer to the current request is complete."""
        self._current = None
        self.gone_callback = None
        self.deadline = self._loop.time() + self._bounds.idle_seconds
        if self._transport is None:
            return
        if not keep or self._acceptor.closing or self._refused:
            self._transport.close()
        elif self._waiting:
            request = self._waiting.popleft()
            self._transport.resume_reading()
            self._answer(request)

    def _refuse(self, status: int, message: str) -> None:
        """Answer with an error, unless another answer is under way, and close."""
        if self._refused:
            return
        self._refused = True
        if self._transport is None:
            return
        if self._current is None:
            body = self._acceptor.refusal(status, message)
            headers = [(b"Content-Type", b"application/json")]
            self.send(_head(status, headers, b"Content-Length: %d\r\n" % len(body), False) + body)
            self._linger()
        else:
            self._waiting.clear()
            self._transport.pause_reading()

    def _linger(self) -> None:
        """Close once the caller has read the refusal: closing with unread data would take it away again."""
        assert self._transport is not None
        if self._transport.can_write_eof():
            self._transport.write_eof()
            self.deadline = self._loop.time() + LINGER_SECONDS
        else:
            self._transport.close()

    def expire(self) -> None:
        """The time of what is under way is over."""
        if self._current is None and self._in_message:
            self._refuse(408, "the request took too long to arrive")
        else:
            self.abort()

    def close_if_idle(self) -> None:
        if self._current is None and self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


_SINGLE = frozenset(
    {b"host", b"content-length", b"transfer-encoding", b"authorization", b"content-type", b"content-encoding"}
)
