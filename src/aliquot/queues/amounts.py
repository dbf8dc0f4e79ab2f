"""Amounts of resources: exact, in billionths of the resource's unit."""

from collections.abc import Iterable
from fractions import Fraction
from functools import lru_cache

from aliquot.cel.quantity import Quantity

GPU = "gpu"
UNIT = 10**9

Amount = int | Fraction
Charge = dict[str, Amount]
"""Amounts by resource: "gpu", "cpu", "memory" or the name of a DeviceClass.

Nobody changes one that somebody else has, too: the same dict stands for a pod, its hold and its gang. It is
no Mapping because native code looks a dict up directly.
"""


def exact(number: Amount) -> Amount:
    """The same number, as an int where it is whole."""
    # Nearly all amounts are ints, and asking whether one is a Fraction costs ten times as much as this.
    if type(number) is int:
        return number
    return number.numerator if number.denominator == 1 else number


@lru_cache(maxsize=10_000)
def shown(number: Amount, resource: str = "") -> str:
    """An amount as text: a Kubernetes quantity, or a fraction where no quantity is exact (1/7, 15/7).

    Of devices, people say 8.5 rather than 8500m; both are quantities.
    """
    number = exact(number)
    if isinstance(number, int):
        if resource == GPU and number % UNIT:
            sign, (whole, rest) = "-" if number < 0 else "", divmod(abs(number), UNIT)
            return f"{sign}{whole}.{rest:09}".rstrip("0")
        return str(Quantity(number))
    return str(exact(number / UNIT))


def total(charges: Iterable[Charge]) -> dict[str, Amount]:
    """The sum of charges, resource by resource."""
    found: dict[str, Amount] = {}
    for charge in charges:
        for resource, wanted in charge.items():
            found[resource] = exact(found.get(resource, 0) + wanted)
    return found
