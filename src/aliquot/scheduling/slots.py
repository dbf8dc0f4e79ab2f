"""Slots: what a unit of a resource is where a device plugin shares devices by time-slicing or MPS.

A node that advertises `nvidia.com/gpu: 32` with 4 slots per device has 8 devices, and a pod that gets one
unit there holds a quarter of one. On another node the same unit is a whole device.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction

from aliquot.fractions.requests import Kind
from aliquot.fractions.resources import extended_devices
from aliquot.model.core import Node
from aliquot.scheduling.affinity import node_fall
from aliquot.scheduling.facts import PodFacts, Shape
from aliquot.scheduling.parts import PartsInUse


class Slots:
    """What whole devices may turn out to be for pods that have no node yet."""

    def __init__(self, parts: PartsInUse, nodes: Sequence[Node]) -> None:
        self._parts = parts
        self._nodes = nodes
        self._varying: dict[Shape, bool] = {}

    def devices(self, number: int, amounts: Mapping[str, int], slices_as_devices: bool) -> int | Fraction:
        """The accelerators in amounts of a node's extended resources, see `extended_devices`."""
        shared = self._parts.slots(number)
        return extended_devices(
            amounts, self._nodes[number], slices_as_devices=slices_as_devices, shared=shared
        )

    def vary(self, facts: PodFacts) -> bool:
        """Whether what the pod asks for is more of a device on some nodes than on others that it could have,
        so that what it counts for before it has one is the most that it may come to."""
        if not self._matters(facts):
            return False
        known = self._varying.get(facts.shape) if facts.shape is not None else None
        if known is None:
            known = len({self._parts.slots(number) for number in self.open_to(facts) or ()}) > 1
            if facts.shape is not None:
                self._varying[facts.shape] = known
        return known

    def open_to(self, facts: PodFacts) -> Sequence[int] | None:
        """The nodes that would take the pod if they were empty; None where it does not matter which."""
        if not self._matters(facts):
            return None
        assert facts.gpus is not None
        offering = self._parts.offering(facts.gpus.resource)
        return [number for number in offering if node_fall(facts.pod.spec, self._nodes[number]) is None]

    def _matters(self, facts: PodFacts) -> bool:
        parts, gpus = self._parts, facts.gpus
        return (
            parts.slotted
            and gpus is not None
            and gpus.kind is Kind.WHOLE
            and parts.slots_differ(gpus.resource)
        )
