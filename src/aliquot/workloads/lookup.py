"""Finding the objects that own pods, and noting which ones were looked for."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from aliquot.model.core import Pod
from aliquot.model.index import SnapshotIndex
from aliquot.model.kinds import API_VERSIONS
from aliquot.model.meta import KubernetesObject, OwnerReference
from aliquot.model.owners import OWNERS
from aliquot.model.workloads import Job
from aliquot.workloads import labels
from aliquot.workloads.queue_names import queue_of_owners

OwnerKey = tuple[str, str, str]
"""(name of the type, namespace, name)."""

LONGEST_CHAIN = 6
"""Pod, Job, JobSet, TrainJob ... no chain of controllers in use is longer."""

_KINDS: tuple[type[KubernetesObject], ...] = (Job, *OWNERS)
_CONTROLLERS = {
    (version.rpartition("/")[0], kind.kind()): kind.__name__
    for kind in _KINDS
    for version in API_VERSIONS[kind]
}
_BY_KIND = {kind: name for (_, kind), name in _CONTROLLERS.items()}


@dataclass(frozen=True, slots=True)
class Chain:
    """The owners of a pod that are in the snapshot.

    objects: the nearest first. wanted: all that were looked for. said: what they say of the gang
    (`labels.SETTINGS`), the nearest first. queue: the queue that they name, "" if none does.
    """

    objects: tuple[KubernetesObject, ...]
    wanted: tuple[OwnerKey, ...]
    said: Mapping[str, str]
    queue: str


NOBODY = Chain((), (), {}, "")
"""The chain of a pod without owners."""


@dataclass(slots=True)
class Lookup:
    """Looks owners up in one snapshot. seen: what was looked for, found or not, since it was cleared."""

    index: SnapshotIndex
    seen: list[OwnerKey] = field(default_factory=list)
    _chains: dict[tuple[str, str, str, str], Chain] = field(default_factory=dict)

    def find(self, kind: str, namespace: str, name: str) -> KubernetesObject | None:
        """The object of this type, or None if it is not in the snapshot."""
        self.seen.append((kind, namespace, name))
        return self.index.owners[kind].get((namespace, name))

    def chain(self, pod: Pod) -> Chain:
        """The controllers of the pod, from the nearest up."""
        meta = pod.metadata
        if not meta.owner_references:
            return NOBODY
        controller = meta.controller
        if controller is None:
            return NOBODY
        key = (meta.namespace, controller.api_version, controller.kind, controller.name)
        found = self._chains.get(key)
        if found is None:
            found = self._chains[key] = self._climb(meta.namespace, controller)
        self.seen += found.wanted
        return found

    def _climb(self, namespace: str, reference: OwnerReference | None) -> Chain:
        objects: list[KubernetesObject] = []
        wanted: list[OwnerKey] = []
        while reference is not None and len(wanted) < LONGEST_CHAIN:
            kind = _type_name(reference)
            if kind is None:
                break
            wanted.append((kind, namespace, reference.name))
            found = self.index.owners[kind].get((namespace, reference.name))
            if found is None or (reference.uid and found.metadata.uid not in ("", reference.uid)):
                break
            objects.append(found)
            reference = found.metadata.controller
        if not wanted:
            return NOBODY
        said = gather((), objects, labels.SETTINGS)
        return Chain(tuple(objects), tuple(wanted), said, queue_of_owners(objects))


def gather(pods: Iterable[Pod], owners: Iterable[KubernetesObject], names: frozenset[str]) -> dict[str, str]:
    """The settings of these names, from the first pod that has each, then from the owners."""
    found: dict[str, str] = {}
    for item in (*pods, *owners):
        meta = item.metadata
        for place in (meta.annotations, meta.labels):
            if place and not names.isdisjoint(place):
                for name in names.intersection(place):
                    found.setdefault(name, place[name])
    return found


def _type_name(reference: OwnerReference) -> str | None:
    """The name of the type of the object referred to, in whatever version; None if it is not read."""
    if not reference.api_version:
        return _BY_KIND.get(reference.kind)
    return _CONTROLLERS.get((reference.api_version.rpartition("/")[0], reference.kind))
