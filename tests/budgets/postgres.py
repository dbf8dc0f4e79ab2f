"""A PostgreSQL server of the test's own, from Debian's package, on a socket in a temporary folder."""

import contextlib
import glob
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest


def _programs() -> Path:
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))  # noqa: PTH207
    if not found:
        pytest.skip("PostgreSQL's server is not installed (Debian's package postgresql)")
    return Path(found[-1]).parent


@contextlib.contextmanager
def server(*settings: str) -> Iterator[str]:
    """Run a server and give the connection string of its default database."""
    programs = _programs()
    folder = Path(tempfile.mkdtemp(prefix="aliquot-pg-"))
    # The server refuses to run as root, so it runs as the user that Debian's package makes.
    user = pwd.getpwnam("postgres") if os.getuid() == 0 else None
    identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
    if user:
        os.chown(folder, user.pw_uid, user.pw_gid)
    data = folder / "data"
    options = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={folder}"]
    for setting in settings or ("fsync=off",):
        options += ["-c", setting]
    try:
        subprocess.run(
            [programs / "initdb", "-D", data, "-U", "aliquot", "-A", "trust", "--no-sync", "-E", "UTF8"],
            check=True,
            capture_output=True,
            cwd=folder,
            **identity,
        )
        log = (folder / "log").open("wb")
        process = subprocess.Popen(
            [programs / "postgres", "-D", data, *options], stdout=log, stderr=log, cwd=folder, **identity
        )
        try:
            ready = [
                programs / "pg_isready",
                "-h",
                folder,
                "-d",
                "postgres",
                "-U",
                "aliquot",
                "-q",
                "-t",
                "30",
            ]
            for _ in range(600):
                if subprocess.run(ready, check=False).returncode == 0:
                    break
                assert process.poll() is None, (folder / "log").read_text()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.1)
            else:
                raise AssertionError("the server does not become ready")
            yield f"host={folder} user=aliquot dbname=postgres"
        finally:
            # Nothing of it is needed again: it need not write down what it has in memory.
            process.send_signal(signal.SIGQUIT)
            process.wait(30)
            log.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def database(conninfo: str) -> Iterator[str]:
    """A new, empty database on the server."""
    name = f"t{uuid.uuid4().hex}"
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    yield conninfo.replace("dbname=postgres", f"dbname={name}")
