"""Numbers for terms that are compared often: told apart faster than the terms are."""

from collections.abc import Hashable

MOST = 20_000
"""So many terms have a number at a time."""


class Kinds:
    """Numbers are never given twice: equal ones mean equal terms. Equal terms have equal numbers unless one
    of them has been forgotten meanwhile."""

    __slots__ = ("_count", "_known")

    def __init__(self) -> None:
        self._count = 0
        self._known: dict[Hashable, int] = {}

    def number(self, terms: Hashable) -> int:
        """The number of some terms."""
        found = self._known.get(terms)
        if found is None:
            if len(self._known) >= MOST:
                self._known.clear()
            self._count += 1
            found = self._known[terms] = self._count
        return found
