"""Pages on a port, as the controller serves them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from starlette.applications import Starlette

from aliquot.cli.serving import PageServer, address, listen


@contextlib.asynccontextmanager
async def listening(app: Starlette) -> AsyncIterator[str]:
    """The address, with a slash at its end."""
    listener = listen("127.0.0.1", 0)
    server = PageServer(app)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield address(listener)
    finally:
        server.should_exit = True
        await task
