"""From checked tree to Python closures.

Each node becomes a function of the frame, a list with the meter at 0 and a slot per variable. A program
is compiled twice at most: with metering, and without for when the static cost shows that no limit can be
reached.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

from aliquot.cel import operators as op
from aliquot.cel.closures import (
    PENDING,
    Closure,
    Frame,
    certain,
    conditional,
    constant,
    discounted,
    dispatch,
    first_read,
    logical,
    lookup,
    matches,
    membership,
    metered_call,
    metered_step,
    plain_call,
    presence,
    put,
    read_path,
)
from aliquot.cel.comprehensions import LoopParts, loop
from aliquot.cel.constants import CONVERSIONS, Constants
from aliquot.cel.declarations import Function
from aliquot.cel.errors import EvaluationError, Position, Source
from aliquot.cel.metering import ALLOCATING, LIST_COST, MAP_COST, STRUCT_COST, call_price
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
    Struct,
)
from aliquot.cel.values import NO_SUCH_OVERLOAD, NONE, ObjectValue, Optional

__all__ = ["Compiler"]

_STEPS: Final = ("_[_]", "_[?_]", "_?._")
_SAME_KIND: Final = frozenset({"int", "uint", "double", "string", "bytes", "duration", "timestamp"})
_DIRECT: Final = {
    "_==_": operator.eq,
    "_!=_": operator.ne,
    "_<_": operator.lt,
    "_<=_": operator.le,
    "_>_": operator.gt,
    "_>=_": operator.ge,
}


def _is_path(node: Node) -> bool:
    """Whether a node reads a variable, or something below one, in steps that can go on."""
    if isinstance(node, Select):
        return not node.test_only
    return isinstance(node, Ident) or (isinstance(node, Call) and node.function in _STEPS)


class Compiler:
    """Compiles one checked tree; `variables` are the slots of the frame after the meter, in order."""

    def __init__(
        self, source: Source, variables: tuple[str, ...], functions: Mapping[str, Function], *, metered: bool
    ) -> None:
        self._source = source
        self._functions = functions
        self._metered = metered
        self._slots: dict[str, int] = {name: at for at, name in enumerate(variables, start=1)}
        # What computes the variables that are bound to a value, by slot.
        self._pending: dict[int, Closure] = {}
        self._constants = Constants()
        self.frame_size = len(variables) + 1

    def _slot(self, name: str) -> int:
        slot = self.frame_size
        self.frame_size += 1
        self._slots[name] = slot
        return slot

    def compile(self, node: Node) -> Closure:
        if isinstance(node, Literal):
            return constant(node.value)
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

    def _position(self, at: int) -> Position:
        return self._source.position(at)

    def _charged(self, run: Closure, cost: int) -> Closure:
        if not self._metered or cost == 0:
            return run

        def charged(frame: Frame) -> Any:
            value = run(frame)
            frame[0].charge(cost)
            return value

        return charged

    def _identifier(self, node: Ident) -> Closure:
        if node.constant is not None:
            return constant(node.constant)
        slot = self._slots[node.name.removeprefix(".")]
        initial = self._pending.get(slot)
        return self._charged(operator.itemgetter(slot) if initial is None else first_read(slot, initial), 1)

    def _selection(self, node: Select) -> Closure:
        if node.qualified is not None:
            return self._identifier(node.qualified)
        if not self._metered and not node.test_only:
            path = self._constant_path(node)
            if path is not None:
                return path
        operand = self.compile(node.operand)
        if node.test_only:
            return presence(operand, node.field, self._position(node.at))
        if self._metered:
            key = constant(node.field)
            return metered_step(operand, key, op.index, self._step_cost(node), self._position(node.at))
        return lookup(operand, node.field, self._position(node.at))

    def _step_cost(self, node: Select | Call) -> int:
        """A step of a path costs 1, one more after something computed, and one less if its key is a path."""
        operand, key = (node.operand, None) if isinstance(node, Select) else node.args
        return 1 + (not _is_path(operand)) - (key is not None and _is_path(key))

    def _constant_path(self, node: Node) -> Closure | None:
        """`variable.a["b"].c` in one step, if all its keys are literal strings."""
        keys: list[str] = []
        places: list[int] = []
        while not isinstance(node, Ident):
            if isinstance(node, Select) and not node.test_only and node.qualified is None:
                keys.append(node.field)
                places.append(node.at)
                node = node.operand
            elif isinstance(node, Call) and node.function == "_[_]" and isinstance(node.args[1], Literal):
                key = node.args[1].value
                if type(key) is not str:
                    return None
                keys.append(key)
                places.append(node.at)
                node = node.args[0]
            else:
                return None
        if node.constant is not None or len(keys) < 2:
            return None
        slot = self._slots[node.name.removeprefix(".")]
        if slot in self._pending:
            return None
        return read_path(slot, tuple(reversed(keys)), [self._position(at) for at in reversed(places)])

    def _call(self, node: Call) -> Closure:
        if node.optional_map is not None:
            return self._optional_map(node.optional_map)
        name = node.function
        if name == "_&&_":
            left, right = map(self.compile, node.args)
            return logical(left, right, self._position(node.at), decisive=False)
        if name == "_||_":
            left, right = map(self.compile, node.args)
            return logical(left, right, self._position(node.at), decisive=True)
        if name == "_?_:_":
            condition, chosen, other = map(self.compile, node.args)
            if self._metered:
                # Where the branch is a path, it starts at no cost.
                chosen, other = (
                    discounted(branch) if _is_path(written) else branch
                    for branch, written in zip((chosen, other), node.args[1:], strict=True)
                )
            return conditional(condition, chosen, other, self._position(node.at))
        if name in _STEPS:
            return self._index(node)
        if name in ("or", "orValue") and node.target is not None:
            return self._alternative(node)
        if not self._metered and name == "matches":
            pattern = node.args[-1]
            if isinstance(pattern, Literal) and type(pattern.value) is str:
                subject = node.target if node.target is not None else node.args[0]
                return matches(self.compile(subject), pattern.value, self._position(node.at))
        run = self._implementation(node)
        arguments = [self.compile(operand) for operand in node.operands]
        if name in CONVERSIONS and self._constants.has(node):
            return constant(plain_call(run, arguments, self._position(node.at))([]))
        if name == "@in" and [each.identifier for each in node.overloads] == ["in_list"]:
            known = node.args[1]
            if isinstance(known, ListNode) and self._constants.has(known):
                return membership(arguments[0], arguments[1]([]), run, self._position(node.at))
        if self._metered:
            overload = node.overloads[0].identifier if len(node.overloads) == 1 else ""
            price = call_price(name, overload)
            position = self._position(node.at)
            return metered_call(run, arguments, price, position, allocating=name in ALLOCATING)
        closure = plain_call(run, arguments, self._position(node.at))
        if arguments and all(isinstance(operand, Literal) for operand in node.operands):
            try:
                return constant(closure([None]))
            except EvaluationError:
                return closure
        return closure

    def _index(self, node: Call) -> Closure:
        if not self._metered and node.function == "_[_]":
            path = self._constant_path(node)
            if path is not None:
                return path
        operand, key = map(self.compile, node.args)
        step = op.index if node.function == "_[_]" else op.optional_index
        position = self._position(node.at)
        if self._metered:
            return metered_step(operand, key, step, self._step_cost(node), position)
        return plain_call(step, [operand, key], position)

    def _implementation(self, node: Call) -> Callable[..., Any]:
        """The function behind a call: direct where the types are known, else picked by the values."""
        kinds = [operand.type for operand in node.operands]
        direct = _DIRECT.get(node.function)
        if direct is not None and kinds[0] == kinds[1] and kinds[0].kind in _SAME_KIND:
            return direct
        dispatching = self._functions[node.function].implementation
        if dispatching is not None:
            return dispatching
        if len(node.overloads) == 1 and all(map(certain, kinds, node.overloads[0].parameters)):
            return node.overloads[0].implementation
        return dispatch(node.overloads)

    def _alternative(self, node: Call) -> Closure:
        assert node.target is not None
        first, second = self.compile(node.target), self.compile(node.args[0])
        unwrap = node.function == "orValue"

        def alternative(frame: Frame) -> Any:
            value = first(frame)
            if not isinstance(value, Optional):
                return value
            if value.present:
                return value.value if unwrap else value
            return second(frame)

        return alternative

    def _optional_map(self, node: OptionalMap) -> Closure:
        target = self.compile(node.target)
        outer = self._slots.get(node.variable)
        slot = self._slot(node.variable)
        body = self.compile(node.body)
        self._restore(node.variable, outer)
        flat = node.flat

        def counted(frame: Frame) -> Any:
            meter = frame[0]
            before = meter.cost
            value = target(frame)
            # hasValue, and value or optional.none: 1 each; the first two evaluate the target each, and
            # optional.of costs 1.
            present = isinstance(value, Optional) and value.present
            meter.charge(2 + (meter.cost - before + (not flat) if present else 0))
            return mapped(frame, value)

        def mapped(frame: Frame, value: Any) -> Any:
            if not isinstance(value, Optional):
                raise EvaluationError(NO_SUCH_OVERLOAD)
            if not value.present:
                return NONE
            frame[slot] = value.value
            result = body(frame)
            return result if flat else Optional(result)

        return counted if self._metered else lambda frame: mapped(frame, target(frame))

    def _restore(self, name: str, slot: int | None) -> None:
        if slot is None:
            del self._slots[name]
        else:
            self._slots[name] = slot

    def _list(self, node: ListNode) -> Closure:
        elements = [self.compile(element) for element in node.elements]
        if not node.optional:

            def build(frame: Frame) -> Any:
                return [element(frame) for element in elements]

            if self._constants.has(node):
                return constant(tuple(build([])))
            return self._charged(build, LIST_COST)
        marked = [(element, at in node.optional) for at, element in enumerate(elements)]

        def build_optional(frame: Frame) -> Any:
            result: list[Any] = []
            for element, optional in marked:
                value = element(frame)
                if not optional:
                    result.append(value)
                elif not isinstance(value, Optional):
                    raise EvaluationError("cannot initialize optional list element from non-optional value")
                elif value.present:
                    result.append(value.value)
            return result

        return self._charged(build_optional, LIST_COST)

    def _map(self, node: MapNode) -> Closure:
        entries = [
            (self.compile(entry.key), self.compile(entry.value), entry.optional) for entry in node.entries
        ]
        position = self._position(node.at)

        def build(frame: Frame) -> Any:
            result: dict[Any, Any] = {}
            for key, value, optional in entries:
                name = key(frame)
                if not isinstance(name, str | int) or isinstance(name, float):
                    raise EvaluationError("unsupported key type", position)
                put(result, name, value(frame), optional, position)
            return result

        if self._constants.has(node):
            try:
                return constant(build([]))
            except EvaluationError:
                return build
        return self._charged(build, MAP_COST)

    def _struct(self, node: Struct) -> Closure:
        fields = [(field.name, self.compile(field.value), field.optional) for field in node.fields]
        position = self._position(node.at)
        type_name = node.type_name.removeprefix(".")

        def build(frame: Frame) -> Any:
            result = ObjectValue(type_name)
            for name, value, optional in fields:
                put(result, name, value(frame), optional, position)
            return result

        return self._charged(build, STRUCT_COST)

    def _comprehension(self, node: Comprehension) -> Closure:
        if node.shape == "bind":
            return self._bind(node)
        source = self.compile(node.range)
        names = [name for name in (node.key_variable, node.variable) if name]
        outer = {name: self._slots.get(name) for name in names}
        key_slot = self._slot(node.key_variable) if node.key_variable else 0
        slot = self._slot(node.variable)
        parts = LoopParts(
            source=source,
            key_slot=key_slot,
            slot=slot,
            predicate=self.compile(node.predicate) if node.predicate is not None else None,
            transform=self.compile(node.transform) if node.transform is not None else None,
            metered=self._metered,
            listing=LIST_COST if node.transform is None or not self._constants.has(node.transform) else 0,
            position=self._position(node.range.at),
        )
        for name in names:
            self._restore(name, outer[name])
        return loop(node.shape, parts)

    def _bind(self, node: Comprehension) -> Closure:
        """A bound value is computed when it is first read, if ever."""
        initial = self.compile(node.initial)
        outer = self._slots.get(node.accumulator)
        slot = self._slot(node.accumulator)
        self._pending[slot] = initial
        body = self.compile(node.result)
        self._restore(node.accumulator, outer)

        def bound(frame: Frame) -> Any:
            frame[slot] = PENDING
            return body(frame)

        return bound
