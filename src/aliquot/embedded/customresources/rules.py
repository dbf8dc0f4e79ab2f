"""CEL rules in the schemas of custom resources (``x-kubernetes-validations``).

Source: Kubernetes documentation, "Validation rules" of CustomResourceDefinitions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from aliquot.cel import CompileError, EvaluationError, Program
from aliquot.cel.environment import Environment, base_libraries
from aliquot.cel.typesystem import DYN
from aliquot.embedded.customresources.values import Schema, where
from aliquot.embedded.hooks import Object
from aliquot.embedded.shapes import Path
from aliquot.embedded.status import Cause, quoted

_MISSING: Any = object()
_KUBERNETES = (1, 36)

#: Fields whose names are words of CEL are written ``__namespace__`` in rules (Kubernetes documentation,
#: "Validation rules", field name escaping).
_ESCAPED = re.compile(
    r"\.__(true|false|null|in|as|break|const|continue|else|for|function|if|import|let|loop|package|namespace|return)__\b"
)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule and where it applies: ``route`` leads from the root; ``*`` stands for every item or value."""

    route: tuple[str, ...]
    text: str
    program: Program
    message: str
    message_program: Program | None
    reason: str
    field: str
    transition: bool


@cache
def _environment() -> Environment:
    return Environment(
        base_libraries(_KUBERNETES),
        variables={"self": DYN, "oldSelf": DYN},
        fields={},
        size_of=lambda _: None,
    )


def compile_rule(text: str) -> Program:
    """Raises CompileError."""
    return _environment().compile(_ESCAPED.sub(r".\1", text))


def every(schema: Schema, route: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Schema]]:
    """Each rule of a schema with its route."""
    for one in schema.get("x-kubernetes-validations") or ():
        yield route, one
    for key, inner in (schema.get("properties") or {}).items():
        if isinstance(inner, dict):
            yield from every(inner, (*route, key))
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from every(schema[key], (*route, "*"))


def collect(schema: Schema) -> tuple[Rule, ...]:
    """The rules of a stored schema; one that does not compile was refused when the definition was written."""
    found = []
    for route, one in every(schema):
        try:
            program = compile_rule(one.get("rule", ""))
            expression = one.get("messageExpression")
            message_program = compile_rule(expression) if expression else None
        except CompileError:
            continue
        text = one.get("rule", "")
        found.append(
            Rule(
                route,
                text,
                program,
                one.get("message") or f"failed rule: {text.strip()}",
                message_program,
                one.get("reason") or "FieldValueInvalid",
                one.get("fieldPath") or "",
                "oldSelf" in text and not one.get("optionalOldSelf"),
            )
        )
    return tuple(found)


def _reach(value: Any, old: Any, route: tuple[str, ...], path: Path) -> Iterator[tuple[Any, Any, Path]]:
    if not route:
        yield value, old, path
        return
    step, rest = route[0], route[1:]
    if step != "*":
        if isinstance(value, dict) and step in value:
            before = old.get(step, _MISSING) if isinstance(old, dict) else _MISSING
            yield from _reach(value[step], before, rest, (path, step))
    elif isinstance(value, dict):
        for key, item in value.items():
            before = old.get(key, _MISSING) if isinstance(old, dict) else _MISSING
            yield from _reach(item, before, rest, (path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _reach(item, _MISSING, rest, (path, index))


def evaluate(rules: tuple[Rule, ...], obj: Object, old: Object | None) -> list[Cause]:
    causes: list[Cause] = []
    for rule in rules:
        for value, before, path in _reach(obj, old if old is not None else _MISSING, rule.route, None):
            if rule.transition and before is _MISSING:
                continue
            cause = _check(rule, value, None if before is _MISSING else before, path)
            if cause is not None:
                causes.append(cause)
    return causes


def _check(rule: Rule, value: Any, before: Any, path: Path) -> Cause | None:
    inputs = {"self": value, "oldSelf": before}
    shown = quoted(value) if not isinstance(value, (dict, list)) else '"' + _kind(value) + '"'
    place = where(path) + rule.field if rule.field else where(path)
    place = place.removeprefix(".") or "<nil>"
    try:
        if rule.program.evaluate(inputs) is True:
            return None
        message = rule.message
        if rule.message_program is not None:
            made = rule.message_program.evaluate(inputs)
            message = made if isinstance(made, str) and made.strip() else message
    except EvaluationError as error:
        message = f"rule evaluation error: {error}"
    return Cause(rule.reason, place, f"Invalid value: {shown}: {message}")


def _kind(value: Any) -> str:
    return "object" if isinstance(value, dict) else "array"
