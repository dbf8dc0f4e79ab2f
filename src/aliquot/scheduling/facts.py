"""What deciding needs to know of one pod: its demands, its constraints on nodes, and its claims.

Pods made from one template have equal facts. `shape` says when two pods are interchangeable, so that what
was found out about one holds for the other.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import msgspec

from aliquot.cel.quantity import Quantity
from aliquot.fractions.requests import (
    GpuRequest,
    RequestProblem,
    beside_shared,
    gpu_annotations,
    gpu_request,
)
from aliquot.model.core import PLACEMENT_GATE, Pod, PodSpec
from aliquot.model.index import Remembered
from aliquot.model.kinds import encode_json
from aliquot.model.resource import AllocationResult, ConsumerReference, ResourceClaim
from aliquot.scheduling.affinity import required_nodes
from aliquot.scheduling.claims import PodClaims, consumer, owned_by, reserved_for
from aliquot.scheduling.extended import without
from aliquot.scheduling.interpod import affinity_terms, anti_affinity_terms
from aliquot.scheduling.nodes import Demand

Shape = bytes
"""Constraints on nodes, claims wanted, resources, host ports and devices of device plugins, as text: its hash
is worked out once however often it is looked up."""


UNCONSTRAINED = encode_json(({}, None, ()))
"""The constraints of a pod that has none."""


@dataclass(frozen=True, slots=True)
class PodTraits:
    """What follows from the pod alone. `constraints`: its node selector, affinity and tolerations, as bytes
    that are equal for pods with equal ones. social: it has required (anti-)affinity to other pods. gpus: what
    it asks of devices that a device plugin hands out, or what is wrong with that."""

    demand: Demand
    constraints: bytes
    social: bool
    gpus: GpuRequest | RequestProblem | None = None
    wants: bytes = field(init=False, compare=False, repr=False)
    """Resources, host ports and devices of device plugins, as bytes that are equal for equal ones."""

    def __post_init__(self) -> None:
        gpus = self.gpus if isinstance(self.gpus, GpuRequest) else None
        object.__setattr__(self, "wants", encode_json((self.demand.items, self.demand.ports, gpus)))

    @staticmethod
    def of(pod: Pod) -> "PodTraits":
        social = bool(affinity_terms(pod) or anti_affinity_terms(pod))
        gpus = gpu_request(pod)
        demand = Demand.of(pod)
        if isinstance(gpus, GpuRequest):
            demand = demand.beside(beside_shared(demand.requests, gpus))
        return PodTraits(demand, constraints_of(pod.spec), social, gpus)


def alike(pod: Pod) -> bytes:
    """Bytes that are equal only for pods with equal traits: all that enters into these, much cheaper to write
    down than they are to find. Pods that were made from one template mostly have the same."""
    spec, annotations = pod.spec, pod.metadata.annotations
    return msgspec.json.encode(
        (
            spec.containers,
            spec.init_containers,
            spec.overhead,
            spec.resources,
            spec.node_selector,
            spec.affinity,
            spec.tolerations,
            gpu_annotations(annotations),
        ),
        enc_hook=_exactly,
    )


def _exactly(value: object) -> int:
    """A quantity as a number, however it is written."""
    if isinstance(value, Quantity):
        return value.nano
    raise NotImplementedError


def constraints_of(spec: PodSpec) -> bytes:
    """A pod's node selector, required node affinity and tolerations, as bytes equal for equal ones."""
    if spec.node_selector or spec.affinity is not None or spec.tolerations:
        return encode_json((spec.node_selector, required_nodes(spec.affinity), spec.tolerations))
    return UNCONSTRAINED


