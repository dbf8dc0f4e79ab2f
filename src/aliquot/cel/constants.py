"""What Kubernetes computes when it plans an expression, before it evaluates anything, and at no cost.

Source: the decorators of cel-go that the option OptOptimize adds.
"""

from __future__ import annotations

from typing import Final

from aliquot.cel.syntax import Call, Ident, ListNode, Literal, MapNode, Node, children

__all__ = ["CONVERSIONS", "Constants"]

CONVERSIONS: Final = frozenset(
    {"bool", "bytes", "double", "duration", "dyn", "int", "string", "timestamp", "type", "uint"}
)
"""Functions of one argument that are computed beforehand if it is constant."""


class Constants:
    """Tells which nodes of one checked tree are constant."""

    def __init__(self) -> None:
        self._known: dict[int, bool] = {}

    def has(self, node: Node) -> bool:
        """Whether the node is computed beforehand: literals, lists, maps and conversions of such."""
        known = self._known.get(id(node))
        if known is None:
            known = self._known[id(node)] = self._judge(node)
        return known

    def _judge(self, node: Node) -> bool:
        if isinstance(node, Ident):
            return node.constant is not None
        if isinstance(node, Call) and node.function == "@in":
            listed = node.args[1]
            return isinstance(listed, ListNode) and not listed.elements
        if isinstance(node, Call) and (node.function not in CONVERSIONS or len(node.operands) != 1):
            return False
        if isinstance(node, ListNode) and node.optional:
            return False
        return isinstance(node, Literal | ListNode | MapNode | Call) and all(map(self.has, children(node)))
