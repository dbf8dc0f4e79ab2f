"""Which domains are tried for a group, and in which order."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.topology import oracle
from tests.topology.build import Cluster, need, node, numbers_of, set_of, topology

from aliquot.topology.room import Need
from aliquot.topology.search import NodeScores, Span, candidates, node_scores
from aliquot.topology.tree import TopologyTree

RACKS = {
    "n0": (("z1", "r1"), 2),
    "n1": (("z1", "r1"), 4),
    "n2": (("z1", "r2"), 8),
    "n3": (("z2", "r3"), 3),
    "n4": (("z2", "r3"), 2),
}
LEVELS = ("zone", "rack")


@pytest.mark.parametrize(
    ("required", "preferred", "wanted", "expected"),
    [
        ("rack", "", need(3), ["z2/r3", "z1/r1", "z1/r2"]),
        ("rack", "", need(6), ["z1/r1", "z1/r2"]),
        ("rack", "", need(9), []),
        ("zone", "", need(9), ["z1"]),
        ("", "rack", need(6), ["z1/r1", "z1/r2", "z1", "cluster"]),
        ("", "rack", need(15), ["cluster"]),
        ("", "zone", need(5), ["z2", "z1", "cluster"]),
        ("zone", "rack", need(5), ["z2/r3", "z1/r1", "z1/r2", "z1"]),
        ("zone", "rack", need(12), ["z1"]),
        ("rack", "zone", need(6), ["z1/r1", "z1/r2"]),
        ("rack", "rack", need(6), ["z1/r1", "z1/r2"]),
        ("node", "", need(3), ["z2/r3/n3", "z1/r1/n1", "z1/r2/n2"]),
        ("kubernetes.io/hostname", "", need(8), ["z1/r2/n2"]),
        ("numaNode", "", need(8), ["z1/r2/n2"]),
        ("rack", "", need(2, gpus=3), ["z1/r2"]),
        ("rack", "", need(1, gpus=3), ["z2/r3", "z1/r1", "z1/r2"]),
    ],
)
def test_domains_from_the_finest_level_up_and_from_the_tightest_to_the_roomiest(
    required: str, preferred: str, wanted: Need, expected: list[str]
) -> None:
    assert Cluster.of(LEVELS, RACKS).tried(required, preferred, wanted) == expected


def test_racks_of_the_tightest_zone_go_first_even_if_another_zone_has_a_tighter_rack() -> None:
    cluster = Cluster.of(
        LEVELS,
        {"a": (("z1", "r1"), 2), "b": (("z1", "r2"), 9), "c": (("z2", "r3"), 4), "d": (("z2", "r4"), 4)},
    )

    assert cluster.tried("rack", "", need(1)) == ["z2/r3", "z2/r4", "z1/r1", "z1/r2"]


def test_a_zone_with_one_rack_is_not_tried_again_as_a_zone() -> None:
    cluster = Cluster.of(LEVELS, {"a": (("z1", "r1"), 2), "b": (("z2", "r2"), 3), "c": (("z2", "r3"), 3)})

    assert cluster.tried("zone", "rack", need(1)) == ["z1/r1", "z2/r2", "z2/r3", "z2"]


def test_running_pods_pin_the_required_domain_but_not_a_preferred_one() -> None:
    cluster = Cluster.of(LEVELS, RACKS)

    assert cluster.tried("rack", "", need(1), pinned=set_of(0)) == ["z1/r1"]
    assert cluster.tried("zone", "rack", need(1), pinned=set_of(2)) == ["z1/r2", "z1/r1", "z1"]
    assert cluster.tried("rack", "", need(1), pinned=set_of(0, 3)) == ["z2/r3", "z1/r1"]
    assert cluster.tried("rack", "", need(7), pinned=set_of(0)) == []
    assert cluster.tried("", "zone", need(9), pinned=set_of(3)) == ["z1", "cluster"]


def test_where_pods_run_is_preferred_unless_strict() -> None:
    pinned = set_of(2)
    order = ["z1/r2", "z2/r3", "z1/r1"]

    assert Cluster.of(LEVELS, RACKS).tried("", "rack", need(1), pinned=pinned)[:3] == order
    strict = Cluster.of(LEVELS, RACKS, strict=True)
    assert strict.tried("", "rack", need(1), pinned=pinned)[:3] == ["z2/r3", "z1/r1", "z1/r2"]


def test_a_subgroup_is_searched_for_inside_the_domain_of_its_group() -> None:
    cluster = Cluster.of(LEVELS, RACKS)
    zone = set_of(0, 1, 2)

    assert cluster.tried("rack", "", need(2), within=zone) == ["z1/r1", "z1/r2"]
    assert cluster.tried("", "rack", need(2), within=set_of(0, 1)) == ["z1/r1"]
    assert cluster.tried("zone", "", need(2), within=set_of(0, 1)) == ["z1"]
    assert cluster.tried("rack", "", need(2), within=0) == []


def test_only_the_usable_nodes_of_a_domain_count() -> None:
    cluster = Cluster.of(LEVELS, RACKS)
    span = Span.of(cluster.tree, "rack", "")
    assert span is not None

    found = list(candidates(cluster.room(), span, need(3), within=set_of(0, 3, 4)))

    assert [(one.domain.name, numbers_of(one.nodes)) for one in found] == [("z2/r3", [3, 4])]


def test_nodes_without_a_label_are_used_only_where_nothing_finer_is_required() -> None:
    cluster = Cluster.of(LEVELS, {"a": (("z1", ""), 8), "b": (("", "r9"), 8), "c": (("z1", "r1"), 4)})

    assert cluster.tried("rack", "", need(5)) == []
    assert cluster.tried("zone", "", need(9)) == ["z1"]
    assert cluster.tried("", "rack", need(20)) == ["cluster"]
    assert cluster.tried("node", "", need(5)) == ["b", "z1/a"]


def test_strictly_nodes_without_a_label_are_not_used_at_all() -> None:
    rows = {"a": (("z1", ""), 8), "b": (("", "r9"), 8), "c": (("z1", "r1"), 4)}

    assert Cluster.of(LEVELS, rows, strict=True).tried("", "rack", need(5)) == []


def test_strictly_a_required_level_above_what_all_nodes_share_is_not_searched() -> None:
    rows = {"a": (("z1", "r1"), 8), "b": (("z1", "r1"), 8)}

    assert Cluster.of(LEVELS, rows, strict=True).tried("zone", "", need(5)) == []
    assert Cluster.of(LEVELS, rows, strict=True).tried("zone", "rack", need(5)) == ["z1/r1"]
    assert Cluster.of(LEVELS, rows).tried("zone", "", need(5)) == ["z1"]


def test_a_mixed_gang_needs_room_for_every_shape_and_in_sum() -> None:
    cluster = Cluster.of(LEVELS, RACKS)
    mixed = Need(((8, 1), (1, 3)), {"gpu": 11})

    assert cluster.tried("rack", "", mixed) == []
    assert cluster.tried("zone", "", mixed) == ["z1"]
    assert cluster.tried("rack", "", Need(((8, 1), (1, 3)), {"gpu": 11}, bounding=False)) == ["z1/r2"]


def test_what_was_tried_and_taken_back_leaves_the_order_as_it_was() -> None:
    cluster = Cluster.of(LEVELS, RACKS)
    room = cluster.room()
    span = Span.of(cluster.tree, "rack", "")
    assert span is not None

    tried = []
    for found in candidates(room, span, need(3)):
        tried.append(found.domain.name)
        for number in numbers_of(found.nodes):
            cluster.use(number, 1)
        assert room.tasks(1).of(found.domain) < 20
        list(candidates(room, span, need(1)))
        for number in numbers_of(found.nodes):
            cluster.use(number, -1)

    assert tried == ["z2/r3", "z1/r1", "z1/r2"]


def test_nodes_of_the_roomiest_preferred_domain_score_highest() -> None:
    cluster = Cluster.of(LEVELS, RACKS)
    span = Span.of(cluster.tree, "", "rack")
    assert span is not None

    found = node_scores(cluster.room(), span, need(10))

    assert found is not None
    assert [found.of(number) for number in range(5)] == [6, 6, 10, 3, 3]
    assert [found.rank(number) for number in range(5)] == [2, 2, 3, 1, 1]
    assert [(score, numbers_of(nodes)) for score, nodes in found.groups()] == [
        (10, [2]),
        (6, [0, 1]),
        (3, [3, 4]),
    ]


def test_nodes_near_running_pods_score_before_roomier_ones() -> None:
    cluster = Cluster.of(LEVELS, RACKS)
    span = Span.of(cluster.tree, "", "rack")
    assert span is not None

    found = node_scores(cluster.room(), span, need(10), pinned=set_of(3))

    assert found is not None
    assert [found.rank(number) for number in range(5)] == [1, 1, 2, 3, 3]


def test_no_node_is_preferred_without_a_preferred_level() -> None:
    cluster = Cluster.of(LEVELS, RACKS)
    span = Span.of(cluster.tree, "rack", "")
    assert span is not None

    assert node_scores(cluster.room(), span, need(1)) is None


@pytest.mark.parametrize(("required", "preferred"), [("", ""), ("row", ""), ("rack", "row")])
def test_a_constraint_without_known_levels_has_no_span(required: str, preferred: str) -> None:
    assert Span.of(Cluster.of(LEVELS, RACKS).tree, required, preferred) is None


def test_strictly_a_preferred_level_above_the_required_has_no_span() -> None:
    assert Span.of(Cluster.of(LEVELS, RACKS, strict=True).tree, "rack", "zone") is None


VALUES = st.tuples(*[st.sampled_from(["", "a", "a", "b", "b", "c"])] * 3)
ROWS = st.lists(st.tuples(VALUES, st.integers(0, 8)), min_size=1, max_size=9)
NAMES = st.sampled_from(["", "l0", "l1", "l2", "node"])
NEEDS = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 5)), max_size=2, unique_by=lambda pair: pair[0])
SUBSETS = st.none() | st.integers(0, 2**9 - 1)


def grouped(scores: NodeScores, within: int | None) -> dict[int, int]:
    """The score of each node by the groups, the highest first; within: nodes besides these do not matter."""
    groups = scores.groups(within)
    assert [score for score, _ in groups] == sorted({score for score, _ in groups}, reverse=True)
    return {
        number: score
        for score, nodes in groups
        for number in numbers_of(nodes if within is None else nodes & within)
    }


def ranked(scores: NodeScores, count: int, within: int | None) -> dict[int, int]:
    """The same by the score of each node that has a rank."""
    numbers = (number for number in range(count) if within is None or within >> number & 1)
    return {number: scores.of(number) for number in numbers if scores.rank(number)}


@pytest.mark.parametrize("domains", [1, 2, 9, 10, 11, 25, 40])
@pytest.mark.parametrize("some", [None, (0,), (0, 1, 3), (0, 8, 16)])
def test_groups_are_the_nodes_of_each_score(domains: int, some: tuple[int, ...] | None) -> None:
    """Of 40 domains those of nodes 0, 8 and 16 are equally roomy, so they score alike."""
    within = None if some is None else set_of(*(number for number in some if number < domains))
    nodes = [node(f"n{number:02}", rack=f"r{number:02}") for number in range(domains)]
    cluster = Cluster(TopologyTree.of(topology("rack"), nodes), [8 - number % 8 for number in range(domains)])
    span = Span.of(cluster.tree, "", "rack")
    assert span is not None
    scores = node_scores(cluster.room(), span, need(1))
    assert scores is not None
    assert grouped(scores, within) == ranked(scores, domains, within)
    assert within is not None or len(grouped(scores, within)) == domains


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_the_search_equals_the_rules_written_down_naively(data: st.DataObject) -> None:
    rows, strict = data.draw(ROWS), data.draw(st.booleans())
    count = len(rows)
    names = [f"n{number}" for number in range(count)]
    cluster = Cluster.of(["l0", "l1", "l2"], dict(zip(names, rows, strict=True)), strict=strict)
    cluster.cpus = data.draw(st.lists(st.integers(0, 6), min_size=count, max_size=count))
    world = oracle.World([values for values, _ in rows], names, cluster.free, cluster.cpus, strict)
    room = cluster.room()
    for _ in range(data.draw(st.integers(1, 4))):
        span = Span.of(cluster.tree, data.draw(NAMES), data.draw(NAMES))
        if span is None:
            continue
        shapes = tuple(data.draw(NEEDS))
        total = {"gpu": sum(shape * wanted for shape, wanted in shapes), "cpu": data.draw(st.integers(0, 9))}
        wanted = Need(shapes, total, data.draw(st.booleans()))
        within, pinned = data.draw(SUBSETS), data.draw(st.integers(0, 2**count - 1))
        usable = frozenset(numbers_of(2**count - 1 if within is None else within & (2**count - 1)))
        running = frozenset(numbers_of(pinned))
        levels = (span.low, span.high, span.required, span.preferred)

        found = [
            (one.domain.id, frozenset(numbers_of(one.nodes)))
            for one in candidates(room, span, wanted, within, pinned)
        ]
        assert found == oracle.candidates(world, levels, wanted, usable, running)

        scores = node_scores(room, span, wanted, within, pinned)
        if scores is not None:
            expected = oracle.node_scores(world, levels, wanted, usable, running)
            assert [scores.of(number) for number in range(count)] == [
                expected.get(number, 0) for number in range(count)
            ]
            for some in (None, pinned):
                assert grouped(scores, some) == ranked(scores, count, some)

        for number in data.draw(st.lists(st.integers(0, count - 1), max_size=3)):
            gpus = data.draw(st.integers(-2, cluster.free[number]))
            cluster.use(number, gpus, data.draw(st.integers(-2, cluster.cpus[number])))


def test_thousands_of_nodes_are_searched_in_milliseconds_of_steps() -> None:
    """A search after one change looks at that node alone."""
    nodes = [node(f"n{i:04}", rack=f"r{i // 4}") for i in range(2000)]
    cluster = Cluster(TopologyTree.of(topology("rack"), nodes), [8] * 2000)
    looked: list[int] = []
    room = cluster.room()
    room._tasks = lambda shape, number: looked.append(number) or 1  # type: ignore[func-returns-value]
    span = Span.of(cluster.tree, "", "rack")
    assert span is not None
    next(candidates(room, span, need(4)))
    assert len(looked) == 2000

    cluster.use(7, 3)
    cluster.use(9, 3)
    cluster.use(9, -3)
    next(candidates(room, span, need(4)))

    assert sorted(looked[2000:]) == [7, 9]
