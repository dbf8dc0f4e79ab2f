"""What is left on each node: CPU, memory, other resources, pod slots and host ports; with undo."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from aliquot.fractions.devices import HAMI, HAMI_REGISTER, node_devices
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

    def beside(self, requests: Mapping[str, int]) -> "Demand":
        """The same demand with only these of its resources."""
        if requests is self.requests:
            return self
        return Demand(requests, tuple(sorted(requests.items())), self.ports)

    def without(self, left_out: Callable[[str], object]) -> "Demand":
        """The same demand without some resources."""
        items = tuple(item for item in self.items if not left_out(item[0]))
        return Demand(dict(items), items, self.ports)


def _whole(node: Node) -> dict[str, int]:
    """What a node has to give. HAMi's plugin advertises slots, as many for each device as may share it;
    counted are the devices."""
    found = amounts(node.status.allocatable)
    if HAMI_REGISTER in node.metadata.annotations:
        devices = node_devices(node)
        if devices.enforcer == HAMI:
            found[devices.resource] = devices.count
    return found


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
    """What is free on each node, by the node's number in `names` (sorted by name): now, and later.

    free: amounts free now. leaving: what is added to that once everything that leaves the node is gone, less
    what was promised of it, so that free + leaving is what is free later. `changes` lists the numbers of
    nodes in the order in which they changed, changes taken back included, so that whoever keeps something per
    node can catch up from where it last looked.
    """

    def __init__(self, nodes: Iterable[Node]) -> None:
        ordered = sorted(nodes, key=lambda node: node.metadata.name)
        self.nodes: tuple[Node, ...] = tuple(ordered)
        self.names: tuple[str, ...] = tuple(node.metadata.name for node in ordered)
        self.numbers: dict[str, int] = {name: number for number, name in enumerate(self.names)}
        self.whole: list[dict[str, int]] = [_whole(node) for node in ordered]
        self.free: list[dict[str, int]] = [dict(whole) for whole in self.whole]
        self.leaving: list[dict[str, int] | None] = [None] * len(ordered)
        self.ports: list[tuple[Port, ...]] = [()] * len(ordered)
        self.ports_later: list[tuple[Port, ...]] = [()] * len(ordered)
        self.changes: list[int] = []
        self._log: list[tuple[int, Demand, int, int]] = []

    def occupy(self, node: str, demand: Demand) -> None:
        """Count a pod that is on a node already (or about to be); not part of what can be undone."""
        number = self.numbers.get(node)
        if number is not None:
            self._change(number, demand, -1, 0)

    def clear(self, number: int) -> None:
        """Nothing is taken of the node any more. Not to be undone."""
        self.free[number] = dict(self.whole[number])
        self.leaving[number] = None
        self.ports[number] = self.ports_later[number] = ()
        self.changes.append(number)

    def settle(self) -> None:
        """What was done up to now stays."""
        self._log.clear()

    def take(self, number: int, demand: Demand) -> None:
        """Give the demand room that is free now."""
        self._do(number, demand, -1, 0)

    def promise(self, number: int, demand: Demand) -> None:
        """Give the demand room that is free later."""
        self._do(number, demand, 0, -1)

    def leave(self, number: int, demand: Demand) -> None:
        """What holds this room leaves: it is free later."""
        self._do(number, demand, 0, 1)

    def defer(self, number: int, demand: Demand) -> None:
        """What was given room now gets the same later instead."""
        self._do(number, demand, 1, -1)

    def shift(self, number: int, demand: Demand, now: int, later: int) -> None:
        """Add the demand `now` times to what is free and `later` times to what is leaving."""
        self._do(number, demand, now, later)

    def mark(self) -> int:
        return len(self._log)

    def undo(self, mark: int) -> None:
        log = self._log
        while len(log) > mark:
            number, demand, now, later = log.pop()
            self._change(number, demand, -now, -later)
            self.changes.append(number)

    def fits(self, number: int, demand: Demand) -> bool:
        """Whether there is room now, and what was promised keeps its room. A resource that the node does not
        list is absent."""
        free = self.free[number]
        for resource, wanted in demand.items:
            if free.get(resource, 0) < wanted:
                return False
        if self.leaving[number] is not None and not self.fits_later(number, demand):
            return False
        return not demand.ports or ports_clash(demand.ports, self.ports[number]) is None

    def fits_later(self, number: int, demand: Demand) -> bool:
        """Whether there is room once everything that leaves is gone."""
        free, leaving = self.free[number], self.leaving[number]
        if leaving is None:
            for resource, wanted in demand.items:
                if free.get(resource, 0) < wanted:
                    return False
        else:
            for resource, wanted in demand.items:
                if free.get(resource, 0) + leaving.get(resource, 0) < wanted:
                    return False
        return not demand.ports or ports_clash(demand.ports, self.ports_later[number]) is None

    def later(self, number: int, resource: str) -> int:
        """How much of a resource is free later."""
        leaving = self.leaving[number]
        free = self.free[number].get(resource, 0)
        return free if leaving is None else free + leaving.get(resource, 0)

    def fall(self, number: int, demand: Demand) -> tuple[str, int, int] | None:
        """The resource that is shortest now, with wanted and free amounts; ("hostPort", port, 0) for a port.

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

    def _do(self, number: int, demand: Demand, now: int, later: int) -> None:
        self._change(number, demand, now, later)
        self._log.append((number, demand, now, later))
        self.changes.append(number)

    def _change(self, number: int, demand: Demand, now: int, later: int) -> None:
        """Add the demand `now` times to what is free, and `later` times to what is leaving."""
        if now:
            free = self.free[number]
            for resource, wanted in demand.items:
                free[resource] = free.get(resource, 0) + now * wanted
        if later:
            leaving = self.leaving[number]
            if leaving is None:
                leaving = self.leaving[number] = {}
            for resource, wanted in demand.items:
                total = leaving.get(resource, 0) + later * wanted
                if total:
                    leaving[resource] = total
                else:
                    leaving.pop(resource, None)
            if not leaving:
                self.leaving[number] = None
        if demand.ports:
            if now:
                self.ports[number] = _ports(self.ports[number], demand.ports, now)
            if now + later:
                self.ports_later[number] = _ports(self.ports_later[number], demand.ports, now + later)


def _ports(held: tuple[Port, ...], ports: tuple[Port, ...], change: int) -> tuple[Port, ...]:
    """Ports in use after some were freed (1) or taken (-1)."""
    if change < 0:
        return (*held, *ports)
    left = list(held)
    for port in ports:
        left.remove(port)
    return tuple(left)
