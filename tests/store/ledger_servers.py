"""A PostgreSQL server of Debian's package for tests, on a socket, run by a user without privileges."""

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_FOLDERS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))


def binaries() -> Path:
    """The folder of initdb and postgres; tests that need it are skipped on a laptop and fail in CI."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    if _FOLDERS:
        return _FOLDERS[-1]
    if os.environ.get("CI"):
        pytest.fail("postgresql is not installed")
    pytest.skip("postgresql is not installed")


def _user() -> int | None:
    """PostgreSQL refuses to run as root: another user then."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_uid
    pytest.skip("there is no user without privileges to run postgresql as")


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """The address of a new server without durable writes, which ends with the context."""
    folder, user = binaries(), _user()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True, prefix="aliquot-pg-") as name:
        if user is not None:
            os.chown(name, user, -1)
        environment = {**os.environ, "LC_ALL": "C.UTF-8", "HOME": name}
        data = f"{name}/data"
        command = [f"{folder}/initdb", "-D", data, "-U", "ledger", "-A", "trust", "-E", "UTF8", "--no-sync"]
        made: dict[str, Any] = {"user": user, "env": environment, "cwd": name}
        subprocess.run(command, check=True, capture_output=True, timeout=120, **made)
        server = subprocess.Popen(
            [
                *(f"{folder}/postgres", "-D", data, "-k", name, "-c", "listen_addresses="),
                *("-c", "fsync=off", "-c", "shared_buffers=32MB", "-c", "max_connections=20"),
            ],
            **made,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert server.stderr is not None
            for line in server.stderr:
                if "ready to accept connections" in line:
                    break
            else:
                pytest.fail("postgresql did not start")
            with contextlib.ExitStack() as stack:
                stack.callback(server.stderr.close)
                yield f"postgresql:///postgres?host={name}&user=ledger"
        finally:
            server.terminate()
            try:
                server.wait(timeout=30)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
