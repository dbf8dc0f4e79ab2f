"""What stands in the way of a topology constraint, as facts for a verdict."""

from collections.abc import Mapping
from dataclasses import dataclass

from aliquot.model.topology import Topology
from aliquot.model.verdicts import Fact
from aliquot.topology.levels import Levels
from aliquot.topology.room import Amount, Need, Room
from aliquot.topology.search import Span, searched
from aliquot.topology.tree import Domain, Nodes, TopologyTree


def problem(
    topologies: Mapping[str, Topology], name: str, required: str, preferred: str, *, strict: bool = False
) -> Fact | None:
    """Why a constraint can never be met as it is written: an unknown topology or level. None if it can."""
    topology = topologies.get(name)
    if topology is None:
        known = ", ".join(sorted(topologies)) or "none"
        return Fact(test="topology", subject=name, available=known)
    levels = Levels.of(topology)
    for wanted in (required, preferred):
        if wanted and levels.number(wanted) is None:
            return Fact(test="topologyLevel", subject=name, wanted=wanted, available=levels.shown())
    if not required and not preferred:
        return Fact(test="topologyLevel", subject=name, available=levels.shown())
    if strict and required and preferred:
        above, below = levels.number(preferred), levels.number(required)
        assert above is not None
        assert below is not None
        if above < below:
            return Fact(test="topologyOrder", subject=name, wanted=preferred, available=required)
    return None


@dataclass(frozen=True, slots=True)
class Shortfall:
    """How near one level comes to holding a group: its best domain has `held` of `wanted`.

    domains: how many domains of the level were looked at; domain: the best, None if there is none. resource:
    of which it has too little, "" where places for tasks are what is counted. held >= wanted: the domain has
    enough in sum, and yet the group could not be placed in it.
    """

    level: int
    domains: int
    domain: Domain | None
    resource: str
    held: Amount
    wanted: Amount


def shortfalls(
    room: Room, span: Span, need: Need, within: Nodes | None = None, pinned: Nodes = 0
) -> tuple[Shortfall, ...]:
    """For each level searched, the finest first, how far its best domain is from holding the group."""
    found = []
    for level, domains in searched(room.tree, span, within, pinned):
        best: tuple[float, Shortfall] | None = None
        for domain, nodes in domains:
            worst = _worst(room, need, domain, nodes, level, len(domains))
            if best is None or worst[0] > best[0]:
                best = worst
        if best is None:
            tasks = sum(count for _, count in need.counts)
            best = (0.0, Shortfall(level, 0, None, "", 0, tasks))
        found.append(best[1])
    return tuple(found)


def facts(tree: TopologyTree, found: tuple[Shortfall, ...]) -> tuple[Fact, ...]:
    """Shortfalls as facts of the test "topologyDomain".

    subject: the level and its best domain; count: how many domains the level has; unit: what is counted,
    pods or a resource; wanted, available: the amounts.
    """
    return tuple(
        Fact(
            test="topologyDomain",
            subject=f"{tree.levels.name(entry.level)} {entry.domain.name}"
            if entry.domain is not None and entry.level
            else tree.levels.name(entry.level),
            count=entry.domains,
            unit=entry.resource or "pods",
            wanted=str(entry.wanted),
            available=str(entry.held),
        )
        for entry in found
    )


def _worst(
    room: Room, need: Need, domain: Domain, nodes: Nodes, level: int, domains: int
) -> tuple[float, Shortfall]:
    """The test that a domain is farthest from passing, with the part of it that it passes (1 for all)."""
    tests: list[tuple[str, Amount, Amount]] = [
        ("", room.tasks(shape).of(domain, nodes), count) for shape, count in need.counts
    ]
    if need.bounding or not tests:
        tests += [(name, room.free(name).of(domain, nodes), amount) for name, amount in need.total.items()]
    part, resource, held, wanted = min(
        (
            (min(1.0, float(held / wanted)) if wanted else 1.0, resource, held, wanted)
            for resource, held, wanted in tests
        ),
        default=(1.0, "", 0, 0),
    )
    return part, Shortfall(level, domains, domain, resource, held, wanted)
