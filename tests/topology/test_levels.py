"""What the names in a constraint mean."""

import pytest

from aliquot.model.meta import ObjectMeta
from aliquot.model.resource import DeviceClaim, DeviceConstraint, DeviceRequest, ResourceClaimSpec
from aliquot.model.topology import Topology, TopologyLevel, TopologySpec
from aliquot.topology.levels import Levels, by_labels, knowing, matched

PCIE_ROOT = "resource.kubernetes.io/pcieRoot"
NUMA = "resource.kubernetes.io/numaNode"


def levels(*found: TopologyLevel) -> Levels:
    return Levels.of(Topology(metadata=ObjectMeta(name="t"), spec=TopologySpec(levels=found)))


DATA_CENTRE = levels(
    TopologyLevel(name="zone", node_label="topology.kubernetes.io/zone"),
    TopologyLevel(name="rack", node_label="example.com/rack"),
    TopologyLevel(name="nvlinkDomain", device_attribute="gpu.nvidia.com/cliqueID", spans_nodes=True),
    TopologyLevel(name="partition", device_attribute="gpu.nvidia.com/partition4"),
)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("zone", 1),
        ("topology.kubernetes.io/zone", 1),
        ("rack", 2),
        ("nvlinkDomain", 3),
        ("gpu.nvidia.com/cliqueID", 3),
        ("node", 4),
        ("host", 4),
        ("kubernetes.io/hostname", 4),
        ("partition", 4),
        ("pcieRoot", 4),
        (NUMA, 4),
        ("row", None),
        ("", None),
    ],
)
def test_levels_go_by_short_name_label_or_attribute(name: str, number: int | None) -> None:
    assert DATA_CENTRE.number(name) == number


def test_levels_inside_a_node_stand_for_attributes_that_devices_must_share() -> None:
    assert DATA_CENTRE.device_attributes("partition") == ("gpu.nvidia.com/partition4",)
    assert DATA_CENTRE.device_attributes("pcieRoot")[0] == PCIE_ROOT
    assert DATA_CENTRE.device_attributes("numaNode") == (NUMA, "gpu.amd.com/numaNode", "dra.net/numaNode")
    assert DATA_CENTRE.device_attributes("nvlinkDomain") == ()
    assert DATA_CENTRE.device_attributes("rack") == ()


def test_the_hostname_is_the_level_of_nodes_wherever_it_is_listed() -> None:
    found = levels(
        TopologyLevel(node_label="rack"),
        TopologyLevel(name="machine", node_label="kubernetes.io/hostname"),
        TopologyLevel(name="slot", node_label="ignored"),
    )

    assert found.deepest == 2
    assert (found.number("machine"), found.number("node"), found.number("slot")) == (2, 2, None)
    assert found.shown() == "rack, machine, numaNode, pcieRoot"


def test_a_topology_may_use_a_built_in_name_for_a_level_of_its_own() -> None:
    found = levels(
        TopologyLevel(name="node", node_label="chassis"),
        TopologyLevel(name="numaNode", node_label="sled"),
        TopologyLevel(name="root", device_attribute=PCIE_ROOT),
    )

    assert (found.number("node"), found.number("host"), found.number("numaNode")) == (1, 3, 2)
    assert found.device_attributes("numaNode") == ()
    assert found.device_attributes("root") == found.device_attributes("pcieRoot")


def test_an_alias_of_kai_scheduler_is_a_short_name() -> None:
    found = levels(TopologyLevel(alias="rack", node_label="example.com/rack"))

    assert (found.number("rack"), found.number("example.com/rack"), found.name(1)) == (1, 1, "rack")


def test_levels_have_names_to_show() -> None:
    assert [DATA_CENTRE.name(number) for number in range(5)] == [
        "cluster",
        "zone",
        "rack",
        "nvlinkDomain",
        "node",
    ]


def test_constraints_without_a_topology_find_one_that_has_their_levels() -> None:
    racks, blocks = by_labels("zone", "rack"), by_labels("block", "rack")

    assert knowing([racks, blocks], "rack") == "labels block rack"
    assert knowing([racks, blocks], "zone", "rack", "node") == "labels zone rack"
    assert knowing([racks, blocks], "zone", "block") == ""
    assert Levels.of(racks).number("rack") == 2


def test_a_claim_is_made_to_keep_its_devices_together() -> None:
    numa = DeviceConstraint(requests=("gpu",), match_attribute=PCIE_ROOT)
    claim = ResourceClaimSpec(
        devices=DeviceClaim(
            requests=(DeviceRequest(name="gpu"), DeviceRequest(name="nic")), constraints=(numa,)
        )
    )

    found = matched(claim, PCIE_ROOT)

    assert found.devices.requests == claim.devices.requests
    assert found.devices.constraints == (numa, DeviceConstraint(match_attribute=PCIE_ROOT))
    assert matched(found, PCIE_ROOT) is found
