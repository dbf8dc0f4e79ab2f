"""A mock upstream, and load on what stands before it; each in a process of its own.

python -m benchmarks.calls upstream PORT
python -m benchmarks.calls load PORT KEY closed CONNECTIONS SECONDS
python -m benchmarks.calls load PORT KEY open CONNECTIONS SECONDS RATE
"""

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator
from typing import Any

import uvloop

PROMPT = "Explain in two sentences what an aliquot is. " * 20
CHAT = {"model": "mock", "messages": [{"role": "user", "content": PROMPT}], "max_tokens": 64}
ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "mock",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "An aliquot is an exact part of a whole. " * 5},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 190, "completion_tokens": 50, "total_tokens": 240},
    }
).encode()


class Upstream(asyncio.Protocol):
    """Answers every request with ANSWER. Requests of this benchmark are never pipelined."""

    _reply = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(ANSWER)
        + ANSWER
    )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._data = b""

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, blank, body = self._data.partition(b"\r\n\r\n")
        if not blank:
            return
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line[15:])
        if len(body) >= length:
            self._data = b""
            self._transport.write(self._reply)  # type: ignore[attr-defined]


class Client(asyncio.Protocol):
    """One kept-alive connection; `ask` sends the request and waits for the whole answer."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._data = b""
        self._done: asyncio.Future[int] | None = None
        self._lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = True
        if self._done is not None and not self._done.done():
            self._done.set_result(0)

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, blank, body = self._data.partition(b"\r\n\r\n")
        if not blank:
            return
        lower = head.lower()
        place = lower.find(b"content-length:")
        if place >= 0:
            length = int(lower[place + 15 :].split(b"\r\n", 1)[0])
            if len(body) < length:
                return
        elif not body.endswith(b"0\r\n\r\n"):
            return
        self._data = b""
        if self._done is not None and not self._done.done():
            self._done.set_result(int(head[9:12]))

    async def ask(self) -> int:
        if self._lost:
            return 0
        self._done = asyncio.get_running_loop().create_future()
        self._transport.write(self._request)  # type: ignore[attr-defined]
        return await self._done


def request_for(host: str, port: int, key: str) -> bytes:
    body = json.dumps(CHAT).encode()
    return (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {key}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


@contextlib.asynccontextmanager
async def clients(port: int, key: str, count: int) -> AsyncIterator[list[Client]]:
    loop = asyncio.get_running_loop()
    request = request_for("127.0.0.1", port, key)
    made = [await loop.create_connection(lambda: Client(request), "127.0.0.1", port) for _ in range(count)]
    yield [client for _, client in made]
    for transport, _ in made:
        transport.close()


async def closed_loop(port: int, key: str, count: int, seconds: float) -> dict[str, Any]:
    """Every connection always has a request under way."""
    taken: list[float] = []
    failed = 0
    async with clients(port, key, count) as connections:
        end = time.perf_counter() + seconds

        async def work(client: Client) -> None:
            nonlocal failed
            while (begun := time.perf_counter()) < end:
                status = await client.ask()
                if status == 200:
                    taken.append(time.perf_counter() - begun)
                else:
                    failed += 1
                    if status == 0:
                        return

        begun = time.perf_counter()
        await asyncio.gather(*(work(client) for client in connections))
        spent = time.perf_counter() - begun
    return summary(taken, failed, spent)


async def open_loop(port: int, key: str, count: int, seconds: float, rate: float) -> dict[str, Any]:
    """Requests are due at a fixed rate; a latency counts from when its request was due."""
    taken: list[float] = []
    failed = 0
    async with clients(port, key, count) as connections:
        idle: asyncio.Queue[Client] = asyncio.Queue()
        for client in connections:
            idle.put_nowait(client)
        tasks = set()

        async def one(due: float) -> None:
            nonlocal failed
            client = await idle.get()
            status = await client.ask()
            if status == 200:
                taken.append(time.perf_counter() - due)
            else:
                failed += 1
            idle.put_nowait(client)

        begun = time.perf_counter()
        for number in range(int(rate * seconds)):
            due = begun + number / rate
            if (pause := due - time.perf_counter()) > 0:
                await asyncio.sleep(pause)
            task = asyncio.ensure_future(one(due))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.wait_for(asyncio.gather(*tasks), 60)
        spent = time.perf_counter() - begun
    return summary(taken, failed, spent)


def summary(taken: list[float], failed: int, spent: float) -> dict[str, Any]:
    taken.sort()

    def at(share: float) -> float:
        return taken[min(len(taken) - 1, int(len(taken) * share))] * 1000 if taken else float("nan")

    return {"rps": len(taken) / spent, "p50": at(0.5), "p99": at(0.99), "failed": failed, "count": len(taken)}


def wait_for(url: str, key: str, seconds: float = 120.0) -> None:
    """Wait until a call is answered."""
    end = time.monotonic() + seconds
    body = json.dumps(CHAT).encode()
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    problem = ""
    while time.monotonic() < end:
        try:
            asked = urllib.request.Request(f"{url}/v1/chat/completions", body, headers)
            with urllib.request.urlopen(asked, timeout=10) as answer:
                answer.read()
                return
        except OSError as error:
            problem = str(error)
            time.sleep(0.3)
    raise SystemExit(f"{url} does not answer: {problem}")


def load(port: int, key: str, *more: str) -> dict[str, Any]:
    """Run the load in a process of its own."""
    output = subprocess.run(
        [sys.executable, "-m", "benchmarks.calls", "load", str(port), key, *more],
        check=True,
        capture_output=True,
    ).stdout
    found: dict[str, Any] = json.loads(output)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["upstream", "load"])
    parser.add_argument("port", type=int)
    parser.add_argument("more", nargs="*")
    options = parser.parse_args()
    if options.role == "upstream":

        async def serve() -> None:
            server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", options.port)
            await server.serve_forever()

        uvloop.run(serve())
        return
    key, kind, count, seconds, *rest = options.more
    if kind == "closed":
        found = uvloop.run(closed_loop(options.port, key, int(count), float(seconds)))
    else:
        found = uvloop.run(open_loop(options.port, key, int(count), float(seconds), float(rest[0])))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
