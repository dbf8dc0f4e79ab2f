"""The type checker: resolves names and overloads and gives each node its type, by the rules of cel-go."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from aliquot.cel.declarations import Function, Overload
from aliquot.cel.errors import CompileError, Issue, Source
from aliquot.cel.syntax import (
    Call,
    Comprehension,
    Ident,
    ListNode,
    Literal,
    MapNode,
    Node,
    Select,
    Struct,
)
from aliquot.cel.typesystem import (
    BOOL,
    BYTES,
    DOUBLE,
    DYN,
    ERROR,
    INT,
    NULL,
    STRING,
    UINT,
    Substitutions,
    Type,
    is_dynamic,
    is_dynamic_or_error,
    list_of,
    map_of,
    most_general,
    optional_of,
    type_of,
    unwrap_optional,
)
from aliquot.cel.values import TypeValue, UInt

__all__ = ["Declarations", "check"]


@dataclass(frozen=True, slots=True)
class Declarations:
    """What an expression may name."""

    variables: Mapping[str, Type]
    functions: Mapping[str, Function]
    types: Mapping[str, Type]
    """Types usable as values, by name."""

    fields: Mapping[str, Mapping[str, Type]] = field(default_factory=dict)
    """Fields of object types, by the type's name. A type that is not here has any field, of type dyn."""

    constructible: Callable[[str], bool] = lambda _: False
    """Whether an object of a type of this name may be built in an expression."""


_LITERALS: Final[dict[type, Type]] = {
    type(None): NULL,
    bool: BOOL,
    int: INT,
    UInt: UINT,
    float: DOUBLE,
    str: STRING,
    bytes: BYTES,
}
_SCALARS: Final = {
    "bool": BOOL,
    "int": INT,
    "uint": UINT,
    "double": DOUBLE,
    "string": STRING,
    "bytes": BYTES,
    "null_type": NULL,
    "list": list_of(DYN),
    "map": map_of(DYN, DYN),
    "type": type_of(DYN),
}


def check(root: Node, source: Source, declarations: Declarations) -> Type:
    """Annotate the tree; the type of the whole; raise CompileError with all issues found."""
    checker = _Checker(source, declarations)
    result = checker.check(root)
    if checker.issues:
        raise CompileError(tuple(sorted(checker.issues, key=lambda issue: (issue.line, issue.column))))
    checker.finish()
    return checker.resolve(result)


