"""Nodes become domains, by label and by attribute of their devices."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.topology.build import node, numbers_of, topology

from aliquot.catalog.fleet import expand, parse_fleet
from aliquot.dra.fleet import Fleet
from aliquot.model.core import Node
from aliquot.model.kinds import decode
from aliquot.model.meta import ObjectMeta
from aliquot.model.resource import Device, DeviceAttribute, ResourcePool, ResourceSlice, ResourceSliceSpec
from aliquot.model.topology import Topology, TopologyLevel, TopologySpec
from aliquot.topology.tree import Domain, TopologyTree

CLIQUE = "gpu.nvidia.com/cliqueID"
FABRIC = Topology(
    metadata=ObjectMeta(name="fabric"),
    spec=TopologySpec(
        levels=(
            TopologyLevel(name="rack", node_label="rack"),
            TopologyLevel(name="nvlinkDomain", device_attribute=CLIQUE, spans_nodes=True),
            TopologyLevel(name="root", device_attribute="resource.kubernetes.io/pcieRoot"),
        )
    ),
)


def shown(tree: TopologyTree, level: int) -> dict[str, list[int]]:
    return {domain.name: numbers_of(domain.nodes) for domain in tree.level(level)}


def slice_of(name: str, *cliques: str | None, driver: str = "gpu.nvidia.com") -> ResourceSlice:
    """The devices of a node, one per clique; None for a device without one."""
    devices = tuple(
        Device(
            name=f"gpu-{index}",
            attributes={} if clique is None else {"cliqueID": DeviceAttribute(string=clique)},
        )
        for index, clique in enumerate(cliques)
    )
    pool = ResourcePool(name=name, generation=1, resource_slice_count=1)
    return ResourceSlice(
        metadata=ObjectMeta(name=f"{name}-{driver}"),
        spec=ResourceSliceSpec(driver=driver, pool=pool, node_name=name, devices=devices),
    )


def test_domains_nest_and_a_missing_label_ends_the_path() -> None:
    tree = TopologyTree.of(
        topology("zone", "rack"),
        [
            node("c", zone="z1", rack="r1"),
            node("a", zone="z1", rack="r1"),
            node("b", zone="z2", rack="r1"),
            node("d", zone="z2"),
            node("e", rack="r1"),
        ],
    )

    assert tree.names == ("a", "b", "c", "d", "e")
    assert shown(tree, 0) == {"cluster": [0, 1, 2, 3, 4]}
    assert shown(tree, 1) == {"z1": [0, 2], "z2": [1, 3]}
    assert shown(tree, 2) == {"z1/r1": [0, 2], "z2/r1": [1]}
    assert shown(tree, 3) == {"z1/r1/a": [0], "z2/r1/b": [1], "z1/r1/c": [2], "z2/d": [3], "e": [4]}
    assert tree.domain_of(3, 1) == tree.domains[2]
    assert tree.domain_of(3, 2) is None
    assert tree.domain_of(4, 3) == tree.level(3)[4]


def test_strictly_only_nodes_with_every_label_take_part() -> None:
    nodes = [node("a", zone="z1", rack="r1"), node("b", zone="z1"), node("c", rack="r1")]
    tree = TopologyTree.of(topology("zone", "rack"), nodes, strict=True)

    assert shown(tree, 0) == {"cluster": [0]}
    assert tree.paths[1:] == ((), ())
    assert tree.domain_of(1, 3) is None
    assert tree.around(0b110) is tree.root


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [([0], "z1/r1/n0"), ([0, 1], "z1/r1"), ([0, 2], "z1"), ([0, 3], "cluster"), ([], "cluster")],
)
def test_the_smallest_domain_around_nodes(nodes: list[int], expected: str) -> None:
    racks = [("z1", "r1"), ("z1", "r1"), ("z1", "r2"), ("z2", "r3")]
    tree = TopologyTree.of(
        topology("zone", "rack"),
        [node(f"n{number}", zone=zone, rack=rack) for number, (zone, rack) in enumerate(racks)],
    )

    assert tree.around(sum(1 << number for number in nodes)).name == expected


def test_the_devices_of_a_node_say_which_nvlink_domain_it_is_in() -> None:
    nodes = [node(name, rack="r1") for name in "abcdef"]
    fleet = Fleet.of(
        [
            slice_of("a", "c1", "c1"),
            slice_of("b", "c1", None),
            slice_of("b", None, driver="dra.net"),
            slice_of("c", "c2"),
            slice_of("d", "c1", "c2"),
            slice_of("e", None),
        ],
        [],
    )

    tree = TopologyTree.of(FABRIC, nodes, fleet)

    assert shown(tree, 2) == {"r1/c1": [0, 1], "r1/c2": [2]}
    assert shown(TopologyTree.of(FABRIC, nodes), 2) == {}


def test_a_fleet_file_gives_nodes_their_places() -> None:
    text = (
        "{apiVersion: aliquot.dev/v1alpha1, kind: Fleet, nodes: ["
        "{count: 36, type: nvl72-gb200, zone: z, rack: n, nodesPerRack: 18},"
        "{count: 8, type: dgx-h100, zone: z, block: b, rack: h, nodesPerRack: 2, racksPerBlock: 2}]}"
    )
    objects = [decode(one) for one in expand(parse_fleet(text, "f.yaml"))]
    nodes = [one for one in objects if isinstance(one, Node)]
    fleet = Fleet.of([one for one in objects if isinstance(one, ResourceSlice)], [])

    fabric = TopologyTree.of(topology("topology.kubernetes.io/zone", "nvidia.com/gpu.clique"), nodes, fleet)
    racks = TopologyTree.of(topology("aliquot.dev/block", "aliquot.dev/rack"), nodes, fleet)

    assert [domain.nodes.bit_count() for domain in fabric.level(2)] == [18, 18]
    assert {domain.name: domain.nodes.bit_count() for domain in racks.level(2)} == {
        "b-0/h-0": 2,
        "b-0/h-1": 2,
        "b-1/h-2": 2,
        "b-1/h-3": 2,
    }


def test_a_tree_is_kept_until_something_that_it_depends_on_changes() -> None:
    nodes = [node(name, zone="z1", rack="r1") for name in "abc"]
    tree = TopologyTree.of(topology("zone", "rack"), nodes)
    heartbeat = [*nodes[:2], node("c", zone="z1", rack="r1", beat="2")]
    moved = [*nodes[:2], node("c", zone="z1", rack="r2")]

    assert TopologyTree.of(topology("zone", "rack"), heartbeat, previous=tree) is tree
    assert TopologyTree.of(topology("zone", "rack"), reversed(nodes), previous=tree) is tree
    assert shown(TopologyTree.of(topology("zone", "rack"), moved, previous=tree), 2) == {
        "z1/r1": [0, 1],
        "z1/r2": [2],
    }
    assert TopologyTree.of(topology("zone"), nodes, previous=tree).levels.deepest == 2
    assert TopologyTree.of(topology("zone", "rack"), nodes, strict=True, previous=tree) is not tree


NAMES = st.sampled_from("abcdef")
LABELS = st.sampled_from([None, "x", "y"])
CLIQUES = st.lists(st.sampled_from([None, "c1", "c2"]), max_size=2)
CHANGES = st.lists(
    st.tuples(NAMES, st.sampled_from(["gone", "label", "devices"]), LABELS, CLIQUES), max_size=4
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(NAMES, st.tuples(LABELS, CLIQUES)), st.lists(CHANGES, min_size=1, max_size=4))
def test_a_tree_made_from_an_earlier_one_equals_a_fresh_one(
    start: dict[str, tuple[str | None, list[str | None]]],
    rounds: list[list[tuple[str, str, str | None, list[str | None]]]],
) -> None:
    nodes: dict[str, Node] = {}
    slices: dict[str, ResourceSlice] = {}
    tree: TopologyTree | None = None
    fleet: Fleet | None = None
    for name, (label, cliques) in start.items():
        nodes[name] = node(name, **({"rack": label} if label else {}))
        slices[name] = slice_of(name, *cliques)
    for changes in [[], *rounds]:
        for name, what, label, cliques in changes:
            if what == "gone":
                nodes.pop(name, None)
            elif what == "label":
                nodes[name] = node(name, **({"rack": label} if label else {}))
            else:
                slices[name] = slice_of(name, *cliques)
        fleet = Fleet.of(slices.values(), [], previous=fleet)
        fresh = TopologyTree.of(FABRIC, nodes.values(), fleet)
        tree = TopologyTree.of(FABRIC, nodes.values(), fleet, previous=tree)

        assert tree.domains == fresh.domains
        assert (tree.names, tree.paths) == (fresh.names, fresh.paths)
        check(tree)


def check(tree: TopologyTree) -> None:
    """What every tree satisfies."""
    for number, domain in enumerate(tree.domains):
        assert domain.number == number
        children = [tree.domains[child] for child in domain.children]
        assert all(child.parent == number and child.level > domain.level for child in children)
        assert sum(child.nodes for child in children) == domain.nodes or not children
        assert [child.id[:-1] for child in children] == [domain.id] * len(children)
        if number:
            assert domain.parent < number
    for number, path in enumerate(tree.paths):
        around: list[Domain] = [tree.domains[step] for step in path]
        assert around[0] is tree.root
        assert around[-1].nodes == 1 << number
