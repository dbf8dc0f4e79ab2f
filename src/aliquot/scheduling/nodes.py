"""What is left on each node: CPU, memory, other resources, pod slots and host ports; with undo."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from aliquot.model.core import Node, Pod
from aliquot.scheduling.requests import amounts, pod_requests

Port = tuple[str, str, int]
"""(protocol, host IP, port); the IP is "0.0.0.0" when a container names none."""

ANY_IP = "0.0.0.0"


@dataclass(frozen=True, slots=True)
class Demand:
    """What a pod takes of its node besides devices. `items`: resource and amount, "pods" included."""

    requests: Mapping[str, int]
    items: tuple[tuple[str, int], ...]
    ports: tuple[Port, ...]

    @staticmethod
    def of(pod: Pod) -> "Demand":
        requests = pod_requests(pod.spec)
        return Demand(requests, tuple(sorted(requests.items())), host_ports(pod))


def host_ports(pod: Pod) -> tuple[Port, ...]:
    """The ports that the pod needs on its node, sidecars' included."""
    sidecars = tuple(item for item in pod.spec.init_containers if item.restart_policy == "Always")
    return tuple(
        (port.protocol or "TCP", port.host_ip or ANY_IP, port.host_port)
        for container in (*pod.spec.containers, *sidecars)
        for port in container.ports
        if port.host_port > 0
    )


def ports_clash(wanted: Iterable[Port], taken: Iterable[Port]) -> Port | None:
    """The first wanted port that is taken: same protocol and number, and one address covers the other."""
    held = list(taken)
    for port in wanted:
        for other in held:
            if (
                port[0] == other[0]
                and port[2] == other[2]
                and (port[1] == other[1] or ANY_IP in (port[1], other[1]))
            ):
                return port
    return None


class NodeTable:
    """Free amounts by node, by the node's number in `names` (sorted by name).

    `changes` lists the numbers of nodes in the order in which they changed, changes taken back included, so
    that whoever keeps something per node can catch up from where it last looked.
    """

    def __init__(self, nodes: Iterable[Node]) -> None:
        ordered = sorted(nodes, key=lambda node: node.metadata.name)
        self.nodes: tuple[Node, ...] = tuple(ordered)
        self.names: tuple[str, ...] = tuple(node.metadata.name for node in ordered)
        self.numbers: dict[str, int] = {name: number for number, name in enumerate(self.names)}
        self.whole: list[dict[str, int]] = [amounts(node.status.allocatable) for node in ordered]
        self.free: list[dict[str, int]] = [dict(whole) for whole in self.whole]
        self.ports: list[tuple[Port, ...]] = [()] * len(ordered)
        self.changes: list[int] = []
        self._log: list[tuple[int, Demand]] = []

    def occupy(self, node: str, demand: Demand) -> None:
        """Count a pod that is on a node already (or about to be); not part of what can be undone."""
        number = self.numbers.get(node)
        if number is not None:
            self._change(number, demand, -1)

    def take(self, number: int, demand: Demand) -> None:
        self._change(number, demand, -1)
        self._log.append((number, demand))
        self.changes.append(number)

    def mark(self) -> int:
        return len(self._log)

    def undo(self, mark: int) -> None:
        while len(self._log) > mark:
            number, demand = self._log.pop()
            self._change(number, demand, 1)
            self.changes.append(number)

    def fits(self, number: int, demand: Demand) -> bool:
        """Whether resources and ports suffice. A resource that the node does not list is absent."""
        free = self.free[number]
        for resource, wanted in demand.items:
            if free.get(resource, 0) < wanted:
                return False
        return not demand.ports or ports_clash(demand.ports, self.ports[number]) is None

    def fall(self, number: int, demand: Demand) -> tuple[str, int, int] | None:
        """The resource that is shortest, with wanted and free amounts; ("hostPort", port, 0) for a port.

        The shortest is the one of which the smallest part of what is wanted is free.
        """
        free = self.free[number]
        short = [
            (max(0, free.get(resource, 0)) / wanted, resource, wanted)
            for resource, wanted in demand.items
            if free.get(resource, 0) < wanted
        ]
        if short:
            _, resource, wanted = min(short)
            return (resource, wanted, max(0, free.get(resource, 0)))
        clash = ports_clash(demand.ports, self.ports[number]) if demand.ports else None
        return None if clash is None else ("hostPort", clash[2], 0)

    def _change(self, number: int, demand: Demand, sign: int) -> None:
        free = self.free[number]
        for resource, wanted in demand.items:
            free[resource] = free.get(resource, 0) + sign * wanted
        if demand.ports:
            if sign < 0:
                self.ports[number] = (*self.ports[number], *demand.ports)
            else:
                left = list(self.ports[number])
                for port in demand.ports:
                    left.remove(port)
                self.ports[number] = tuple(left)
