"""The levels of a topology, and what the names in a constraint mean.

A constraint may name a level by its short name, by the label or by the attribute. Below the levels that a
Topology lists there are always the node itself and, inside it, the PCIe root and the NUMA node of devices
(standard attributes of resource.k8s.io).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from aliquot.model.meta import ObjectMeta
from aliquot.model.resource import DeviceClaim, DeviceConstraint, ResourceClaimSpec
from aliquot.model.topology import Topology, TopologyLevel, TopologySpec

HOSTNAME = "kubernetes.io/hostname"

NODE = "node"
"""The short name of the built-in level of single nodes."""

NODE_NAMES = frozenset({NODE, "host", "hostname", HOSTNAME})

STANDARD_ATTRIBUTES: Mapping[str, str] = MappingProxyType(
    {
        "pcieRoot": "resource.kubernetes.io/pcieRoot",
        "numaNode": "resource.kubernetes.io/numaNode",
    }
)
"""Device levels that every topology has, by short name (k8s.io/dynamic-resource-allocation,
deviceattribute)."""

VENDOR_ATTRIBUTES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "resource.kubernetes.io/numaNode": ("gpu.amd.com/numaNode", "dra.net/numaNode"),
        "resource.kubernetes.io/pcieRoot": ("gpu.intel.com/pciRoot", "gaudi.intel.com/pciRoot"),
    }
)
"""What drivers publish that have not taken up the standard name, by the standard name."""


@dataclass(frozen=True, slots=True)
class Level:
    """A level that single nodes can be sorted into: by label, by attribute of their devices, or by name."""

    name: str
    label: str = ""
    attribute: str = ""


@dataclass(frozen=True, slots=True)
class Levels:
    """The levels of one topology.

    nodes: those that nodes are sorted into, the coarsest first, the last being the node itself. numbers: of
    those levels by each of their names, counted from 1 (0 stands for the whole cluster). attributes: the
    attribute of each level inside a node, by each of its names.
    """

    nodes: tuple[Level, ...]
    numbers: Mapping[str, int]
    attributes: Mapping[str, str]

    @staticmethod
    def of(topology: Topology) -> "Levels":
        nodes: list[Level] = []
        numbers: dict[str, int] = {}
        attributes: dict[str, str] = {}
        for level in topology.spec.levels:
            inside = level.device_attribute and not level.spans_nodes
            if inside or not (level.node_label or level.device_attribute):
                continue
            nodes.append(Level(_shown(level), level.node_label, level.device_attribute))
            _name(numbers, level, len(nodes))
            if level.node_label == HOSTNAME:
                break
        if not nodes or nodes[-1].label != HOSTNAME:
            nodes.append(Level(NODE, HOSTNAME))
        for name in sorted(NODE_NAMES):
            numbers.setdefault(name, len(nodes))
        for level in topology.spec.levels:
            if level.device_attribute and not level.spans_nodes:
                _name(attributes, level, level.device_attribute)
        for name, attribute in STANDARD_ATTRIBUTES.items():
            if name not in numbers:
                attributes.setdefault(name, attribute)
            if attribute not in numbers:
                attributes.setdefault(attribute, attribute)
        return Levels(tuple(nodes), MappingProxyType(numbers), MappingProxyType(attributes))

    @property
    def deepest(self) -> int:
        """The number of the level of single nodes."""
        return len(self.nodes)

    def number(self, name: str) -> int | None:
        """The number of the level that this name stands for; that of single nodes for a level inside a node:
        what shares a PCIe root shares a node. None for an unknown name."""
        found = self.numbers.get(name)
        if found is None and name in self.attributes:
            return self.deepest
        return found

    def name(self, number: int) -> str:
        """What to call a level, by its number."""
        return self.nodes[number - 1].name if number else "cluster"

    def device_attributes(self, name: str) -> tuple[str, ...]:
        """The attributes that stand for a level inside a node, the one to try first first; () for another
        level. Devices of one driver have at most one of them."""
        found = self.attributes.get(name)
        return () if found is None else (found, *VENDOR_ATTRIBUTES.get(found, ()))

    def shown(self) -> str:
        """All levels, for a message."""
        inside = sorted(set(self.attributes) - set(self.attributes.values()))
        return ", ".join([level.name for level in self.nodes] + inside)


def knowing(topologies: Iterable[Topology], *names: str) -> str:
    """The name of the first topology, by name, that has levels of all these names; "" if none has.

    For constraints that name levels without a topology, as Kueue's annotations do.
    """
    for topology in sorted(topologies, key=lambda item: item.metadata.name):
        levels = Levels.of(topology)
        if all(levels.number(name) is not None for name in names):
            return topology.metadata.name
    return ""


def by_labels(*labels: str) -> Topology:
    """A topology of these node labels, the coarsest first, for constraints that name labels and nothing else
    (topology constraints of scheduling.k8s.io PodGroups, KEP-5732). Its name cannot be that of an object."""
    levels = tuple(TopologyLevel(node_label=label) for label in labels)
    return Topology(metadata=ObjectMeta(name=" ".join(("labels", *labels))), spec=TopologySpec(levels=levels))


def matched(spec: ResourceClaimSpec, attribute: str) -> ResourceClaimSpec:
    """The same claim, its devices moreover all with one value of the attribute.

    A device without the attribute then cannot be part of it (resource.k8s.io/v1, matchAttribute). A claim
    that says so already is returned as it is.
    """
    devices = spec.devices
    wanted = DeviceConstraint(match_attribute=attribute)
    if wanted in devices.constraints:
        return spec
    return ResourceClaimSpec(
        devices=DeviceClaim(
            requests=devices.requests,
            constraints=(*devices.constraints, wanted),
            config=devices.config,
        )
    )


def _shown(level: TopologyLevel) -> str:
    return level.name or level.alias or level.node_label or level.device_attribute


def _name(names: dict[str, int] | dict[str, str], level: TopologyLevel, meaning: int | str) -> None:
    """The first level that claims a name has it."""
    for name in (level.name, level.alias, level.node_label, level.device_attribute):
        if name:
            names.setdefault(name, meaning)  # type: ignore[arg-type]
