"""Which MIG instances fit on one GPU side by side.

An instance may begin at the starts of its profile only, holds its memory slices from there on, and takes its
compute slices of the GPU's (catalog/data/mig.yaml; NVIDIA MIG User Guide, supported profiles). On an A100
3g.40gb + 3g.40gb hold all eight memory slices, so that the seventh compute slice is of no use.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from aliquot.catalog.mig import MigBoard, MigProfile, mig_boards

Counts = tuple[int, ...]
"""How many instances of each profile, in the order of the names asked about."""


@dataclass(frozen=True, slots=True, order=True)
class Instance:
    """A GPU instance: the name of its profile, and its first memory slice."""

    start: int
    profile: str


@dataclass(frozen=True, slots=True)
class Pattern:
    """Instances that fit together. counts: by profile; instances: where they would be."""

    counts: Counts
    instances: tuple[Instance, ...]


class LayoutError(Exception):
    """Instances that cannot be on one GPU. board, instances: which; problem: why."""

    def __init__(self, board: str, instances: tuple[Instance, ...], problem: str) -> None:
        super().__init__(board, instances, problem)
        self.board = board
        self.instances = instances
        self.problem = problem

    def __str__(self) -> str:
        shown = ", ".join(f"{item.profile}@{item.start}" for item in self.instances)
        return f"{shown} on {self.board}: {self.problem}"


def usable(board: MigBoard) -> tuple[MigProfile, ...]:
    """The profiles of which the catalogue knows all that placing needs."""
    return tuple(profile for profile in board.profiles if not profile.unknown_fields())


def check(board: MigBoard, instances: Iterable[Instance]) -> None:
    """Raises LayoutError for instances that cannot be side by side."""
    given = tuple(sorted(instances))
    taken = compute = 0
    for item in given:
        profile = board.profile(item.profile)
        if profile is None or profile.unknown_fields():
            raise LayoutError(board.id, given, f"{item.profile} is not known")
        mask = _mask(profile, item.start)
        if item.start not in profile.starts:
            raise LayoutError(board.id, given, f"{item.profile} cannot begin at {item.start}")
        if taken & mask:
            raise LayoutError(board.id, given, f"{item.profile} at {item.start} overlaps another")
        if sum(one.profile == item.profile for one in given) > profile.max_instances:
            raise LayoutError(board.id, given, f"at most {profile.max_instances} {item.profile} fit")
        taken |= mask
        compute += profile.compute_slices
    if compute > board.compute_slices:
        raise LayoutError(board.id, given, f"they take {compute} of {board.compute_slices} compute slices")
    if sum("+me" in item.profile for item in given) > 1:
        raise LayoutError(board.id, given, "one instance with media extensions (+me) per GPU")


@cache
def patterns(board_id: str, held: tuple[Instance, ...], names: tuple[str, ...]) -> tuple[Pattern, ...]:
    """What fits besides the instances held, as the largest combinations of the named profiles: none of them
    is contained in another. Without room the only pattern is the empty one.

    Raises LayoutError where the instances held do not fit themselves.
    """
    board = mig_boards()[board_id]
    check(board, held)
    known = [board.profile(name) for name in names]
    profiles = [None if item is None or item.unknown_fields() else item for item in known]
    taken = compute = media = 0
    counts: dict[str, int] = {}
    for item in held:
        profile = board.profile(item.profile)
        assert profile is not None
        taken |= _mask(profile, item.start)
        compute += profile.compute_slices
        media += "+me" in item.profile
        counts[item.profile] = counts.get(item.profile, 0) + 1
    found: dict[Counts, tuple[Instance, ...]] = {}
    search = _Search(board, names, profiles, counts)
    for pattern in search.run(taken, board.compute_slices - compute, not media):
        found.setdefault(pattern.counts, pattern.instances)
    kept = [item for item in found if not any(item != other and _within(item, other) for other in found)]
    return tuple(Pattern(item, found[item]) for item in sorted(kept, reverse=True))


def arranged(
    board: MigBoard, held: tuple[Instance, ...], counts: dict[str, int], liked: frozenset[Instance]
) -> tuple[Instance, ...] | None:
    """Places for so many instances of each profile beside those held, with as many of the liked ones among
    them as possible; None where they do not fit."""
    names = tuple(sorted(name for name, count in counts.items() for _ in range(count)))
    found: tuple[int, tuple[Instance, ...]] | None = None
    stack: list[tuple[int, tuple[Instance, ...]]] = [(0, ())]
    while stack:
        at, placed = stack.pop()
        if at == len(names):
            score = len(liked.intersection(placed))
            if found is None or score > found[0]:
                found = (score, placed)
            if score == min(len(liked), len(names)):
                break
            continue
        profile = board.profile(names[at])
        if profile is None:
            return None
        again = at > 0 and names[at - 1] == names[at]
        starts = [start for start in profile.starts if not again or start > placed[-1].start]
        options = [Instance(start, profile.name) for start in starts]
        for option in sorted(options, key=lambda item: (item in liked, -item.start)):
            if _free(board, (*held, *placed), option):
                stack.append((at + 1, (*placed, option)))
    if found is None:
        return None
    try:
        check(board, (*held, *found[1]))
    except LayoutError:
        return None
    return tuple(sorted(found[1]))


def _free(board: MigBoard, taken: Iterable[Instance], wanted: Instance) -> bool:
    profile = board.profile(wanted.profile)
    assert profile is not None
    mask = _mask(profile, wanted.start)
    for item in taken:
        other = board.profile(item.profile)
        if other is not None and mask & _mask(other, item.start):
            return False
    return True


class _Search:
    def __init__(
        self,
        board: MigBoard,
        names: Sequence[str],
        profiles: Sequence[MigProfile | None],
        held: dict[str, int],
    ) -> None:
        self._slices = board.memory_slices or 0
        self._profiles = [
            (number, profile, profile.max_instances - held.get(names[number], 0))
            for number, profile in enumerate(profiles)
            if profile is not None
        ]
        self._count = len(names)

    def run(self, taken: int, compute: int, media: bool) -> Iterator[Pattern]:
        seen: set[tuple[int, int, int, Counts]] = set()
        stack: list[tuple[int, int, int, bool, Counts, tuple[Instance, ...]]]
        stack = [(0, taken, compute, media, (0,) * self._count, ())]
        while stack:
            start, taken, compute, media, counts, placed = stack.pop()
            if (start, taken, compute, counts) in seen:
                continue
            seen.add((start, taken, compute, counts))
            if start == self._slices:
                yield Pattern(counts, placed)
                continue
            stack.append((start + 1, taken, compute, media, counts, placed))
            for number, profile, most in self._profiles:
                mask = _mask(profile, start)
                wants_media = "+me" in profile.name
                if (
                    start in profile.starts
                    and not taken & mask
                    and profile.compute_slices <= compute
                    and counts[number] < most
                    and (media or not wants_media)
                ):
                    more = (*counts[:number], counts[number] + 1, *counts[number + 1 :])
                    stack.append(
                        (
                            start + 1,
                            taken | mask,
                            compute - profile.compute_slices,
                            media and not wants_media,
                            more,
                            (*placed, Instance(start, profile.name)),
                        )
                    )


def _mask(profile: MigProfile, start: int) -> int:
    return ((1 << (profile.memory_slices or 0)) - 1) << start


def _within(small: Counts, large: Counts) -> bool:
    return all(a <= b for a, b in zip(small, large))
