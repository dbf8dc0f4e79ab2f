"""The gateway beside LiteLLM's proxy: same mock upstream, same load, budgets on in both, in one run.

The upstream answers at once with a fixed body, so what is measured is the proxy. Load comes from a process of
its own over kept-alive connections. Rounds alternate between the targets, so that whatever else the machine
does falls on all of them. Three figures:

- requests per second with CONNECTIONS connections that always have a request under way;
- latency at a fixed rate that every target can keep (open loop: a request is sent when it is due, and its
  latency counts from then), minus that of the upstream asked directly;
- the decision alone: hold and settle on a tree of four budgets, in process and with PostgreSQL.

LiteLLM runs with a budget for each provider and deployment and with limits of tokens and requests per minute,
as far as it keeps these without a database; one worker, no logging.
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import uvloop
import yaml

from aliquot.budgets.definition import ModelTerms, parse_budget
from aliquot.budgets.spending import Basis, Call, Caller, Endpoint, Outcome
from aliquot.budgets.tree import BudgetTree
from aliquot.gateway.admission import Admitted, Desk
from aliquot.store.budgets import BudgetStore
from aliquot.store.budgets_postgres import PostgresBudgets
from aliquot.store.budgets_sqlite import SqliteBudgets

CONNECTIONS = 32
SECONDS = 4.0
RATE_SHARE = 0.5
"""The fixed rate, as a part of what the slowest target reaches."""

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

litellm = ""
"""The program of LiteLLM's proxy, from an environment of its own; "" to leave it out."""

postgresql = ""
"""The connection string of an empty database; "" to leave it out."""


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


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def process(*arguments: str, **environment: str) -> Iterator["subprocess.Popen[bytes]"]:
    with tempfile.TemporaryFile() as log:
        started = subprocess.Popen(
            arguments, stdout=log, stderr=log, env={**os.environ, **environment}, start_new_session=True
        )
        try:
            yield started
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(started.pid, signal.SIGKILL)
            started.wait(10)


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


def aliquot_configuration(upstream: int, port: int) -> dict[str, Any]:
    day = {"measure": "totalTokens", "per": "day", "amount": 10**12}
    money = {"measure": "money", "per": "month", "amount": "1000000"}
    rate = {"measure": "requests", "per": "minute", "amount": 10**9}
    return {
        "listen": {"port": port},
        "store": {"sqlite": "budgets.db"},
        "upstreams": [
            {
                "name": "mock",
                "url": f"http://127.0.0.1:{upstream}/v1",
                "models": {"mock": "mock"},
                "healthPath": "",
            }
        ],
        "models": [{"name": "mock", "inputPrice": "0.15", "outputPrice": "0.60"}],
        "budgets": [
            {"name": "company", "limits": [day, money]},
            {"name": "research", "parent": "company", "limits": [day, money]},
            {"name": "ada", "parent": "research", "subject": {"user": "ada"}, "limits": [day, rate]},
        ],
    }


def litellm_configuration(upstream: int) -> dict[str, Any]:
    return {
        "model_list": [
            {
                "model_name": "mock",
                "litellm_params": {
                    "model": "openai/mock",
                    "api_base": f"http://127.0.0.1:{upstream}/v1",
                    "api_key": "none",
                    "input_cost_per_token": 0.00000015,
                    "output_cost_per_token": 0.0000006,
                    "tpm": 10**9,
                    "rpm": 10**9,
                    "max_budget": 10**6,
                    "budget_duration": "30d",
                },
            }
        ],
        "router_settings": {
            "provider_budget_config": {"openai": {"budget_limit": 10**6, "time_period": "30d"}},
        },
        "litellm_settings": {"telemetry": False, "set_verbose": False, "turn_off_message_logging": True},
        "general_settings": {"master_key": "sk-bench"},
    }


def load(port: int, key: str, *more: str) -> dict[str, Any]:
    """Run the load in a process of its own."""
    output = subprocess.run(
        [sys.executable, "-m", "benchmarks.gateway", "load", str(port), key, *more],
        check=True,
        capture_output=True,
    ).stdout
    found: dict[str, Any] = json.loads(output)
    return found


