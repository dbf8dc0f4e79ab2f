"""Putting the scheduling gate into manifests, as text: comments, order and style stay as they are.

The text is composed to nodes, which know their places; only lines for the gate are put in. Where a pod
template is not written where it is used (a YAML alias, a merge key), putting something in would change
other places, too, and that is refused.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from aliquot.install.podtemplates import EACH, Path, asks, known
from aliquot.model.core import PLACEMENT_GATE

_LOADER: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_ITEM = '{"name": "' + PLACEMENT_GATE + '"}'
_MERGE = "tag:yaml.org,2002:merge"


class GatingError(Exception):
    """A gate cannot be put in. line: where (from 1). problem: why. fix: what to do."""

    def __init__(self, line: int, problem: str, fix: str) -> None:
        super().__init__(f"line {line}: {problem}; {fix}")
        self.line = line
        self.problem = problem
        self.fix = fix


@dataclass(frozen=True, slots=True)
class Gated:
    """One pod template. subject: kind, name and path of the template. line: of it, from 1.

    outcome: added, kept (the gate is there), idle (asks for no accelerators), unknown (no template known).
    """

    subject: str
    line: int
    outcome: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class _Edit:
    """Text to put in at an index; `until`: what it replaces."""

    start: int
    until: int
    text: str


def add_gates(text: str, *, every: bool = False) -> tuple[str, tuple[Gated, ...]]:
    """The manifests with the gate on all pod templates that ask for accelerators; every: on all others, too.

    text: valid YAML or JSON, one or several documents. Raises GatingError.
    """
    edits: list[_Edit] = []
    found: list[Gated] = []
    roots = [root for root in yaml.compose_all(text, Loader=_LOADER) if root is not None]
    breaks = "\r\n" if "\r\n" in text else "\n"
    for root in roots:
        for document in _documents(root):
            found.extend(_document(document, text, every, breaks, edits))
    if len({edit.start for edit in edits}) < len(edits):
        raise GatingError(1, "two pod templates share one place", "write aliases out")
    for edit in sorted(edits, key=lambda one: one.start, reverse=True):
        text = text[: edit.start] + edit.text + text[edit.until :]
    return text, tuple(found)


def _documents(root: yaml.Node) -> Iterator[yaml.MappingNode]:
    if not isinstance(root, yaml.MappingNode):
        return
    items = _value(root, "items")
    if _scalar(root, "kind").endswith("List") and isinstance(items, yaml.SequenceNode):
        for item in items.value:
            yield from _documents(item)
    else:
        yield root


def _document(
    root: yaml.MappingNode, text: str, every: bool, breaks: str, edits: list[_Edit]
) -> Iterator[Gated]:
    api_version, kind = _scalar(root, "apiVersion"), _scalar(root, "kind")
    metadata = _value(root, "metadata")
    name = ""
    if isinstance(metadata, yaml.MappingNode):
        name = _scalar(metadata, "name") or _scalar(metadata, "generateName")
    subject = f"{kind} {name}".strip()
    what = known(api_version, kind)
    line = root.start_mark.line + 1
    if what is None:
        return
    if what.elsewhere:
        yield Gated(subject, line, "unknown", what.elsewhere)
        return
    for path in what.paths:
        for template, where in _find(root, path, ""):
            shown = f"{subject} {where}".strip()
            line = template.start_mark.line + 1
            spec = _value(template, "spec")
            if not isinstance(spec, yaml.MappingNode):
                raise GatingError(line, f"{shown} has no spec", "write the pod's spec there")
            if not every and not asks(_plain(template)):
                yield Gated(shown, line, "idle", "asks for no accelerators")
            elif _has(spec):
                yield Gated(shown, line, "kept", "has the gate")
            else:
                edits.append(_edit(template, spec, text, breaks))
                yield Gated(shown, line, "added")


def _find(node: yaml.Node, path: Path, where: str) -> Iterator[tuple[yaml.MappingNode, str]]:
    """The templates at a path that has placeholders. Raises GatingError for one written elsewhere."""
    if not path:
        if isinstance(node, yaml.MappingNode):
            yield node, where
        return
    step, rest = path[0], path[1:]
    if step != EACH:
        if isinstance(node, yaml.MappingNode):
            child = _own(node, step)
            if child is not None:
                yield from _find(child, rest, f"{where}.{step}" if where else step)
        return
    if isinstance(node, yaml.SequenceNode):
        for index, child in enumerate(node.value):
            _check_written_here(node, child)
            yield from _find(child, rest, f"{where}[{index}]")
    elif isinstance(node, yaml.MappingNode):
        for key, child in node.value:
            _check_written_here(key, child)
            yield from _find(child, rest, f"{where}.{key.value}")


def _own(node: yaml.MappingNode, name: str) -> yaml.Node | None:
    """The value of a key, written in this mapping and behind its key."""
    key: yaml.Node
    value: yaml.Node
    for key, value in node.value:
        if key.value == name:
            _check_written_here(key, value)
            return value
        if key.tag == _MERGE and any(
            isinstance(merged, yaml.MappingNode) and _value(merged, name) is not None
            for merged in (value.value if isinstance(value, yaml.SequenceNode) else [value])
        ):
            raise GatingError(key.start_mark.line + 1, f"{name} comes by a merge key", "write it out here")
    return None


def _check_written_here(before: yaml.Node, value: yaml.Node) -> None:
    if value.start_mark.index < before.start_mark.index:
        raise GatingError(
            before.start_mark.line + 1, "the pod template is an alias of another place", "write it out here"
        )


def _edit(template: yaml.MappingNode, spec: yaml.MappingNode, text: str, breaks: str) -> _Edit:
    key = next(key for key, value in template.value if value is spec or key.value == "spec")
    _check_written_here(key, spec)
    gates = _own(spec, "schedulingGates")
    if isinstance(gates, yaml.SequenceNode):
        return _into_list(gates, text, breaks)
    if gates is not None:
        # `schedulingGates:` or `schedulingGates: null`
        start = gates.start_mark.index
        gap = "" if text[start - 1 : start] in (" ", "\n") else " "
        return _Edit(start, gates.end_mark.index, f"{gap}[{_ITEM}]")
    if spec.flow_style:
        start = spec.start_mark.index + 1
        comma = ", " if spec.value else ""
        return _Edit(start, start, f'"schedulingGates": [{_ITEM}]{comma}')
    # Right below `spec:`, so that comments above the first field stay with it.
    indent = " " * spec.start_mark.column
    start = text.index("\n", key.end_mark.index) + 1
    lines = (f"{indent}schedulingGates:", f"{indent}- name: {PLACEMENT_GATE}", "")
    return _Edit(start, start, breaks.join(lines))


def _into_list(gates: yaml.SequenceNode, text: str, breaks: str) -> _Edit:
    if gates.flow_style:
        start = gates.start_mark.index + 1
        return _Edit(start, start, _ITEM + (", " if gates.value else ""))
    # A block sequence begins with the dash of its first item.
    start = gates.start_mark.index
    indent = " " * gates.start_mark.column
    return _Edit(start, start, f"- name: {PLACEMENT_GATE}{breaks}{indent}")


def _has(spec: yaml.MappingNode) -> bool:
    gates = _value(spec, "schedulingGates")
    return isinstance(gates, yaml.SequenceNode) and any(
        isinstance(item, yaml.MappingNode) and _scalar(item, "name") == PLACEMENT_GATE for item in gates.value
    )


def _value(node: yaml.MappingNode, name: str) -> yaml.Node | None:
    return next((value for key, value in node.value if key.value == name), None)


def _scalar(node: yaml.MappingNode, name: str) -> str:
    value = _value(node, name)
    return str(value.value) if isinstance(value, yaml.ScalarNode) else ""


def _plain(node: yaml.Node) -> Any:
    """The node as mappings, lists and text, merge keys followed."""
    if isinstance(node, yaml.MappingNode):
        found: dict[str, Any] = {}
        for key, value in node.value:
            if key.tag == _MERGE:
                for merged in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    found = {**_plain(merged), **found}
        for key, value in node.value:
            if key.tag != _MERGE:
                found[str(key.value)] = _plain(value)
        return found
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item) for item in node.value]
    return node.value