class _Checker:
    def __init__(self, source: Source, declarations: Declarations) -> None:
        self._source = source
        self._declared = declarations
        self._substitutions = Substitutions()
        self._scopes: list[dict[str, Type]] = [dict(declarations.variables)]
        self._nodes: list[Node] = []
        self.issues: list[Issue] = []

    def _report(self, at: int, message: str) -> Type:
        if len(self.issues) < 100:
            self.issues.append(self._source.issue(at, message))
        return ERROR

    def _undeclared(self, at: int, name: str) -> Type:
        return self._report(at, f"undeclared reference to '{name}' (in container '')")

    def resolve(self, kind: Type) -> Type:
        return self._substitutions.apply(kind, parameters_to_dyn=True)

    def finish(self) -> None:
        """Replace what is left of type parameters in the nodes' types."""
        for node in self._nodes:
            node.type = self.resolve(node.type)

    def check(self, node: Node) -> Type:
        if node.checked:
            return node.type
        node.checked = True
        node.type = self._typed(node)
        self._nodes.append(node)
        return node.type

    def _typed(self, node: Node) -> Type:
        if isinstance(node, Literal):
            return _LITERALS[type(node.value)]
        if isinstance(node, Ident):
            return self._identifier(node)
        if isinstance(node, Select):
            return self._selection(node)
        if isinstance(node, Call):
            return self._call(node)
        if isinstance(node, ListNode):
            return self._list(node)
        if isinstance(node, MapNode):
            return self._map(node)
        if isinstance(node, Struct):
            return self._struct(node)
        assert isinstance(node, Comprehension)
        return self._comprehension(node)

    def _named(self, name: str) -> tuple[Type, object] | None:
        """The type of a variable, or a type as a value."""
        plain = name.removeprefix(".")
        scopes = self._scopes[:1] if name.startswith(".") else reversed(self._scopes)
        for scope in scopes:
            if plain in scope:
                return scope[plain], None
        kind = self._declared.types.get(plain) or _SCALARS.get(plain)
        return (type_of(kind), TypeValue(plain)) if kind is not None else None

    def _is_local(self, name: str) -> bool:
        """Whether a loop or binding declares the name, which then hides variables such as `name.field`."""
        return any(name in scope for scope in self._scopes[1:])

    def _identifier(self, node: Ident) -> Type:
        found = self._named(node.name)
        if found is None:
            return self._undeclared(node.at, node.name)
        node.constant = found[1]
        return found[0]

    def _selection(self, node: Select) -> Type:
        dotted = None if node.test_only else _dotted(node)
        if dotted is not None and not self._is_local(dotted.partition(".")[0]):
            found = self._named(dotted)
            if found is not None:
                qualified = Ident(node.at, dotted)
                qualified.constant = found[1]
                qualified.type = found[0]
                qualified.checked = True
                node.qualified = qualified
                return found[0]
        result = self._field(node.at, node.operand, node.field)
        return BOOL if node.test_only else self._substitutions.apply(result)

    def _field(self, at: int, operand: Node, name: str, *, optional: bool = False) -> Type:
        target, unwrapped = unwrap_optional(self._substitutions.apply(self.check(operand)))
        result = DYN
        if target.kind == "map":
            result = target.parameters[1]
        elif target.kind == "struct":
            fields = self._declared.fields.get(target.name)
            if fields is not None:
                known = fields.get(name)
                result = known if known is not None else self._report(at, f"undefined field '{name}'")
        elif target.kind == "param":
            self._substitutions.assign([DYN], [target])
        elif not is_dynamic_or_error(target):
            self._report(at, f"type '{target}' does not support field selection")
        return optional_of(result) if optional or unwrapped else result

    def _call(self, node: Call) -> Type:
        if node.function == "_?._":
            name = node.args[1]
            self.check(name)
            assert isinstance(name, Literal)
            result = self._field(node.at, node.args[0], str(name.value), optional=True)
            function = self._declared.functions.get("_?._")
            node.overloads = function.overloads if function else ()
            return self._substitutions.apply(result)
        for argument in node.args:
            self.check(argument)
        if node.target is not None:
            prefix = _dotted(node.target)
            if prefix is not None:
                name_of_whole = f"{prefix.removeprefix('.')}.{node.function}"
                function = self._declared.functions.get(name_of_whole)
                if function is not None:
                    node.function = name_of_whole
                    node.target = None
                    return self._overload(node, function)
            self.check(node.target)
        function = self._declared.functions.get(node.function.removeprefix("."))
        if function is None:
            return self._undeclared(node.at, node.function)
        node.function = node.function.removeprefix(".")
        return self._overload(node, function)

    def _overload(self, node: Call, function: Function) -> Type:
        given = [operand.type for operand in node.operands]
        if function.name in ("_&&_", "_||_"):
            node.overloads = function.overloads
            for argument, kind in zip(node.args, given, strict=True):
                if not self._substitutions.assign([kind], [BOOL]):
                    self._report(argument.at, f"expected type 'bool' but found '{self.resolve(kind)}'")
            return BOOL
        member = node.target is not None
        matching: list[Overload] = []
        result: Type | None = None
        for overload in function.overloads:
            if overload.member != member or len(overload.parameters) != len(given):
                continue
            *wanted, kind = self._substitutions.instantiate((*overload.parameters, overload.result))
            if not self._substitutions.assign(given, wanted):
                continue
            matching.append(overload)
            kind = self._substitutions.apply(kind)
            if result is None:
                result = kind
            elif not is_dynamic(result) and kind != result:
                result = DYN
        if result is None:
            shown = [str(self.resolve(kind)) for kind in given]
            signature = f"{shown[0]}.({', '.join(shown[1:])})" if member else f"({', '.join(shown)})"
            return self._report(
                node.at, f"found no matching overload for '{function.name}' applied to '{signature}'"
            )
        node.overloads = tuple(matching)
        return result

    def _unwrapped(self, node: Node, kind: Type, *, optional: bool) -> Type:
        """The type of an element, entry or field; of what is inside if it is marked with `?`."""
        if not optional:
            return kind
        inner, is_optional = unwrap_optional(kind)
        if not is_optional and not is_dynamic(kind):
            self._report(node.at, f"expected type '{optional_of(kind)}' but found '{kind}'")
        return inner

    def _joined(self, previous: Type | None, current: Type) -> Type:
        """The type of a list's elements or a map's keys or values so far. `literals` refuses mixtures."""
        if previous is None:
            return current
        if self._substitutions.assign([previous], [current]):
            return most_general(previous, current)
        return DYN

    def _list(self, node: ListNode) -> Type:
        joined: Type | None = None
        for at, element in enumerate(node.elements):
            kind = self._unwrapped(element, self.check(element), optional=at in node.optional)
            joined = self._joined(joined, kind)
        return list_of(joined or self._substitutions.fresh())

    def _map(self, node: MapNode) -> Type:
        key: Type | None = None
        value: Type | None = None
        for entry in node.entries:
            key = self._joined(key, self.check(entry.key))
            kind = self._unwrapped(entry.value, self.check(entry.value), optional=entry.optional)
            value = self._joined(value, kind)
        return map_of(key or self._substitutions.fresh(), value or self._substitutions.fresh())

    def _struct(self, node: Struct) -> Type:
        name = node.type_name.removeprefix(".")
        if not self._declared.constructible(name):
            return self._undeclared(node.at, node.type_name)
        fields = self._declared.fields.get(name)
        for item in node.fields:
            kind = self._unwrapped(item.value, self.check(item.value), optional=item.optional)
            wanted = DYN if fields is None else fields.get(item.name)
            if wanted is None:
                self._report(item.at, f"undefined field '{item.name}'")
            elif not self._substitutions.assign([wanted], [kind]):
                self._report(
                    item.at,
                    f"expected type of field '{item.name}' is '{wanted}' but provided type is "
                    f"'{self.resolve(kind)}'",
                )
        return Type("struct", name)

    def _comprehension(self, node: Comprehension) -> Type:
        self.check(node.range)
        accumulated = self.check(node.initial)
        kind = self._substitutions.apply(node.range.type)
        key, value = DYN, DYN
        if kind.kind == "list":
            key, value = INT, kind.parameters[0]
        elif kind.kind == "map":
            # With one variable the loop runs over the keys.
            key, value = kind.parameters[0], kind.parameters[1 if node.key_variable else 0]
        elif kind.kind in ("dyn", "error", "param"):
            self._substitutions.assign([DYN], [kind])
        else:
            self._report(
                node.range.at,
                f"expression of type '{kind}' cannot be range of a comprehension "
                "(must be list, map, or dynamic)",
            )
            key = value = ERROR
        self._scopes.append({node.accumulator: accumulated})
        variables = {node.variable: value}
        if node.key_variable:
            variables[node.key_variable] = key
        self._scopes.append(variables)
        self.check(node.condition)
        self._assert(node.condition, BOOL)
        self.check(node.step)
        self._assert(node.step, accumulated)
        self._scopes.pop()
        self.check(node.result)
        self._scopes.pop()
        return self._substitutions.apply(node.result.type)

    def _assert(self, node: Node, kind: Type) -> None:
        if not self._substitutions.assign([kind], [node.type]):
            expected, found = self.resolve(kind), self.resolve(node.type)
            self._report(node.at, f"expected type '{expected}' but found '{found}'")


def _dotted(node: Node) -> str | None:
    """`a.b.c` if the node is nothing but names."""
    names: list[str] = []
    while isinstance(node, Select) and not node.test_only:
        names.append(node.field)
        node = node.operand
    if not isinstance(node, Ident):
        return None
    return ".".join([node.name, *reversed(names)])
