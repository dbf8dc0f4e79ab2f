"""Finding the objects that own pods, and noting which ones were looked for."""

from dataclasses import dataclass, field

from aliquot.model.core import Pod
from aliquot.model.index import SnapshotIndex
from aliquot.model.kinds import API_VERSIONS
from aliquot.model.meta import KubernetesObject, OwnerReference
from aliquot.model.owners import OWNERS
from aliquot.model.workloads import Job

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
    """The owners of a pod that are in the snapshot, the nearest first, and all that were looked for."""

    objects: tuple[KubernetesObject, ...]
    wanted: tuple[OwnerKey, ...]


_NOBODY = Chain((), ())


@dataclass(slots=True)
class Lookup:
    """Looks owners up in one snapshot. seen: what was looked for, found or not, since `forget`."""

    index: SnapshotIndex
    seen: list[OwnerKey] = field(default_factory=list)
    _chains: dict[tuple[str, str, str, str], Chain] = field(default_factory=dict)

    def forget(self) -> None:
        self.seen = []

    def find(self, kind: str, namespace: str, name: str) -> KubernetesObject | None:
        """The object of this type, or None if it is not in the snapshot."""
        self.seen.append((kind, namespace, name))
        return self.index.owners[kind].get((namespace, name))

    def chain(self, pod: Pod) -> tuple[KubernetesObject, ...]:
        """The controllers of the pod that are in the snapshot, the nearest first."""
        controller = pod.metadata.controller
        if controller is None:
            return ()
        namespace = pod.metadata.namespace
        key = (namespace, controller.api_version, controller.kind, controller.name)
        found = self._chains.get(key)
        if found is None:
            found = self._chains[key] = self._climb(namespace, controller)
        self.seen += found.wanted
        return found.objects

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
        return Chain(tuple(objects), tuple(wanted)) if wanted else _NOBODY


def _type_name(reference: OwnerReference) -> str | None:
    """The name of the type of the object referred to, in whatever version; None if it is not read."""
    if not reference.api_version:
        return _BY_KIND.get(reference.kind)
    return _CONTROLLERS.get((reference.api_version.rpartition("/")[0], reference.kind))
