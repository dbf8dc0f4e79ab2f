"""The command line in this process, and a small cluster with a controller in a thread beside it."""

import asyncio
import contextlib
import gc
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from aliquot.catalog.fleet import expand, parse_fleet
from aliquot.cli.embedding import fill
from aliquot.cli.main import main
from aliquot.controller.run import ControllerConfig, run
from aliquot.embedded.admission import Admission
from aliquot.embedded.hooks import SYSTEM
from aliquot.embedded.server import EmbeddedServer
from aliquot.embedded.standins import StandIns
from aliquot.kube.client import cancel_and_wait
from aliquot.kube.config import load_kubeconfig
from aliquot.model.meta import ObjectRef
from aliquot.scheduling.policy import Policy
from aliquot.store.journal import Journal

ROOT = Path(__file__).parents[2]

FLEET = """
apiVersion: aliquot.dev/v1alpha1
kind: Fleet
nodes:
  - {count: 2, type: dgx-h100, name: plain, zone: a}
  - {count: 1, type: dgx-h100, name: split, zone: b, mig: {dynamic: true}}
"""


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


def aliquot(capsys: pytest.CaptureFixture[str], *arguments: str) -> Result:
    """What the command line answers."""
    capsys.readouterr()
    with warnings.catch_warnings():
        # A process that ends need not wait until TLS has said goodbye on connections it has closed.
        warnings.simplefilter("ignore", ResourceWarning)
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        gc.collect()
    captured = capsys.readouterr()
    code = ended.value.code
    assert isinstance(code, int)
    return Result(code, captured.out, captured.err)


class Cluster:
    """An embedded cluster with stand-ins and a controller; lives in a thread of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kubeconfig = folder / "kubeconfig"
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._main, name="cluster")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._server: EmbeddedServer | None = None

    def _main(self) -> None:
        try:
            asyncio.run(self._run())
        except BaseException as error:
            self._failure = error
        finally:
            self._ready.set()

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = EmbeddedServer(self.folder)
        server.registry.admission = Admission(server.registry)
        fill(server.registry, "test", expand(parse_fleet(FLEET, "fleet")))
        standins = asyncio.create_task(StandIns(server.registry).run())
        await server.start()
        config = ControllerConfig(load_kubeconfig([server.controller_kubeconfig]), identity="test")
        with Journal.open(self.folder / "journal.db") as journal:
            controller = asyncio.create_task(run(config, Policy(), journal=journal, stop=self._stop))
            self._server = server
            self._ready.set()
            await controller
        await cancel_and_wait(standins)
        await server.stop()

    def apply(self, text: str) -> None:
        """Create the objects of a YAML text."""
        assert self._loop is not None
        done = asyncio.run_coroutine_threadsafe(self._apply(text), self._loop)
        done.result(20)

    async def _apply(self, text: str) -> None:
        assert self._server is not None
        registry = self._server.registry
        for document in yaml.safe_load_all(text):
            resource = registry.resources.find_kind(document["apiVersion"], document["kind"])
            assert resource is not None
            registry.create(resource, document["metadata"].get("namespace"), document, SYSTEM)

    def pods(self, namespace: str) -> dict[str, Any]:
        """The phases of the pods of a namespace by name."""
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(self._pods(namespace), self._loop).result(20)

    async def _pods(self, namespace: str) -> dict[str, Any]:
        assert self._server is not None
        registry = self._server.registry
        resource = registry.resources.named("pods")
        found = [registry.decode(resource, stored) for stored in registry.collection(resource).items()]
        return {
            pod["metadata"]["name"]: pod.get("status", {}).get("phase", "")
            for pod in found
            if pod["metadata"]["namespace"] == namespace
        }

    def until_running(self, namespace: str, name: str, seconds: float = 20) -> None:
        end = time.monotonic() + seconds
        while self.pods(namespace).get(name) != "Running":
            assert time.monotonic() < end, self.pods(namespace)
            time.sleep(0.05)

    def until_decided(self, namespace: str, name: str, seconds: float = 20) -> None:
        """Until the journal says something of a workload, and no pod of the namespace is on its way."""
        end = time.monotonic() + seconds
        while True:
            with Journal.open(self.folder / "journal.db", read_only=True) as journal:
                told = journal.entries(workload=ObjectRef(kind="", namespace=namespace, name=name), limit=1)
            phases = self.pods(namespace).values()
            if told and "Running" in phases:
                return
            assert time.monotonic() < end, self.pods(namespace)
            time.sleep(0.05)

    @contextlib.contextmanager
    def running(self) -> Iterator["Cluster"]:
        self._thread.start()
        assert self._ready.wait(30)
        if self._failure is not None:
            raise self._failure
        try:
            yield self
        finally:
            assert self._loop is not None
            assert self._stop is not None
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(30)
        if self._failure is not None:
            raise self._failure
