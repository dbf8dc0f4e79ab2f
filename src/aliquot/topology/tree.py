"""The domains of a topology as a tree over nodes.

Nodes have the numbers that they have in the order sorted by name; sets of nodes are integers with one bit
per number.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import is_

from aliquot.dra.attributes import elements, lookup
from aliquot.dra.fleet import Fleet
from aliquot.dra.pools import Pool, members
from aliquot.model.core import Node
from aliquot.model.topology import Topology
from aliquot.topology.levels import Level, Levels

Nodes = int
"""A set of nodes: bit i stands for node number i."""

Path = tuple[str, ...]
"""Values from the coarsest level down."""

ROOT = 0
"""The number of the domain that is the whole cluster."""


@dataclass(frozen=True, slots=True)
class Domain:
    """Nodes that are close at one level.

    number: in the tree. level: 0 for the whole cluster, 1 for the coarsest level, the last for single nodes.
    id: the values of the levels from the top. parent: the number of the domain around it (its own for the
    whole cluster). children: the numbers of those right inside it, by id.
    """

    number: int
    level: int
    id: Path
    nodes: Nodes
    parent: int
    children: tuple[int, ...]

    @property
    def name(self) -> str:
        return "/".join(self.id) if self.id else "cluster"


class TopologyTree:
    """The domains of one topology; read-only once built.

    domains: by number, the whole cluster first, parents before children. paths: for each node the numbers of
    the domains that it is in, from the whole cluster down; () for a node that is in none. strict: only nodes
    with a value at every level are part of the tree, and only domains inside the set searched are tried, as
    KAI-Scheduler has it.
    """

    __slots__ = ("_known", "domains", "levels", "names", "paths", "strict", "topology")

    def __init__(
        self,
        topology: Topology,
        levels: Levels,
        names: tuple[str, ...],
        known: "list[_Known]",
        strict: bool,
    ) -> None:
        self.topology = topology
        self.levels = levels
        self.names = names
        self.strict = strict
        self._known = known
        self.domains, self.paths = _grow(levels, names, [entry.values for entry in known], strict)

    @staticmethod
    def of(
        topology: Topology,
        nodes: Iterable[Node],
        fleet: Fleet | None = None,
        *,
        strict: bool = False,
        previous: "TopologyTree | None" = None,
    ) -> "TopologyTree":
        """The tree over these nodes. fleet: tells the attributes of their devices; without it nodes have no
        value at levels of attributes. previous: an earlier tree of the same topology; it is returned itself
        if nothing changed that it depends on.
        """
        ordered = sorted(nodes, key=_name)
        if previous is not None and (previous.topology.spec != topology.spec or previous.strict != strict):
            previous = None
        levels = Levels.of(topology) if previous is None else previous.levels
        grouping = levels.nodes[:-1]
        attributes = any(level.attribute for level in grouping)
        names = tuple(node.metadata.name for node in ordered)
        pools: list[tuple[Pool, ...]] = [()] * len(ordered)
        if attributes and fleet is not None:
            pools = [fleet.local_pools(name) for name in names]
        old = {} if previous is None else {entry.node.metadata.name: entry for entry in previous._known}
        known: list[_Known] = []
        same = previous is not None and previous.names == names
        for node, of_node in zip(ordered, pools, strict=True):
            entry = old.get(node.metadata.name)
            if entry is None or entry.node is not node or not _same(entry.pools, of_node):
                values = tuple(_value(level, node, of_node) for level in grouping)
                same = same and entry is not None and entry.values == values
                entry = _Known(node, of_node, values)
            known.append(entry)
        if previous is not None and same:
            previous._known = known
            return previous
        return TopologyTree(topology, levels, names, known, strict)

    @property
    def name(self) -> str:
        return self.topology.metadata.name

    @property
    def root(self) -> Domain:
        """The whole cluster."""
        return self.domains[ROOT]

    def level(self, number: int) -> tuple[Domain, ...]:
        """The domains of one level, by id."""
        return tuple(domain for domain in self.domains if domain.level == number)

    def domain_of(self, node: int, level: int) -> Domain | None:
        """The domain of a level that a node is in."""
        path = self.paths[node]
        if level < len(path) - 1:
            return self.domains[path[level]]
        return self.domains[path[-1]] if path and level == self.levels.deepest else None

    def around(self, nodes: Nodes) -> Domain:
        """The smallest domain with all of these nodes that the tree has; the whole cluster for none."""
        nodes &= self.root.nodes
        if not nodes:
            return self.root
        first = (nodes & -nodes).bit_length() - 1
        for number in reversed(self.paths[first]):
            domain = self.domains[number]
            if not nodes & ~domain.nodes:
                return domain
        return self.root


@dataclass(slots=True)
class _Known:
    """What a node's place in the tree was derived from, and its values at the levels ("" for none)."""

    node: Node
    pools: tuple[Pool, ...]
    values: Path


