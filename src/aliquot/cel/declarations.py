"""How functions are declared: typed overloads, the Python function behind each, and libraries of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aliquot.cel.typesystem import Type, parse_type

__all__ = ["Function", "Library", "Overload", "merge"]

Implementation = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Overload:
    """One typed form of a function.

    `identifier` is cel-go's overload id where it has one (costs go by it). `implementation` takes the
    target, if `member`, and the arguments as values (see `aliquot.cel.values`), and raises
    EvaluationError.
    """

    identifier: str
    member: bool
    parameters: tuple[Type, ...]
    result: Type
    implementation: Implementation = field(compare=False)


@dataclass(frozen=True, slots=True)
class Function:
    """A name and its overloads.

    With `implementation` the function itself looks at its values and picks what to do, so the overloads
    only serve the checker (operators, conversions).
    """

    name: str
    overloads: tuple[Overload, ...]
    implementation: Implementation | None = None


def _unused(*_: object) -> object:
    raise AssertionError("the function dispatches on its values itself")


@dataclass(slots=True)
class Library:
    """A set of functions under construction; the declaring methods take signatures as text."""

    functions: dict[str, Function] = field(default_factory=dict)
    types: dict[str, Type] = field(default_factory=dict)
    """Names of types that expressions may use as values, such as `net.IP`."""

    def _add(self, name: str, member: bool, identifier: str, signature: str, run: Implementation) -> None:
        parameters, _, result = signature.partition("->")
        overload = Overload(
            identifier,
            member,
            tuple(parse_type(part) for part in _split(parameters)),
            parse_type(result),
            run,
        )
        known = self.functions.get(name)
        self.functions[name] = Function(
            name,
            (*known.overloads, overload) if known else (overload,),
            known.implementation if known else None,
        )

    def free(self, name: str, identifier: str, signature: str, run: Implementation) -> None:
        """Declare `name(args)`, such as `free("isIP", "is_ip", "string -> bool", is_ip)`."""
        self._add(name, False, identifier, signature, run)

    def member(self, name: str, identifier: str, signature: str, run: Implementation) -> None:
        """Declare `target.name(args)`; the target's type comes first in the signature."""
        self._add(name, True, identifier, signature, run)

    def dispatching(
        self,
        name: str,
        run: Implementation,
        *,
        free: Mapping[str, str] | None = None,
        member: Mapping[str, str] | None = None,
    ) -> None:
        """Declare a function that picks by its values; overload ids map to signatures."""
        for identifier, signature in (free or {}).items():
            self._add(name, False, identifier, signature, _unused)
        for identifier, signature in (member or {}).items():
            self._add(name, True, identifier, signature, _unused)
        self.functions[name] = Function(name, self.functions[name].overloads, run)


def _split(text: str) -> list[str]:
    """Cut `map<K, V>, K` at the commas outside of angle brackets."""
    parts: list[str] = []
    depth = 0
    current = ""
    for character in text.replace(" ", ""):
        if character == "," and depth == 0:
            parts.append(current)
            current = ""
            continue
        depth += (character == "<") - (character == ">")
        current += character
    return [*parts, current] if current else parts


def merge(libraries: Iterable[Library]) -> tuple[dict[str, Function], dict[str, Type]]:
    """All functions and types of several libraries; overloads of one name add up."""
    functions: dict[str, Function] = {}
    types: dict[str, Type] = {}
    for library in libraries:
        types.update(library.types)
        for name, function in library.functions.items():
            known = functions.get(name)
            if known is None:
                functions[name] = function
                continue
            present = {overload.identifier for overload in known.overloads}
            added = tuple(each for each in function.overloads if each.identifier not in present)
            functions[name] = Function(
                name, known.overloads + added, known.implementation or function.implementation
            )
    return functions, types
