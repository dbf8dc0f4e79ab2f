"""The gateway beside LiteLLM's proxy: same mock upstream, same load, budgets on in both, in one run.

The upstream answers at once with a fixed body, so what is measured is the proxy. Load comes from a process of
its own over kept-alive connections. Rounds alternate between the targets, so that whatever else the machine
does falls on all of them. Three figures:

- requests per second with CONNECTIONS connections that always have a request under way;
- latency at a fixed rate that every target can keep (open loop: a request is sent when it is due, and its
  latency counts from then), minus that of the upstream asked directly;
- the decision alone: hold and settle on a tree of three budgets, in process and with PostgreSQL.

LiteLLM runs with a budget for each provider and deployment and with limits of tokens and requests per minute,
as far as it keeps these without a database; one worker, no logging.
"""

import contextlib
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvloop
import yaml

from benchmarks.calls import load, wait_for
from benchmarks.decisions import decision_rows

CONNECTIONS = 32
SECONDS = 4.0
RATE_SHARE = 0.5
"""The fixed rate, as a part of what the slowest target reaches."""

litellm = ""
"""The program of LiteLLM's proxy, from an environment of its own; "" to leave it out."""

postgresql = ""
"""The connection string of an empty database; "" to leave it out."""


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


def table(runs: int) -> Iterator[str]:
    """The lines of the report."""
    with tempfile.TemporaryDirectory() as scratch:
        yield from uvloop.run(decision_rows(Path(scratch), postgresql))
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream, gateway_port, litellm_port = free_port(), free_port(), free_port()
        stack.enter_context(process(sys.executable, "-m", "benchmarks.calls", "upstream", str(upstream)))
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


def line(name: str, found: list[dict[str, Any]]) -> str:
    def middle(field: str) -> float:
        return float(statistics.median(one[field] for one in found))

    failed = sum(one["failed"] for one in found)
    return f"{name:32} {middle('rps'):8,.0f} {middle('p50'):8.2f} {middle('p99'):8.2f} {failed:7}"
