"""An embedded cluster without Aliquot: nodes, a driver, people; in a thread beside the command line."""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from aliquot.catalog.fleet import expand, parse_fleet
from aliquot.embedded.admission import Admission
from aliquot.embedded.hooks import SYSTEM, Object, User
from aliquot.embedded.registry import Registry
from aliquot.embedded.server import EmbeddedServer
from aliquot.embedded.standins import StandIns
from aliquot.embedded.status import StatusError
from aliquot.kube.client import cancel_and_wait

FLEET = """
apiVersion: aliquot.dev/v1alpha1
kind: Fleet
nodes:
  - {count: 1, type: dgx-h100, name: plain}
"""

T = TypeVar("T")


class Bare:
    """A cluster that nobody has installed anything on. Calls go to the thread that it lives in."""

    def __init__(self, folder: Path) -> None:
        self.kubeconfig = folder / "kubeconfig"
        self._folder = folder
        self._ready = threading.Event()
        self._failure: BaseException | None = None
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
        server = EmbeddedServer(self._folder)
        server.registry.admission = Admission(server.registry)
        for document in expand(parse_fleet(FLEET, "fleet")):
            _create(server.registry, document)
        standins = asyncio.create_task(StandIns(server.registry).run())
        await server.start()
        self._server = server
        self._ready.set()
        await self._stop.wait()
        await cancel_and_wait(standins)
        await server.stop()

    def call(self, work: Callable[[Registry], T]) -> T:
        """Run something with the registry, in the cluster's thread."""

        async def there() -> T:
            assert self._server is not None
            return work(self._server.registry)

        return self._wait(there())

    def _wait(self, work: Awaitable[T]) -> T:
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)  # type: ignore[arg-type]

    def create(self, document: Object, user: User = SYSTEM) -> Object:
        return self.call(lambda registry: _create(registry, document, user))

    def get(self, plural: str, name: str, namespace: str | None = None) -> Object | None:
        def find(registry: Registry) -> Object | None:
            plain, _, group = plural.partition(".")
            return registry.find(registry.resources.named(plain, group), namespace, name)

        return self.call(find)

    def list(self, plural: str) -> list[Object]:
        def found(registry: Registry) -> list[Object]:
            plain, _, group = plural.partition(".")
            try:
                resource = registry.resources.named(plain, group)
            except KeyError:
                return []
            return registry.list(resource)[0]

        return self.call(found)

    def update(self, plural: str, document: Object, *, subresource: str | None = None) -> Object:
        def write(registry: Registry) -> Object:
            plain, _, group = plural.partition(".")
            metadata = document["metadata"]
            resource = registry.resources.named(plain, group)
            return registry.update(
                resource,
                metadata.get("namespace"),
                metadata["name"],
                document,
                SYSTEM,
                subresource=subresource,
            )

        return self.call(write)

    def delete(self, plural: str, name: str, namespace: str | None = None) -> None:
        def drop(registry: Registry) -> None:
            plain, _, group = plural.partition(".")
            registry.delete(registry.resources.named(plain, group), namespace, name, SYSTEM)

        self.call(drop)

    def namespace(self, name: str, *, managed: bool = False) -> None:
        labels = {"aliquot.dev/managed": "true"} if managed else {}
        self.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})

    @contextlib.contextmanager
    def running(self) -> Iterator["Bare"]:
        thread = threading.Thread(target=self._main, name="cluster")
        thread.start()
        assert self._ready.wait(30)
        if self._failure is not None:
            raise self._failure
        try:
            yield self
        finally:
            assert self._loop is not None
            assert self._stop is not None
            self._loop.call_soon_threadsafe(self._stop.set)
            thread.join(30)
        if self._failure is not None:
            raise self._failure


def _create(registry: Registry, document: Object, user: User = SYSTEM) -> Object:
    resource = registry.resources.find_kind(document["apiVersion"], document["kind"])
    assert resource is not None, document["kind"]
    namespace = (document["metadata"].get("namespace") or "default") if resource.namespaced else None
    created = registry.create(resource, namespace, document, user, field_manager="people")
    if "status" in document and resource.has_status:
        with contextlib.suppress(StatusError):
            written = {**created, "status": document["status"]}
            registry.update(
                resource, namespace, created["metadata"]["name"], written, user, subresource="status"
            )
    return created


def gpu_pod(name: str, namespace: str, **spec: Any) -> Object:
    container = {"name": "a", "image": "x", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
    metadata = {"name": name, "namespace": namespace}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": [container]} | spec,
    }
