"""What the claims of one search have got so far."""

from collections.abc import Hashable
from dataclasses import dataclass, field

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
    _asks_for_access: bool = field(init=False)

    def __post_init__(self) -> None:
        self._asks_for_access = any(
            alternative.demand.admin
            for request in self.blueprint.requests
            for alternative in request.alternatives
        )

    def bars(self) -> Hashable:
        """What the claim has and does not get twice, as far as that is more than what is taken.

        A request for admin access may have what other claims have, not what its own claim has. So where there
        is one, it matters who has what: of three devices a, b, c that two claims share, the second can have
        access to a if the first has it.
        """
        if not self._asks_for_access:
            return ()
        return frozenset((pick.pool.key, pick.number, pick.alternative.demand.admin) for pick in self.picks)

    def with_admin_access(self) -> Hashable:
        """The devices that the claim has with admin access: it may not get them again."""
        return frozenset((pick.pool.key, pick.number) for pick in self.picks if pick.alternative.demand.admin)
