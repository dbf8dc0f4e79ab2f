"""A server that ends as soon as it is told to."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState


class _State(ServerState):
    """What a server's connections share. ending: that it takes no more requests."""

    ending = False


class PromptConnection(HttpToolsProtocol):
    """A connection that closes at once where the server has been told to end while it came up.

    A client whose watch ends connects again while the listener closes, and its handshake may end after
    the connections that were open were told; without this it would be kept until the deadline and after.
    """

    server_state: _State

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self.server_state.ending:
            self.shutdown()


class PromptServer(uvicorn.Server):
    """Uvicorn, ended by `end` from whatever thread; signals are left to whoever starts it.

    Uvicorn itself looks every 0.1 s whether it should end, and pauses as long when it does.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._ending = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.server_state = self._state = _State()

    def end(self) -> None:
        """End connections, when their answers are sent, and then the server."""
        self.should_exit = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._ending.set)

    async def main_loop(self) -> None:
        self._loop = asyncio.get_running_loop()
        # A tick of 0 renews the header with the date.
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._ending.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()
        self._state.ending = True
        for connection in list(self._state.connections):
            connection.shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.config.timeout_graceful_shutdown):
                # Uvicorn tells nobody when the last one has ended.
                while True:
                    await asyncio.sleep(0.005)
                    if self.force_exit or not (self._state.connections or self._state.tasks):
                        break
        for task in self._state.tasks:
            task.cancel()
        for connection in list(self._state.connections):
            connection.transport.abort()
        if not self.force_exit:
            await self.lifespan.shutdown()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
