"""matchAttribute and distinctAttribute while devices are chosen, of one claim or of several together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aliquot.dra.attributes import Value, elements, is_list
from aliquot.dra.pools import Devices

if TYPE_CHECKING:
    from aliquot.dra.pools import Pool
    from aliquot.dra.requests import Constraint
    from aliquot.dra.view import View

Held = tuple[str, frozenset[object]]

_LONER: Held = ("", frozenset())
"""Stands for a list where lists are not supported: nothing agrees with it."""


class Agreement:
    """What the devices chosen so far have in common, or, of a distinct attribute, all that they have.

    value: None before the first device; for matchAttribute the type and the values that all share; for
    distinctAttribute the (type, value) pairs in use. Put an earlier value back to go back.
    """

    __slots__ = ("_cell", "_lists", "constraint")

    def __init__(self, constraint: "Constraint", lists: bool, cell: list[Held | None] | None = None) -> None:
        """cell: holds the value, where several claims share one."""
        self.constraint = constraint
        self._lists = lists
        self._cell: list[Held | None] = [None] if cell is None else cell

    @property
    def value(self) -> Held | None:
        return self._cell[0]

    @value.setter
    def value(self, value: Held | None) -> None:
        self._cell[0] = value

    def attribute(self, pool: "Pool") -> str:
        """The name of the attribute in this pool."""
        return self.constraint.attribute

    def add(self, attribute: Value | None) -> bool:
        """Take a device with this attribute value in, if it agrees."""
        if attribute is None:
            return False
        held = self.value
        if is_list(attribute) and not self._lists:
            self.value = _LONER
            return held is None
        if held is _LONER:
            return False
        kind, content = elements(attribute)
        if not content:
            return False
        if self.constraint.distinct:
            pairs: frozenset[object] = frozenset((kind, each) for each in content)
            used = frozenset[object]() if held is None else held[1]
            self.value = ("", pairs | used)
            return not pairs & used
        if held is None:
            self.value = (kind, content)
            return True
        common = held[1] & content
        self.value = (kind, common)
        return held[0] == kind and bool(common)

    def narrow(self, views: "Sequence[View]", frees: list[Devices], wanted: int) -> list[Devices]:
        """Of the free devices of each view those that may still be part of `wanted` that agree.

        For a matched attribute without lists, a value that fewer than `wanted` free devices have is out.
        """
        groups = [view.pool.groups(self.attribute(view.pool)) for view in views]
        good: set[Value] | None = None
        if not self.constraint.distinct and not self._lists:
            held = self.value
            counts: dict[Value, int] = {}
            for grouped, free in zip(groups, frees, strict=True):
                for value, devices in grouped.items():
                    if devices & free:
                        counts[value] = counts.get(value, 0) + (devices & free).bit_count()
            good = {
                value
                for value, count in counts.items()
                if count >= wanted and (held is None or (not is_list(value) and held == elements(value)))
            }
        narrowed = []
        for grouped, free in zip(groups, frees, strict=True):
            fitting = 0
            for value, devices in grouped.items():
                if good is None or value in good:
                    fitting |= devices
            narrowed.append(free & fitting)
        return narrowed


@dataclass(frozen=True, slots=True)
class Together:
    """Devices of several claims that must share a value of an attribute.

    attributes: its names; in each pool the first counts that some device has. claims: the numbers of the
    claims. held: the type and the values that devices given before share; None if there are none. A request
    for devices none of which has the attribute takes no part.
    """

    attributes: tuple[str, ...]
    claims: frozenset[int]
    held: Held | None = None

    def name_in(self, pool: "Pool") -> str:
        """The name that counts in a pool."""
        for name in self.attributes:
            if pool.groups(name):
                return name
        return self.attributes[0]


class SharedAgreement(Agreement):
    """One claim's part in what several claims have in common."""

    __slots__ = ("_together",)

    def __init__(
        self, constraint: "Constraint", lists: bool, together: Together, cell: list[Held | None]
    ) -> None:
        """cell: holds the value for all of the claims."""
        super().__init__(constraint, lists, cell)
        self._together = together

    def attribute(self, pool: "Pool") -> str:
        return self._together.name_in(pool)
