"""Checks of literals that Kubernetes makes after the types are known (its AST validators).

Patterns, timestamps and durations that would only fail at run time; lists and maps of mixed types.
"""

from __future__ import annotations

from aliquot.cel.errors import CompileError, EvaluationError, Source
from aliquot.cel.libraries.formatting import check_template
from aliquot.cel.operators import to_duration, to_timestamp
from aliquot.cel.patterns import compile_pattern
from aliquot.cel.syntax import Call, ListNode, Literal, MapNode, Node, walk
from aliquot.cel.typesystem import Type, unwrap_optional

__all__ = ["check_literals"]

_CHECKS = {"matches": compile_pattern, "timestamp": to_timestamp, "duration": to_duration}


def check_literals(root: Node, source: Source) -> None:
    """Raise CompileError if a literal pattern, timestamp, duration or template of `format` is none that fits,
    or a list or map mixes types.

    A value whose type is known only at run time is of another type than any other: `['a', object.x]` is
    refused, `['a', string(object.x)]` is not. Lists for `format` may mix.
    """
    issues = []
    mixed_by_right = {
        id(inner)
        for node in walk(root)
        if isinstance(node, Call) and node.function == "format"
        for argument in node.args
        for inner in walk(argument)
    }
    for node in walk(root):
        if isinstance(node, (ListNode, MapNode)) and id(node) not in mixed_by_right:
            mixed = _first_of_another_type(node)
            if mixed is not None:
                at, expected, kind = mixed
                issues.append(source.issue(at, f"expected type '{expected}' but found '{kind}'"))
            continue
        if not isinstance(node, Call) or not node.args:
            continue
        if node.function == "format":
            found = _misfit(node)
            if found is not None:
                issues.append(source.issue(*found))
        if node.function not in _CHECKS:
            continue
        argument = node.args[-1]
        if not isinstance(argument, Literal) or not isinstance(argument.value, str):
            continue
        try:
            _CHECKS[node.function](argument.value)
        except EvaluationError:
            issues.append(source.issue(argument.at, f"invalid {node.function} argument"))
    if issues:
        raise CompileError(tuple(issues))


def _misfit(node: Call) -> tuple[int, str] | None:
    """Where a literal template and the list written for it do not fit, and why."""
    template, listed = node.target, node.args[0]
    if not isinstance(template, Literal) or not isinstance(template.value, str):
        return None
    if not isinstance(listed, ListNode):
        return None
    found = check_template(template.value, listed.elements)
    return None if found is None else (node.at if found[0] is None else found[0].at, found[1])


def _first_of_another_type(node: ListNode | MapNode) -> tuple[int, Type, Type] | None:
    """Where elements, keys or values stop being of one type: place, the type before, the type there."""
    if isinstance(node, ListNode):
        columns = [[(item, at in node.optional) for at, item in enumerate(node.elements)]]
    else:
        columns = [
            [(entry.key, False) for entry in node.entries],
            [(entry.value, entry.optional) for entry in node.entries],
        ]
    for column in columns:
        expected: Type | None = None
        for item, optional in column:
            kind = unwrap_optional(item.type)[0] if optional else item.type
            if expected is None:
                expected = kind
            elif kind != expected:
                return item.at, expected, kind
    return None
