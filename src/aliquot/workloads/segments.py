"""Segments: a subgroup cut into runs of members with consecutive indexes, each in a domain of its own.

Kueue calls them slices (podset-slice-size, podset-slice-required-topology), KAI-Scheduler segments
(segment-size). Eight workers in segments of four need 4 and 4; a minimum of six needs 4 and 2.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from aliquot.workloads import labels
from aliquot.workloads.lookup import gather
from aliquot.workloads.sources.source import LARGEST, Member, number
from aliquot.workloads.subgroups import SubGroup, TopologyConstraint, constrained

MOST_SEGMENTS = 10_000

_NAMES = frozenset(
    {
        labels.KUEUE_SLICE_SIZE,
        labels.KUEUE_SLICE_REQUIRED,
        labels.KAI_SEGMENT_SIZE,
        labels.KAI_SEGMENT_REQUIRED,
        labels.KAI_SEGMENT_PREFERRED,
        labels.KAI_TOPOLOGY,
    }
)
_SIZES = frozenset({labels.KUEUE_SLICE_SIZE, labels.KUEUE_SLICE_REQUIRED, labels.KAI_SEGMENT_SIZE})


def segmented(
    root: SubGroup, members: Sequence[Member], settings: Mapping[str, str]
) -> tuple[SubGroup, Sequence[Member]]:
    """The tree with those leaves cut whose pods ask for it, and the members in the leaves that result."""
    on_owner = labels.KAI_SEGMENT_SIZE in settings
    if not on_owner and all(_SIZES.isdisjoint(member.pod.metadata.annotations) for member in members):
        return root, members
    by_leaf: dict[str, list[Member]] = {}
    for member in members:
        by_leaf.setdefault(member.membership.leaf, []).append(member)
    cut: dict[str, SubGroup] = {}
    for leaf in _leaves(root):
        found = by_leaf.get(leaf.name, [])
        said = {**{name: settings[name] for name in _NAMES.intersection(settings)}, **_said(found)}
        size, constraint = _wanted(said)
        if size is None or constraint is None or not found or leaf.minimum <= size:
            continue
        ranks = _ranks(found)
        count = max(-(-leaf.minimum // size), max(ranks) // size + 1)
        if count > MOST_SEGMENTS:
            continue
        cut[leaf.name] = _cut(leaf, size, count, constraint)
        by_leaf[leaf.name] = [
            _moved(member, _name(leaf, rank // size)) for member, rank in zip(found, ranks, strict=True)
        ]
    if not cut:
        return root, members
    return _replaced(root, cut), [member for found in by_leaf.values() for member in found]


def _leaves(group: SubGroup) -> Iterable[SubGroup]:
    if not group.children:
        return (group,)
    return [leaf for child in group.children for leaf in _leaves(child)]


def _said(members: Sequence[Member]) -> dict[str, str]:
    return gather([member.pod for member in members], (), _NAMES)


def _wanted(said: Mapping[str, str]) -> tuple[int | None, TopologyConstraint | None]:
    """How long a run is, and what it asks for. KAI-Scheduler has no segments of one."""
    required = said.get(labels.KUEUE_SLICE_REQUIRED, "")
    if required:
        return number(said.get(labels.KUEUE_SLICE_SIZE)) or None, constrained(required)
    size = number(said.get(labels.KAI_SEGMENT_SIZE))
    constraint = constrained(
        said.get(labels.KAI_SEGMENT_REQUIRED, ""),
        said.get(labels.KAI_SEGMENT_PREFERRED, ""),
        said.get(labels.KAI_TOPOLOGY, ""),
    )
    return size if size is not None and size > 1 else None, constraint


def _ranks(members: Sequence[Member]) -> list[int]:
    """Each member's place: its index; where indexes say nothing or those of several Jobs, its place among
    those that there are."""
    indexes = [member.membership.index for member in members]
    if len(set(indexes)) == len(indexes) and max(indexes) < LARGEST:
        return indexes
    order = sorted(range(len(members)), key=lambda place: (indexes[place], members[place].pod.metadata.name))
    ranks = [0] * len(members)
    for rank, place in enumerate(order):
        ranks[place] = rank
    return ranks


def _cut(leaf: SubGroup, size: int, count: int, constraint: TopologyConstraint) -> SubGroup:
    children = tuple(
        SubGroup(_name(leaf, place), min(size, max(0, leaf.minimum - place * size)), constraint)
        for place in range(count)
    )
    return SubGroup(leaf.name, count, leaf.constraint, children)


def _name(leaf: SubGroup, place: int) -> str:
    return f"{leaf.name or 'segment'}-{place}"


def _moved(member: Member, leaf: str) -> Member:
    return Member(member.pod, replace(member.membership, leaf=leaf))


def _replaced(group: SubGroup, cut: Mapping[str, SubGroup]) -> SubGroup:
    if not group.children:
        return cut.get(group.name, group)
    children = tuple(_replaced(child, cut) for child in group.children)
    return replace(group, children=children)
