"""Checks of literals that would only fail at run time: patterns, timestamps, durations."""

from __future__ import annotations

from collections.abc import Iterator

from aliquot.cel.errors import CompileError, EvaluationError, Source
from aliquot.cel.operators import to_duration, to_timestamp
from aliquot.cel.patterns import compile_pattern
from aliquot.cel.syntax import Call, Comprehension, ListNode, Literal, MapNode, Node, Select, Struct

__all__ = ["check_literals", "walk"]

_CHECKS = {"matches": compile_pattern, "timestamp": to_timestamp, "duration": to_duration}


def check_literals(root: Node, source: Source) -> None:
    """Raise CompileError if a literal pattern, timestamp or duration is none (Kubernetes' AST validators)."""
    issues = []
    for node in walk(root):
        if not isinstance(node, Call) or node.function not in _CHECKS or not node.args:
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
