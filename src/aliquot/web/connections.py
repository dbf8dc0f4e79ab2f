"""Connections that nobody can hold open, or fill, by being slow.

uvicorn bounds how long a connection is idle between requests, but neither how long a request may take to
arrive, nor how large its head is, nor how many connections there are that ask nothing; each holds a file of
the process that decides about the cluster.
"""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

REQUEST_SECONDS = 10.0
"""From when a connection is there, or a request has begun, until the request is there as a whole."""

MOST_HEAD_BYTES = 64 << 10
MOST_CONNECTIONS = 512
"""More are closed at once. From 256 on (uvicorn's limit_concurrency) requests are answered with 503."""


class BoundedConnection(HttpToolsProtocol):
    """HTTP/1.1 as uvicorn speaks it, within these bounds."""

    _late: asyncio.TimerHandle | None = None
    _head = False
    _whole = True
    _received = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
        else:
            self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self._arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._head and self._received > MOST_HEAD_BYTES:
            self.send_400_response(f"The head of a request has {MOST_HEAD_BYTES} bytes at most.")
        elif self._whole and self._late is None and (self.cycle is None or self.cycle.response_complete):
            # Bytes that begin no request, such as empty lines, have stopped uvicorn's clock.
            self._await_request()

    def on_message_begin(self) -> None:
        self._head, self._whole = True, False
        if self._late is None:
            self._await_request()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._whole, self._received = True, 0
        self._arrived()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._whole:
            # It was answered without its body, which nobody is going to read.
            self.transport.close()

    def _await_request(self) -> None:
        self._late = self.loop.call_later(REQUEST_SECONDS, self.transport.abort)

    def _arrived(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
