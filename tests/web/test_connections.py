"""Whoever is slow, sends too much or asks nothing loses the connection; whoever listens keeps it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from tests.web.serving import listening

from aliquot.web import connections

SOON_S = 0.3
LATE_S = 30.0
GET = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n"
POST = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n"


async def answer(request: Request) -> Response:
    return PlainTextResponse("here")


async def taken(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


async def stream(request: Request) -> Response:
    async def lines() -> AsyncIterator[str]:
        for number in range(4):
            yield f"{number}\n"
            await asyncio.sleep(SOON_S)

    return StreamingResponse(lines())


@pytest.fixture
async def place(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[str, int]]:
    monkeypatch.setattr(connections, "REQUEST_SECONDS", SOON_S)
    monkeypatch.setattr(connections, "MOST_CONNECTIONS", 8)
    app = Starlette(
        routes=[
            Route("/", answer, methods=["GET", "POST"]),
            Route("/body", taken, methods=["POST"]),
            Route("/stream", stream),
        ]
    )
    app.state.close_streams = lambda: None
    async with listening(app) as url:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        yield parts.hostname, parts.port


@contextlib.asynccontextmanager
async def connected(
    place: tuple[str, int],
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(*place)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def received(reader: asyncio.StreamReader) -> bytes:
    """Everything until the connection is closed by the other side."""
    found = b""
    async with asyncio.timeout(LATE_S):
        with contextlib.suppress(ConnectionResetError):
            while piece := await reader.read(65_536):
                found += piece
    return found


@pytest.mark.parametrize(
    ("begins", "drip", "status"),
    [
        (b"", b"", b""),
        (GET, b"", b""),
        (GET, b"X-A: b\r\n", b""),
        (b"", b"\r\n", b""),
        (GET + b"\r\n", b"\r\n", b"200"),
        (POST, b"a", b"200"),
        (POST.replace(b"/ ", b"/body "), b"a", b""),
    ],
    ids=["nothing", "half a head", "slow head", "empty lines", "lines after", "unread body", "slow body"],
)
async def test_what_does_not_arrive_in_time_is_not_waited_for(
    place: tuple[str, int], begins: bytes, drip: bytes, status: bytes
) -> None:
    async with connected(place) as (reader, writer):
        writer.write(begins)

        async def dripping() -> None:
            with contextlib.suppress(OSError):
                while drip:
                    await asyncio.sleep(SOON_S / 10)
                    writer.write(drip)
                    await writer.drain()

        task = asyncio.create_task(dripping())
        try:
            assert (await received(reader))[9:12] == status
        finally:
            task.cancel()


async def test_a_head_is_bounded(place: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 10 * LATE_S)
    async with connected(place) as (reader, writer):
        writer.write(GET + b"X-A: ")
        writer.write(b"a" * 2 * connections.MOST_HEAD_BYTES)
        # What was sent and not read by then may have the answer thrown away on its way (TCP reset).
        assert (await received(reader))[9:12] in (b"", b"400")


async def test_a_stream_that_is_listened_to_is_not_cut(
    place: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 3 * SOON_S)
    async with connected(place) as (reader, writer):
        writer.write(GET.replace(b"/ ", b"/stream ") + b"Connection: close\r\n\r\n")
        assert b"3\n" in await received(reader)


async def test_a_connection_serves_one_request_after_the_other(
    place: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 10 * LATE_S)
    async with connected(place) as (reader, writer):
        for number in range(5):
            writer.write(GET + b"\r\n")
            async with asyncio.timeout(LATE_S):
                assert (await reader.readuntil(b"here")).startswith(b"HTTP/1.1 200 "), number


async def test_too_many_connections_are_closed_and_others_go_on(
    place: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 10 * LATE_S)
    async with contextlib.AsyncExitStack() as stack:
        held = [await stack.enter_async_context(connected(place)) for _ in range(8)]
        async with connected(place) as (reader, _):
            assert await received(reader) == b""
        reader, writer = held[0]
        writer.write(GET + b"Connection: close\r\n\r\n")
        assert (await received(reader)).endswith(b"here")
