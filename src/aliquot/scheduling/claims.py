"""The claims of pods: which there are, which are missing, who consumes them, what a decision adds to them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from aliquot.model.core import Pod, PodResourceClaim
from aliquot.model.index import Key, SnapshotIndex, live
from aliquot.model.resource import (
    MAX_CONSUMERS,
    AllocationResult,
    ConsumerReference,
    ResourceClaim,
)
from aliquot.model.verdicts import Fact
from aliquot.model.workloads import PodGroup

GROUP_API = "scheduling.k8s.io"
GROUPS = "podgroups"


EXTENDED_RESOURCES = "resource.kubernetes.io/extended-resource-claim"
"""The annotation of a claim that the scheduler makes for a pod's extended resources (KEP-5004)."""


@dataclass(frozen=True, slots=True)
class PodClaims:
    """The claims that a pod uses, each once, in the order of its spec.

    problem: why the pod cannot have its claims yet, as a fact (test: claimNotMade, claimMissing,
    claimNotOwned, claimDeleting; subject: the claim), or None. of_group: those of the claims that belong to
    the pod's PodGroup, with the group as their consumer (KEP-5729).
    """

    claims: tuple[ResourceClaim, ...] = ()
    problem: Fact | None = None
    of_group: Mapping[Key, ConsumerReference] = field(default_factory=dict)


NO_CLAIMS = PodClaims()


def claim_keys(pod: Pod) -> tuple[Key, ...]:
    """The keys of the claims that the pod names or that were made for it, so far as they are known."""
    namespace = pod.metadata.namespace
    made = {item.name: item.resource_claim_name for item in pod.status.resource_claim_statuses}
    keys: dict[Key, None] = {}
    for use in pod.spec.resource_claims:
        name = use.resource_claim_name or made.get(use.name, "")
        if name:
            keys[namespace, name] = None
    return tuple(keys)


def pod_claims(pod: Pod, index: SnapshotIndex) -> PodClaims:
    """The claims of a pod as they are in the snapshot.

    A claim from a template must belong to this very pod or to its PodGroup (Kubernetes:
    resourceclaim.IsForPod); a template that made no claim on purpose leaves an entry without a name.
    """
    uses = pod.spec.resource_claims
    if not uses:
        return NO_CLAIMS
    namespace = pod.metadata.namespace
    made = {item.name: item.resource_claim_name for item in pod.status.resource_claim_statuses}
    found: dict[Key, ResourceClaim] = {}
    of_group: dict[Key, ConsumerReference] = {}
    group = group_of(pod, index)
    for use in uses:
        name = use.resource_claim_name
        generated = not name
        if generated:
            if use.name not in made:
                return PodClaims(tuple(found.values()), Fact(test="claimNotMade", subject=use.name))
            name = made[use.name]
            if not name:
                continue
        claim = index.claims.get((namespace, name))
        if claim is None:
            return PodClaims(tuple(found.values()), Fact(test="claimMissing", subject=name))
        if generated and not owned_by(claim, pod) and not _owned_by_group(claim, pod):
            return PodClaims(tuple(found.values()), Fact(test="claimNotOwned", subject=name))
        if claim.metadata.deletion_timestamp is not None:
            return PodClaims(tuple(found.values()), Fact(test="claimDeleting", subject=name))
        found[claim.key] = claim
        if group is not None and _shared_by(group, use):
            of_group[claim.key] = group_consumer(group)
    return PodClaims(tuple(found.values()), of_group=of_group)


def group_of(pod: Pod, index: SnapshotIndex) -> PodGroup | None:
    """The PodGroup that the pod names, if it is there."""
    named = pod.spec.scheduling_group
    if named is None or not named.pod_group_name:
        return None
    return index.pod_groups.get((pod.metadata.namespace, named.pod_group_name))


def _shared_by(group: PodGroup, use: PodResourceClaim) -> bool:
    """A claim is the group's where the pod's entry equals one of the group's: name, and claim or template."""
    return any(
        (entry.name, entry.resource_claim_name, entry.resource_claim_template_name)
        == (use.name, use.resource_claim_name, use.resource_claim_template_name)
        for entry in group.spec.resource_claims
    )


