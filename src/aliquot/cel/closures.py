"""The closures that compiled nodes become."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from aliquot.cel import operators as op
from aliquot.cel.declarations import Overload
from aliquot.cel.errors import EvaluationError, Position
from aliquot.cel.guards import accepts
from aliquot.cel.metering import CostLimitError, allocation_cost
from aliquot.cel.patterns import compile_pattern
from aliquot.cel.semver import Semver
from aliquot.cel.typesystem import Type
from aliquot.cel.values import NO_SUCH_OVERLOAD, Optional, find

Frame = list[Any]
Closure = Callable[[Frame], Any]
"""A node compiled: a function of the frame, which holds the meter at 0 and the variables after it."""

_MISTYPED = (TypeError, AttributeError)
"""What a function raises for an input that breaks the declared type of its variable."""


def put(result: dict[Any, Any], name: Any, value: Any, optional: bool, position: Position) -> None:
    if optional:
        if not isinstance(value, Optional):
            raise EvaluationError("cannot initialize optional entry from non-optional value", position)
        if not value.present:
            return
        value = value.value
    if find(result, name).present:
        raise EvaluationError(f"Failed with repeated key '{op.key_text(name)}'", position)
    result[name] = value


def certain(given: Type, wanted: Type) -> bool:
    """Whether a value of a static type needs no look before it is given to an overload."""
    if wanted.kind in ("dyn", "param"):
        return True
    if given.kind != wanted.kind or given.name != wanted.name:
        return False
    return all(map(certain, given.parameters, wanted.parameters))


def dispatch(overloads: tuple[Overload, ...]) -> Callable[..., Any]:
    guarded = [(tuple(map(accepts, overload.parameters)), overload.implementation) for overload in overloads]

    def dispatch(*values: Any) -> Any:
        for guards, run in guarded:
            if all(guard(value) for guard, value in zip(guards, values, strict=True)):
                return run(*values)
        raise EvaluationError(NO_SUCH_OVERLOAD)

    return dispatch


def constant(value: Any) -> Closure:
    return lambda _: value


PENDING: Final = object()
"""In the place of a bound variable that nothing has read yet."""


_FAILED: Final = object()
"""In the place of an argument that has no value."""


def first_read(slot: int, initial: Closure) -> Closure:
    def read(frame: Frame) -> Any:
        value = frame[slot]
        if value is PENDING:
            value = frame[slot] = initial(frame)
        return value

    return read


def read_path(slot: int, keys: tuple[str, ...], positions: list[Position]) -> Closure:
    if len(keys) == 3:
        first, second, third = keys

        def three(frame: Frame) -> Any:
            try:
                return frame[slot][first][second][third]
            except (KeyError, TypeError, IndexError):
                return step(frame)

    def step(frame: Frame) -> Any:
        value = frame[slot]
        for key, position in zip(keys, positions, strict=True):
            try:
                value = op.index(value, key)
            except EvaluationError as error:
                error.position = position
                raise
        return value

    return three if len(keys) == 3 else step


def lookup(operand: Closure, field: str, position: Position) -> Closure:
    def lookup(frame: Frame) -> Any:
        value = operand(frame)
        try:
            return value[field] if isinstance(value, dict) else op.index(value, field)
        except KeyError:
            raise EvaluationError(f"no such key: {field}", position) from None
        except EvaluationError as error:
            error.position = error.position or position
            raise

    return lookup


def presence(operand: Closure, field: str, position: Position) -> Closure:
    def presence(frame: Frame) -> Any:
        value = operand(frame)
        if isinstance(value, Optional):
            if not value.present:
                return False
            value = value.value
        if isinstance(value, dict):
            return find(value, field).present
        raise EvaluationError(NO_SUCH_OVERLOAD, position)

    return presence


def logical(left: Closure, right: Closure, position: Position, *, decisive: bool) -> Closure:
    """`||` (decisive True) and `&&` (decisive False): the decisive value wins over the other side's error."""

    def logical(frame: Frame) -> Any:
        try:
            value = left(frame)
            if value is decisive:
                return decisive
            if value is not (not decisive):
                raise EvaluationError(NO_SUCH_OVERLOAD, position)
        except CostLimitError:
            raise
        except EvaluationError:
            if right(frame) is decisive:
                return decisive
            raise
        value = right(frame)
        if value is True or value is False:
            return value
        raise EvaluationError(NO_SUCH_OVERLOAD, position)

    return logical


