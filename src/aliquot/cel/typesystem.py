"""Types of expressions: their notation, and which one may stand for which."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

__all__ = [
    "ANY",
    "BOOL",
    "BYTES",
    "DOUBLE",
    "DURATION",
    "DYN",
    "ERROR",
    "INT",
    "NULL",
    "STRING",
    "TIMESTAMP",
    "UINT",
    "Substitutions",
    "Type",
    "is_dynamic",
    "list_of",
    "map_of",
    "most_general",
    "opaque",
    "optional_of",
    "parse_type",
    "struct",
    "type_of",
]


@dataclass(frozen=True, slots=True)
class Type:
    """A type: a primitive, `list`, `map`, `type`, `opaque`, `struct` or a type parameter (`param`)."""

    kind: str
    name: str = ""
    parameters: tuple[Type, ...] = ()

    def __str__(self) -> str:
        if self.kind in ("opaque", "struct", "param"):
            name = self.name
        else:
            name = _SHOWN.get(self.kind, self.kind)
        if not self.parameters:
            return name
        return f"{name}({', '.join(map(str, self.parameters))})"


_SHOWN: Final = {"any": "any", "error": "!error!"}

BOOL: Final = Type("bool")
INT: Final = Type("int")
UINT: Final = Type("uint")
DOUBLE: Final = Type("double")
STRING: Final = Type("string")
BYTES: Final = Type("bytes")
NULL: Final = Type("null")
DYN: Final = Type("dyn")
ANY: Final = Type("any")
"""Like dyn, except that it cannot be the range of a comprehension (google.protobuf.Any)."""
ERROR: Final = Type("error")
TIMESTAMP: Final = Type("timestamp")
DURATION: Final = Type("duration")

_PRIMITIVES: Final = {
    kind.kind: kind for kind in (BOOL, INT, UINT, DOUBLE, STRING, BYTES, NULL, DYN, ANY, TIMESTAMP, DURATION)
}
_PARAMETERIZED: Final = frozenset({"list", "map", "opaque", "type"})
_NULLABLE: Final = frozenset({"opaque", "struct", "any", "duration", "timestamp"})


def list_of(element: Type) -> Type:
    return Type("list", "", (element,))


def map_of(key: Type, value: Type) -> Type:
    return Type("map", "", (key, value))


def type_of(inner: Type) -> Type:
    return Type("type", "", (inner,))


def opaque(name: str, *parameters: Type) -> Type:
    return Type("opaque", name, parameters)


def struct(name: str) -> Type:
    """An object type; its fields are known to the environment."""
    return Type("struct", name)


def optional_of(inner: Type) -> Type:
    return opaque("optional_type", inner)


def unwrap_optional(kind: Type) -> tuple[Type, bool]:
    """The type inside an optional and True, or the type itself and False."""
    if kind.kind == "opaque" and kind.name == "optional_type":
        return kind.parameters[0], True
    return kind, False


def is_dynamic(kind: Type) -> bool:
    return kind.kind in ("dyn", "any")


def is_dynamic_or_error(kind: Type) -> bool:
    return kind.kind in ("dyn", "any", "error")


def parse_type(text: str) -> Type:
    """The type written as `int`, `list<T>`, `map<K, V>`, `optional<V>`, `type<T>` or an object type's name.

    One upper-case letter is a type parameter; a name with a leading `%` is an opaque type.
    """
    kind, rest = _parse_type(text.replace(" ", ""))
    if rest:
        raise ValueError(f"{text!r} is not a type: {rest!r} is left over")
    return kind


def _parse_type(text: str) -> tuple[Type, str]:
    end = next((at for at, character in enumerate(text) if character in "<>,"), len(text))
    name, rest = text[:end], text[end:]
    if name in _PRIMITIVES:
        return _PRIMITIVES[name], rest
    if len(name) == 1 and name.isupper():
        return Type("param", name), rest
    parameters: list[Type] = []
    if rest.startswith("<"):
        while not rest.startswith(">"):
            parameter, rest = _parse_type(rest[1:])
            parameters.append(parameter)
        rest = rest[1:]
    if name == "optional":
        return optional_of(*parameters), rest
    if name in ("list", "map", "type"):
        return Type(name, "", tuple(parameters)), rest
    if name.startswith("%"):
        return opaque(name[1:], *parameters), rest
    return struct(name), rest


def is_equal_or_less_specific(first: Type, second: Type) -> bool:
    """Whether `first` equals `second` or is vaguer, through dyn."""
    if is_dynamic(first) or first.kind == "param":
        return True
    if is_dynamic(second) or second.kind == "param":
        return False
    if first.kind != second.kind:
        return False
    if first.kind in ("opaque", "list", "map"):
        return (
            first.name == second.name
            and len(first.parameters) == len(second.parameters)
            and all(map(is_equal_or_less_specific, first.parameters, second.parameters))
        )
    return first.kind == "type" or first == second


def most_general(first: Type, second: Type) -> Type:
    """The vaguer of two types that are known to agree."""
    return first if is_equal_or_less_specific(first, second) else second


class Substitutions:
    """What type parameters are known to stand for; grows while an expression is checked."""

    __slots__ = ("_fresh", "_journal", "_known")

    def __init__(self) -> None:
        self._known: dict[Type, Type] = {}
        self._journal: list[tuple[Type, Type | None]] = []
        self._fresh = 0

    def fresh(self) -> Type:
        """A type parameter that occurs nowhere else."""
        self._fresh += 1
        return Type("param", f"_var{self._fresh}")

    def instantiate(self, kinds: Iterable[Type]) -> list[Type]:
        """The types with their parameters replaced by fresh ones, the same one by the same one."""
        replaced: dict[Type, Type] = {}

        def replace(kind: Type) -> Type:
            if kind.kind == "param":
                if kind not in replaced:
                    replaced[kind] = self.fresh()
                return replaced[kind]
            if kind.parameters:
                return Type(kind.kind, kind.name, tuple(map(replace, kind.parameters)))
            return kind

        return [replace(kind) for kind in kinds]

    def apply(self, kind: Type, *, parameters_to_dyn: bool = False) -> Type:
        """The type with all known parameters replaced; unknown ones by dyn if so asked."""
        while kind in self._known:
            kind = self._known[kind]
        if kind.kind == "param":
            return DYN if parameters_to_dyn else kind
        if kind.kind in _PARAMETERIZED and kind.parameters:
            return Type(
                kind.kind,
                kind.name,
                tuple(self.apply(part, parameters_to_dyn=parameters_to_dyn) for part in kind.parameters),
            )
        return kind

    def assign(self, given: Iterable[Type], wanted: Iterable[Type]) -> bool:
        """Whether each given type may stand where the wanted one is; what that implies is remembered."""
        self._journal.clear()
        if all(self._assignable(first, second) for first, second in zip(given, wanted, strict=True)):
            return True
        for parameter, before in reversed(self._journal):
            if before is None:
                del self._known[parameter]
            else:
                self._known[parameter] = before
        return False

    def _learn(self, parameter: Type, kind: Type) -> None:
        self._journal.append((parameter, self._known.get(parameter)))
        self._known[parameter] = kind

    def _assignable(self, given: Type, wanted: Type) -> bool:
        if wanted.kind == "param":
            valid, known = self._substitutable(given, wanted)
            if valid or known:
                return valid
        if given.kind == "param":
            return self._substitutable(wanted, given)[0]
        if is_dynamic_or_error(given) or is_dynamic_or_error(wanted):
            return True
        if given.kind == "null":
            return wanted.kind in _NULLABLE or wanted.kind == "null"
        if wanted.kind == "null":
            return given.kind in _NULLABLE
        if given.kind in ("opaque", "list", "map"):
            return (
                given.kind == wanted.kind
                and given.name == wanted.name
                and len(given.parameters) == len(wanted.parameters)
                and all(map(self._assignable, given.parameters, wanted.parameters))
            )
        if given.kind == "type":
            return wanted.kind == "type"
        return given == wanted

    def _substitutable(self, kind: Type, parameter: Type) -> tuple[bool, bool]:
        """Whether `kind` may be what `parameter` stands for, and whether that was known before."""
        if kind == parameter:
            return True, True
        known = self._known.get(parameter)
        if known is not None:
            if kind == known:
                return True, True
            if self._assignable(kind, known):
                general = most_general(kind, known)
                if self._absent(parameter, general):
                    self._learn(parameter, general)
                return True, True
            return False, True
        if self._absent(parameter, kind):
            self._learn(parameter, kind)
            return True, False
        return False, False

    def _absent(self, parameter: Type, within: Type) -> bool:
        """Whether the parameter occurs nowhere in a type, so that no type contains itself."""
        if parameter == within:
            return False
        if within.kind == "param":
            known = self._known.get(within)
            return known is None or self._absent(parameter, known)
        return all(self._absent(parameter, part) for part in within.parameters)
