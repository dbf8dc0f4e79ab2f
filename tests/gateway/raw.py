"""Requests written byte by byte."""

import asyncio
import contextlib
import json
import re
from typing import Any

HELLO = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}]}


async def exchange(address: tuple[str, int], data: bytes, *, seconds: float = 20) -> bytes:
    """Send bytes on a connection of their own; everything that comes back until the gateway closes it."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(data)
        await writer.drain()
        async with asyncio.timeout(seconds):
            return await reader.read()
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def request(
    key: str,
    body: dict[str, Any] | bytes = HELLO,
    *,
    head: bytes = b"",
    path: bytes = b"/v1/chat/completions",
    length: bool = True,
    close: bool = True,
) -> bytes:
    """A well-formed request, with further header lines."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [b"POST " + path + b" HTTP/1.1", b"Host: gateway", b"Content-Type: application/json"]
    if key:
        lines.append(b"Authorization: Bearer " + key.encode())
    if close:
        lines.append(b"Connection: close")
    if length:
        lines.append(b"Content-Length: %d" % len(content))
    return b"\r\n".join(lines) + b"\r\n" + head + b"\r\n" + content


def statuses(answer: bytes) -> list[int]:
    """The status of each answer in what came back."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]
