"""Why a constraint on topology is not met."""

import pytest
from tests.topology.build import Cluster, need, set_of, topology

from aliquot.model.verdicts import Fact
from aliquot.topology.findings import Shortfall, facts, problem, shortfalls
from aliquot.topology.room import Need
from aliquot.topology.search import Span

ROWS = {
    "n0": (("z1", "r1"), 2),
    "n1": (("z1", "r1"), 4),
    "n2": (("z1", "r2"), 8),
    "n3": (("z2", "r3"), 7),
}
KNOWN = {"cluster": topology("zone", "rack"), "other": topology("zone", name="other")}


@pytest.mark.parametrize(
    ("name", "required", "preferred", "strict", "expected"),
    [
        ("cluster", "rack", "", False, None),
        ("cluster", "zone", "node", False, None),
        ("cluster", "rack", "zone", False, None),
        (
            "cluster",
            "rack",
            "zone",
            True,
            Fact(test="topologyOrder", subject="cluster", wanted="zone", available="rack"),
        ),
        ("clutser", "rack", "", False, Fact(test="topology", subject="clutser", available="cluster, other")),
        (
            "other",
            "zone",
            "rack",
            False,
            Fact(
                test="topologyLevel",
                subject="other",
                wanted="rack",
                available="zone, node, numaNode, pcieRoot",
            ),
        ),
        (
            "other",
            "",
            "",
            False,
            Fact(test="topologyLevel", subject="other", available="zone, node, numaNode, pcieRoot"),
        ),
    ],
)
def test_a_constraint_that_can_never_be_met_is_a_fact(
    name: str, required: str, preferred: str, strict: bool, expected: Fact | None
) -> None:
    assert problem(KNOWN, name, required, preferred, strict=strict) == expected


def test_without_any_topology_the_fact_says_so() -> None:
    assert problem({}, "a", "rack", "") == Fact(test="topology", subject="a", available="none")


def found(required: str, preferred: str, wanted: Need, pinned: int = 0) -> list[tuple[object, ...]]:
    cluster = Cluster.of(("zone", "rack"), ROWS)
    span = Span.of(cluster.tree, required, preferred)
    assert span is not None
    return [
        (one.level, one.domains, one.domain and one.domain.name, one.resource, one.held, one.wanted)
        for one in shortfalls(cluster.room(), span, wanted, None, pinned)
    ]


def test_each_level_tells_its_best_domain_and_how_much_of_the_group_that_holds() -> None:
    assert found("", "rack", need(25)) == [
        (2, 3, "z1/r2", "", 8, 25),
        (1, 2, "z1", "", 14, 25),
        (0, 1, "cluster", "", 21, 25),
    ]
    assert found("zone", "", need(25)) == [(1, 2, "z1", "", 14, 25)]


def test_a_domain_with_room_for_all_says_that_the_sum_is_not_what_is_missing() -> None:
    assert found("rack", "", need(8)) == [(2, 3, "z1/r2", "", 8, 8)]


def test_the_scarcest_of_shapes_and_resources_is_told() -> None:
    mixed = Need(((4, 1), (1, 5)), {"gpu": 9})

    assert found("rack", "", mixed) == [(2, 3, "z1/r2", "gpu", 8, 9)]
    assert found("rack", "", Need(((4, 4),), {"gpu": 16})) == [(2, 3, "z1/r2", "", 2, 4)]


def test_only_the_domain_of_the_running_pods_counts_for_a_pinned_group() -> None:
    assert found("rack", "", need(8), pinned=set_of(0)) == [(2, 1, "z1/r1", "", 6, 8)]


def test_a_level_without_domains_holds_nothing() -> None:
    cluster = Cluster.of(("zone", "rack"), {"a": (("", ""), 8)})
    span = Span.of(cluster.tree, "rack", "")
    assert span is not None

    (entry,) = shortfalls(cluster.room(), span, need(3))

    assert (entry.domain, entry.domains, entry.held, entry.wanted) == (None, 0, 0, 3)
    assert facts(cluster.tree, (entry,)) == (
        Fact(test="topologyDomain", subject="rack", count=0, unit="pods", wanted="3", available="0"),
    )


def test_shortfalls_become_facts() -> None:
    cluster = Cluster.of(("zone", "rack"), ROWS)
    rack = cluster.tree.level(2)[0]

    assert facts(
        cluster.tree,
        (Shortfall(2, 3, rack, "", 6, 8), Shortfall(0, 1, cluster.tree.root, "gpu", 21, 25)),
    ) == (
        Fact(test="topologyDomain", subject="rack z1/r1", count=3, unit="pods", wanted="8", available="6"),
        Fact(test="topologyDomain", subject="cluster", count=1, unit="gpu", wanted="25", available="21"),
    )
