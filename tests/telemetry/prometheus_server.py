"""A real Prometheus (Debian's package) on a port of its own, with the data it is given."""

import asyncio
import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path

import pytest

START_TIMEOUT_S = 60.0
_ADDRESS = re.compile(r'msg="Listening on".*address=(\S+)')


def path_of(program: str) -> str:
    """Where a program of the package is; without it tests are skipped on a laptop and fail in CI."""
    found = shutil.which(program)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(f"{program} is not installed")
        pytest.skip(f"{program} is not installed")
    return found


def load(folder: Path, lines: Iterable[str]) -> None:
    """Write samples in OpenMetrics format (times in seconds, in order within a series) as blocks."""
    source = folder / "samples.om"
    with source.open("w") as file:
        file.writelines(lines)
        file.write("# EOF\n")
    subprocess.run(
        [path_of("promtool"), "tsdb", "create-blocks-from", "openmetrics", source, folder / "data"],
        check=True,
        capture_output=True,
        timeout=120,
    )


@contextlib.asynccontextmanager
async def prometheus(
    folder: Path, targets: Sequence[str] = (), *, scrape: str = "", web: str = "", flags: Sequence[str] = ()
) -> AsyncIterator[str]:
    """The address of a running server. targets: `host:port` that it scrapes every second.

    scrape: more lines for the scrape job; web: its web configuration (TLS, basic authentication).
    """
    config = folder / "prometheus.yml"
    job = ""
    if targets:
        job = f"- job_name: gpu\n  static_configs: [{{targets: [{', '.join(targets)}]}}]\n{scrape}"
    config.write_text(
        f"global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n{job or '[]'}\n"
        if targets
        else "global: {}\n"
    )
    arguments = [
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        "--storage.tsdb.retention.time=100y",
        "--web.listen-address=127.0.0.1:0",
        *flags,
    ]
    if web:
        (folder / "web.yml").write_text(web)
        arguments.append(f"--web.config.file={folder / 'web.yml'}")
    process = await asyncio.create_subprocess_exec(
        path_of("prometheus"),
        *arguments,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    drain = None
    try:
        address, ready, said = "", False, b""
        async with asyncio.timeout(START_TIMEOUT_S):
            while not (address and ready):
                line = await process.stderr.readline()
                assert line, f"prometheus ended at once: {said.decode()[-2000:]}"
                said += line
                if found := _ADDRESS.search(line.decode()):
                    address = found[1]
                ready = ready or b"Server is ready" in line
        drain = asyncio.create_task(process.stderr.read())
        yield f"{'https' if 'tls_server_config' in web else 'http'}://{address}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(20):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        if drain is not None:
            await drain
