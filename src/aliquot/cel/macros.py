"""Macros: calls that the parser rewrites into folds, presence tests and conditionals.

The expansions are those of cel-go, because Kubernetes' cost of an expression is defined over them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from aliquot.cel.syntax import (
    Call,
    Comprehension,
    Ident,
    ListNode,
    Literal,
    MapNode,
    Node,
    OptionalMap,
    Select,
)

__all__ = ["ACCUMULATOR", "UNUSED", "MacroError", "expand"]

ACCUMULATOR: Final = "@result"
"""The fold's variable; no expression can name it."""

UNUSED: Final = "#unused"
"""The loop variable of a fold that never loops (`cel.bind`)."""


class MacroError(ValueError):
    """A macro used with arguments it cannot take, at `at`."""

    def __init__(self, at: int, message: str) -> None:
        super().__init__(at, message)
        self.at = at
        self.message = message


def expand(at: int, function: str, target: Node | None, args: list[Node], *, two_variables: bool) -> Node:
    """The expansion of a macro call, or the plain call if it is none."""
    if target is None:
        if function == "has" and len(args) == 1:
            return _has(at, args[0])
        return Call(at, function, args)
    if isinstance(target, Ident) and target.name == "cel" and function == "bind" and len(args) == 3:
        return _bind(at, args)
    one = _ONE_VARIABLE.get((function, len(args)))
    if one is not None:
        return one(at, target, args)
    two = _TWO_VARIABLES.get((function, len(args))) if two_variables else None
    if two is not None:
        return two(at, target, args)
    return Call(at, function, args, target)


def _has(at: int, operand: Node) -> Node:
    if not isinstance(operand, Select) or operand.test_only:
        raise MacroError(operand.at, "invalid argument to has() macro")
    return Select(at, operand.operand, operand.field, test_only=True)


def _bind(at: int, args: list[Node]) -> Node:
    if not isinstance(args[0], Ident):
        raise MacroError(args[0].at, "cel.bind() variable names must be simple identifiers")
    return _bound(at, args[0].name, args[1], args[2])


def _bound(at: int, name: str, value: Node, body: Node) -> Comprehension:
    return Comprehension(
        at,
        "bind",
        range=ListNode(at, []),
        variable=UNUSED,
        accumulator=name,
        initial=value,
        condition=Literal(at, False),
        step=Ident(at, name),
        result=body,
    )


def _variable(node: Node) -> str:
    if not isinstance(node, Ident) or node.name.startswith("."):
        raise MacroError(node.at, "argument is not an identifier")
    if node.name == "__result__":
        raise MacroError(node.at, "iteration variable overwrites accumulator variable")
    return node.name


def _variables(args: list[Node]) -> tuple[str, str]:
    """The key (or index) and value variables that two-variable macros start with."""
    key, value = _variable(args[0]), _variable(args[1])
    if key == value:
        raise MacroError(args[1].at, f"duplicate variable name: {key}")
    return key, value


def _result(at: int) -> Ident:
    return Ident(at, ACCUMULATOR)


def _fold(
    at: int,
    shape: str,
    target: Node,
    names: tuple[str, str],
    *,
    predicate: Node | None = None,
    transform: Node | None = None,
) -> Comprehension:
    """The fold behind each looping macro; `names` are key variable ("" for none) and variable."""
    initial: Node
    condition: Node = Literal(at, True)
    result: Node = _result(at)
    if shape == "all":
        assert predicate is not None
        initial = Literal(at, True)
        condition = Call(at, "@not_strictly_false", [_result(at)])
        step: Node = Call(at, "_&&_", [_result(at), predicate])
    elif shape == "exists":
        assert predicate is not None
        initial = Literal(at, False)
        condition = Call(at, "@not_strictly_false", [Call(at, "!_", [_result(at)])])
        step = Call(at, "_||_", [_result(at), predicate])
    elif shape == "exists_one":
        assert predicate is not None
        initial = Literal(at, 0)
        increment = Call(at, "_+_", [_result(at), Literal(at, 1)])
        step = Call(at, "_?_:_", [predicate, increment, _result(at)])
        result = Call(at, "_==_", [_result(at), Literal(at, 1)])
    else:
        assert transform is not None
        if shape == "map":
            initial = ListNode(at, [])
            step = Call(at, "_+_", [_result(at), ListNode(at, [transform])])
        elif shape == "transform_map":
            initial = MapNode(at, [])
            step = Call(at, "cel.@mapInsert", [_result(at), Ident(at, names[0]), transform])
        else:
            initial = MapNode(at, [])
            step = Call(at, "cel.@mapInsert", [_result(at), transform])
        if predicate is not None:
            step = Call(at, "_?_:_", [predicate, step, _result(at)])
    return Comprehension(
        at,
        shape,
        range=target,
        variable=names[1],
        key_variable=names[0],
        accumulator=ACCUMULATOR,
        initial=initial,
        condition=condition,
        step=step,
        result=result,
        predicate=predicate,
        transform=transform,
    )