def _name(node: Node) -> str:
    return node.metadata.name


def _same(left: Sequence[object], right: Sequence[object]) -> bool:
    return left is right or (len(left) == len(right) and all(map(is_, left, right)))


def _value(level: Level, node: Node, pools: tuple[Pool, ...]) -> str:
    if level.label:
        return node.metadata.labels.get(level.label, "")
    found = {
        value
        for pool in pools
        for index in members(pool.local.get(node.metadata.name, 0))
        if (attribute := lookup(pool.devices[index], pool.driver, level.attribute)) is not None
        for value in elements(attribute)[1]
    }
    # Devices that disagree leave the node without a place: half of it would be far from the other half.
    return str(next(iter(found))) if len(found) == 1 else ""


def _grow(
    levels: Levels, names: tuple[str, ...], values: Sequence[Path], strict: bool
) -> tuple[tuple[Domain, ...], tuple[tuple[int, ...], ...]]:
    """The domains and each node's path, from the nodes' values."""
    prefixes: list[Path] = []
    sets: dict[Path, Nodes] = {}
    whole = 0
    for number, path in enumerate(values):
        prefix = path if "" not in path else path[: path.index("")]
        if strict and len(prefix) < len(path):
            prefixes.append(("",))
            continue
        bit = 1 << number
        whole |= bit
        prefixes.append(prefix)
        sets[prefix] = sets.get(prefix, 0) | bit
    for prefix in sorted(sets, key=len, reverse=True):
        for length in range(1, len(prefix)):
            sets[prefix[:length]] = sets.get(prefix[:length], 0) | sets[prefix]
    sets.pop((), None)
    numbers: dict[Path, int] = {(): ROOT}
    order = sorted(sets, key=lambda path: (len(path), path))
    for path in order:
        numbers[path] = len(numbers)
    children: list[list[int]] = [[] for _ in range(len(numbers))]
    for path in order:
        children[numbers[path[:-1]]].append(numbers[path])
    paths: list[tuple[int, ...]] = []
    leaves: list[tuple[int, Path, int]] = []
    count = len(numbers)
    for number, prefix in enumerate(prefixes):
        if prefix == ("",):
            paths.append(())
            continue
        above = tuple([numbers[prefix[:length]] for length in range(len(prefix) + 1)])
        children[above[-1]].append(count)
        leaves.append((above[-1], (*prefix, names[number]), number))
        paths.append((*above, count))
        count += 1
    domains = [Domain(ROOT, 0, (), whole, ROOT, tuple(children[ROOT]))]
    for path in order:
        number = numbers[path]
        domains.append(
            Domain(number, len(path), path, sets[path], numbers[path[:-1]], tuple(children[number]))
        )
    for parent, path, node in leaves:
        domains.append(Domain(len(domains), levels.deepest, path, 1 << node, parent, ()))
    return tuple(domains), tuple(paths)
