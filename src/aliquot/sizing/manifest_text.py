"""Changes of a YAML file that leave comments, order and everything else as they are.

Documents are parsed for the places of their nodes (line and column), and only the text of what changes is
replaced. A change that would need more than that (inside a flow mapping, an alias, an anchor) is refused.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from aliquot.sizing.edits import Edit, Path, applied

MOST_BYTES = 4 << 20


class TextError(Exception):
    """A change that cannot be made in the text. path: of the change; problem: why."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(path, problem)
        self.path = path
        self.problem = problem

    def __str__(self) -> str:
        return f"{'.'.join(map(str, self.path))}: {self.problem}; change it by hand"


def documents(text: str) -> tuple[Any, ...]:
    """The documents of a file, as data. Raises yaml.YAMLError, ValueError when it is too large."""
    if len(text) > MOST_BYTES:
        raise ValueError(f"is larger than {MOST_BYTES >> 20} MiB")
    return tuple(yaml.load_all(text, Loader=_LOADER))


_LOADER: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def edited(text: str, number: int, edits: Sequence[Edit]) -> str:
    """The file with one document changed. number: of the document, from 0.

    What comes out is parsed again and compared with the change made to the data. Raises TextError.
    """
    wanted = [applied(item, edits) if place == number else item for place, item in enumerate(documents(text))]
    for edit in edits:
        text = _one(text, number, edit)
    try:
        found = list(documents(text))
    except yaml.YAMLError:
        found = []
    if found != wanted:
        raise TextError(edits[0].path if edits else (), "could not be changed without changing more")
    return text


def _one(text: str, number: int, edit: Edit) -> str:
    root = _root(text, number)
    holder, depth = root, 0
    for depth, key in enumerate(edit.path[:-1]):
        _plain(text, holder, edit.path[: depth + 1])
        found = _child(holder, key)
        if found is None:
            raise TextError(edit.path[: depth + 1], "is not there")
        holder = found[1]
    _plain(text, holder, edit.path)
    if not isinstance(holder, yaml.MappingNode):
        raise TextError(edit.path, "is no mapping")
    name = str(edit.path[-1])
    found = _child(holder, name)
    if edit.gone:
        return text if found is None else _removed(text, holder, found, edit)
    if edit.renamed:
        if found is None:
            raise TextError(edit.path, "is not there")
        title = found[0]
        return _replaced(text, title.start_mark.index, title.end_mark.index, _scalar(edit.renamed))
    if found is None:
        return _inserted(text, holder, name, edit.value)
    return _set(text, holder, found, edit)


def _root(text: str, number: int) -> yaml.Node:
    for place, node in enumerate(_composed(text)):
        if place == number and node is not None:
            return node
    raise TextError((), f"there is no document {number}")


def _composed(text: str) -> Iterator[yaml.Node | None]:
    loader = yaml.SafeLoader(text)
    try:
        while loader.check_node():
            yield loader.get_node()
    finally:
        loader.dispose()


def _child(node: yaml.Node, key: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        item: yaml.Node = node.value[key]
        return item, item
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if isinstance(name, yaml.ScalarNode) and name.value == str(key):
                return name, value
    return None


def _plain(text: str, node: yaml.Node, path: Path) -> None:
    """Only block collections that are written where they stand can be changed by themselves."""
    if getattr(node, "flow_style", False):
        raise TextError(path, "is in a flow collection ({} or [])")


def _set(text: str, holder: yaml.MappingNode, found: tuple[yaml.Node, yaml.Node], edit: Edit) -> str:
    key, value = found
    if isinstance(value, yaml.ScalarNode) and not isinstance(edit.value, (dict, list)):
        if value.start_mark.index < key.end_mark.index or _is_reference(text, value):
            raise TextError(edit.path, "is an alias or has an anchor")
        return _replaced(text, value.start_mark.index, value.end_mark.index, _scalar(edit.value))
    removed = _removed(text, holder, found, edit, alone=True)
    indent = " " * holder.start_mark.column
    lines = _block(str(edit.path[-1]), edit.value, indent)
    at = _line_start(text, key.start_mark.index)
    if text[at : key.start_mark.index].strip():
        raise TextError(edit.path, "is the first of a list's item")
    return removed[:at] + lines + removed[at:]


def _is_reference(text: str, node: yaml.Node) -> bool:
    return text[node.start_mark.index : node.start_mark.index + 1] in ("*", "&")


def _removed(
    text: str,
    holder: yaml.MappingNode,
    found: tuple[yaml.Node, yaml.Node],
    edit: Edit,
    *,
    alone: bool = False,
) -> str:
    """Without a key and its value, with their lines. A comment at the end of the line goes with them; one on
    lines of its own stays."""
    key, value = found
    if len(holder.value) == 1 and not alone:
        # The mapping would be empty, which `key:` alone does not say.
        return _replaced(text, holder.start_mark.index, _last(holder), "{}")
    start = _line_start(text, key.start_mark.index)
    end = _line_end(text, _last(value) if _last(value) > key.end_mark.index else key.end_mark.index)
    before = text[start : key.start_mark.index]
    if before.strip():
        following = holder.value[1][0] if holder.value[0][0] is key else None
        if following is None:
            raise TextError(edit.path, "shares its line with something else")
        return text[: key.start_mark.index] + text[following.start_mark.index :]
    return text[:start] + text[end:]


def _last(node: yaml.Node) -> int:
    """Where the text of a node ends; of a collection, where that of its last item does."""
    if isinstance(node, yaml.MappingNode) and node.value and not node.flow_style:
        return _last(node.value[-1][1]) if _last(node.value[-1][1]) > 0 else int(node.end_mark.index)
    if isinstance(node, yaml.SequenceNode) and node.value and not node.flow_style:
        return _last(node.value[-1])
    return int(node.end_mark.index)


def _inserted(text: str, holder: yaml.MappingNode, name: str, value: Any) -> str:
    """With one more key at the end of a mapping."""
    indent = " " * holder.start_mark.column
    end = _line_end(text, _last(holder))
    head = text[:end]
    if head and not head.endswith("\n"):
        head += "\n"
    return head + _block(name, value, indent) + text[end:]


def _block(name: str, value: Any, indent: str) -> str:
    made: str = yaml.safe_dump({name: value}, sort_keys=False, default_flow_style=False, width=1000)
    return "".join(f"{indent}{line}\n" for line in made.splitlines())


def _scalar(value: Any) -> str:
    made: str = yaml.safe_dump(value, default_flow_style=True, width=10_000)
    return made.removesuffix("\n").removesuffix("...").rstrip("\n")


def _replaced(text: str, start: int, end: int, new: str) -> str:
    return text[:start] + new + text[end:]


def _line_start(text: str, index: int) -> int:
    return text.rfind("\n", 0, index) + 1


def _line_end(text: str, index: int) -> int:
    """After the end of the line that the character before `index` is on."""
    at = text.find("\n", max(index - 1, 0))
    return len(text) if at < 0 else at + 1
