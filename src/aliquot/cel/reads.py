"""Which parts of a device can decide the result of a selector."""

from __future__ import annotations

from aliquot.cel.program import Read
from aliquot.cel.syntax import Call, Comprehension, Ident, Literal, Node, Select, children

__all__ = ["device_reads"]

_KINDS = ("attributes", "capacity")


def device_reads(root: Node) -> frozenset[Read] | None:
    """The attributes and capacities that a selector reads by constant path; None if it may read any.

    `device.attributes["d"].name` and `"name" in device.attributes["d"]` are such reads. The driver and
    allowMultipleAllocations are not counted: they are always taken to be read.
    """
    found: set[Read] = set()
    pending: list[tuple[Node, frozenset[str]]] = [(root, frozenset())]
    seen: set[tuple[int, frozenset[str]]] = set()
    while pending:
        node, shadowed = pending.pop()
        if (id(node), shadowed) in seen:
            continue
        seen.add((id(node), shadowed))
        if "device" not in shadowed:
            read = _read(node)
            if read is not None:
                found.add(read)
                continue
            if _is_plain_field(node):
                continue
            if isinstance(node, Ident) and node.name.removeprefix(".") == "device":
                return None
        elif isinstance(node, Ident) and node.name == ".device":
            return None
        if isinstance(node, Comprehension):
            names = {node.variable, node.key_variable, node.accumulator}
            pending.append((node.range, shadowed))
            pending.append((node.initial, shadowed))
            pending.extend((part, shadowed | names) for part in (node.condition, node.step, node.result))
        else:
            pending.extend((child, shadowed) for child in children(node))
    return frozenset(found)


def _is_plain_field(node: Node) -> bool:
    return (
        isinstance(node, Select)
        and node.field in ("driver", "allowMultipleAllocations")
        and isinstance(node.operand, Ident)
        and node.operand.name.removeprefix(".") == "device"
    )


def _read(node: Node) -> Read | None:
    """The read that a node as a whole is: `X.name`, `X["name"]`, `has(X.name)`, `"name" in X`.

    X is one domain of attributes or capacities.
    """
    if isinstance(node, Call) and node.function == "@in":
        name: str | None = _key(node.args[0])
        domain_node: Node | None = node.args[1]
    else:
        name, domain_node = _step(node)
    if name is None or domain_node is None:
        return None
    domain, kind_node = _step(domain_node)
    if domain is None or kind_node is None or (isinstance(domain_node, Select) and domain_node.test_only):
        return None
    if (
        isinstance(kind_node, Select)
        and not kind_node.test_only
        and kind_node.field in _KINDS
        and isinstance(kind_node.operand, Ident)
        and kind_node.operand.name.removeprefix(".") == "device"
    ):
        return (kind_node.field, domain, name)
    return None


def _step(node: Node) -> tuple[str | None, Node | None]:
    """The constant key that a node looks up, and what it is looked up in."""
    if isinstance(node, Select):
        return node.field, node.operand
    if isinstance(node, Call) and node.function in ("_[_]", "_[?_]", "_?._"):
        return _key(node.args[1]), node.args[0]
    return None, None


def _key(node: Node) -> str | None:
    return node.value if isinstance(node, Literal) and isinstance(node.value, str) else None
