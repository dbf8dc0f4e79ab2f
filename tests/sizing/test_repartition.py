"""Repartition plans against a search of everything."""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aliquot.catalog.mig import mig_boards
from aliquot.model.meta import ObjectRef
from aliquot.sizing.layouts import Instance, LayoutError, check
from aliquot.sizing.parts import mig_share
from aliquot.sizing.repartition import DemandError, Gpu, Held, devices_needed, repartition

A30 = "a30-24gb"
A100 = "a100-80gb"
NAMES = ("1g.6gb", "2g.12gb", "4g.24gb")


def held(start: int, profile: str, pods: int = 1, name: str = "") -> Held:
    ref = ObjectRef(kind="Pod", namespace="team", name=name or f"{profile}-{start}")
    return Held(Instance(start, profile), ref, pods)


def layouts(board: str, names: Sequence[str]) -> set[tuple[int, ...]]:
    """Every combination of instances that fits, as counts, by trying all starts."""
    geometry = mig_boards()[board]
    found = {(0,) * len(names)}
    stack: list[tuple[Instance, ...]] = [()]
    while stack:
        placed = stack.pop()
        for name in names:
            profile = geometry.profile(name)
            assert profile is not None
            for start in profile.starts:
                if placed and (start, name) <= (placed[-1].start, placed[-1].profile):
                    continue
                more = (*placed, Instance(start, name))
                try:
                    check(geometry, more)
                except LayoutError:
                    continue
                stack.append(more)
                counts = Counter(item.profile for item in more)
                found.add(tuple(counts[item] for item in names))
    return found


@cache
def beside(board: str, names: tuple[str, ...], stays: tuple[Instance, ...]) -> set[tuple[int, ...]]:
    """Every combination that fits beside instances that stay."""
    geometry = mig_boards()[board]
    found = set()
    options = [
        Instance(start, name)
        for name in names
        for start in (geometry.profile(name).starts if geometry.profile(name) else ())  # type: ignore[union-attr]
    ]
    for size in range(5):
        for chosen in itertools.combinations(options, size):
            try:
                check(geometry, (*stays, *chosen))
            except LayoutError:
                continue
            counts = Counter(item.profile for item in chosen)
            found.add(tuple(counts[item] for item in names))
    return found


def worth(board: str, left: Mapping[str, int]) -> Fraction:
    geometry = mig_boards()[board]
    return sum(
        (mig_share(geometry, geometry.profile(name)) * count for name, count in left.items()),  # type: ignore[arg-type]
        Fraction(0),
    )


def brute(gpus: Sequence[Gpu], demand: Mapping[str, int]) -> tuple[Fraction, int]:
    """The least that is missing, and the fewest pods that have to leave for it, by trying everything."""
    everything = [(place, item) for place, gpu in enumerate(gpus) for item in gpu.held]
    best: tuple[Fraction, int] | None = None
    for size in range(len(everything) + 1):
        for chosen in itertools.combinations(range(len(everything)), size):
            wanted = Counter(demand)
            pods = 0
            for number in chosen:
                wanted[everything[number][1].instance.profile] += 1
                pods += everything[number][1].pods
            stays = [
                tuple(
                    item.instance
                    for number, (at, item) in enumerate(everything)
                    if at == place and number not in chosen
                )
                for place in range(len(gpus))
            ]
            missing = _least_missing(gpus, stays, wanted, demand)
            if missing is not None and (best is None or (missing, pods) < best):
                best = (missing, pods)
    assert best is not None
    return best


def _least_missing(
    gpus: Sequence[Gpu],
    stays: Sequence[tuple[Instance, ...]],
    wanted: Counter[str],
    demand: Mapping[str, int],
) -> Fraction | None:
    """None if some who leave would find no place."""
    lefts = {tuple(wanted[name] for name in NAMES)}
    for gpu, own in zip(gpus, stays, strict=True):
        room = beside(gpu.board, NAMES, own)
        lefts = {
            tuple(max(0, a - b) for a, b in zip(left, counts, strict=True))
            for left in lefts
            for counts in room
        }
    kept = [dict(zip(NAMES, left, strict=True)) for left in lefts]
    return min(
        (worth(A30, left) for left in kept if all(left[name] <= demand[name] for name in NAMES)), default=None
    )


