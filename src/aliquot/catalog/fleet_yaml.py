"""YAML of fleet files, read safely: bounded size and depth, no aliases, no tags, no repeated keys.

Plain scalars mean what a reader expects: `true` and `false`, whole numbers, and text. YAML 1.1 would read
the zone `no` as false and the time-like `1:30` as 90.
"""

import difflib
import re
from collections.abc import Iterable
from typing import Any

import yaml

MAX_BYTES = 1 << 20
MAX_DEPTH = 16
MAX_VALUES = 100_000

_LOADER: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")


class FleetError(Exception):
    """A fleet file that cannot be used.

    source: the file; path: the field, such as `nodes[0].type`, or ""; line: counted from 1, or None;
    problem: what is wrong; fix: what to write instead.
    """

    def __init__(self, source: str, path: str, problem: str, fix: str, line: int | None = None) -> None:
        super().__init__(source, path, problem, fix, line)
        self.source = source
        self.path = path
        self.problem = problem
        self.fix = fix
        self.line = line

    def __str__(self) -> str:
        place = self.source if self.line is None else f"{self.source}:{self.line}"
        field = f"{self.path}: " if self.path else ""
        return f"{place}: {field}{self.problem}; {self.fix}"


def near(word: str, known: Iterable[str], limit: int = 3) -> list[str]:
    """The known words that look most like the given one, best first."""
    by_lower = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower(), by_lower, n=limit, cutoff=0.5)
    return [by_lower[name] for name in found]


class Document:
    """A parsed file: plain Python values, and the line of every path in it."""

    def __init__(self, source: str, value: Any, lines: dict[str, int]) -> None:
        self.source = source
        self.value = value
        self._lines = lines

    def error(self, path: str, problem: str, fix: str) -> FleetError:
        """An error at a path, with the line of it or of the nearest thing around it."""
        around = path
        while around and around not in self._lines:
            around = re.sub(r"(\.?[^.\[]+|\[\d+\])$", "", around)
        return FleetError(self.source, path, problem, fix, self._lines.get(around))


def parse_document(text: str, source: str) -> Document:
    """The one document of a text. Raises FleetError."""
    text = text.removeprefix("\ufeff")
    if len(text) > MAX_BYTES:
        raise FleetError(source, "", f"larger than {MAX_BYTES} bytes", "split it into several fleets")
    try:
        _check_events(text, source)
        root = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise FleetError(
            source,
            "",
            f"not valid YAML: {error.problem or error.context}",
            "check indentation, brackets and quotes around this line, and that the file is whole",
            min(mark.line + 1, len(text.splitlines())) if mark else None,
        ) from None
    except (yaml.YAMLError, ValueError) as error:
        problem = str(error).splitlines()[0]
        raise FleetError(
            source, "", f"not valid YAML: {problem}", "save the file as plain UTF-8 text"
        ) from None
    if root is None:
        raise FleetError(source, "", "the file is empty", "begin with `apiVersion: aliquot.dev/v1alpha1`")
    lines: dict[str, int] = {}
    return Document(source, _plain(root, "", source, lines), lines)


def _check_events(text: str, source: str) -> None:
    """Refuse what is dangerous or too large before anything is built from it."""
    depth = documents = 0
    for values, event in enumerate(yaml.parse(text, Loader=_LOADER), 1):
        line = event.start_mark.line + 1 if event.start_mark else None
        if isinstance(event, yaml.AliasEvent):
            raise FleetError(source, "", "YAML aliases are not read", "write the value out", line)
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise FleetError(
                    source, "", "more than one document", "keep one document in a file of this kind", line
                )
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise FleetError(source, "", f"nested deeper than {MAX_DEPTH}", "flatten it", line)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if values > MAX_VALUES:
            raise FleetError(
                source, "", f"more than {MAX_VALUES} values", "split it into several fleets", line
            )


def _plain(node: yaml.Node, path: str, source: str, lines: dict[str, int]) -> Any:
    line = node.start_mark.line + 1
    lines.setdefault(path, line)
    if isinstance(node, yaml.SequenceNode):
        _refuse_tag(node, "seq", path, source)
        return [_plain(item, f"{path}[{i}]", source, lines) for i, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        _refuse_tag(node, "map", path, source)
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                fix = "write a field name before the colon"
                raise FleetError(source, path, "a key that is not text", fix, key_node.start_mark.line + 1)
            key = key_node.value
            inner = f"{path}.{key}" if path else key
            lines[inner] = key_node.start_mark.line + 1
            if key in found:
                raise FleetError(source, inner, "is there twice", "keep one of them", lines[inner])
            found[key] = _plain(value_node, inner, source, lines)
        return found
    return _scalar(node, path, source)


def _scalar(node: yaml.Node, path: str, source: str) -> str | int | bool | None:
    text: str = node.value
    if getattr(node, "style", None) in ("'", '"', "|", ">"):
        _refuse_tag(node, "str", path, source)
        return text
    if node.tag.rpartition(":")[2] not in (
        "str",
        "int",
        "bool",
        "null",
        "float",
        "timestamp",
        "value",
        "merge",
    ):
        _refuse_tag(node, "str", path, source)
    if text in ("true", "false"):
        return text == "true"
    if text in ("", "~", "null"):
        return None
    return int(text) if _INTEGER.fullmatch(text) else text


def _refuse_tag(node: yaml.Node, kind: str, path: str, source: str) -> None:
    if node.tag != f"tag:yaml.org,2002:{kind}":
        raise FleetError(
            source, path, f"the tag {node.tag!r} is not read", "remove it", node.start_mark.line + 1
        )