def _owned_by_group(claim: ResourceClaim, pod: Pod) -> bool:
    """Whether the claim was made for the PodGroup that the pod names: a pod does not know its group's uid."""
    named = pod.spec.scheduling_group
    return named is not None and any(
        owner.kind == "PodGroup"
        and owner.controller
        and owner.name == named.pod_group_name
        and owner.api_version.startswith(f"{GROUP_API}/")
        for owner in claim.metadata.owner_references
    )


def owned_by(claim: ResourceClaim, pod: Pod) -> bool:
    """Whether the claim was made for this pod."""
    return any(
        owner.kind == "Pod" and owner.uid == pod.metadata.uid and owner.name == pod.metadata.name
        for owner in claim.metadata.owner_references
    )


def schedulers_own(claim: ResourceClaim) -> bool:
    """Whether the scheduler made the claim, for extended resources: it allocates, gives up and deletes it."""
    return claim.metadata.annotations.get(EXTENDED_RESOURCES) == "true"


def consumer(pod: Pod) -> ConsumerReference:
    """The entry of status.reservedFor for a pod."""
    return ConsumerReference(resource="pods", name=pod.metadata.name, uid=pod.metadata.uid)


def group_consumer(group: PodGroup) -> ConsumerReference:
    """The entry of status.reservedFor for a PodGroup; it stands for all of the group's pods."""
    meta = group.metadata
    return ConsumerReference(api_group=GROUP_API, resource=GROUPS, name=meta.name, uid=meta.uid)


def stands_for(reference: ConsumerReference, pod: Pod) -> bool:
    """Whether a reservation lets this pod use the claim: by its uid, or by the name of its PodGroup."""
    if reference.uid == pod.metadata.uid:
        return True
    named = pod.spec.scheduling_group
    return (
        named is not None
        and reference.api_group == GROUP_API
        and reference.resource == GROUPS
        and reference.name == named.pod_group_name
    )


def reserved_for(claim: ResourceClaim, pod: Pod) -> bool:
    return any(stands_for(reference, pod) for reference in claim.status.reserved_for)


def live_consumers(pods: Iterable[Pod]) -> dict[Key, list[Pod]]:
    """For each claim, the pods that use it or will, those that ended or are being deleted left out."""
    found: dict[Key, list[Pod]] = {}
    for pod in pods:
        if pod.spec.resource_claims and live(pod):
            for key in claim_keys(pod):
                found.setdefault(key, []).append(pod)
    return found


class ClaimBook:
    """What a decision does to claims: allocations and reservations on top of the snapshot's, with undo."""

    def __init__(self) -> None:
        self.allocations: dict[Key, AllocationResult] = {}
        self.reservations: dict[Key, list[ConsumerReference]] = {}
        self._log: list[tuple[Key, bool, AllocationResult | None]] = []

    def allocation(self, claim: ResourceClaim) -> AllocationResult | None:
        """The claim's allocation, decided or in the snapshot."""
        if claim.status.allocation is not None:
            return claim.status.allocation
        return self.allocations.get(claim.key)

    def has_room(self, claim: ResourceClaim, wanted: ConsumerReference) -> bool:
        """Whether the claim takes one more consumer (256 at most), or has it already."""
        consumers = {item.uid for item in claim.status.reserved_for}
        consumers.update(item.uid for item in self.reservations.get(claim.key, ()))
        return wanted.uid in consumers or len(consumers) < MAX_CONSUMERS

    def allocate(self, claim: ResourceClaim, allocation: AllocationResult) -> None:
        """Give the claim devices, instead of those that it was given by this decision before."""
        self._log.append((claim.key, True, self.allocations.get(claim.key)))
        self.allocations[claim.key] = allocation

    def reserve(self, claim: ResourceClaim, wanted: ConsumerReference) -> None:
        self.reservations.setdefault(claim.key, []).append(wanted)
        self._log.append((claim.key, False, None))

    def mark(self) -> int:
        return len(self._log)

    def undo(self, mark: int) -> None:
        while len(self._log) > mark:
            key, allocated, before = self._log.pop()
            if before is not None:
                self.allocations[key] = before
            elif allocated:
                del self.allocations[key]
            else:
                self.reservations[key].pop()
