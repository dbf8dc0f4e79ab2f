"""The embedded cluster's API server: HTTPS on loopback over a registry that survives restarts."""

from __future__ import annotations

import asyncio
import fcntl
import json
import socket
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import uvicorn
import yaml

from aliquot.embedded.hooks import AdmissionChain
from aliquot.embedded.http import reviews, tls, tokens
from aliquot.embedded.http.app import Application
from aliquot.embedded.http.prompt import PromptConnection, PromptServer
from aliquot.embedded.registry import Registry
from aliquot.embedded.storage import Store

_START_SECONDS = 20.0
_STOP_SECONDS = 5


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _new_uid() -> str:
    return str(uuid.uuid4())


class DirectoryInUseError(Exception):
    """Another server has its state in this directory."""

    def __init__(self, directory: Path) -> None:
        super().__init__(f"{directory}: another server is using this directory; stop it, or name another one")
        self.directory = directory


def _lock(directory: Path) -> IO[bytes]:
    """Hold the directory until the file is closed or the process ends."""
    file = (directory / "lock").open("wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise DirectoryInUseError(directory) from None
    return file


class EmbeddedServer:
    """One API server with its state in ``directory`` (made if missing).

    Files there: ``state.db`` (SQLite), ``kubeconfig`` (people), ``controller.kubeconfig``,
    ``tokens.json``, the certificates, ``port`` and ``lock``; what is secret only its owner can read.
    Raises DirectoryInUseError where another server runs there, and StoreFormatError where the state
    was written by another version of this program.
    """

    def __init__(
        self,
        directory: Path,
        *,
        clock: Callable[[], datetime] = _utc_now,
        uid: Callable[[], str] = _new_uid,
        admission: AdmissionChain | None = None,
    ) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = _lock(directory)
        self.store = Store(directory / "state.db")
        (directory / "state.db").chmod(0o600)
        self.registry = Registry(self.store, clock, uid, admission)
        for resource in reviews.resources():
            self.registry.resources.add(resource)
        self.tokens = tokens.ensure(directory / "tokens.json")
        self.kubeconfig = directory / "kubeconfig"
        self.controller_kubeconfig = directory / "controller.kubeconfig"
        self.url = ""
        self.port = 0
        self._uvicorn: PromptServer | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listen and return the address. Port 0 takes the port of the last run if it is free, else any.

        Raises OSError where a port other than 0 is taken, RuntimeError where the server does not come up.
        """
        certificates = tls.ensure(self.directory, host, _utc_now())
        listener = self._listen(host, port)
        self.port = listener.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        self.url = f"https://{shown}:{self.port}"
        config = uvicorn.Config(
            Application(self.registry, self.tokens),
            loop="none",
            http=PromptConnection,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_STOP_SECONDS,
            ssl_certfile=str(certificates.certificate),
            ssl_keyfile=str(certificates.key),
            timeout_keep_alive=75,
        )
        self._uvicorn = PromptServer(config)
        self._task = asyncio.create_task(self._uvicorn.serve(sockets=[listener]), name="embedded-api-server")
        async with asyncio.timeout(_START_SECONDS):
            while not self._uvicorn.started:
                if self._task.done():
                    self._task.result()
                    raise RuntimeError("the API server ended while it was starting")
                await asyncio.sleep(0.005)
        self._write_files(certificates)
        return self.url

    def _listen(self, host: str, port: int) -> socket.socket:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        remembered = self.directory / "port"
        wanted = [port]
        if port == 0 and remembered.exists() and (text := remembered.read_text().strip()).isdigit():
            wanted = [int(text), 0]
        for index, one in enumerate(wanted):
            # asyncio turns Nagle's algorithm off only for sockets that say they are TCP; with it, each
            # answer of two segments waits 40 ms for an acknowledgement.
            listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((host, one))
            except (OSError, OverflowError):
                listener.close()
                if index == len(wanted) - 1:
                    raise
                continue
            listener.setblocking(False)
            return listener
        raise AssertionError("unreachable: the last port either binds or raises")

    def _write_files(self, certificates: tls.Certificates) -> None:
        tls.write_private(self.directory / "port", f"{self.port}\n".encode())
        for path, name, token in (
            (self.kubeconfig, "admin", self.tokens.people),
            (self.controller_kubeconfig, "aliquot-controller", self.tokens.controller),
        ):
            tls.write_private(path, _kubeconfig(self.url, certificates.authority, name, token).encode())

    async def stop(self) -> None:
        """End watches and connections, and close the store."""
        self.registry.close()
        if self._uvicorn is not None and self._task is not None:
            self._uvicorn.end()
            await self._task
            self._uvicorn = self._task = None
        self.store.close()
        self._lock.close()


def _kubeconfig(url: str, authority: Path, user: str, token: str) -> str:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "aliquot",
                "cluster": {"server": url, "certificate-authority": str(authority.resolve())},
            }
        ],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [
            {"name": "aliquot", "context": {"cluster": "aliquot", "user": user, "namespace": "default"}}
        ],
        "current-context": "aliquot",
    }
    return yaml.safe_dump(json.loads(json.dumps(config)), sort_keys=False)
