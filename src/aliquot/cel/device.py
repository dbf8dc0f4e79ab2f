"""Devices as selectors see them (k8s.io/dynamic-resource-allocation/cel)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Final

from aliquot.cel.declarations import Library
from aliquot.cel.errors import EvaluationError
from aliquot.cel.quantity import Quantity
from aliquot.cel.semver import Semver, SemverError
from aliquot.cel.typesystem import ANY, BOOL, DYN, STRING, Type, map_of, struct
from aliquot.cel.values import equal

__all__ = [
    "DEVICE",
    "INCLUDES",
    "MAX_ATTRIBUTES",
    "MAX_DOMAIN_LENGTH",
    "MAX_ID_LENGTH",
    "MAX_LIST_VALUES",
    "MAX_STRING_LENGTH",
    "DeviceView",
    "VersionText",
    "device_fields",
]

# Limits of resource.k8s.io; the static cost of an expression is computed from them.
MAX_ATTRIBUTES: Final = 32
MAX_DOMAIN_LENGTH: Final = 63
MAX_ID_LENGTH: Final = 32
MAX_DRIVER_LENGTH: Final = 63
MAX_STRING_LENGTH: Final = 64
MAX_LIST_VALUES: Final = 48

DEVICE: Final = struct("kubernetes.DRADevice")
_QUANTITY: Final = struct("kubernetes.Quantity")

Scalar = bool | int | str | Semver
AttributeValue = Scalar | tuple[Scalar, ...]


class VersionText(str):
    """The text of a version attribute, read as a semantic version when a device view is made."""

    __slots__ = ()


class _Domains(dict[Any, Any]):
    """Attributes or capacities by domain: an unknown domain reads as an empty map, `in` tells the truth."""

    __slots__ = ()

    def __missing__(self, key: object) -> Any:
        if isinstance(key, str):
            return _EMPTY
        raise KeyError(key)


_EMPTY: Final[dict[str, Any]] = {}


class DeviceView:
    """One device, ready for evaluation; immutable.

    `attributes` map names to bool, int, str, Semver, VersionText or tuples of those, `capacity` to
    quantities. Unqualified names belong to the driver's domain. All attributes are converted at once:
    one that is no valid version makes every selector fail on the device (`fault`), as in Kubernetes.
    """

    __slots__ = ("driver", "fault", "fields", "list_attribute")

    def __init__(
        self,
        driver: str,
        attributes: Mapping[str, AttributeValue | VersionText | tuple[VersionText, ...]],
        capacity: Mapping[str, Quantity],
        allow_multiple_allocations: bool | None = None,
    ) -> None:
        self.driver = driver
        self.fault = ""
        """Why no selector can be evaluated on the device, "" if none is known."""
        self.list_attribute = ""
        """The first attribute that is a list: without list attributes it is a fault."""
        self.fields = {
            "driver": driver,
            "allowMultipleAllocations": bool(allow_multiple_allocations),
            "attributes": self._by_domain(attributes),
            "capacity": self._by_domain(capacity),
        }

    def _by_domain(self, entries: Mapping[str, Any]) -> _Domains:
        domains = _Domains()
        for name in sorted(entries):
            value = self._converted(name, entries[name])
            domain, slash, identifier = name.partition("/")
            if not slash:
                domain, identifier = self.driver, name
            domains.setdefault(domain, {})[identifier] = value
        return domains

    def _converted(self, name: str, value: Any) -> Any:
        if isinstance(value, list | tuple):
            self.list_attribute = self.list_attribute or name
            return tuple(self._converted(name, element) for element in value)
        if not isinstance(value, VersionText):
            return value
        try:
            return Semver.parse(value)
        except SemverError as error:
            self.fault = self.fault or f"attribute {name}: parse semantic version: {error.reason}"
            return None

    def fault_without(self, *, list_attributes: bool) -> str:
        """Why selectors fail on the device, "" if they do not, given whether lists are supported."""
        if self.fault or list_attributes or not self.list_attribute:
            return self.fault
        return f"attribute {self.list_attribute}: unsupported attribute value"

    def read(self, kind: str, domain: str, name: str) -> Hashable:
        """The value of one attribute or capacity with its type, None if the device has none."""
        value = self.fields[kind].get(domain, _EMPTY).get(name)  # type: ignore[attr-defined]
        if isinstance(value, tuple):
            return (tuple, *((type(element), element) for element in value))
        return None if value is None else (type(value), value)


def device_fields(*, consumable_capacity: bool, list_attributes: bool) -> dict[str, Type]:
    """The fields of `device`. Attributes are of dynamic type; loops over them need list attributes."""
    value = DYN if list_attributes else ANY
    fields = {
        "driver": STRING,
        "attributes": map_of(STRING, map_of(STRING, value)),
        "capacity": map_of(STRING, map_of(STRING, _QUANTITY)),
    }
    if consumable_capacity:
        fields["allowMultipleAllocations"] = BOOL
    return fields


def _includes(target: Any, wanted: Any) -> bool:
    if not isinstance(target, list | tuple):
        return equal(target, wanted)
    for element in target[:MAX_LIST_VALUES]:
        if equal(element, wanted):
            return True
    if len(target) > MAX_LIST_VALUES:
        raise EvaluationError(
            f"'includes' function cannot be applied to lists longer than {MAX_LIST_VALUES} values"
        )
    return False


def _library() -> Library:
    library = Library()
    library.member("includes", "dra_includes_dyn_dyn", "dyn, dyn -> bool", _includes)
    return library


INCLUDES: Final = _library()
