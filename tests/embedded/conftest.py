"""An embedded server on an ephemeral port, and the real kubectl against it."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from aliquot.embedded.server import EmbeddedServer


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
    """Runs kubectl with the people's kubeconfig: ``await kubectl("get", "pods", input="...", ok=True)``."""
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
