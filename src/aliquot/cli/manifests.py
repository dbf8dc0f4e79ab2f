"""Reading files of Kubernetes manifests: YAML and JSON, several documents, Lists, folders, standard input.

What is read is bounded in size, depth and number of values. Every document knows its file and the line of
each of its fields, so that whatever is wrong with it can be pointed at.
"""

import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml

MAX_BYTES = 256 << 20
"""A file larger than this is not read."""

MAX_YAML_BYTES = 64 << 20
MAX_DEPTH = 64
MAX_VALUES = 20_000_000
MAX_EXPANDED = 1_000_000
"""How many values the aliases of one document may stand for, together with what is written out."""

SUFFIXES = (".yaml", ".yml", ".json")
STDIN = "-"

_LOADER: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_OCTAL = re.compile(r"0o?([0-7]+)")


class InputError(Exception):
    """A file that cannot be used: `place` (file, line, column), `field` ("": the whole), `problem`, `fix`."""

    def __init__(self, place: str, field: str, problem: str, fix: str) -> None:
        super().__init__(place, field, problem, fix)
        self.place = place
        self.field = field
        self.problem = problem
        self.fix = fix

    def __str__(self) -> str:
        field = f"{self.field}: " if self.field else ""
        return f"{self.place}: {field}{self.problem}; {self.fix}"


class Document(msgspec.Struct, frozen=True):
    """One JSON-like mapping of a file. lines: the line of each field's path, such as `spec.containers[0]`.

    text: the file's text if it has only this document, for readers that keep positions of their own.
    """

    source: str
    value: dict[str, Any]
    lines: Mapping[str, int]
    text: str = ""

    def place(self, path: str = "") -> str:
        """`file:line` of a field, or of the closest field around it that is there."""
        around = path
        while around not in self.lines:
            if not around:
                return self.source
            shorter = re.sub(r"(\.[^.\[\]]*|[^.\[\]]+|\[\d+\])$", "", around)
            if shorter == around:
                # A key with a bracket in it: where the path goes on cannot be told.
                return self.source
            around = shorter
        return f"{self.source}:{self.lines[around]}"

    def named(self, number: int) -> "Document":
        """With a name where it has a generateName only, to which a server would add letters of its own.

        number: tells it from others of the same file, such as 3 for `sweep-3` of `sweep-`.
        """
        metadata = self.value.get("metadata")
        if not isinstance(metadata, dict) or metadata.get("name"):
            return self
        begins = metadata.get("generateName")
        if not isinstance(begins, str) or not begins:
            return self
        named = {**metadata, "name": f"{begins}{number}"}
        return msgspec.structs.replace(self, value={**self.value, "metadata": named})

    def error(self, path: str, problem: str, fix: str) -> InputError:
        return InputError(self.place(path), path, problem, fix)


def read(names: Sequence[str]) -> list[Document]:
    """The documents of these files and folders, Lists taken apart. Raises InputError.

    A folder stands for its .yaml, .yml and .json files, by name, without sub-folders (as `kubectl -f` takes
    it); "-" stands for standard input.
    """
    found: list[Document] = []
    for name in names:
        for source, content in _contents(name):
            found.extend(parse(content, source))
    return found


def _contents(name: str) -> Iterator[tuple[str, bytes]]:
    if name == STDIN:
        yield "<stdin>", _bounded(sys.stdin.buffer.read(MAX_BYTES + 1), "<stdin>")
        return
    path = Path(name)
    if path.is_dir():
        try:
            files = sorted(entry for entry in path.iterdir() if entry.suffix in SUFFIXES and entry.is_file())
        except OSError as error:
            raise InputError(
                name, "", f"cannot be read: {error.strerror}", "check the folder and its permissions"
            ) from None
        if not files:
            raise InputError(name, "", "the folder holds no manifests", f"add {', '.join(SUFFIXES)} files")
    else:
        files = [path]
    for file in files:
        try:
            with file.open("rb") as stream:
                content = stream.read(MAX_BYTES + 1)
        except OSError as error:
            raise InputError(
                str(file), "", f"cannot be read: {error.strerror}", "check the path and its permissions"
            ) from None
        yield str(file), _bounded(content, str(file))


def _bounded(content: bytes, source: str) -> bytes:
    if len(content) > MAX_BYTES:
        raise InputError(source, "", f"is larger than {MAX_BYTES >> 20} MiB", "split it")
    return content


def parse(content: bytes, source: str) -> list[Document]:
    """The documents of one file, Lists taken apart. Raises InputError."""
    if content[:1] == b"{":
        documents = _json(content, source)
    else:
        documents = _yaml(content, source)
    return [item for document in documents for item in _items(document)]


def _json(content: bytes, source: str) -> list[Document]:
    try:
        value = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # The standard library's decoder says where: msgspec knows the byte only.
        try:
            value = json.loads(content)
        except json.JSONDecodeError as error:
            if error.msg == "Extra data":
                return _yaml(content, source)
            raise InputError(
                f"{source}:{error.lineno}:{error.colno}",
                "",
                f"is not valid JSON at line {error.lineno}, column {error.colno}: {error.msg}",
                "check that the file is whole, and the commas and quotes around this place",
            ) from None
        except (UnicodeDecodeError, RecursionError):
            raise InputError(source, "", "is not valid JSON", "save it as UTF-8") from None
    except RecursionError:
        raise InputError(source, "", "is nested too deep", f"stay below {MAX_DEPTH} levels") from None
    if not isinstance(value, dict):
        raise InputError(source, "", "is not an object", "write apiVersion, kind, metadata ...")
    return [Document(source, value, {})]


