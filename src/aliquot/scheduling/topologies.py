"""What constraints on closeness mean in a cluster: the topology of each, and its levels inside nodes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aliquot.dra.fleet import Fleet
from aliquot.model.core import Node
from aliquot.scheduling.gang_state import leaf_groups
from aliquot.topology.levels import HOSTNAME, NODE_NAMES, STANDARD_ATTRIBUTES, by_labels
from aliquot.topology.tree import TopologyTree
from aliquot.workloads.subgroups import SubGroup, TopologyConstraint

_BUILT_IN = NODE_NAMES | set(STANDARD_ATTRIBUTES) | set(STANDARD_ATTRIBUTES.values())


@dataclass(frozen=True, slots=True)
class DeviceLevel:
    """The devices of these subgroups must, or should, share a value of an attribute: PCIe root, NUMA node.

    leaves: names of the subgroups. attributes: the names under which drivers publish it, the first that a
    driver has counts. required: otherwise it is given up where it cannot be had.
    """

    leaves: frozenset[str]
    attributes: tuple[str, ...]
    required: bool


class Topologies:
    """The topologies of a cluster, and those that constraints name by node labels alone."""

    def __init__(
        self,
        trees: Mapping[str, TopologyTree],
        nodes: Sequence[Node],
        fleet: Fleet,
        *,
        honoured: bool,
        strict: bool,
    ) -> None:
        """trees: by the name of the Topology. strict: none is made up for labels."""
        self._trees = trees
        self._nodes = nodes
        self._fleet = fleet
        self._honoured = honoured
        self._strict = strict
        self._nameless: dict[tuple[str, str], TopologyTree | None] = {}
        self._levels: dict[SubGroup, dict[str, tuple[DeviceLevel, ...]]] = {}

    def tree(self, constraint: TopologyConstraint) -> TopologyTree | None:
        """The topology of a constraint: the one that it names, else the only one that knows its levels, else
        one of just the node labels and built-in levels that it names. None if there is none."""
        if constraint.topology:
            return self._trees.get(constraint.topology)
        key = (constraint.required, constraint.preferred)
        if key not in self._nameless:
            self._nameless[key] = self._find(*(name for name in key if name))
        return self._nameless[key]

    def _find(self, *names: str) -> TopologyTree | None:
        known = [
            tree
            for tree in self._trees.values()
            if all(tree.levels.number(each) is not None for each in names)
        ]
        if len(known) == 1 or self._strict:
            return known[0] if len(known) == 1 else None
        labels = [each for each in names if "/" in each and each not in _BUILT_IN]
        if len(labels) > 1 or not all(each in labels or each in _BUILT_IN for each in names):
            return None
        return TopologyTree.of(by_labels(*labels, HOSTNAME), self._nodes, self._fleet)

    def levels(self, root: SubGroup) -> Mapping[str, tuple[DeviceLevel, ...]]:
        """The constraints inside nodes for each subgroup of a gang, by name; the widest first."""
        if not self._honoured:
            return {}
        known = self._levels.get(root)
        if known is None:
            known = self._levels[root] = {}
            self._collect(root, (), known)
        return known

    def _collect(
        self, group: SubGroup, above: tuple[DeviceLevel, ...], found: dict[str, tuple[DeviceLevel, ...]]
    ) -> None:
        constraint = group.constraint
        if constraint is not None and (tree := self.tree(constraint)) is not None:
            leaves = frozenset(leaf.name for leaf in leaf_groups(group))
            for name, required in ((constraint.required, True), (constraint.preferred, False)):
                attributes = tree.levels.device_attributes(name) if name else ()
                if attributes:
                    above = (*above, DeviceLevel(leaves, attributes, required))
        if not group.children:
            if above:
                found[group.name] = above
            return
        for child in group.children:
            self._collect(child, above, found)
