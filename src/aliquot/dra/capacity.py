"""How much of a device's capacities a request takes (KEP-5075, consumable capacity)."""

from collections.abc import Mapping

from aliquot.cel.quantity import Quantity, QuantityFormat
from aliquot.model.resource import CapacityRequestPolicy, Device, DeviceCapacity

_UNIT = 10**9


def consumption(device: Device, requested: Mapping[str, Quantity]) -> dict[str, Quantity] | None:
    """What a request takes of each capacity of the device, or None if the device cannot serve it at all.

    It cannot when it lacks a capacity that is asked for, when an amount is not allowed by the capacity's
    request policy, or is above the capacity itself.
    """
    for name in requested:
        if name not in device.capacity:
            return None
    amounts: dict[str, Quantity] = {}
    for name, capacity in device.capacity.items():
        amount = amount_of(capacity, requested.get(name))
        if amount is None or amount > capacity.value:
            return None
        amounts[name] = amount
    return amounts


def amount_of(capacity: DeviceCapacity, requested: Quantity | None) -> Quantity | None:
    """The amount that is taken for a request of one capacity, None if the policy forbids it.

    Without a request it is the policy's default, else all there is. A request is rounded up to the next
    valid amount: with a minimum of 2 and a step of 3, 1 becomes 2 and 6 becomes 8. The policy holds for all
    there is as well, but never for the default.
    """
    policy = capacity.request_policy
    if policy is None:
        return capacity.value if requested is None else requested
    if requested is not None:
        amount = _rounded(requested, policy)
    else:
        amount = capacity.value if policy.default is None else policy.default
    return amount if _allowed(amount, policy) else None


def _rounded(requested: Quantity, policy: CapacityRequestPolicy) -> Quantity:
    if policy.valid_range is not None:
        lowest, step = policy.valid_range.min, policy.valid_range.step
        if lowest is None:
            return requested
        if requested < lowest:
            return lowest
        if step is None:
            return requested
        # Steps are counted in whole units, parts of a unit rounded up first, as Kubernetes does.
        base = lowest.value()
        width = step.value()
        if width <= 0:
            return requested
        steps = -((base - requested.value()) // width)
        return Quantity((base + steps * width) * _UNIT, QuantityFormat.BINARY_SI)
    return next((value for value in policy.valid_values if value >= requested), requested)


def _allowed(amount: Quantity, policy: CapacityRequestPolicy) -> bool:
    default = policy.default
    # Kubernetes compares how the amounts are held in memory: 1Ki is not the default 1024.
    if default is not None and amount == default and amount.format is default.format:
        return True
    if policy.valid_range is not None:
        lowest, highest, step = policy.valid_range.min, policy.valid_range.max, policy.valid_range.step
        if highest is not None and amount > highest:
            return False
        if step is not None and step.value() > 0:
            return (amount.value() - (0 if lowest is None else lowest.value())) % step.value() == 0
        return True
    return not policy.valid_values or amount in policy.valid_values
