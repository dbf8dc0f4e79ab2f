"""Attributes of devices as comparable values."""

from typing import TypeAlias

from aliquot.model.resource import Device, DeviceAttribute

Value: TypeAlias = tuple[str, bool | int | str | tuple[bool | int | str, ...]]
"""(type, value); type is int, bool, string or version, or the plural of it for a list."""

UNKNOWN: Value = ("", ())
"""Stands for an attribute that is there, with a value of no type that is known here."""

_PLURALS = {"ints": "int", "bools": "bool", "strings": "string", "versions": "version"}


def lookup(device: Device, driver: str, name: str) -> Value | None:
    """The value of a fully qualified attribute name ("domain/id"), or None if the device has none.

    A name without domain belongs to the driver's: `model` of driver gpu.example.com is
    `gpu.example.com/model` (resource.k8s.io/v1, DeviceAttribute).
    """
    found = find(device, driver, name)
    return None if found is None else value_of(found)


def find(device: Device, driver: str, name: str) -> DeviceAttribute | None:
    """The attribute of that name, whatever its value."""
    attributes = device.attributes
    found = attributes.get(name)
    if found is None:
        domain, slash, bare = name.partition("/")
        if slash and domain == driver:
            found = attributes.get(bare)
    return found


def value_of(attribute: DeviceAttribute) -> Value | None:
    """The one field that is set, or None for an attribute of a type that is not known here."""
    if attribute.string is not None:
        return ("string", attribute.string)
    if attribute.int_ is not None:
        return ("int", attribute.int_)
    if attribute.bool_ is not None:
        return ("bool", attribute.bool_)
    if attribute.version is not None:
        return ("version", attribute.version)
    for plural in _PLURALS:
        values = getattr(attribute, plural)
        if values is not None:
            return (plural, values)
    return None


def is_list(value: Value) -> bool:
    return value[0] in _PLURALS


def elements(value: Value) -> tuple[str, frozenset[bool | int | str]]:
    """The element type of a list and its elements; a scalar counts as a list of one."""
    kind, content = value
    if isinstance(content, tuple):
        return _PLURALS.get(kind, ""), frozenset(content)
    return kind, frozenset((content,))
