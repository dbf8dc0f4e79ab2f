"""What kube-scheduler's allocator checks before it searches, and what requests for All stand for."""

from collections.abc import Sequence

from aliquot.dra.capacity import consumption
from aliquot.dra.features import Features
from aliquot.dra.nodeselection import NodeSelectorError
from aliquot.dra.outcome import Invalid
from aliquot.dra.requests import MAX_RESULTS, Alternative, Blueprint
from aliquot.dra.selectors import SelectorFault
from aliquot.dra.strict.visible import VisiblePool, usable_on
from aliquot.model.core import Node
from aliquot.model.resource import ResourceClaim

Candidate = tuple[VisiblePool, int]
"""A device by its pool and number in it."""


class AbortError(Exception):
    """Ends the attempt: `invalid` says why."""

    def __init__(self, invalid: Invalid) -> None:
        super().__init__(invalid)
        self.invalid = invalid


class Checks:
    """The tests of single devices on one node, and the validation of claims."""

    def __init__(self, features: Features, node: Node, pools: Sequence[VisiblePool]) -> None:
        self.features = features
        self.node = node
        self.pools = pools

    def validate(self, claim: ResourceClaim, ready: Blueprint) -> dict[int, tuple[Candidate, ...]]:
        """The devices of each alternative that asks for All, by id of the alternative. Raises AbortError."""
        name = f"{claim.metadata.namespace}/{claim.metadata.name}"
        if ready.problem is not None:
            raise AbortError(Invalid(problem=ready.problem.problem, claim=name, path=ready.problem.path))
        whole: dict[int, tuple[Candidate, ...]] = {}
        least = 0
        for request in ready.requests:
            sizes = []
            for alternative in request.alternatives:
                if alternative.count is None:
                    devices = self._everything(name, alternative)
                    whole[id(alternative)] = devices
                    sizes.append(len(devices))
                else:
                    sizes.append(alternative.count)
            least += min(sizes)
        if least > MAX_RESULTS:
            raise AbortError(
                Invalid(
                    problem=f"asks for {least} devices; a claim gets {MAX_RESULTS} at most",
                    claim=name,
                    path="spec.devices.requests",
                )
            )
        features = self.features
        stable = not (features.binding_conditions or features.consumable_capacity or features.list_attributes)
        if stable and any(constraint.distinct for constraint in ready.constraints):
            # Upstream: the variant that runs when no newer feature is on does not know distinctAttribute.
            raise AbortError(
                Invalid(
                    problem="distinctAttribute is not supported", claim=name, path="spec.devices.constraints"
                )
            )
        return whole

    def _everything(self, claim: str, alternative: Alternative) -> tuple[Candidate, ...]:
        found: list[Candidate] = []
        for visible in self.pools:
            if not visible.usable:
                state = "invalid" if visible.complete else "being updated"
                raise AbortError(
                    Invalid(
                        problem=f"asks for all devices, but pool {'/'.join(visible.key)} is {state}",
                        claim=claim,
                        path=alternative.path,
                    )
                )
            for index in range(len(visible.pool.devices)):
                if self.selectable(claim, alternative, visible, index) and self.sufficient(
                    alternative, visible, index, {}
                ):
                    found.append((visible, index))
        return tuple(found)

    def selectable(self, claim: str, alternative: Alternative, visible: VisiblePool, index: int) -> bool:
        """Whether selectors and, where it is the device's own, node selection choose the device."""
        if not self.features.binding_conditions and visible.pool.conditional >> index & 1:
            return False
        match = alternative.demand.matcher.match(visible.pool)
        if match.failed >> index & 1:
            raise AbortError(_fault(claim, alternative, match.faults[index]))
        if not match.matched >> index & 1:
            return False
        if not visible.pool.slice_of(index).spec.per_device_node_selection:
            return True
        device = visible.pool.devices[index]
        try:
            return usable_on(self.node, device.node_name, device.all_nodes, device.node_selector)
        except NodeSelectorError as error:
            raise AbortError(Invalid(problem=str(error), claim=claim)) from error

    def sufficient(
        self, alternative: Alternative, visible: VisiblePool, index: int, picked: dict[str, int]
    ) -> bool:
        """Whether the device's capacities suffice; picked: what this attempt takes of them already."""
        if not self.features.consumable_capacity:
            return True
        device = visible.pool.devices[index]
        taken = consumption(device, alternative.demand.capacity)
        if taken is None:
            return False
        before = visible.taken.consumed.get(device.name, {})
        return all(
            before.get(name, 0) + picked.get(name, 0) + amount.nano <= device.capacity[name].value.nano
            for name, amount in taken.items()
        )


def _fault(claim: str, alternative: Alternative, fault: SelectorFault) -> Invalid:
    kind = "CEL compile error" if fault.compile else "CEL runtime error"
    owner = f"class {alternative.device_class.metadata.name}: " if fault.of_class else ""
    path = alternative.path if fault.of_class else f"{alternative.path}.selectors[{fault.number}]"
    return Invalid(
        problem=f"{owner}selector #{fault.number}: {kind}: {fault.message}", claim=claim, path=path
    )
