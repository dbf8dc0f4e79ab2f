"""Loops of the macros, as closures."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from aliquot.cel.errors import EvaluationError, Position
from aliquot.cel.metering import CostLimitError
from aliquot.cel.operators import key_text
from aliquot.cel.values import NO_SUCH_OVERLOAD, find, go_type_name

__all__ = ["LoopParts", "loop"]

Frame = list[Any]
Closure = Callable[[Frame], Any]


@dataclass(frozen=True, slots=True)
class LoopParts:
    """The compiled parts of a fold.

    `slot` is where the loop variable goes, `key_slot` that of the index or key in two-variable forms
    (0: none). `listing` is what a list of one element costs.
    """

    source: Closure
    key_slot: int
    slot: int
    predicate: Closure | None
    transform: Closure | None
    metered: bool
    listing: int
    position: Position

    def items(self, frame: Frame) -> Iterable[tuple[Any, Any]]:
        """Pairs of key (or index) and value; with one variable, a map's key counts as the value."""
        value = self.source(frame)
        if isinstance(value, dict):
            return value.items() if self.key_slot else ((None, key) for key in value)
        if isinstance(value, list | tuple):
            return enumerate(value)
        raise EvaluationError(f"got '{go_type_name(value)}', expected iterable type", self.position)


def loop(shape: str, parts: LoopParts) -> Closure:
    """The closure of a fold. Costs are those of the steps that cel-go would evaluate."""
    if shape == "all":
        return _quantifier(parts, decisive=False, condition_cost=2)
    if shape == "exists":
        return _quantifier(parts, decisive=True, condition_cost=3)
    if shape == "exists_one":
        return _exists_one(parts)
    if shape == "map":
        return _collect(parts)
    return _collect_map(parts, entries=shape == "transform_map_entry")


def _quantifier(parts: LoopParts, *, decisive: bool, condition_cost: int) -> Closure:
    """`exists` (decisive True) and `all` (decisive False): errors count only if nothing decides."""
    predicate, slot, key_slot, metered = parts.predicate, parts.slot, parts.key_slot, parts.metered
    assert predicate is not None

    def quantify(frame: Frame) -> bool:
        failure: EvaluationError | None = None
        decided = False
        for key, value in parts.items(frame):
            if metered:
                # The condition, which is also what notices that the loop may stop, and the accumulator.
                frame[0].charge(condition_cost + (not decided))
            if decided:
                break
            frame[slot] = value
            if key_slot:
                frame[key_slot] = key
            try:
                result = predicate(frame)
                if result is decisive:
                    decided = True
                elif result is not (not decisive):
                    failure = failure or EvaluationError(NO_SUCH_OVERLOAD, parts.position)
            except CostLimitError:
                raise
            except EvaluationError as error:
                failure = failure or error
            if decided and not metered:
                break
        if metered:
            frame[0].charge(1)
        if decided:
            return decisive
        if failure is not None:
            raise failure
        return not decisive

    return quantify


def _truth(value: Any, position: Position) -> bool:
    if value is True or value is False:
        return bool(value)
    raise EvaluationError(NO_SUCH_OVERLOAD, position)


def _exists_one(parts: LoopParts) -> Closure:
    predicate, slot, key_slot, metered = parts.predicate, parts.slot, parts.key_slot, parts.metered
    assert predicate is not None

    def exists_one(frame: Frame) -> bool:
        count = 0
        for key, value in parts.items(frame):
            frame[slot] = value
            if key_slot:
                frame[key_slot] = key
            held = _truth(predicate(frame), parts.position)
            count += held
            if metered:
                frame[0].charge(2 if held else 0)
        if metered:
            frame[0].charge(2)
        return count == 1

    return exists_one


def _collect(parts: LoopParts) -> Closure:
    predicate, transform = parts.predicate, parts.transform
    slot, key_slot, metered = parts.slot, parts.key_slot, parts.metered
    assert transform is not None

    def collect(frame: Frame) -> list[Any]:
        result: list[Any] = []
        for key, value in parts.items(frame):
            frame[slot] = value
            if key_slot:
                frame[key_slot] = key
            if predicate is not None and not _truth(predicate(frame), parts.position):
                continue
            result.append(transform(frame))
            if metered:
                # The accumulator, a list of one, and the concatenation.
                frame[0].charge(parts.listing + 2)
        if metered:
            frame[0].charge(1)
        return result

    return collect


def _collect_map(parts: LoopParts, *, entries: bool) -> Closure:
    predicate, transform = parts.predicate, parts.transform
    slot, key_slot, metered = parts.slot, parts.key_slot, parts.metered
    assert transform is not None

    def collect(frame: Frame) -> dict[Any, Any]:
        result: dict[Any, Any] = {}
        for key, value in parts.items(frame):
            frame[slot] = value
            frame[key_slot] = key
            if predicate is not None and not _truth(predicate(frame), parts.position):
                continue
            made = transform(frame)
            if not entries:
                made = {key: made}
            elif not isinstance(made, dict):
                raise EvaluationError(NO_SUCH_OVERLOAD, parts.position)
            for name, entry in made.items():
                if find(result, name).present:
                    raise EvaluationError(
                        f"insert failed: key {key_text(name)} already exists", parts.position
                    )
                result[name] = entry
            if metered:
                frame[0].charge(2 if entries else 3)
        if metered:
            frame[0].charge(1)
        return result

    return collect
