"""MIG instances side by side."""

import itertools

import pytest

from aliquot.catalog.mig import MigBoard, NoRoom, mig_boards, place_layout
from aliquot.sizing.layouts import Instance, LayoutError, arranged, check, patterns, usable

BOARDS = ("a30-24gb", "a100-40gb", "a100-80gb", "h100-80gb-sxm5", "h200-141gb-sxm5")


def plain(board: MigBoard) -> tuple[str, ...]:
    return tuple(sorted(item.name for item in usable(board) if "+" not in item.name))


@pytest.mark.parametrize("name", BOARDS)
def test_patterns_are_all_the_largest_layouts_that_a_search_of_all_starts_finds(name: str) -> None:
    """The oracle is the catalogue's own placement of a list of profiles, tried for every list."""
    board = mig_boards()[name]
    names = plain(board)
    fits = set()
    most = [range((board.profile(item).max_instances if board.profile(item) else 0) + 1) for item in names]  # type: ignore[union-attr]
    for counts in itertools.product(*most):
        wanted = tuple(item for item, count in zip(names, counts, strict=True) for _ in range(count))
        if not isinstance(place_layout(board, wanted), NoRoom):
            fits.add(counts)
    largest = {
        item
        for item in fits
        if not any(item != other and all(a <= b for a, b in zip(item, other, strict=True)) for other in fits)
    }
    assert {item.counts for item in patterns(name, (), names)} == largest


@pytest.mark.parametrize("name", BOARDS)
def test_every_pattern_is_a_layout_that_can_be(name: str) -> None:
    board = mig_boards()[name]
    for item in patterns(name, (), plain(board)):
        check(board, item.instances)


def test_an_a100_has_no_room_for_a_third_slice_beside_two_of_three() -> None:
    found = patterns("a100-80gb", (Instance(0, "3g.40gb"),), ("1g.10gb", "3g.40gb"))
    assert {item.counts for item in found} == {(0, 1), (3, 0)}


def test_one_instance_with_media_engines_fits_on_a_gpu() -> None:
    found = patterns("a100-80gb", (), ("1g.10gb+me",))
    assert {item.counts for item in found} == {(1,)}
    assert {item.counts for item in patterns("a100-80gb", (Instance(2, "1g.10gb+me"),), ("1g.10gb+me",))} == {
        (0,)
    }


@pytest.mark.parametrize(
    ("instances", "problem"),
    [
        ((Instance(0, "3g.40gb"), Instance(2, "2g.20gb")), "overlaps"),
        ((Instance(1, "3g.40gb"),), "cannot begin at 1"),
        ((Instance(0, "9g.90gb"),), "is not known"),
        ((Instance(0, "4g.40gb"), Instance(4, "3g.40gb")), ""),
    ],
)
def test_what_cannot_be_is_refused_by_name(instances: tuple[Instance, ...], problem: str) -> None:
    board = mig_boards()["a100-80gb"]
    if not problem:
        check(board, instances)
        return
    with pytest.raises(LayoutError, match=problem):
        check(board, instances)


def test_instances_are_arranged_where_they_are_already_if_possible() -> None:
    board = mig_boards()["a100-80gb"]
    liked = frozenset({Instance(5, "1g.10gb"), Instance(2, "2g.20gb")})
    found = arranged(board, (Instance(0, "1g.10gb"),), {"1g.10gb": 1, "2g.20gb": 1}, liked)
    assert found is not None
    assert set(found) == liked


def test_instances_that_do_not_fit_are_arranged_nowhere() -> None:
    board = mig_boards()["a100-80gb"]
    assert arranged(board, (Instance(0, "4g.40gb"),), {"4g.40gb": 1}, frozenset()) is None
