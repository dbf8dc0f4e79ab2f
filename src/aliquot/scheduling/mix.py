"""Which kinds of pods a cluster has, and how many of each: what the next ones can be expected to be like.

The mix is that of all pods of a snapshot: those that run, those that wait and those that ended and are still
there. Counts are known to a factor of two only, so that the mix stays the same while pods come and go; what
is learnt from it is then the same from one decision to the next, and the same without a memory of the last.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

from msgspec import structs

from aliquot.fractions.requests import GpuRequest
from aliquot.model.core import Pod
from aliquot.model.index import Key, Remembered, SnapshotIndex
from aliquot.model.resource import ResourceClaim
from aliquot.scheduling.affinity import as_new
from aliquot.scheduling.claims import claim_keys
from aliquot.scheduling.facts import PodTraits, claim_shape, constraints_of
from aliquot.scheduling.requests import CPU, MEMORY
from aliquot.scheduling.served import HOSTNAME
from aliquot.workloads.sources.source import GroupKey

MEBIBYTE = 1 << 20
CPU_CELL = 2000
MEMORY_CELL = 32_768 * MEBIBYTE
"""Kinds whose CPU and memory differ by less, in thousandths and bytes, are one; they are rounded up."""

MOST_KINDS = 256
MOST_BREEDS = 64
"""Of rarer kinds and breeds nothing is learnt."""


class Breed(NamedTuple):
    """Pods that ask for the same devices on the same nodes: constraints on nodes, specs of claims, and what
    they ask of device plugins."""

    constraints: bytes
    claims: bytes
    gpus: GpuRequest | None


class Kind(NamedTuple):
    """A breed with CPU and memory, in cells."""

    breed: Breed
    cpu: int
    memory: int


class Example(NamedTuple):
    """A pod of a breed, as new, with its claims: any stands for all, as far as devices and nodes go."""

    pod: Pod
    claims: tuple[ResourceClaim, ...]


class Reading(NamedTuple):
    """The mix as it is learnt from. kinds: with their counts; examples: of their breeds. arrivals: all pods,
    those without devices too."""

    kinds: tuple[tuple[Kind, int], ...]
    examples: Mapping[Breed, Example]
    arrivals: int

    @property
    def essence(self) -> tuple[object, int]:
        """Equal for readings from which the same is learnt."""
        return self.kinds, self.arrivals


class Mix:
    """The pods of a cluster by kind, kept up to date gang by gang."""

    def __init__(self, traits: Callable[[Pod], PodTraits], claim_shapes: Remembered) -> None:
        self._traits = traits
        self._claim_shapes = claim_shapes
        self._counts: Counter[Kind] = Counter()
        self._without = 0
        self._of: dict[GroupKey, tuple[Counter[Kind], int]] = {}
        self._examples: dict[Breed, Example] = {}
        self._reading: Reading | None = None

    def enter(self, key: GroupKey, pods: Iterable[Pod], index: SnapshotIndex) -> None:
        """Count the pods of a gang, ended ones included."""
        self.retract(key)
        kinds: Counter[Kind] = Counter()
        without = 0
        same: dict[object, list[Pod]] = {}
        for pod in pods:
            spec = pod.spec
            # What follows from a pod is the same object for pods that are alike.
            apart = spec.resource_claims or spec.affinity is not None
            same.setdefault(pod.key if apart else id(self._traits(pod)), []).append(pod)
        for found in same.values():
            kind = self._kind(found[0], index)
            if kind is None:
                without += len(found)
            else:
                kinds[kind] += len(found)
        self._of[key] = kinds, without
        self._counts.update(kinds)
        self._without += without
        self._reading = None

    def _kind(self, pod: Pod, index: SnapshotIndex) -> Kind | None:
        """The kind of a pod; None for a pod that asks for no devices."""
        traits, claims = self._traits(pod), claims_of(pod, index)
        if not claims and not isinstance(traits.gpus, GpuRequest):
            return None
        example = Example(_as_made(pod), claims)
        if example.pod is not pod:
            traits = replace(traits, constraints=constraints_of(example.pod.spec))
        breed = breed_of(traits, claims, self._claim_shapes)
        if breed is None:
            return None
        self._examples.setdefault(breed, example)
        requests = traits.demand.requests
        cpu = -(-requests.get(CPU, 0) // CPU_CELL)
        return Kind(breed, cpu, -(-requests.get(MEMORY, 0) // MEMORY_CELL))

    def retract(self, key: GroupKey) -> None:
        """Count the gang no more."""
        kinds, without = self._of.pop(key, (None, 0))
        if kinds is not None:
            self._without -= without
            for kind, count in kinds.items():
                self._counts[kind] -= count
                if not self._counts[kind]:
                    del self._counts[kind]
            self._reading = None

    def read(self) -> Reading:
        """The mix now: the most frequent kinds of the most frequent breeds, counts to a factor of two."""
        if self._reading is None:
            self._reading = self._read()
        return self._reading

    def _read(self) -> Reading:
        breeds: Counter[Breed] = Counter()
        for kind, count in self._counts.items():
            breeds[kind.breed] += count
        if len(self._examples) > 2 * len(breeds) + MOST_BREEDS:
            self._examples = {breed: self._examples[breed] for breed in breeds}
        chosen = set(
            sorted(breeds, key=lambda breed: (-_rounded(breeds[breed]), _order(breed)))[:MOST_BREEDS]
        )
        kinds = [(kind, _rounded(count)) for kind, count in self._counts.items() if kind.breed in chosen]
        kinds.sort(key=lambda item: (-item[1], _order(item[0].breed), item[0].cpu, item[0].memory))
        del kinds[MOST_KINDS:]
        examples = {kind.breed: self._examples[kind.breed] for kind, _ in kinds}
        arrivals = sum(count for _, count in kinds) + _rounded(self._without)
        return Reading(tuple(kinds), examples, arrivals)


def breed_of(traits: PodTraits, claims: tuple[ResourceClaim, ...], claim_shapes: Remembered) -> Breed | None:
    """What the pod asks for; None for a pod that asks for no devices."""
    gpus = traits.gpus if isinstance(traits.gpus, GpuRequest) else None
    if gpus is None and not claims:
        return None
    shapes = b"\n".join(sorted(claim_shape(claim, claim_shapes) for claim in claims))
    return Breed(traits.constraints, shapes, gpus)


def _as_made(pod: Pod) -> Pod:
    """The pod as it was before it was given a node, or pinned to one by host name."""
    made = as_new(pod)
    spec = made.spec
    if HOSTNAME not in spec.node_selector:
        return made
    selector = {label: value for label, value in spec.node_selector.items() if label != HOSTNAME}
    return structs.replace(made, spec=structs.replace(spec, node_selector=selector))


def claims_of(pod: Pod, index: SnapshotIndex) -> tuple[ResourceClaim, ...]:
    """The claims of a pod as far as they are there; those of a pod that ended mostly are not."""
    if not pod.spec.resource_claims:
        return ()
    keys: tuple[Key, ...] = claim_keys(pod)
    return tuple(index.claims[key] for key in keys if key in index.claims)


def _rounded(count: int) -> int:
    """The power of two at or below a count: 5 -> 4."""
    return 1 << count.bit_length() - 1 if count else 0


def _order(breed: Breed) -> tuple[bytes, bytes, str]:
    return breed.constraints, breed.claims, repr(breed.gpus)
