"""Nodes, topologies and rooms to search in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aliquot.model.core import Node
from aliquot.model.meta import ObjectMeta
from aliquot.model.topology import Topology, TopologyLevel, TopologySpec
from aliquot.topology.room import Need, Room, Shape
from aliquot.topology.search import Span, candidates
from aliquot.topology.tree import Nodes, TopologyTree


def node(name: str, **labels: str) -> Node:
    return Node(metadata=ObjectMeta(name=name, labels=labels))


def topology(*labels: str, name: str = "cluster") -> Topology:
    """One level per label, under the label's own name."""
    levels = tuple(TopologyLevel(node_label=label) for label in labels)
    return Topology(metadata=ObjectMeta(name=name), spec=TopologySpec(levels=levels))


def set_of(*numbers: int) -> Nodes:
    return sum(1 << number for number in numbers)


def numbers_of(nodes: Nodes) -> list[int]:
    return [number for number in range(nodes.bit_length()) if nodes >> number & 1]


def need(count: int, gpus: int = 1) -> Need:
    """`count` tasks of `gpus` GPUs each."""
    return Need(((gpus, count),), {"gpu": count * gpus})


@dataclass
class Cluster:
    """Nodes with GPUs and CPUs; a shape is a number of GPUs."""

    tree: TopologyTree
    free: list[int]
    cpus: list[int] = field(default_factory=list)
    changes: list[int] = field(default_factory=list)

    @staticmethod
    def of(
        levels: Sequence[str], rows: Mapping[str, tuple[Sequence[str], int]], *, strict: bool = False
    ) -> "Cluster":
        """rows: by name of the node its values at the levels ("" for none) and its free GPUs."""
        nodes = [
            node(name, **{level: value for level, value in zip(levels, values) if value})
            for name, (values, _) in rows.items()
        ]
        tree = TopologyTree.of(topology(*levels), nodes, strict=strict)
        return Cluster(tree, [rows[name][1] for name in tree.names], [0] * len(rows))

    def room(self) -> Room:
        return Room(self.tree, self.tasks, self.amount, self.changes)

    def tasks(self, shape: Shape, number: int) -> int:
        assert isinstance(shape, int)
        return self.free[number] // shape if shape else 1000

    def amount(self, resource: str, number: int) -> int:
        return {"gpu": self.free, "cpu": self.cpus}[resource][number]

    def use(self, number: int, gpus: int, cpus: int = 0) -> None:
        self.free[number] -= gpus
        if cpus:
            self.cpus[number] -= cpus
        self.changes.append(number)

    def tried(
        self,
        required: str,
        preferred: str,
        wanted: Need,
        within: Nodes | None = None,
        pinned: Nodes = 0,
        room: Room | None = None,
    ) -> list[str]:
        """The names of the candidates, in order."""
        span = Span.of(self.tree, required, preferred)
        assert span is not None
        return [found.domain.name for found in candidates(room or self.room(), span, wanted, within, pinned)]
