"""The annotation `aliquot.dev/subgroups`: a gang's tree of subgroups as JSON, for gangs without a PodGroup.

All pods of the gang carry the same text, and each names its leaf in `aliquot.dev/subgroup`:

    {"topology": {"topology": "dc", "required": "zone"},
     "children": [{"name": "leader", "minimum": 1},
                  {"name": "workers", "minimum": 4, "topology": {"topology": "dc", "preferred": "rack"}}]}
"""

from typing import Annotated

import msgspec

from aliquot.model.verdicts import Fact
from aliquot.workloads.labels import SUBGROUPS

MOST_BYTES = 256 * 1024
"""All annotations of a Kubernetes object together have at most this size, which bounds a tree to less than
10,000 leaves."""

DEEPEST = 8

_Name = Annotated[str, msgspec.Meta(max_length=253)]
_Minimum = Annotated[int, msgspec.Meta(ge=0, le=100_000)]


class AnnotatedCloseness(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """topology: the name of a Topology. required, preferred: names of its levels, "" for none."""

    topology: Annotated[str, msgspec.Meta(min_length=1, max_length=253)]
    required: _Name = ""
    preferred: _Name = ""


class AnnotatedGroup(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A node of the tree. minimum: for a leaf (no children) how many pods must be placed together, for an
    inner node how many of its children must be complete (all if not given)."""

    name: _Name = ""
    minimum: _Minimum | None = None
    topology: AnnotatedCloseness | None = None
    children: tuple["AnnotatedGroup", ...] = ()


_DECODER = msgspec.json.Decoder(AnnotatedGroup)


def parse(text: str) -> AnnotatedGroup | Fact:
    """The tree that the annotation describes, or what is wrong with it.

    The root is never a leaf; the names of all other nodes are given and differ; a leaf has a minimum; an
    inner node needs no more children than it has.
    """
    if len(text.encode()) > MOST_BYTES:
        return _wrong(f"at most {MOST_BYTES} bytes", f"{len(text.encode())} bytes")
    if _depth(text) > 2 * DEEPEST + 1:
        return _wrong(f"at most {DEEPEST} levels of subgroups", "more")
    try:
        root = _DECODER.decode(text)
    except msgspec.DecodeError as error:
        return _wrong("a JSON tree of subgroups", str(error))
    return _problem(root) or root


def _depth(text: str) -> int:
    """How deep brackets are nested; those inside of strings count too, which no real name has."""
    depth = deepest = 0
    for character in text:
        if character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def _problem(root: AnnotatedGroup) -> Fact | None:
    if not root.children:
        return _wrong("children of the root", "none")
    names: set[str] = set()
    waiting = [(root, 0)]
    while waiting:
        group, level = waiting.pop()
        if level > DEEPEST:
            return _wrong(f"at most {DEEPEST} levels of subgroups", "more")
        if level and (not group.name or group.name in names):
            return _wrong("a name of its own for every subgroup", group.name or "no name")
        names.add(group.name if level else "")
        if not group.children and group.minimum is None:
            return _wrong("a minimum for every leaf", f"none for {group.name}")
        if group.children and (group.minimum or 0) > len(group.children):
            wanted = f"at most as many children as {group.name or 'the root'} has"
            return _wrong(wanted, str(group.minimum))
        waiting += [(child, level + 1) for child in group.children]
    return None


def _wrong(wanted: str, available: str) -> Fact:
    return Fact(test="subgroups", subject=SUBGROUPS, wanted=wanted, available=available[:200])