@dataclass(frozen=True, slots=True)
class PodFacts:
    """A pod to be decided about.

    held: its claims that are allocated already; wanted: those that are not. unreserved: those of `held` that
    are not reserved for it. foreign: it has claims without devices that another allocator serves, which are
    in none of these. claims_shape: equal for pods that want equal claims; b"" when none; None when the pod's
    claims are shared or some are allocated, so that it is like no other pod.

    extended: of `wanted`, the claim imagined for extended resources, which the scheduler will make; `pod` and
    `traits` are then without those resources. barred: those resources; nodes whose device plugin offers one
    of them are not considered. alternative: the same pod so, where device plugins offer the resources too.
    """

    pod: Pod
    traits: PodTraits
    claims: PodClaims
    held: tuple[tuple[ResourceClaim, AllocationResult], ...] = ()
    wanted: tuple[ResourceClaim, ...] = ()
    unreserved: tuple[ResourceClaim, ...] = ()
    claims_shape: bytes | None = b""
    foreign: bool = False
    extended: ResourceClaim | None = None
    barred: frozenset[str] = frozenset()
    alternative: "PodFacts | None" = None
    shape: Shape | None = field(init=False, compare=False, repr=False)
    """Equal for interchangeable pods; None for a pod that is like no other."""

    def __post_init__(self) -> None:
        traits = self.traits
        found: Shape | None = None
        if not traits.social and self.claims_shape is not None:
            # JSON has no line ends of its own, so that an empty line tells the parts apart.
            found = b"\n\n".join((traits.constraints, self.claims_shape, traits.wants))
        object.__setattr__(self, "shape", found)

    @property
    def gpus(self) -> GpuRequest | None:
        """What the pod asks of devices that a device plugin hands out."""
        found = self.traits.gpus
        return found if isinstance(found, GpuRequest) else None

    @property
    def malformed(self) -> RequestProblem | None:
        """What is wrong with what the pod asks of such devices, if that cannot be understood."""
        found = self.traits.gpus
        return found if isinstance(found, RequestProblem) else None

    @property
    def held_up(self) -> bool:
        """Something else than want of room keeps the pod: a gate, a claim that is not there, a mistake."""
        return bool(self.gated_by_others) or self.claims.problem is not None or self.malformed is not None

    @property
    def device_part(self) -> GpuRequest | None:
        """Its request for parts of such devices."""
        found = self.traits.gpus
        return found if isinstance(found, GpuRequest) and found.shared else None

    @property
    def gated(self) -> bool:
        """Aliquot's gate holds the pod."""
        return any(gate.name == PLACEMENT_GATE for gate in self.pod.spec.scheduling_gates)

    @property
    def gated_by_others(self) -> tuple[str, ...]:
        """Names of the other gates that hold the pod."""
        return tuple(gate.name for gate in self.pod.spec.scheduling_gates if gate.name != PLACEMENT_GATE)

    def consumer(self, claim: ResourceClaim) -> ConsumerReference:
        """Who the claim is reserved for: the pod, or its PodGroup where the claim is the group's."""
        return self.claims.of_group.get(claim.key) or consumer(self.pod)

    @property
    def written(self) -> bool:
        """Some of the pod's own claims are allocated: what is written binds it to where they are."""
        return any(owned_by(claim, self.pod) for claim, _ in self.held)


def pod_facts(
    pod: Pod,
    traits: PodTraits,
    claims: PodClaims,
    users: int,
    claim_shapes: Remembered,
    managed: Callable[[ResourceClaim], bool],
) -> PodFacts:
    """Put together what is known of a pod. users: the most pods that use one of its claims. managed: whether
    a claim is Aliquot's to allocate."""
    held = tuple(
        (claim, claim.status.allocation) for claim in claims.claims if claim.status.allocation is not None
    )
    unallocated = tuple(claim for claim in claims.claims if claim.status.allocation is None)
    wanted = tuple(claim for claim in unallocated if managed(claim))
    unreserved = tuple(claim for claim, _ in held if not reserved_for(claim, pod) and managed(claim))
    shape: bytes | None = b""
    if held or users > 1:
        shape = None
    elif wanted:
        shape = b"\n".join(claim_shape(claim, claim_shapes) for claim in wanted)
    foreign = len(wanted) < len(unallocated)
    return PodFacts(pod, traits, claims, held, wanted, unreserved, shape, foreign)


def with_extended(facts: PodFacts, imagined: ResourceClaim, names: frozenset[str]) -> PodFacts:
    """The pod as one that wants this claim instead of the extended resources `names`."""
    pod = without(facts.pod, names)
    shape = facts.claims_shape
    return replace(
        facts,
        pod=pod,
        traits=PodTraits.of(pod),
        wanted=(*facts.wanted, imagined),
        claims_shape=None if shape is None else shape + b"\n" + encode_json(imagined.spec),
        extended=imagined,
        barred=names,
    )


def claim_shape(claim: ResourceClaim, remembered: Remembered) -> bytes:
    """Bytes that are equal for claims with equal specs."""
    known = remembered.get(claim)
    if isinstance(known, bytes):
        return known
    found = encode_json(claim.spec)
    remembered.put(claim, found)
    return found
