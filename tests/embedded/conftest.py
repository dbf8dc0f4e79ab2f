"""A registry with a clock of its own; a server on an ephemeral port; the real kubectl against it."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from aliquot.embedded.registry import SYSTEM, Registry
from aliquot.embedded.resources import Resource
from aliquot.embedded.server import EmbeddedServer
from aliquot.embedded.storage import Store

sys.path.insert(0, str(Path(__file__).parent))

Object = dict[str, Any]


@dataclass
class Clock:
    """Time that passes only when told to."""

    now: datetime = datetime(2026, 1, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass
class Api:
    """The registry by plural names, as one user in one namespace."""

    registry: Registry
    clock: Clock
    groups: dict[str, str] = field(default_factory=dict)

    def resource(self, name: str) -> Resource:
        plural, _, group = name.partition(".")
        return self.registry.resources.named(plural, group)

    def create(self, name: str, obj: Object, namespace: str | None = "default", **options: Any) -> Object:
        resource = self.resource(name)
        return self.registry.create(
            resource, namespace if resource.namespaced else None, obj, SYSTEM, **options
        )

    def get(self, name: str, which: str, namespace: str = "default") -> Object:
        return self.registry.get(self.resource(name), namespace, which)

    def exists(self, name: str, which: str, namespace: str = "default") -> bool:
        return self.registry.find(self.resource(name), namespace, which) is not None

    def names(self, name: str, namespace: str | None = None, **options: Any) -> list[str]:
        items, _, _ = self.registry.list(self.resource(name), namespace, **options)
        return [item["metadata"]["name"] for item in items]

    def update(self, name: str, obj: Object, **options: Any) -> Object:
        meta = obj["metadata"]
        return self.registry.update(
            self.resource(name), meta.get("namespace") or "default", meta["name"], obj, SYSTEM, **options
        )

    def patch(self, name: str, which: str, kind: str, body: Any, **options: Any) -> Object:
        return self.registry.patch(self.resource(name), "default", which, kind, body, SYSTEM, **options)

    def delete(self, name: str, which: str, **options: Any) -> Object:
        return self.registry.delete(self.resource(name), "default", which, SYSTEM, **options)

    def bind(self, pod: str, node: str = "n1") -> Object:
        target = {"target": {"kind": "Node", "name": node}}
        return self.registry.create_subresource(
            self.resource("pods"), "default", pod, "binding", target, SYSTEM
        )


def uids() -> Callable[[], str]:
    count = iter(range(1, 10**9))
    return lambda: f"00000000-0000-4000-8000-{next(count):012d}"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def api(clock: Clock) -> Api:
    return Api(Registry(Store(), clock, uids()), clock)


@dataclass(frozen=True)
class Result:
    """What a command answered."""

    code: int
    out: str
    err: str


Kubectl = Callable[..., Awaitable[Result]]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[EmbeddedServer]:
    running = EmbeddedServer(tmp_path / "state")
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
def kubectl(server: EmbeddedServer, tmp_path: Path) -> Kubectl:
    """Runs kubectl with the people's kubeconfig: ``await kubectl("get", "pods", input="...", ok=False)``."""
    program = shutil.which(os.environ.get("KUBECTL", "kubectl"))
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("kubectl is needed for this test")
        pytest.skip("kubectl is not installed")
    environment = {
        "KUBECONFIG": str(server.kubeconfig),
        "HOME": str(tmp_path),
        "PATH": os.environ.get("PATH", ""),
    }

    async def run(*arguments: str, input: str | None = None, ok: bool = True) -> Result:
        process = await asyncio.create_subprocess_exec(
            program,
            *arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        )
        async with asyncio.timeout(30):
            out, err = await process.communicate(input.encode() if input is not None else b"")
        result = Result(process.returncode or 0, out.decode(), err.decode())
        if ok:
            assert result.code == 0, result
        return result

    return run