def table(runs: int) -> Iterator[str]:
    """The lines of the report."""
    with tempfile.TemporaryDirectory() as scratch:
        yield from uvloop.run(decision_rows(Path(scratch)))
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream, gateway_port, litellm_port = free_port(), free_port(), free_port()
        stack.enter_context(process(sys.executable, "-m", "benchmarks.gateway", "upstream", str(upstream)))
        wait_for(f"http://127.0.0.1:{upstream}", "")
        config = folder / "gateway.yaml"
        config.write_text(yaml.safe_dump(aliquot_configuration(upstream, gateway_port)))
        program = [sys.executable, "-m", "aliquot"]
        made = subprocess.run(
            [*program, "budgets", "keys", "create", "--config", str(config), "--user", "ada"],
            check=True,
            capture_output=True,
            text=True,
        )
        key = made.stdout.strip()
        stack.enter_context(process(*program, "gateway", "--config", str(config)))
        wait_for(f"http://127.0.0.1:{gateway_port}", key)
        targets = {"upstream alone": (upstream, "none"), "aliquot gateway": (gateway_port, key)}
        if litellm:
            other = folder / "litellm.yaml"
            other.write_text(yaml.safe_dump(litellm_configuration(upstream)))
            stack.enter_context(
                process(
                    litellm,
                    *("--config", str(other), "--port", str(litellm_port), "--host", "127.0.0.1"),
                    *("--num_workers", "1", "--telemetry", "False"),
                    LITELLM_LOG="ERROR",
                    LITELLM_LOCAL_MODEL_COST_MAP="True",
                    LITELLM_MODE="PRODUCTION",
                )
            )
            wait_for(f"http://127.0.0.1:{litellm_port}", "sk-bench")
            targets["litellm proxy"] = (litellm_port, "sk-bench")
        full: dict[str, list[dict[str, Any]]] = {name: [] for name in targets}
        for port, secret in targets.values():
            load(port, secret, "closed", str(CONNECTIONS), "2")
        for _ in range(runs):
            for name, (port, secret) in targets.items():
                full[name].append(load(port, secret, "closed", str(CONNECTIONS), str(SECONDS)))
        titles = f"{'req/s':>8} {'p50 ms':>8} {'p99 ms':>8} {'failed':>7}"
        yield f"{f'{CONNECTIONS} connections, full load':32} {titles}"
        for name, found in full.items():
            yield line(name, found)
        rate = RATE_SHARE * min(statistics.median(one["rps"] for one in found) for found in full.values())
        steady: dict[str, list[dict[str, Any]]] = {name: [] for name in targets}
        for _ in range(runs):
            for name, (port, secret) in targets.items():
                steady[name].append(
                    load(port, secret, "open", str(CONNECTIONS), str(SECONDS), str(max(rate, 5)))
                )
        yield f"{f'{rate:,.0f} requests/s':32} {titles}"
        for name, found in steady.items():
            yield line(name, found)
        base = statistics.median(one["p99"] for one in steady["upstream alone"])
        added = {
            name: statistics.median(one["p99"] for one in found) - base
            for name, found in steady.items()
            if name != "upstream alone"
        }
        for name, extra in added.items():
            yield f"{name:32} adds {extra:.2f} ms at the 99th percentile"
        if litellm:
            ratio = statistics.median(
                one["rps"] / two["rps"]
                for one, two in zip(full["aliquot gateway"], full["litellm proxy"], strict=True)
            )
            yield (
                f"aliquot to litellm: {ratio:.1f} times the requests/s, "
                f"{added['aliquot gateway'] / added['litellm proxy']:.3f} of the added p99"
            )


def decision_desk(store: BudgetStore) -> tuple[Desk, Caller]:
    """A desk with a tree of three budgets and six limits."""
    limits = [
        {"measure": "totalTokens", "per": "day", "amount": 10**12},
        {"measure": "requests", "per": "minute", "amount": 10**9},
    ]
    chain = [("company", ""), ("research", "company"), ("ada", "research")]
    tree = BudgetTree(
        parse_budget(
            name, {"parent": parent, "limits": limits, "subject": {"user": "ada"} if name == "ada" else {}}
        )
        for name, parent in chain
    )
    return Desk(store, tree, {"mock": ModelTerms(name="mock")}), Caller(user="ada")


async def decisions(store: BudgetStore, count: int, together: int) -> tuple[list[float], list[float]]:
    """Milliseconds that each decision took, a hold; its settlement follows and is not timed.

    On the clock, and of this process's processor time, which what else runs on the machine does not lengthen.
    """
    desk, caller = decision_desk(store)
    taken: list[float] = []
    worked: list[float] = []

    async def one(number: int) -> None:
        call = Call(
            request=f"{id(desk)}-{number}",
            model="mock",
            endpoint=Endpoint.CHAT,
            prompt_bound=500,
            max_output=64,
        )
        begun, began_work = time.perf_counter(), time.process_time()
        admitted = await desk.admit(call, caller)
        taken.append((time.perf_counter() - begun) * 1000)
        worked.append((time.process_time() - began_work) * 1000)
        assert isinstance(admitted, Admitted)
        await admitted.settle(
            input_tokens=100,
            output_tokens=20,
            basis=Basis.MEASURED,
            outcome=Outcome.COMPLETED,
            upstream="mock",
        )

    for begin in range(0, count, together):
        await asyncio.gather(*(one(number) for number in range(begin, begin + together)))
    return sorted(taken[count // 10 :]), sorted(worked[count // 10 :])


async def decision_rows(folder: Path) -> list[str]:
    rows = [f"{'the decision alone':36} {'p50 ms':>8} {'p99 ms':>8} {'cpu p99':>8} {'per second':>11}"]

    async def measure(name: str, store: BudgetStore) -> None:
        try:
            for together, count in ((1, 4000), (32, 16_000)):
                begun = time.perf_counter()
                taken, worked = await decisions(store, count, together)
                spent = time.perf_counter() - begun
                half, most = taken[len(taken) // 2], taken[int(len(taken) * 0.99)]
                work = f"{worked[int(len(worked) * 0.99)]:8.3f}" if together == 1 else f"{'':8}"
                label = f"{name}, {together} at a time"
                rows.append(f"{label:36} {half:8.3f} {most:8.3f} {work} {count / spent:11,.0f}")
        finally:
            await store.close()

    await measure("SQLite", await SqliteBudgets.open(folder / "decisions.db"))
    if postgresql:
        await measure("PostgreSQL", await PostgresBudgets.open(postgresql))
    return rows


def line(name: str, found: list[dict[str, Any]]) -> str:
    def middle(field: str) -> float:
        return statistics.median(one[field] for one in found)

    failed = sum(one["failed"] for one in found)
    return f"{name:32} {middle('rps'):8,.0f} {middle('p50'):8.2f} {middle('p99'):8.2f} {failed:7}"


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
