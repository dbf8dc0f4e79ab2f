"""A gateway on a port of its own, before a tiny real server."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.gateway.upstream import Server, serving

from aliquot.budgets.spending import TokenUse
from aliquot.gateway.callers import new_key
from aliquot.gateway.configuration import parse
from aliquot.gateway.server import Gateway, running
from aliquot.store.budgets import system_clock

PLENTY = [{"measure": "totalTokens", "per": "day", "amount": 10_000_000}]


class Running:
    """A gateway under test. key: of a caller in namespace research, agent and queue as given to `new_key`."""

    def __init__(self, gateway: Gateway, key: str) -> None:
        self.gateway = gateway
        self.key = key

    @property
    def url(self) -> str:
        host, port = self.gateway.address
        return f"http://{host}:{port}/v1"

    async def uses(self) -> list[TokenUse]:
        return [use for _, use in await self.gateway.desk.store.uses()]

    async def settled(self, count: int) -> list[TokenUse]:
        """The uses, once there are so many: what callers left behind is settled after they left."""
        async with asyncio.timeout(20):
            while len(found := await self.uses()) < count:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        return found

    async def new_key(self, **about: Any) -> str:
        """A further key, known at once."""
        text, record = new_key(system_clock(), **about)
        await self.gateway.desk.store.add_key(record)
        await self.gateway.proxy.refresh_keys()
        return text


Start = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture
def upstream() -> Iterator[Server]:
    server = Server(continuous=True)
    with serving(server) as url:
        server.url = url  # type: ignore[attr-defined]
        yield server


@pytest.fixture
def start(upstream: Server, tmp_path: Path) -> Start:
    """Starts a gateway: `start(budgets=..., kind=..., **more of the configuration)`."""

    @contextlib.asynccontextmanager
    async def started(
        budgets: list[dict[str, Any]] | None = None,
        *,
        kind: str = "vllm",
        models: list[dict[str, Any]] | None = None,
        **more: Any,
    ) -> AsyncIterator[Running]:
        document = {
            "listen": {"port": 0},
            "store": {"sqlite": "budgets.db"},
            "upstreams": [
                {
                    "name": "tiny",
                    "url": upstream.url,  # type: ignore[attr-defined]
                    "kind": kind,
                    "models": {"tiny": "tiny-served", "small": "small-served"},
                    "healthPath": "",
                }
            ],
            "models": models or [{"name": "tiny", "maxOutput": 512}],
            "budgets": budgets
            if budgets is not None
            else [{"name": "all", "subject": {"everyone": True}, "limits": PLENTY}],
            **more,
        }
        configuration = parse(yaml.safe_dump(document).encode(), tmp_path / "gateway.yaml")
        async with running(configuration) as gateway:
            text, record = new_key(system_clock(), namespace="research", user="ada")
            await gateway.desk.store.add_key(record)
            await gateway.proxy.refresh_keys()
            yield Running(gateway, text)

    return started