@st.composite
def clusters(draw: st.DrawFn) -> tuple[list[Gpu], dict[str, int]]:
    gpus = []
    for number in range(draw(st.integers(1, 3))):
        placed: list[Held] = []
        for start, profile in draw(
            st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["1g.6gb", "2g.12gb"])), max_size=3)
        ):
            item = held(start, profile, draw(st.integers(1, 2)), f"{number}-{start}-{profile}")
            try:
                check(mig_boards()[A30], [*(one.instance for one in placed), item.instance])
            except LayoutError:
                continue
            placed.append(item)
        gpus.append(Gpu("node", f"gpu-{number}", A30, held=tuple(placed)))
    demand = {name: draw(st.integers(0, 3)) for name in NAMES}
    return gpus, demand


@settings(max_examples=25, deadline=None)
@given(clusters())
def test_no_plan_serves_more_or_makes_fewer_pods_leave(case: tuple[list[Gpu], dict[str, int]]) -> None:
    gpus, demand = case
    found = repartition(gpus, demand)
    assert found.proven
    assert (worth(A30, found.unserved), found.pods) == brute(gpus, demand)


@settings(max_examples=60, deadline=None)
@given(clusters())
def test_a_plan_can_be_carried_out_and_gives_everybody_a_place(
    case: tuple[list[Gpu], dict[str, int]],
) -> None:
    gpus, demand = case
    found = repartition(gpus, demand)
    room: Counter[str] = Counter()
    for change in found.changes:
        check(mig_boards()[A30], change.layout)
        stays = {item.instance for item in change.gpu.held if item not in change.empty}
        assert stays <= set(change.layout)
        before = {item.instance for item in change.gpu.held} | set(change.gpu.free)
        assert (before | set(change.create)) - set(change.remove) == set(change.layout)
        room.update(item.profile for item in set(change.layout) - stays)
    leaving = Counter(item.instance.profile for change in found.changes for item in change.empty)
    wanted = Counter({name: count for name, count in demand.items() if count}) + leaving
    assert not (wanted - Counter(found.unserved)) - room
    assert found.pods == sum(item.pods for change in found.changes for item in change.empty)


def test_who_stands_in_the_way_of_least_leaves_and_finds_another_place() -> None:
    gpus = [
        Gpu("n", "g0", A100, held=(held(0, "1g.10gb", pods=3),)),
        Gpu("n", "g1", A100, held=(held(4, "1g.10gb", pods=1), held(5, "1g.10gb", pods=1))),
        Gpu("n", "g2", A100, held=(held(0, "4g.40gb"), held(4, "3g.40gb"))),
    ]
    found = repartition(gpus, {"7g.80gb": 1})
    assert found.served
    assert found.pods == 2
    emptied = [change for change in found.changes if change.empty]
    assert len(emptied) == 1
    assert emptied[0].gpu.name in ("g1", "g2")
    assert emptied[0].layout == (Instance(0, "7g.80gb"),)


def test_on_a_whole_node_only_as_many_leave_as_stand_on_the_emptiest_gpus() -> None:
    counts = (4, 1, 3, 2, 4, 1, 4, 4)
    gpus = [
        Gpu(
            "n",
            f"g{at}",
            A100,
            held=tuple(held(start, "1g.10gb", name=f"{at}-{start}") for start in range(n)),
        )
        for at, n in enumerate(counts)
    ]
    found = repartition(gpus, {"7g.80gb": 3})
    assert found.served
    assert found.pods == 1 + 1 + 2
    for change in found.changes:
        check(mig_boards()[A100], change.layout)


