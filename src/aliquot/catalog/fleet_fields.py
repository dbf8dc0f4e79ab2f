"""Reading the fields of one mapping of a fleet file: kinds, names, ranges, and what is left over."""

import re
from collections.abc import Iterable
from typing import Any

from aliquot.catalog.fleet_yaml import Document, FleetError, near

_KINDS = {str: "text", int: "a whole number", bool: "true or false", dict: "a mapping", list: "a list"}

LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_NAME_PART = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")


def is_label_key(text: str) -> bool:
    """Whether a text may be the key of a Kubernetes label, annotation or taint: [prefix/]name."""
    prefix, slash, name = text.rpartition("/")
    if slash and (len(prefix) > 253 or not _SUBDOMAIN.fullmatch(prefix)):
        return False
    return bool(_NAME_PART.fullmatch(name))


class Fields:
    """The fields of one mapping. Each is taken by name; `done` refuses those that were not."""

    def __init__(self, document: Document, path: str, value: Any) -> None:
        self._document = document
        self.path = path
        if not isinstance(value, dict):
            raise self.error("", "not a mapping", "write fields below it, one per line, as `name: value`")
        self._values: dict[str, Any] = value
        self._known: list[str] = []

    def inner(self, name: str) -> str:
        """The path of a field."""
        return f"{self.path}.{name}" if self.path and name else self.path or name

    def error(self, name: str, problem: str, fix: str) -> FleetError:
        """An error about a field, or about the mapping itself."""
        return self._document.error(self.inner(name), problem, fix)

    def has(self, name: str) -> bool:
        """Whether a field is there and not null."""
        return self._values.get(name) is not None

    def value(self, name: str) -> Any:
        """A field of any kind, or None."""
        self._known.append(name)
        return self._values.get(name)

    def _typed(self, name: str, kind: type, fix: str) -> Any:
        value = self.value(name)
        if value is None:
            return None
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            found = _KINDS.get(type(value), "empty")
            raise self.error(name, f"is {found}, not {_KINDS[kind]}", fix)
        return value

    def text(self, name: str, fix: str = "put it in quotes") -> str:
        """A text, or ""."""
        return self._typed(name, str, fix) or ""

    def flag(self, name: str) -> bool:
        """A truth value, false by default."""
        return bool(self._typed(name, bool, "write true or false"))

    def number(self, name: str, low: int, high: int, default: int) -> int:
        """A whole number within bounds."""
        value = self._typed(name, int, f"write a number from {low} to {high}")
        if value is None:
            return default
        if not low <= value <= high:
            raise self.error(name, f"{value} is out of range", f"write a number from {low} to {high}")
        return int(value)

    def mapping(self, name: str) -> "Fields | None":
        """The fields of a mapping inside, or None."""
        value = self.value(name)
        return None if value is None else Fields(self._document, self.inner(name), value)

    def items(self, name: str, fix: str) -> list[tuple[str, Any]]:
        """The items of a list inside, each with its path."""
        value = self._typed(name, list, fix) or []
        return [(f"{self.inner(name)}[{number}]", item) for number, item in enumerate(value)]

    def each(self, name: str, fix: str) -> list["Fields"]:
        """The mappings of a list inside."""
        return [Fields(self._document, path, item) for path, item in self.items(name, fix)]

    def choice(self, name: str, allowed: Iterable[str], default: str = "") -> str:
        """One of some words."""
        options = list(allowed)
        value = self.text(name)
        if not value:
            return default
        if value not in options:
            raise self.error(name, f"{value!r} is not known", f"write one of {', '.join(options)}")
        return value

    def label(self, name: str) -> str:
        """A text that may be the value of a label."""
        value = self.text(name)
        if not LABEL_VALUE.fullmatch(value):
            fix = "use at most 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends"
            raise self.error(name, f"{value!r} cannot be a label", fix)
        return value

    def names(self) -> list[str]:
        """The field names that are there."""
        return list(self._values)

    def labels(self, name: str) -> dict[str, str]:
        """A mapping of label keys to label values; numbers and truth values become text."""
        found = self.text_map(name)
        for key, value in found.items():
            if not LABEL_VALUE.fullmatch(value):
                fix = "use at most 63 letters, digits, `-`, `_` and `.`"
                raise self.error(f"{name}.{key}", f"{value!r} cannot be a label value", fix)
        return found

    def text_map(self, name: str) -> dict[str, str]:
        """A mapping of qualified names to texts, as in annotations."""
        inner = self.mapping(name)
        found: dict[str, str] = {}
        for key in inner.names() if inner else ():
            if not is_label_key(key):
                raise self.error(f"{name}.{key}", "is not a valid key", "write [prefix/]name")
            value = inner.value(key) if inner else None
            if isinstance(value, (dict, list)):
                raise self.error(f"{name}.{key}", "is not text", "put the value in quotes")
            found[key] = (
                str(value).lower() if isinstance(value, bool) else str("" if value is None else value)
            )
        return found

    def done(self) -> None:
        """Refuse fields that nobody asked for."""
        for name in self._values:
            if name not in self._known:
                likely = near(name, self._known, 1)
                known = ", ".join(sorted(set(self._known)))
                fix = f"did you mean {likely[0]!r}?" if likely else f"remove it; known here: {known}"
                raise self.error(name, "there is no such field", fix)
