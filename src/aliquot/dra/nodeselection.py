"""Which nodes a node selector selects (core/v1 NodeSelector, as kube-scheduler reads it)."""

import re
from collections.abc import Mapping

from aliquot.model.core import Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm

NODE_NAME_FIELD = "metadata.name"
"""The only field of a node that has a value; any other counts as empty."""

_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_DOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


class NodeSelectorError(Exception):
    """A node selector that Kubernetes would refuse. `key`: of the requirement; `problem`: what is wrong."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"requirement on {key!r}: {problem}")
        self.key = key
        self.problem = problem


def validate(selector: NodeSelector) -> None:
    """Raise NodeSelectorError unless every term is valid."""
    for term in selector.node_selector_terms:
        _check(term)


def selects(selector: NodeSelector, node: Node) -> bool:
    """Whether any term matches. A term with neither expressions nor fields matches nothing.

    Raises NodeSelectorError when a term that is reached is not valid.
    """
    return any(_term_matches(term, node) for term in selector.node_selector_terms)


def names_node(name: str) -> NodeSelector:
    """The selector of exactly the node of that name."""
    requirement = NodeSelectorRequirement(key=NODE_NAME_FIELD, operator="In", values=(name,))
    return NodeSelector(node_selector_terms=(NodeSelectorTerm(match_fields=(requirement,)),))


def _term_matches(term: NodeSelectorTerm, node: Node) -> bool:
    if not term.match_expressions and not term.match_fields:
        return False
    # All requirements are checked for validity before any is compared, as Kubernetes parses a term whole.
    _check(term)
    labels = node.metadata.labels
    return all(_label_matches(each, labels) for each in term.match_expressions) and all(
        (_field(node, each.key) == each.values[0]) is (each.operator == "In") for each in term.match_fields
    )


def _field(node: Node, key: str) -> str:
    return node.metadata.name if key == NODE_NAME_FIELD else ""


def _check(term: NodeSelectorTerm) -> None:
    for requirement in term.match_expressions:
        _check_expression(requirement)
    for requirement in term.match_fields:
        if requirement.operator not in ("In", "NotIn") or len(requirement.values) != 1:
            raise NodeSelectorError(requirement.key, "a field needs In or NotIn and exactly one value")


def _check_expression(requirement: NodeSelectorRequirement) -> None:
    key, operator, values = requirement.key, requirement.operator, requirement.values
    domain, slash, name = key.rpartition("/")
    if not _NAME.fullmatch(name) or (slash and (len(domain) > 253 or not _DOMAIN.fullmatch(domain))):
        raise NodeSelectorError(key, "is no valid name of a label")
    if operator in ("In", "NotIn"):
        if not values:
            raise NodeSelectorError(key, f"{operator} needs at least one value")
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            raise NodeSelectorError(key, f"{operator} takes no values")
    elif operator in ("Gt", "Lt"):
        if len(values) != 1 or _integer(values[0]) is None:
            raise NodeSelectorError(key, f"{operator} needs exactly one integer")
    else:
        raise NodeSelectorError(key, f"unknown operator {operator!r}")
    for value in values:
        if value and not _NAME.fullmatch(value):
            raise NodeSelectorError(key, f"{value!r} is no valid value of a label")


def _label_matches(requirement: NodeSelectorRequirement, labels: Mapping[str, str]) -> bool:
    value = labels.get(requirement.key)
    match requirement.operator:
        case "In":
            return value is not None and value in requirement.values
        case "NotIn":
            return value is None or value not in requirement.values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
    have = None if value is None else _integer(value)
    bound = _integer(requirement.values[0])
    if have is None or bound is None:
        return False
    return have > bound if requirement.operator == "Gt" else have < bound


def _integer(text: str) -> int | None:
    """A 64-bit decimal integer with an optional sign, else None."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not digits or len(digits) > 20 or not (digits.isascii() and digits.isdigit()):
        return None
    number = int(text)
    return number if -(2**63) <= number < 2**63 else None
