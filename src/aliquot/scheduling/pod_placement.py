"""Where a pod is put, and what it gets there."""

from dataclasses import dataclass

from aliquot.fractions.parts import Choice
from aliquot.model.resource import AllocationResult, ResourceClaim
from aliquot.queues.amounts import Charge
from aliquot.scheduling.facts import PodFacts
from aliquot.scheduling.gang_state import Member


@dataclass(frozen=True, slots=True)
class OtherDevices:
    """Devices for a member of the same gang instead of those that this decision gave it before. waits: they
    are not free yet, others than the ones before."""

    member: Member
    allocated: tuple[tuple[ResourceClaim, AllocationResult], ...]
    charge: Charge
    waits: bool = False


@dataclass(frozen=True, slots=True)
class PodPlacement:
    """A pod and what it gets. number: of its node. allocated: claims that get devices with it; reserved:
    claims that have them already and get the pod as a consumer. promised: only once something leaves the
    node. choice: shared devices of the node of which it gets a part. stays: it was to leave this node, but
    keeps what it had. others: members on the same node whose devices are chosen again with its own.
    """

    member: Member
    number: int
    node: str
    allocated: tuple[tuple[ResourceClaim, AllocationResult], ...]
    reserved: tuple[ResourceClaim, ...]
    charge: Charge
    promised: bool = False
    choice: Choice | None = None
    stays: bool = False
    others: tuple[OtherDevices, ...] = ()

    @property
    def facts(self) -> PodFacts:
        assert self.member.facts is not None
        return self.member.facts
