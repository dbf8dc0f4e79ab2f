"""The syntax tree: what the parser builds (macros already expanded) and the checker annotates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from aliquot.cel.typesystem import DYN, Type

if TYPE_CHECKING:
    from aliquot.cel.declarations import Overload

__all__ = [
    "Call",
    "Comprehension",
    "Entry",
    "Ident",
    "ListNode",
    "Literal",
    "MapNode",
    "Node",
    "OptionalMap",
    "Select",
    "Struct",
    "StructField",
    "children",
    "walk",
]


class Node:
    """A node at character offset `at`; `type` is set by the checker; `depth` counts levels below and it."""

    __slots__ = ("at", "checked", "depth", "type")

    def __init__(self, at: int, children: tuple[Node, ...] = ()) -> None:
        self.at = at
        self.type: Type = DYN
        self.checked = False
        self.depth: int = 1 + max((child.depth for child in children), default=0)


class Literal(Node):
    """A constant: None, bool, int, UInt, float, str or bytes."""

    __slots__ = ("value",)

    def __init__(self, at: int, value: object) -> None:
        super().__init__(at)
        self.value = value


class Ident(Node):
    """A variable or, after checking, a type; `constant` is then the type's value."""

    __slots__ = ("constant", "name")

    def __init__(self, at: int, name: str) -> None:
        super().__init__(at)
        self.name = name
        self.constant: object = None


class Select(Node):
    """`operand.field`, or with `test_only` what `has(operand.field)` expands to."""

    __slots__ = ("field", "operand", "qualified", "test_only")

    def __init__(self, at: int, operand: Node, field: str, *, test_only: bool = False) -> None:
        super().__init__(at, (operand,))
        self.operand = operand
        self.field = field
        self.test_only = test_only
        self.qualified: Ident | None = None
        """Set by the checker if the whole chain is the name of one variable or type."""


class OptionalMap:
    """What an `optMap` or `optFlatMap` call was written as, kept beside its expansion.

    The expansion evaluates its target twice, chains of it exponentially often; the compiler uses this
    instead.
    """

    __slots__ = ("body", "flat", "target", "variable")

    def __init__(self, target: Node, variable: str, body: Node, *, flat: bool) -> None:
        self.target = target
        self.variable = variable
        self.body = body
        self.flat = flat


class Call(Node):
    """A function, operator or member function call; `overloads` are those the checker found possible."""

    __slots__ = ("args", "function", "optional_map", "overloads", "target")

    def __init__(self, at: int, function: str, args: list[Node], target: Node | None = None) -> None:
        super().__init__(at, (*args, target) if target is not None else tuple(args))
        self.function = function
        self.args = args
        self.target = target
        self.overloads: tuple[Overload, ...] = ()
        self.optional_map: OptionalMap | None = None

    @property
    def operands(self) -> list[Node]:
        """The target, if any, and the arguments."""
        return self.args if self.target is None else [self.target, *self.args]


class ListNode(Node):
    """`[a, ?b]`; `optional` holds the indices of elements marked with `?`."""

    __slots__ = ("elements", "optional")

    def __init__(self, at: int, elements: list[Node], optional: frozenset[int] = frozenset()) -> None:
        super().__init__(at, tuple(elements))
        self.elements = elements
        self.optional = optional


class Entry:
    """`key: value` in a map, `?key: value` if `optional`."""

    __slots__ = ("key", "optional", "value")

    def __init__(self, key: Node, value: Node, *, optional: bool) -> None:
        self.key = key
        self.value = value
        self.optional = optional


class MapNode(Node):
    """`{a: b}`."""

    __slots__ = ("entries",)

    def __init__(self, at: int, entries: list[Entry]) -> None:
        super().__init__(at, tuple(child for entry in entries for child in (entry.key, entry.value)))
        self.entries = entries


class StructField:
    """`name: value` in an object, `?name: value` if `optional`."""

    __slots__ = ("at", "name", "optional", "value")

    def __init__(self, at: int, name: str, value: Node, *, optional: bool) -> None:
        self.at = at
        self.name = name
        self.value = value
        self.optional = optional


class Struct(Node):
    """`Type.name{field: value}`."""

    __slots__ = ("fields", "type_name")

    def __init__(self, at: int, type_name: str, fields: list[StructField]) -> None:
        super().__init__(at, tuple(field.value for field in fields))
        self.type_name = type_name
        self.fields = fields


class Comprehension(Node):
    """A fold over a list or map, as every macro that loops expands to.

    `shape` names the macro (`all`, `exists`, `exists_one`, `map`, `filter`, `transform_map`,
    `transform_map_entry`, `bind`); `predicate` and `transform` are the parts of `step` that the user wrote.
    """

    __slots__ = (
        "accumulator",
        "condition",
        "initial",
        "key_variable",
        "predicate",
        "range",
        "result",
        "shape",
        "step",
        "transform",
        "variable",
    )

    def __init__(
        self,
        at: int,
        shape: str,
        *,
        range: Node,
        variable: str,
        key_variable: str = "",
        accumulator: str,
        initial: Node,
        condition: Node,
        step: Node,
        result: Node,
        predicate: Node | None = None,
        transform: Node | None = None,
    ) -> None:
        super().__init__(at, (range, initial, condition, step, result))
        self.shape = shape
        self.range = range
        self.variable = variable
        self.key_variable = key_variable
        self.accumulator = accumulator
        self.initial = initial
        self.condition = condition
        self.step = step
        self.result = result
        self.predicate = predicate
        self.transform = transform


def walk(root: Node) -> Iterator[Node]:
    """Every node of a tree once, parents first."""
    pending = [root]
    seen: set[Node] = set()
    while pending:
        node = pending.pop()
        if node in seen:
            continue
        seen.add(node)
        yield node
        pending.extend(reversed(children(node)))


def children(node: Node) -> list[Node]:
    """The nodes directly below."""
    if isinstance(node, Select):
        return [node.operand]
    if isinstance(node, Call):
        return node.operands
    if isinstance(node, ListNode):
        return node.elements
    if isinstance(node, MapNode):
        return [child for entry in node.entries for child in (entry.key, entry.value)]
    if isinstance(node, Struct):
        return [field.value for field in node.fields]
    if isinstance(node, Comprehension):
        return [node.range, node.initial, node.condition, node.step, node.result]
    return []
