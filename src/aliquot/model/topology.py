"""Topology (aliquot.dev/v1alpha1): levels of closeness between nodes, and between the devices of a node.

Kueue's Topology (kueue.x-k8s.io/v1beta1 and v1alpha1) and KAI-Scheduler's (kai.scheduler/v1alpha1) say the
same with `nodeLabel` and, KAI's, `alias`, and are read as they are.
"""

from aliquot.model.meta import KubernetesObject, Record


class TopologyLevel(Record, frozen=True):
    """One level. Exactly one of node_label and device_attribute is set.

    name: a short name that constraints may use, such as rack; "" for none. node_label: nodes with equal
    values of this label are close. device_attribute: devices with equal values of this attribute, written
    "domain/name", are close. spans_nodes: the values of the attribute mean the same on every node (the
    clique of an NVLink fabric), so nodes whose devices have equal values are close; otherwise they mean
    something within one node only (a PCIe root). alias: what KAI-Scheduler calls `name`.
    """

    name: str = ""
    node_label: str = ""
    device_attribute: str = ""
    spans_nodes: bool = False
    alias: str = ""


class TopologySpec(Record, frozen=True):
    """levels: the coarsest first."""

    levels: tuple[TopologyLevel, ...] = ()


class Topology(KubernetesObject, frozen=True, tag_field="kind", tag="Topology"):
    spec: TopologySpec = TopologySpec()


class KueueTopology(Topology, frozen=True, tag_field="kind", tag="Topology"):
    """Kueue's; its levels have labels only."""


class KaiTopology(Topology, frozen=True, tag_field="kind", tag="Topology"):
    """KAI-Scheduler's; its levels have labels and aliases only."""


TOPOLOGIES: dict[type[KubernetesObject], tuple[str, ...]] = {
    Topology: ("aliquot.dev/v1alpha1",),
    KueueTopology: ("kueue.x-k8s.io/v1beta1", "kueue.x-k8s.io/v1alpha1"),
    KaiTopology: ("kai.scheduler/v1alpha1",),
}
"""The kinds of this module with the apiVersions they are read in."""
