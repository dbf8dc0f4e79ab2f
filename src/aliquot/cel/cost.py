"""The static estimate of what an expression can cost, as cel-go and Kubernetes' libraries compute it.

Sizes and costs are ranges. A size is that of `size()`; one that nothing bounds is UNKNOWN. Kubernetes
compares the upper end with its limits, so the numbers are meant to be exact, quirks included.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from aliquot.cel.call_costs import price
from aliquot.cel.libraries.named_formats import LONGEST_PATTERN
from aliquot.cel.metering import (
    ALLOCATING,
    LIST_COST,
    MAP_COST,
    REGEX_FACTOR,
    STRING_FACTOR,
    STRUCT_COST,
)
from aliquot.cel.sizes import NOTHING, ONE, UNBOUNDED, UNKNOWN, Operand, Path, Range, SizeOf, fixed
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
from aliquot.cel.typesystem import Type

__all__ = ["static_cost"]


@dataclass(frozen=True, slots=True)
class _Entries:
    """Sizes of a container's keys (or indices) and values."""

    container: str
    key: Range
    value: Range

    def union(self, other: _Entries) -> _Entries:
        return _Entries(self.container, self.key.union(other.key), self.value.union(other.value))


@dataclass(frozen=True, slots=True)
class _Local:
    path: Path
    size: Range | None
    entries: _Entries | None


def static_cost(root: Node, size_of: SizeOf, *, strict: bool = False) -> int:
    """The worst-case cost of a checked tree; UNBOUNDED if an input's size is.

    Kubernetes' estimate counts no fields of dynamic values, although evaluation does. With `strict`
    they are counted, and the result is never below what an evaluation costs.
    """
    return _Estimator(size_of, strict=strict).cost(root).high


class _Estimator:
    def __init__(self, size_of: SizeOf, *, strict: bool) -> None:
        self._size_of = size_of
        self._strict = strict
        self._step = fixed(2) if strict else NOTHING
        self._costs: dict[Node, Range] = {}
        self._paths: dict[Node, Path] = {}
        self._sizes: dict[Node, Range] = {}
        self._entries: dict[Node, _Entries] = {}
        self._locals: dict[str, list[_Local]] = {}

    def cost(self, node: Node) -> Range:
        # A node of an expanded macro can occur twice; pricing it once keeps chains of them linear.
        known = self._costs.get(node)
        if known is None:
            known = self._costs[node] = self._priced(node)
        return known

    def _priced(self, node: Node) -> Range:
        if isinstance(node, Literal):
            return NOTHING
        if isinstance(node, Ident):
            local = self._local(node.name)
            self._paths[node] = local.path if local else (node.name,)
            return ONE
        if isinstance(node, Select):
            return self._select(node)
        if isinstance(node, Call):
            return self._call(node)
        if isinstance(node, ListNode):
            total = self._sum(node.elements)
            sizes = [self._size(element) or UNKNOWN for element in node.elements]
            self._entries[node] = _Entries("list", ONE, _spread(sizes))
            return total + fixed(LIST_COST)
        if isinstance(node, MapNode):
            keys = [entry.key for entry in node.entries]
            values = [entry.value for entry in node.entries]
            total = self._sum(keys) + self._sum(values)
            self._entries[node] = _Entries(
                "map",
                _spread([self._size(key) or UNKNOWN for key in keys]),
                _spread([self._size(value) or UNKNOWN for value in values]),
            )
            return total + fixed(MAP_COST)
        if isinstance(node, Struct):
            return self._sum([field.value for field in node.fields]) + fixed(STRUCT_COST)
        assert isinstance(node, Comprehension)
        return self._bind(node) if node.shape == "bind" else self._fold(node)

    def _sum(self, nodes: list[Node]) -> Range:
        total = NOTHING
        for node in nodes:
            total += self.cost(node)
        return total

    def _select(self, node: Select) -> Range:
        if node.qualified is not None:
            return self.cost(node.qualified)
        cost = self.cost(node.operand)
        if node.test_only:
            return cost
        if node.operand.type.kind in ("map", "struct", "param"):
            cost += ONE
        cost += self._step
        self._paths[node] = (*self._path(node.operand), node.field)
        return cost

    def _local(self, name: str) -> _Local | None:
        stack = self._locals.get(name)
        return stack[-1] if stack else None

    def _path(self, node: Node) -> Path:
        if isinstance(node, Ident):
            local = self._local(node.name)
            if local is not None:
                return local.path
        return self._paths.get(node, ())

    def _size(self, node: Node) -> Range | None:
        known = self._sizes.get(node)
        if known is not None:
            return known
        literal = _literal_size(node)
        if literal is not None:
            return literal
        path = self._path(node)
        bound = self._size_of(path) if path else None
        if bound is not None:
            self._sizes[node] = Range(0, bound)
            return self._sizes[node]
        if _is_scalar(node.type):
            return ONE
        local = self._local(node.name) if isinstance(node, Ident) else None
        return local.size if local else None

    def _entry_sizes(self, node: Node) -> _Entries | None:
        known = self._entries.get(node)
        if known is not None:
            return known
        local = self._local(node.name) if isinstance(node, Ident) else None
        return local.entries if local else None

    def _operand(self, node: Node) -> Operand:
        path = self._path(node)
        return Operand(
            node,
            node.type,
            None if path[:1] == ("@result",) else path or None,
            self._size(node),
            self._size_of,
        )

    def _call(self, node: Call) -> Range:
        if node.function == "dyn":
            cost = ONE + self.cost(node.args[0])
            self._copy(node, node.args[0])
            return cost
        costs = [self.cost(argument) for argument in node.args]
        arguments = [self._operand(argument) for argument in node.args]
        total = NOTHING
        target = None
        if node.target is not None:
            total = self.cost(node.target)
            target = self._operand(node.target)
        if not node.overloads:
            return NOTHING
        call = Range(UNBOUNDED, 0)
        result: Range | None = None
        for overload in node.overloads:
            priced = price(node.function, overload.identifier, target, arguments, costs)
            call = call.union(priced.cost)
            if priced.result is not None:
                result = priced.result if result is None else result.union(priced.result)
            if overload.identifier in ("_?_:_", "conditional"):
                self._join(node, node.args[1], node.args[2])
            elif overload.identifier in ("add_string", "add_bytes", "add_list"):
                self._join(node, node.args[0], node.args[1])
            elif overload.identifier in ("index_list", "index_map"):
                entries = self._entry_sizes(node.args[0])
                result = entries.value if entries else None
                step = "@items" if overload.identifier == "index_list" else "@values"
                self._paths[node] = (*self._path(node.args[0]), step)
            if result is None:
                result = self._size(node)
        if self._strict:
            extra, result = _unpriced(node, target, arguments, result)
            total += extra
        if result is not None:
            self._sizes[node] = result
        if self._strict and node.function in ALLOCATING:
            total += result.scaled(0.1) if result is not None else UNKNOWN
        if self._strict and node.function in _WALKING and not (target and _is_flat(target.type)):
            total += UNKNOWN
        return total + call + self._step

    def _join(self, node: Node, left: Node, right: Node) -> None:
        first, second = self._entry_sizes(left), self._entry_sizes(right)
        if first is not None and second is not None:
            self._entries[node] = first.union(second)

    def _copy(self, node: Node, source: Node) -> None:
        size, entries = self._size(source), self._entry_sizes(source)
        if size is not None:
            self._sizes[node] = size
        if entries is not None:
            self._entries[node] = entries

    def _push(self, name: str, local: _Local) -> None:
        self._locals.setdefault(name, []).append(local)

    def _bind(self, node: Comprehension) -> Range:
        total = self.cost(node.range) + self.cost(node.initial)
        local = _Local(self._path(node.initial), self._size(node.initial), self._entry_sizes(node.initial))
        self._push(node.accumulator, local)
        total += self.cost(node.result)
        self._copy(node, node.result)
        self._locals[node.accumulator].pop()
        return total

    def _fold(self, node: Comprehension) -> Range:
        total = self.cost(node.range) + self.cost(node.initial)
        local = _Local(self._path(node.initial), self._size(node.initial), self._entry_sizes(node.initial))
        self._push(node.accumulator, local)
        entries = self._entry_sizes(node.range)
        container = entries.container if entries else node.range.type.kind
        path = self._path(node.range)
        is_list = container == "list"
        value = _Local((*path, "@items" if is_list else "@values"), entries.value if entries else None, None)
        key = _Local((*path, "@indices" if is_list else "@keys"), entries.key if entries else None, None)
        if node.key_variable:
            self._push(node.key_variable, key)
            self._push(node.variable, value)
        else:
            self._push(node.variable, value if is_list else key)
        each = self.cost(node.condition) + self.cost(node.step)
        step_entries = self._entry_sizes(node.step)
        self._locals[node.variable].pop()
        if node.key_variable:
            self._locals[node.key_variable].pop()
        total += self.cost(node.result)
        self._locals[node.accumulator].pop()
        count = self._size(node.range) or UNKNOWN
        if isinstance(node.initial, Literal):
            self._sizes[node] = ONE
        else:
            self._sizes[node] = count
            if step_entries is not None:
                self._entries[node] = step_entries
        return total + count * each


