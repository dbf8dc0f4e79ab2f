"""A small gang placer for the reference scenarios on topologies: whole GPUs, no queues, nobody evicted.

It places what is pending on what is idle, subgroup by subgroup, each in the candidates of its constraint, and
picks nodes as the reference does: preferred domains first, then the fullest node.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.topology.build import numbers_of, topology

from aliquot.model.core import Node
from aliquot.model.meta import ObjectMeta
from aliquot.topology.room import Need, Room, Shape
from aliquot.topology.search import NodeScores, Span, candidates, node_scores
from aliquot.topology.tree import Nodes, TopologyTree

Json = Mapping[str, Any]
RESOURCES = ("gpu", "cpu", "memory")
HOLDING = ("Running", "Binding", "Bound", "Allocated", "Releasing")


@dataclass
class Placer:
    nodes: Sequence[Json]
    trees: Mapping[str, TopologyTree]
    free: list[dict[str, int]]
    rooms: dict[str, Room] = field(default_factory=dict)
    changes: list[int] = field(default_factory=list)
    placed: dict[str, int] = field(default_factory=dict)

    @staticmethod
    def of(scenario: Json) -> "Placer":
        rows = sorted(scenario["nodes"], key=lambda row: row["name"])
        nodes = [Node(metadata=ObjectMeta(name=row["name"], labels=row["labels"])) for row in rows]
        trees = {
            one["name"]: TopologyTree.of(topology(*one["levels"], name=one["name"]), nodes, strict=True)
            for one in scenario["topologies"]
        }
        free = [{"gpu": r["gpus"], "cpu": r["cpu_millis"], "memory": r["memory_bytes"]} for r in rows]
        placer = Placer(rows, trees, free)
        for name, tree in trees.items():
            placer.rooms[name] = Room(tree, placer.tasks, placer.amount, placer.changes)
        numbers = {row["name"]: number for number, row in enumerate(rows)}
        for task in (task for job in scenario["jobs"] for task in job["tasks"]):
            if task["status"] in HOLDING:
                placer.put(task, numbers[task["node"]])
        return placer

    def tasks(self, shape: Shape, number: int) -> int:
        assert isinstance(shape, tuple)
        free = self.free[number]
        return min(free[name] // amount for name, amount in shape if amount)

    def amount(self, resource: str, number: int) -> int:
        return self.free[number][resource]

    def put(self, task: Json, number: int, sign: int = 1) -> None:
        for name, amount in wanted(task).items():
            self.free[number][name] -= sign * amount
        self.changes.append(number)
        if sign > 0:
            self.placed[task["name"]] = number
        else:
            del self.placed[task["name"]]

    def place_job(self, job: Json) -> None:
        """All that the leaves need at least, together; then what they may have besides, one by one."""
        root = job["sub_groups"]
        needed: list[Json] = []
        for leaf in leaves(root):
            of_leaf = [task for task in job["tasks"] if task["sub_group"] == leaf["name"]]
            missing = leaf["min_available"] - sum(task["name"] in self.placed for task in of_leaf)
            pending = [task for task in of_leaf if task["name"] not in self.placed]
            needed += pending[: max(0, missing)]
        everywhere = (1 << len(self.nodes)) - 1
        if not self.place(job, root, needed, everywhere, None):
            return
        for task in job["tasks"]:
            if task["name"] not in self.placed:
                self.place(job, root, [task], everywhere, None)

    def place(
        self, job: Json, group: Json, tasks: Sequence[Json], within: Nodes, scores: NodeScores | None
    ) -> bool:
        """Place tasks of a group in one of its candidates, or none of them."""
        if not tasks:
            return True
        choices: list[Nodes] = [within]
        constraint = group.get("topology_constraint")
        if constraint and constraint["topology"]:
            room = self.rooms[constraint["topology"]]
            span = Span.of(
                room.tree, constraint.get("required_level", ""), constraint.get("preferred_level", "")
            )
            assert span is not None
            names = {leaf["name"] for leaf in leaves(group)}
            pinned = 0
            for task in job["tasks"]:
                if task["sub_group"] in names and task["name"] in self.placed:
                    pinned |= 1 << self.placed[task["name"]]
            total = Need.rough([wanted(task) for task in tasks])
            scores = node_scores(room, span, total, within) or scores
            choices = [found.nodes for found in candidates(room, span, total, within, pinned)]
        before = dict(self.placed)
        for nodes in choices:
            if self.fill(job, group, tasks, nodes, scores):
                return True
            for task in tasks:
                if task["name"] in self.placed and task["name"] not in before:
                    self.put(task, self.placed[task["name"]], -1)
        return False

    def fill(
        self, job: Json, group: Json, tasks: Sequence[Json], nodes: Nodes, scores: NodeScores | None
    ) -> bool:
        children = group.get("children")
        if children:
            for child in children:
                names = {leaf["name"] for leaf in leaves(child)}
                of_child = [task for task in tasks if task["sub_group"] in names]
                if not self.place(job, child, of_child, nodes, scores):
                    return False
            return True
        for task in tasks:
            fitting = [number for number in numbers_of(nodes) if self.fits(task, number)]
            if not fitting:
                return False
            best = min(
                fitting,
                key=lambda number: (-(scores.of(number) if scores else 0), self.free[number]["gpu"], number),
            )
            self.put(task, best)
        return True

    def fits(self, task: Json, number: int) -> bool:
        names = task.get("required_node_names")
        if names and self.nodes[number]["labels"]["kai.scheduler/type"] not in names:
            return False
        return all(self.free[number][name] >= amount for name, amount in wanted(task).items())


def wanted(task: Json) -> dict[str, int]:
    request = task["request"]
    amounts = (request["gpus"], request["cpu_millis"], request["memory_bytes"])
    return dict(zip(RESOURCES, amounts, strict=True))


def leaves(group: Json) -> list[Json]:
    children = group.get("children")
    return [leaf for child in children for leaf in leaves(child)] if children else [group]