def conditional(condition: Closure, chosen: Closure, other: Closure, position: Position) -> Closure:
    def conditional(frame: Frame) -> Any:
        value = condition(frame)
        if value is True:
            return chosen(frame)
        if value is False:
            return other(frame)
        raise EvaluationError(NO_SUCH_OVERLOAD, position)

    return conditional


def discounted(branch: Closure) -> Closure:
    def discounted(frame: Frame) -> Any:
        value = branch(frame)
        frame[0].charge(-1)
        return value

    return discounted


def matches(subject: Closure, pattern: str, position: Position) -> Closure:
    search = compile_pattern(pattern).search

    def matches(frame: Frame) -> Any:
        text = subject(frame)
        if type(text) is not str:
            raise EvaluationError(NO_SUCH_OVERLOAD, position)
        return search(text) is not None

    return matches


def plain_call(run: Callable[..., Any], arguments: list[Closure], position: Position) -> Closure:
    if len(arguments) == 2:
        first, second = arguments

        def two(frame: Frame) -> Any:
            try:
                return run(first(frame), second(frame))
            except EvaluationError as error:
                error.position = error.position or position
                raise
            except _MISTYPED:
                raise EvaluationError(NO_SUCH_OVERLOAD, position) from None

        return two

    def several(frame: Frame) -> Any:
        try:
            return run(*[argument(frame) for argument in arguments])
        except EvaluationError as error:
            error.position = error.position or position
            raise
        except _MISTYPED:
            raise EvaluationError(NO_SUCH_OVERLOAD, position) from None

    return several


def membership(
    element: Closure, listed: Sequence[Any], run: Callable[[Any, Any], Any], position: Position
) -> Closure:
    """`element in [constants]`: costs nothing but the element, and not even that if the list is empty."""
    if not listed:
        return constant(False)
    if not all(isinstance(each, bool | int | float | str) for each in listed):
        return plain_call(run, [element, constant(listed)], position)

    def is_listed(frame: Frame) -> Any:
        value = element(frame)
        if isinstance(value, Semver):
            # Kubernetes looks the value up in a hash table, and a version cannot be hashed there.
            raise EvaluationError("internal error: hash of unhashable type cel.Semver", position)
        return run(value, listed)

    return is_listed


def metered_step(
    operand: Closure, key: Closure, step: Callable[[Any, Any], Any], cost: int, position: Position
) -> Closure:
    """A step of a path. One that finds nothing, as an optional may, costs 1 less, those after it nothing."""

    def counted(frame: Frame) -> Any:
        value = operand(frame)
        try:
            result = step(value, key(frame))
        except EvaluationError as error:
            frame[0].charge(cost)
            error.position = error.position or position
            raise
        except _MISTYPED:
            raise EvaluationError(NO_SUCH_OVERLOAD, position) from None
        if isinstance(result, Optional) and not result.present:
            nothing = isinstance(value, Optional) and not value.present
            frame[0].charge(0 if nothing else cost - 1)
        else:
            frame[0].charge(cost)
        return result

    return counted


def metered_call(
    run: Callable[..., Any],
    arguments: list[Closure],
    price: Callable[[Sequence[Any]], int],
    position: Position,
    *,
    allocating: bool,
) -> Closure:
    def call(frame: Frame) -> Any:
        values: list[Any] = []
        failure: EvaluationError | None = None
        for argument in arguments:
            # All arguments are evaluated and the call is paid for even if one fails.
            try:
                values.append(argument(frame))
            except CostLimitError:
                raise
            except EvaluationError as error:
                failure = failure or error
                values.append(_FAILED)
        try:
            # Paid for before it is done: some functions take time quadratic in their arguments.
            cost = price(values)
        except (*_MISTYPED, LookupError):
            if failure is None:
                raise EvaluationError(NO_SUCH_OVERLOAD, position) from None
            cost = 1
        frame[0].charge(cost)
        if failure is not None:
            raise failure
        try:
            result = run(*values)
        except EvaluationError as error:
            error.position = error.position or position
            raise
        except _MISTYPED:
            raise EvaluationError(NO_SUCH_OVERLOAD, position) from None
        if allocating:
            frame[0].charge(allocation_cost(result))
        return result

    return call
