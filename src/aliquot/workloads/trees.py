"""From what a source and the settings say to the tree of subgroups of one gang."""

from collections.abc import Sequence
from dataclasses import replace

from aliquot.model.verdicts import Fact
from aliquot.workloads import labels
from aliquot.workloads.lookup import gather
from aliquot.workloads.segments import segmented
from aliquot.workloads.sources.source import (
    Group,
    Member,
    Shape,
    number,
    size_setting,
)
from aliquot.workloads.subgroup_annotation import parse
from aliquot.workloads.subgroups import (
    SubGroup,
    TopologyConstraint,
    constrained,
    spelt_out,
    with_extra_leaves,
    without,
)

REST = "rest"
"""The subgroup of members that name none, beside others that do."""


def finished_shape(group: Group, shape: Shape) -> tuple[Shape, Sequence[Member]]:
    """The shape with the settings applied, and the members with the leaves that they are in by then."""
    settings = group.settings
    text = settings.get(labels.SUBGROUPS)
    if text is not None:
        return _by_annotation(group, shape, text)
    root, problem = shape.root, shape.problem
    if group.key[0] != "Gang":
        root, problem = _resized(group, root, problem)
    members: Sequence[Member] = group.members
    if not root.children:
        root, members = _parted(group, root)
    if settings:
        own = _gang_constraint(settings)
        if own is not None:
            root = replace(root, constraint=own)
    if root.children:
        root = with_extra_leaves(root, (member.membership.leaf for member in members))
    root = _closer_leaves(root, members)
    root, members = segmented(root, members, settings)
    return _bounded(group, Shape(root, shape.maximum, problem)), members


def _by_annotation(group: Group, shape: Shape, text: str) -> tuple[Shape, Sequence[Member]]:
    tree = parse(text)
    if isinstance(tree, Fact):
        return Shape(shape.root, shape.maximum, tree), group.members
    members = [_renamed(member, _own_leaf(member)) for member in group.members]
    root = without(spelt_out(tree), _with_members(group, members).succeeded())
    root = with_extra_leaves(root, (member.membership.leaf for member in members))
    return _bounded(group, Shape(root, shape.maximum, None)), members


def _with_members(group: Group, members: Sequence[Member]) -> Group:
    return Group(group.key, members, group.owners, group.lookup, group.settings)


def _own_leaf(member: Member) -> str:
    return member.pod.metadata.annotations.get(labels.SUBGROUP) or member.membership.leaf or REST


def _renamed(member: Member, leaf: str) -> Member:
    found = member.membership
    if found.leaf == leaf:
        return member
    return Member(member.pod, replace(found, leaf=leaf))


def _resized(group: Group, root: SubGroup, problem: Fact | None) -> tuple[SubGroup, Fact | None]:
    """`gang-min`, else `gang-size`, instead of what the source says."""
    settings = group.settings
    if labels.GANG_SIZE not in settings and labels.GANG_MIN not in settings:
        return root, problem
    for name in (labels.GANG_MIN, labels.GANG_SIZE):
        size = size_setting(settings, name)
        if isinstance(size, Fact):
            return root, size
        if size is not None:
            return SubGroup("", size, root.constraint), None
    return root, problem


def _parted(group: Group, root: SubGroup) -> tuple[SubGroup, Sequence[Member]]:
    """A gang without parts of its own, cut into those that its members name.

    Names alone change nothing: a subgroup counts once its pods say how many start together, or where.
    """
    members = group.members
    if not any(_part(member) for member in members):
        if any(member.membership.leaf for member in members):
            members = [_renamed(member, "") for member in members]
        return root, members
    by_leaf: dict[str, list[Member]] = {}
    for member in members:
        by_leaf.setdefault(_part(member), []).append(member)
    said = {leaf: _said(found, labels.SUBGROUP_SETTINGS) for leaf, found in by_leaf.items()}
    if not any(said.values()):
        return root, [_renamed(member, "") for member in group.members]
    parts = tuple(
        SubGroup(leaf or REST, number(said[leaf].get(labels.SUBGROUP_MIN)) or 0) for leaf in sorted(by_leaf)
    )
    tree = SubGroup("", len(parts), root.constraint, parts)
    members = [_renamed(member, leaf or REST) for leaf, found in by_leaf.items() for member in found]
    members.sort(key=lambda member: member.pod.metadata.name)
    return without(tree, _with_members(group, members).succeeded()), members


def _part(member: Member) -> str:
    """The part of its gang that a pod names, "" if it names none."""
    return member.pod.metadata.annotations.get(labels.SUBGROUP, "")


def _said(members: Sequence[Member], names: frozenset[str]) -> dict[str, str]:
    return gather([member.pod for member in members], (), names)


def _gang_constraint(settings: dict[str, str]) -> TopologyConstraint | None:
    return constrained(
        settings.get(labels.TOPOLOGY_REQUIRED, ""),
        settings.get(labels.TOPOLOGY_PREFERRED, ""),
        settings.get(labels.TOPOLOGY, ""),
    ) or constrained(
        settings.get(labels.KAI_TOPOLOGY_REQUIRED, ""),
        settings.get(labels.KAI_TOPOLOGY_PREFERRED, ""),
        settings.get(labels.KAI_TOPOLOGY, ""),
    )


def _leaf_constraint(settings: dict[str, str], topology: str) -> TopologyConstraint | None:
    return constrained(
        settings.get(labels.SUBGROUP_TOPOLOGY_REQUIRED, ""),
        settings.get(labels.SUBGROUP_TOPOLOGY_PREFERRED, ""),
        topology,
    ) or constrained(
        settings.get(labels.KUEUE_TOPOLOGY_REQUIRED, ""), settings.get(labels.KUEUE_TOPOLOGY_PREFERRED, "")
    )


def _closer_leaves(root: SubGroup, members: Sequence[Member]) -> SubGroup:
    """The tree with the constraints that the pods of its leaves ask for."""
    by_leaf: dict[str, list[Member]] = {}
    for member in members:
        annotations = member.pod.metadata.annotations
        if annotations and not labels.SUBGROUP_SETTINGS.isdisjoint(annotations):
            by_leaf.setdefault(member.membership.leaf, []).append(member)
    if not by_leaf:
        return root
    wanted: dict[str, TopologyConstraint] = {}
    names = labels.SUBGROUP_SETTINGS | {labels.TOPOLOGY}
    for leaf, found in by_leaf.items():
        said = _said(found, names)
        constraint = _leaf_constraint(said, said.get(labels.TOPOLOGY, ""))
        if constraint is not None:
            wanted[leaf] = constraint
    if not root.children:
        constraint = root.constraint or wanted.get("")
        return replace(root, constraint=constraint)
    return _closer(root, wanted)


def _closer(group: SubGroup, wanted: dict[str, TopologyConstraint]) -> SubGroup:
    if group.children:
        children = tuple(_closer(child, wanted) for child in group.children)
        return replace(group, children=children)
    constraint = wanted.get(group.name)
    return group if constraint is None else replace(group, constraint=constraint)


def _bounded(group: Group, shape: Shape) -> Shape:
    """`gang-max` instead of the source's bound, never less than the minimum."""
    most = size_setting(group.settings, labels.GANG_MAX)
    if isinstance(most, Fact):
        return Shape(shape.root, shape.maximum, shape.problem or most)
    if most is None:
        return shape
    return Shape(shape.root, max(most, shape.root.least), shape.problem)
