"""matchAttribute and distinctAttribute as kube-scheduler's allocator keeps them while it backtracks."""

from typing import Protocol

from aliquot.dra.attributes import UNKNOWN, Value, elements, is_list
from aliquot.dra.requests import Constraint


class Tracked(Protocol):
    """A constraint of one claim."""

    def add(self, request: str, alternative: str, value: Value | None) -> bool:
        """Count a device in, unless it breaks the constraint. Devices of other requests never do.

        value: of the device's attribute, None if it has none of that name.
        """

    def remove(self, request: str, alternative: str) -> None:
        """Count a device out that was counted in."""


def tracked(constraint: Constraint, lists: bool) -> Tracked:
    if constraint.distinct:
        return _Distinct(constraint, lists)
    return _ListMatch(constraint) if lists else _Match(constraint)


class _Match:
    def __init__(self, constraint: Constraint) -> None:
        self._constraint = constraint
        self._value: Value | None = None
        self._count = 0

    def add(self, request: str, alternative: str, value: Value | None) -> bool:
        if not self._constraint.covers(request, alternative):
            return True
        if value is None:
            return False
        if self._count == 0:
            self._value = value
            self._count = 1
            return True
        # Upstream: anything passes as the first device's value, but a list never matches after that.
        if is_list(value) or value is UNKNOWN or value != self._value:
            return False
        self._count += 1
        return True

    def remove(self, request: str, alternative: str) -> None:
        if self._constraint.covers(request, alternative):
            self._count -= 1


class _ListMatch:
    def __init__(self, constraint: Constraint) -> None:
        self._constraint = constraint
        self._common: tuple[str, frozenset[bool | int | str]] = ("", frozenset())
        self._count = 0

    def add(self, request: str, alternative: str, value: Value | None) -> bool:
        if not self._constraint.covers(request, alternative):
            return True
        if value is None:
            return False
        kind, content = elements(value)
        if not content:
            return False
        if self._count:
            known, common = self._common
            content &= common
            if kind != known or not content:
                return False
        # Upstream: what was narrowed here stays narrow when the device is counted out again.
        self._common = (kind, content)
        self._count += 1
        return True

    def remove(self, request: str, alternative: str) -> None:
        if self._constraint.covers(request, alternative):
            self._count -= 1


class _Distinct:
    def __init__(self, constraint: Constraint, lists: bool) -> None:
        self._constraint = constraint
        self._lists = lists
        # Upstream: one value per request, that of its last device; the ones before are not compared.
        self._values: dict[str, Value] = {}
        self._count = 0

    def add(self, request: str, alternative: str, value: Value | None) -> bool:
        if not self._constraint.covers(request, alternative):
            return True
        if value is None:
            return False
        # Upstream: the value of the first device may be anything, an empty list included.
        if self._count:
            if self._lists and not elements(value)[1]:
                return False
            if not all(self._differs(value, other) for other in self._values.values()):
                return False
        self._values[request] = value
        self._count += 1
        return True

    def _differs(self, value: Value, other: Value) -> bool:
        if self._lists:
            kind, content = elements(value)
            other_kind, other_content = elements(other)
            return kind != other_kind or not content & other_content
        return not is_list(value) and value is not UNKNOWN and value != other

    def remove(self, request: str, alternative: str) -> None:
        if self._constraint.covers(request, alternative):
            # Upstream: this forgets the request's earlier devices as well.
            self._values.pop(request, None)
            self._count -= 1
