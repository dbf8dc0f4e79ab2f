"""What labels and taints alone say about where pods may be."""

from collections.abc import Sequence
from dataclasses import dataclass

from aliquot.model.core import Node, Pod
from aliquot.scheduling.affinity import node_fall


@dataclass(frozen=True, slots=True)
class StaticFit:
    """Which nodes take pods of one set of constraints by labels and taints: numbers, and why others do not
    (test and subject by node number)."""

    numbers: tuple[int, ...]
    falls: dict[int, tuple[str, str]]

    @staticmethod
    def of(pod: Pod, nodes: Sequence[Node]) -> "StaticFit":
        numbers: list[int] = []
        falls: dict[int, tuple[str, str]] = {}
        for number, node in enumerate(nodes):
            fall = node_fall(pod.spec, node)
            if fall is None:
                numbers.append(number)
            else:
                falls[number] = fall
        return StaticFit(tuple(numbers), falls)