_WALKING: Final = frozenset({"indexOf", "lastIndexOf", "includes", "isSorted", "sum", "max", "min"})
"""Functions that are charged for all that is in their target's elements, at any depth."""


def _unpriced(
    node: Call, target: Operand | None, arguments: list[Operand], result: Range | None
) -> tuple[Range, Range | None]:
    """What Kubernetes' estimate leaves out of a call: cost to add, and the size that the result can have."""
    extra = NOTHING
    name = node.function
    if name in ("startsWith", "endsWith") and target is not None:
        # It goes by the text searched for, evaluation by the text searched.
        extra = target.size.scaled(STRING_FACTOR)
    elif name == "validate" and arguments:
        longest = fixed(LONGEST_PATTERN).scaled(REGEX_FACTOR)
        extra = (arguments[0].size + ONE).scaled(STRING_FACTOR) * longest
    elif name == "strings.quote" and arguments:
        # It wraps around for texts of unknown size.
        result = arguments[0].size * fixed(2) + fixed(2)
    elif name in ("string", "bytes") and len(node.overloads) > 1:
        # Of what is only known to be dynamic it takes the size for that of a number.
        result = UNKNOWN
    return extra, result


def _is_flat(kind: Type) -> bool:
    """Whether nothing is nested in the elements of a list of this type, or the type is no list."""
    if kind.kind != "list":
        return kind.kind == "string"
    return _is_scalar(kind.parameters[0]) or kind.parameters[0].kind in ("string", "bytes")


def _spread(sizes: list[Range]) -> Range:
    total = Range(UNBOUNDED if sizes else 0, 0)
    for size in sizes:
        total = total.union(size)
    return total


def _literal_size(node: Node) -> Range | None:
    if isinstance(node, Literal):
        return fixed(len(node.value) if isinstance(node.value, str | bytes) else 1)
    if isinstance(node, ListNode):
        return fixed(len(node.elements))
    if isinstance(node, MapNode):
        return fixed(len(node.entries))
    return None


def _is_scalar(kind: Type) -> bool:
    if kind.kind == "opaque" and kind.name == "optional_type":
        return _is_scalar(kind.parameters[0])
    return kind.kind in ("bool", "double", "duration", "int", "timestamp", "uint")
