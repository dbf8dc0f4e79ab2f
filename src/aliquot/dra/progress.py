"""What the claims of one search have got so far."""

from collections.abc import Hashable
from dataclasses import dataclass

from aliquot.dra.constraints import Agreement
from aliquot.dra.requests import Alternative, Blueprint
from aliquot.dra.results import Pick


@dataclass(slots=True)
class Progress:
    """What one claim has got so far.

    served: the alternative of each request served or being served. picks, near, costs: the devices chosen,
    their places per level of locality, their costs. agreements: one per constraint.
    """

    blueprint: Blueprint
    served: list[Alternative]
    picks: list[Pick]
    near: list[tuple[object, ...]]
    agreements: list[Agreement]
    costs: list[float]

    def with_admin_access(self) -> Hashable:
        """The devices that the claim has with admin access: it may not get them again."""
        return frozenset((pick.pool.key, pick.number) for pick in self.picks if pick.alternative.demand.admin)