def _quantifier(shape: str) -> Callable[[int, Node, list[Node]], Node]:
    return lambda at, target, args: _fold(at, shape, target, ("", _variable(args[0])), predicate=args[1])


def _quantifier_of_two(shape: str) -> Callable[[int, Node, list[Node]], Node]:
    return lambda at, target, args: _fold(at, shape, target, _variables(args), predicate=args[2])


def _map(at: int, target: Node, args: list[Node]) -> Node:
    predicate = args[1] if len(args) == 3 else None
    return _fold(at, "map", target, ("", _variable(args[0])), predicate=predicate, transform=args[-1])


def _filter(at: int, target: Node, args: list[Node]) -> Node:
    name = _variable(args[0])
    return _fold(at, "map", target, ("", name), predicate=args[1], transform=Ident(args[0].at, name))


_SORTED: Final = "@__sortBy_input__"


def _sort_by(at: int, target: Node, args: list[Node]) -> Node:
    """Bind the list, map it to its keys, and sort it by them."""
    name = _variable(args[0])
    keys = _fold(at, "map", Ident(at, _SORTED), ("", name), transform=args[1])
    return _bound(at, _SORTED, target, Call(at, "@sortByAssociatedKeys", [keys], Ident(at, _SORTED)))


def _transform(shape: str) -> Callable[[int, Node, list[Node]], Node]:
    def build(at: int, target: Node, args: list[Node]) -> Node:
        predicate = args[2] if len(args) == 4 else None
        return _fold(at, shape, target, _variables(args), predicate=predicate, transform=args[-1])

    return build


def _optional_map(*, flat: bool) -> Callable[[int, Node, list[Node]], Node]:
    name = "optFlatMap" if flat else "optMap"

    def build(at: int, target: Node, args: list[Node]) -> Node:
        variable = args[0]
        if not isinstance(variable, Ident):
            raise MacroError(variable.at, f"{name}() variable name must be a simple identifier")
        value = Call(at, "value", [], target)
        present: Node = _bound(at, variable.name, value, args[1])
        if not flat:
            present = Call(at, "optional.of", [present])
        call = Call(at, "_?_:_", [Call(at, "hasValue", [], target), present, Call(at, "optional.none", [])])
        call.optional_map = OptionalMap(target, variable.name, args[1], flat=flat)
        return call

    return build


_ONE_VARIABLE: Final = {
    ("all", 2): _quantifier("all"),
    ("exists", 2): _quantifier("exists"),
    ("exists_one", 2): _quantifier("exists_one"),
    ("map", 2): _map,
    ("map", 3): _map,
    ("filter", 2): _filter,
    ("sortBy", 2): _sort_by,
    ("optMap", 2): _optional_map(flat=False),
    ("optFlatMap", 2): _optional_map(flat=True),
}
_TWO_VARIABLES: Final = {
    ("all", 3): _quantifier_of_two("all"),
    ("exists", 3): _quantifier_of_two("exists"),
    ("exists_one", 3): _quantifier_of_two("exists_one"),
    ("existsOne", 3): _quantifier_of_two("exists_one"),
    ("transformList", 3): _transform("map"),
    ("transformList", 4): _transform("map"),
    ("transformMap", 3): _transform("transform_map"),
    ("transformMap", 4): _transform("transform_map"),
    ("transformMapEntry", 3): _transform("transform_map_entry"),
    ("transformMapEntry", 4): _transform("transform_map_entry"),
}
