"""Everything that happened to claims and pods, replayed in the order in which the server stored it."""

import threading
from collections.abc import Callable
from typing import Any

from tests.controller.witness import Witness
from tests.real.cluster import Cluster

from aliquot.embedded.hooks import Object

Changed = Callable[[str, Object], None]

_FOLLOWED = {
    "nodes": "/api/v1/nodes",
    "resourceslices": "/apis/resource.k8s.io/v1/resourceslices",
    "resourceclaims": "/apis/resource.k8s.io/v1/resourceclaims",
    "pods": "/api/v1/pods",
}


class _Resources:
    def named(self, plural: str, group: str) -> str:
        return plural


class _Replayed:
    """What the witness asks of a registry."""

    def __init__(self) -> None:
        self.resources = _Resources()
        self.observers: dict[str, Changed] = {}

    def list(self, resource: str) -> tuple[list[Object], str, str]:
        """Nothing is there at the beginning: all that is comes as a change."""
        return [], "", ""

    def observe(self, resource: str, changed: Changed) -> None:
        self.observers[resource] = changed


class History:
    """Watches from the moment it is made."""

    def __init__(self, cluster: Cluster) -> None:
        self._lock = threading.Lock()
        self._events: list[tuple[int, str, str, Object]] = []
        for plural, path in _FOLLOWED.items():
            cluster.follow(path, self._seen(plural))

    def _seen(self, plural: str) -> Changed:
        def seen(change: str, obj: Object) -> None:
            with self._lock:
                self._events.append((int(obj["metadata"]["resourceVersion"]), plural, change, obj))

        return seen

    def judged(self) -> Witness:
        """The witness of all that happened so far. The versions of all kinds are of one sequence (etcd's)."""
        registry: Any = _Replayed()
        witness = Witness(registry)
        with self._lock:
            events = sorted(self._events, key=lambda event: event[0])
        first = {plural: index for index, plural in enumerate(_FOLLOWED)}
        # Nodes and slices are known before anything is judged.
        for _, plural, change, obj in sorted(events, key=lambda event: (first[event[1]] > 1, event[0])):
            registry.observers[plural](change, obj)
        return witness
