"""Integers that add up: a total divided without rest, and an amount that grows with time without drift."""

from collections.abc import Sequence
from fractions import Fraction

MILLION = 1_000_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
MJ_PER_KWH = 3_600_000_000
"""Millijoules in a kilowatt-hour."""


def apportion(total: int, weights: Sequence[int | Fraction]) -> tuple[int, ...]:
    """Divide `total` by `weights`, so that the parts add up to it exactly (Hamilton's largest remainder).

    Each part is its quota rounded down or up; those with the largest remainders are rounded up, the earlier
    of equals first. 100 by (1, 1, 1) is (34, 33, 33). A negative total is divided like its opposite. Weights
    must not be negative; if all are 0 the first part gets everything. No weights: the total must be 0.
    """
    if not weights:
        if total:
            raise ValueError(f"{total} cannot be divided among nobody")
        return ()
    if any(weight < 0 for weight in weights):
        raise ValueError("a weight is negative")
    if total < 0:
        return tuple(-part for part in apportion(-total, weights))
    whole = sum(weights)
    if not whole:
        return (total, *(0 for _ in weights[1:]))
    if isinstance(whole, Fraction):
        scale = whole.denominator
        for weight in weights:
            if isinstance(weight, Fraction):
                scale = scale * weight.denominator // _gcd(scale, weight.denominator)
        integers = [int(weight * scale) for weight in weights]
    else:
        integers = [int(weight) for weight in weights]
    divisor = sum(integers)
    parts = [total * weight // divisor for weight in integers]
    left = total - sum(parts)
    if left:
        order = sorted(range(len(parts)), key=lambda place: -(total * integers[place] % divisor))
        for place in order[:left]:
            parts[place] += 1
    return tuple(parts)


def _gcd(first: int, second: int) -> int:
    while second:
        first, second = second, first % second
    return first


def accrued(micros_per_hour: int, start_ms: int, end_ms: int) -> int:
    """What a price per hour comes to from `start_ms` to `end_ms`, in micro-units.

    The difference of two running totals, floor(price x time since 1970 / hour). So it does not matter how a
    stretch of time is cut: the pieces add up to the whole to the last micro-unit, and a full hour costs the
    price of an hour.
    """
    return micros_per_hour * end_ms // HOUR_MS - micros_per_hour * start_ms // HOUR_MS


def accrued_share(
    micros_per_hour: int, index: int, of: int, start_ms: int, end_ms: int, *, width: int = 1
) -> int:
    """The part of a device in what its node costs; all devices together cost the node.

    The node's price is cut into `of` slices, and the device pays those from `index` on, `width` of them: of
    the running total floor(total x (index + width) / of) - floor(total x index / of). So both devices and
    pieces of time add up exactly.
    """

    def slice_at(time_ms: int) -> int:
        total = micros_per_hour * time_ms // HOUR_MS
        return total * (index + width) // of - total * index // of

    return slice_at(end_ms) - slice_at(start_ms)
