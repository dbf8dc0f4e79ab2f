"""A copy of the cluster's objects, kept by list and watch, from which Snapshots are made."""

import asyncio
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from aliquot.kube.client import Client
from aliquot.kube.clock import Clock
from aliquot.kube.collection import version_number
from aliquot.kube.reflector import Discovery, Reflector
from aliquot.kube.resources import Resource
from aliquot.model.core import DRIVERS_CONFIG_MAP, ConfigMap
from aliquot.model.funds import Funds
from aliquot.model.meta import KubernetesObject, ObjectRef
from aliquot.model.owners import OWNERS
from aliquot.model.podgroups import POD_GROUPS
from aliquot.model.snapshot import FIELDS, Snapshot

ONLY: Mapping[type[KubernetesObject], tuple[str, str]] = {ConfigMap: DRIVERS_CONFIG_MAP}
"""Kinds of which a Snapshot holds one object, by namespace and name; no other need be readable."""

HELPFUL = frozenset({*OWNERS, *POD_GROUPS})
"""Kinds that refine what pods say of themselves: where they may not be read, decisions are made without."""

T = TypeVar("T", bound=KubernetesObject)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that the mirror cannot show. kind: of objects. subject: one object, "" for all of the
    kind.
    """

    kind: str
    subject: str
    message: str


@dataclass(frozen=True, slots=True)
class KindState:
    """One kind: how many objects are known, and since how many seconds nothing was heard of it."""

    kind: str
    objects: int
    silent_seconds: float


class Mirror:
    """Every kind that a Snapshot holds, as far as the server serves it.

    version: grows with every change. Whoever writes to the API server hands the answer to `put`, so that the
    next snapshot holds it whether or not the watch has brought it yet.
    """

    def __init__(
        self,
        client: Client,
        *,
        kinds: Iterable[type[KubernetesObject]] = tuple(FIELDS),
        clock: Clock | None = None,
        randomness: random.Random | None = None,
    ) -> None:
        self._clock = clock or client.clock
        discovery = Discovery(client, self._clock)
        self._reflectors: dict[type[KubernetesObject], Reflector[Any]] = {
            kind: Reflector(
                client,
                kind,
                discovery,
                self._change,
                clock=self._clock,
                randomness=randomness or client.randomness,
                only=ONLY.get(kind),
            )
            for kind in kinds
            if kind is not Funds
        }
        self.version = 0
        self._changed = asyncio.Event()
        self._snapshot = (-1, Snapshot())
        self._funds: tuple[Funds, ...] = ()

    async def run(self) -> None:
        """Mirror until cancelled."""
        async with asyncio.TaskGroup() as group:
            for reflector in self._reflectors.values():
                group.create_task(reflector.run(), name=f"mirror {reflector.kind.kind()}")

    @property
    def synced(self) -> bool:
        """All that may be read is there: every kind was listed at least once, is not served, or is
        forbidden.
        """
        return all(reflector.settled for reflector in self._reflectors.values())

    @property
    def complete(self) -> bool:
        """Everything that decisions need is there: every kind was listed at least once or is not served, or
        is merely helpful and forbidden.
        """
        return all(
            reflector.settled if kind in HELPFUL else reflector.complete
            for kind, reflector in self._reflectors.items()
        )

    async def wait_synced(self) -> None:
        """Return once `synced`."""
        while not self.synced:
            await self.wait_for_change(self.version)

    async def wait_complete(self) -> None:
        """Return once `complete`: nothing may be decided before."""
        while not self.complete:
            await self.wait_for_change(self.version)

    async def wait_for_change(self, since: int) -> int:
        """The version, once it is greater than `since`."""
        while self.version <= since:
            await self._changed.wait()
        return self.version

    def snapshot(self) -> Snapshot:
        """The objects as they are known now; those that did not change are the same Python objects as
        before.
        """
        if self._snapshot[0] != self.version:
            fields = {FIELDS[kind]: found.collection.all() for kind, found in self._reflectors.items()}
            self._snapshot = (self.version, Snapshot(**fields, funds=self._funds))
        return self._snapshot[1]

    def have(self, funds: tuple[Funds, ...]) -> None:
        """This money there is for devices, in every snapshot from now on."""
        if funds != self._funds:
            self._funds = funds
            self._change()

    def get(self, kind: type[T], namespace: str, name: str) -> T | None:
        """One object as it is known now."""
        found: T | None = self._reflectors[kind].collection.get((namespace, name))
        return found

    def resource(self, kind: type[KubernetesObject]) -> Resource | None:
        """Where `kind` is served; None while it is not."""
        return self._reflectors[kind].resource

    def put(self, item: KubernetesObject) -> bool:
        """The server answered a write with this object. False if something newer is known."""
        reflector = self._reflectors[type(item)]
        changed = reflector.collection.put(item)
        if changed:
            reflector.answered(item.metadata.resource_version)
            self._change()
        return changed

    def vanished(self, kind: type[KubernetesObject], ref: ObjectRef) -> bool:
        """The server says that the object with this uid is no more. False if that is known."""
        changed = self._reflectors[kind].collection.vanished((ref.namespace, ref.name), ref.uid)
        if changed:
            self._change()
        return changed

    def deleted(self, kind: type[KubernetesObject], ref: ObjectRef, resource_version: str) -> bool:
        """The server says that the object was deleted at this version."""
        number = version_number(resource_version)
        changed = self._reflectors[kind].collection.remove((ref.namespace, ref.name), number)
        if changed:
            self._change()
        return changed

    async def refresh(self, *kinds: type[KubernetesObject]) -> None:
        """Know everything that was written before this call. Raises the client's errors."""
        await asyncio.gather(*(self._reflectors[kind].refresh() for kind in kinds))

    def states(self) -> Iterator[KindState]:
        """How each kind fares that the server serves, in a fixed order."""
        now = self._clock.monotonic()
        for kind, reflector in self._reflectors.items():
            if reflector.resource is not None:
                yield KindState(kind.__name__, len(reflector.collection), now - reflector.heard)

    @property
    def missing(self) -> tuple[str, ...]:
        """The kinds that decisions wait for."""
        return tuple(
            kind.__name__
            for kind, reflector in self._reflectors.items()
            if not (reflector.settled if kind in HELPFUL else reflector.complete)
        )

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Kinds that cannot be read at present, and objects left out because they could not be decoded."""
        found = []
        for kind, reflector in self._reflectors.items():
            if reflector.problem:
                found.append(Problem(kind.kind(), "", reflector.problem))
            for (namespace, name), message in reflector.undecodable.items():
                found.append(Problem(kind.kind(), f"{namespace}/{name}" if namespace else name, message))
        return tuple(found)

    def _change(self) -> None:
        self.version += 1
        self._changed.set()
        self._changed = asyncio.Event()