def _yaml(content: bytes, source: str) -> list[Document]:
    if len(content) > MAX_YAML_BYTES:
        raise InputError(
            source, "", f"is YAML of more than {MAX_YAML_BYTES >> 20} MiB", "split it or use JSON"
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(f"{source}:{line}", "", "is not UTF-8 text", "save the file as UTF-8") from None
    try:
        _check_depth(text, source)
        roots = list(yaml.compose_all(text, Loader=_LOADER))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise InputError(
            place,
            "",
            f"is not valid YAML{where}: {error.problem or error.context}",
            "check that the file is whole, and indentation, brackets and quotes around this place",
        ) from None
    except yaml.YAMLError as error:
        raise InputError(
            source, "", f"is not valid YAML: {str(error).splitlines()[0]}", "save it as plain UTF-8 text"
        ) from None
    documents = []
    for root in roots:
        if root is None or (isinstance(root, yaml.ScalarNode) and root.tag.endswith(":null")):
            continue
        lines: dict[str, int] = {}
        try:
            value = _Builder(source, lines).build(root, "")
        except RecursionError:
            place = f"{source}:{root.start_mark.line + 1}"
            raise InputError(place, "", "has an alias inside of what it stands for", "write it out") from None
        if not isinstance(value, dict):
            place = f"{source}:{root.start_mark.line + 1}"
            raise InputError(place, "", "is not an object", "write apiVersion, kind, metadata ...")
        documents.append(Document(source, value, lines, text if len(roots) == 1 else ""))
    return documents


def _check_depth(text: str, source: str) -> None:
    depth = 0
    for values, event in enumerate(yaml.parse(text, Loader=_LOADER)):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH or values > MAX_VALUES:
            place = f"{source}:{event.start_mark.line + 1}" if event.start_mark else source
            raise InputError(place, "", "is nested too deep or too long", f"stay below {MAX_DEPTH} levels")


class _Builder:
    """Makes JSON-like values of YAML nodes, as kubectl does: merge keys and aliases work, times stay text."""

    def __init__(self, source: str, lines: dict[str, int]) -> None:
        self._source = source
        self._lines = lines
        self._left = MAX_EXPANDED

    def build(self, node: yaml.Node, path: str) -> Any:
        self._left -= 1
        if self._left < 0:
            raise self._error(node, path, "has too many values", "write out fewer aliases")
        self._lines.setdefault(path, node.start_mark.line + 1)
        if not isinstance(node, yaml.ScalarNode) and not node.tag.endswith((":seq", ":map")):
            raise self._error(node, path, f"has the YAML tag {node.tag}", "remove the tag")
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, f"{path}[{place}]") for place, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                for part in value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]:
                    if not isinstance(part, yaml.MappingNode):
                        raise self._error(part, path, "merges something that is no mapping", "remove `<<`")
                    merged = {**self._mapping(part, path), **merged}
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                raise self._error(key_node, path, "has a key that is not text", "write a field name")
            key = key_node.value
            inner = f"{path}.{key}" if path else key
            if key in found:
                raise self._error(key_node, inner, "is there twice", "keep one of them")
            self._lines[inner] = key_node.start_mark.line + 1
            found[key] = self.build(value_node, inner)
        return {**merged, **found}

    def _scalar(self, node: yaml.Node, path: str) -> str | int | float | bool | None:
        text: str = node.value
        kind = node.tag.rpartition(":")[2]
        try:
            match kind:
                case "null":
                    return None
                case "bool":
                    return text.lower() in ("true", "yes", "on")
                case "int":
                    octal = _OCTAL.fullmatch(text)
                    return int(octal[1], 8) if octal else int(text.replace("_", ""), 0)
                case "float":
                    return float(text.replace("_", ""))
                case "str" | "timestamp" | "value" | "merge":
                    return text
        except ValueError:
            return text
        raise self._error(node, path, f"has the YAML tag {node.tag}", "remove the tag")

    def _error(self, node: yaml.Node, path: str, problem: str, fix: str) -> InputError:
        mark = node.start_mark
        return InputError(f"{self._source}:{mark.line + 1}:{mark.column + 1}", path, problem, fix)


def _items(document: Document) -> Iterable[Document]:
    """The document, or what the List of it holds."""
    value = document.value
    kind = value.get("kind")
    if not (isinstance(kind, str) and kind.endswith("List") and isinstance(value.get("items"), list)):
        yield document
        return
    by_item: dict[int, dict[str, int]] = {}
    for path, line in document.lines.items():
        matched = re.match(r"items\[(\d+)\]\.?(.*)", path)
        if matched:
            by_item.setdefault(int(matched[1]), {})[matched[2]] = line
    for place, item in enumerate(value["items"]):
        if not isinstance(item, dict):
            raise document.error(
                f"items[{place}]", "is not an object", "write apiVersion, kind, metadata ..."
            )
        if kind != "List":
            # A list of one kind may leave out what its items are.
            item = {"apiVersion": value.get("apiVersion"), "kind": kind.removesuffix("List"), **item}
        yield from _items(Document(document.source, item, by_item.get(place, {})))
