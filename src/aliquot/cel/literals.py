"""Checks of literals that would only fail at run time: patterns, timestamps, durations."""

from __future__ import annotations

from aliquot.cel.errors import CompileError, EvaluationError, Source
from aliquot.cel.operators import to_duration, to_timestamp
from aliquot.cel.patterns import compile_pattern
from aliquot.cel.syntax import Call, Literal, Node, walk

__all__ = ["check_literals"]

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
