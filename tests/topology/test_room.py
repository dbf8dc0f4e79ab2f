"""What groups need, and what domains have."""

from fractions import Fraction

from tests.topology.build import Cluster, set_of

from aliquot.topology.room import KEPT_ORDERS, Need

ROWS = {"n0": (("r1",), 2), "n1": (("r1",), 4), "n2": (("r2",), 8)}


def test_a_need_counts_tasks_by_shape_and_adds_up_what_they_take() -> None:
    leader, worker = {"cpu": 4}, {"cpu": 2, "gpu": Fraction(1, 2)}

    found = Need.of([("leader", leader), ("worker", worker), ("worker", worker)])

    assert found == Need((("leader", 1), ("worker", 2)), {"cpu": 8, "gpu": 1})


def test_roughly_tasks_of_one_kind_count_as_the_largest() -> None:
    found = Need.rough([{"cpu": 4, "gpu": 1}, {"memory": 9, "gpu": 2}, {"cpu": 1, "gpu": 1}])

    largest = (("cpu", 4), ("gpu", 2), ("memory", 9))
    assert found == Need(((largest, 3),), {"cpu": 5, "gpu": 4, "memory": 9}, bounding=False)


def test_roughly_of_tasks_of_several_kinds_only_the_sums_count() -> None:
    assert Need.rough([{"cpu": 4, "gpu": 0}, {"gpu": 2}]) == Need((), {"cpu": 4, "gpu": 2})
    assert Need.rough([{"cpu": 4}, {"cpu": 2}]).bounding is False


def test_sums_over_whole_domains_and_over_parts_of_them() -> None:
    cluster = Cluster.of(("rack",), ROWS)
    room = cluster.room()
    rack = cluster.tree.level(1)[0]

    assert room.free("gpu").of(cluster.tree.root) == 14
    assert room.free("gpu").of(rack, set_of(1, 2)) == 4
    assert room.tasks(2).of(rack) == 3

    cluster.use(1, 3)

    assert room.free("gpu").of(rack) == 3
    assert room.free("gpu").of(rack, set_of(1)) == 1
    assert room.tasks(2).of(cluster.tree.root) == 5


def test_sums_of_parts_of_devices_stay_exact() -> None:
    cluster = Cluster.of(("rack",), ROWS)
    room = cluster.room()
    third = Fraction(1, 3)
    root = cluster.tree.root
    assert room.free("gpu").of(root) == 14

    for _ in range(3):
        cluster.free[0] -= third  # type: ignore[assignment]
        cluster.changes.append(0)
        room.free("gpu").of(root)

    assert room.free("gpu").of(root) == 13


def test_groups_of_any_size_with_the_same_tasks_share_an_order() -> None:
    room = Cluster.of(("rack",), ROWS).room()
    first = room.order({"gpu": 8, "cpu": 16, "memory": 0})

    assert room.order({"cpu": 2, "gpu": 1}) is first
    assert room.order({"cpu": 2, "gpu": 2}) is not first
    for count in range(3, KEPT_ORDERS + 3):
        room.order({"gpu": 1, "cpu": count})
    assert room.order({"cpu": 2, "gpu": 1}) is not first
