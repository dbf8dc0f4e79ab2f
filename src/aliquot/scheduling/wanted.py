"""What pods count for in their queues, as far as that is known before they have nodes."""

from aliquot.queues.amounts import Charge, total
from aliquot.scheduling.allocating import DeviceAllocator
from aliquot.scheduling.facts import PodFacts, Shape
from aliquot.scheduling.holdings import pod_charge
from aliquot.scheduling.parts import PartsInUse
from aliquot.scheduling.slots import Slots


class Wanted:
    """The charges of pods that wait, worked out once for each shape."""

    def __init__(self, devices: DeviceAllocator, parts: PartsInUse, slots: Slots) -> None:
        self._devices = devices
        self._parts = parts
        self._slots = slots
        self._charges: dict[Shape, Charge] = {}
        self._exact: dict[bytes, bool] = {}

    def charge(self, facts: PodFacts) -> Charge:
        """What a pod counts for: where units of a resource are slots on some nodes, the most that it may come
        to."""
        key = facts.shape
        known = self._charges.get(key) if key is not None else None
        if known is None:
            gpus = 0 if facts.gpus is None else self._parts.wanted(facts.gpus, self._slots.open_to(facts))
            charges = [pod_charge(facts.traits.demand.requests, gpus)]
            charges += [self._devices.wanted(claim) for claim in facts.wanted]
            known = total(charges)
            if key is not None:
                self._charges[key] = known
        return known

    def is_exact(self, facts: PodFacts) -> bool:
        """Whether `charge` is what the pod will count for: its claims are its own, for whole devices."""
        if self._slots.vary(facts):
            return False
        if not facts.wanted:
            return True
        key = facts.claims_shape
        if key is None:
            return False
        known = self._exact.get(key)
        if known is None:
            known = self._exact[key] = all(self._devices.takes_whole(claim) for claim in facts.wanted)
        return known