def test_an_instance_that_is_free_serves_before_one_is_made() -> None:
    gpus = [Gpu("n", "g0", A100, free=(Instance(4, "3g.40gb"), Instance(2, "2g.20gb")))]
    found = repartition(gpus, {"3g.40gb": 1})
    assert found.changes[0].quiet
    assert set(found.changes[0].layout) == set(gpus[0].free)


def test_a_free_instance_goes_only_where_it_is_in_the_way() -> None:
    gpus = [Gpu("n", "g0", A100, free=(Instance(0, "1g.10gb"), Instance(4, "1g.10gb")))]
    found = repartition(gpus, {"4g.40gb": 1})
    assert found.changes[0].create == (Instance(0, "4g.40gb"),)
    assert found.changes[0].remove == (Instance(0, "1g.10gb"),)


@pytest.mark.parametrize(("board", "reset"), [("a100-80gb", True), ("h100-80gb-sxm5", False)])
def test_switching_mig_on_resets_an_a100_and_not_an_h100(board: str, reset: bool) -> None:
    found = repartition([Gpu("n", "g0", board, divided=False)], {"1g.10gb": 1})
    assert (found.changes[0].switch, found.changes[0].reset) == (True, reset)


def test_a_gpu_that_somebody_has_whole_is_left_alone_unless_nothing_else_will_do() -> None:
    busy = Gpu("n", "g0", A100, whole=held(0, "", pods=1, name="job"), divided=False)
    idle = Gpu("n", "g1", A100)
    assert repartition([busy, idle], {"3g.40gb": 2}).pods == 0
    both = repartition([busy, idle], {"3g.40gb": 3})
    assert both.served
    assert [item.holder.name for item in both.changes[0].empty] == ["job"]


def test_a_profile_that_no_gpu_has_is_named() -> None:
    with pytest.raises(DemandError, match=r"3g\.71gb.*1g\.10gb"):
        repartition([Gpu("n", "g0", A100)], {"3g.71gb": 1})


def test_without_effort_there_is_a_plan_that_says_it_is_not_proven() -> None:
    gpus = [Gpu("n", f"g{number}", A100) for number in range(4)]
    found = repartition(gpus, {"1g.10gb": 9, "2g.20gb": 5, "3g.40gb": 7, "1g.20gb": 8}, steps=2)
    assert not found.proven
    for change in found.changes:
        check(mig_boards()[A100], change.layout)


def _fewest(board: str, names: Sequence[str], demand: tuple[int, ...]) -> int:
    """By breadth: after each GPU, all demands that can be left."""
    room = layouts(board, names)
    lefts, count = {demand}, 0
    while (0,) * len(names) not in lefts:
        lefts = {
            tuple(max(0, a - b) for a, b in zip(left, counts, strict=True))
            for left in lefts
            for counts in room
        }
        count += 1
    return count


DEMANDS = [(7, 0, 0), (1, 1, 1), (3, 4, 1), (0, 3, 3), (5, 2, 2), (9, 1, 0), (2, 2, 3)]


@pytest.mark.parametrize("demand", DEMANDS)
def test_the_number_of_gpus_needed_is_the_smallest(demand: tuple[int, ...]) -> None:
    names = ("1g.10gb", "2g.20gb", "3g.40gb")
    found, proven = devices_needed(A100, dict(zip(names, demand, strict=True)))
    assert proven
    assert found == _fewest(A100, names, demand)


def test_hundreds_of_instances_are_packed_and_the_number_of_gpus_is_proven() -> None:
    demand = {"1g.10gb": 110, "1g.20gb": 45, "2g.20gb": 60, "3g.40gb": 70, "4g.40gb": 40}
    found, proven = devices_needed(A100, demand)
    assert proven
    slices = sum(int(name[0]) * count for name, count in demand.items())
    assert found >= -(-slices // 7)
