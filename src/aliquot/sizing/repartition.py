"""Which MIG instances the GPUs of a node or fleet should be cut into for the demand there is, and who has to
leave for it.

Solved exactly as long as the effort allowed suffices, in this order: whoever has an instance has one like it
afterwards, as much of the demand as possible is served (counted in slices), as few pods as possible have to
leave, as few GPUs as possible are used. First the demand is packed as if everybody left, which tells what
can be served at all; then GPUs are emptied, those with fewest pods first, until that is enough, and whoever
need not leave is spared; then sets with fewer pods are tried, those with the fewest first. Whoever leaves is
part of the demand again.

When the effort is spent, the best plan found is given and says that it is not proven.
"""

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from aliquot.catalog.mig import mig_boards
from aliquot.model.meta import ObjectRef
from aliquot.sizing.instance_packing import Effort, Packer, Prices, prices, worth
from aliquot.sizing.layouts import Counts, Instance, LayoutError, arranged, check, patterns
from aliquot.sizing.parts import mig_share


@dataclass(frozen=True, slots=True)
class Held:
    """An instance in use. holder: who has it; pods: how many would have to leave."""

    instance: Instance
    holder: ObjectRef
    pods: int = 1


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU that can be in MIG mode. board: the id of its geometry. held: instances in use; free: instances
    that exist and are not. whole: who has all of it, outside MIG mode; such a GPU is emptied as a whole or
    left alone. divided: it is in MIG mode."""

    node: str
    name: str
    board: str
    held: tuple[Held, ...] = ()
    free: tuple[Instance, ...] = ()
    whole: Held | None = None
    divided: bool = True


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of one GPU. layout: its instances afterwards. empty: who has to leave. remove, create:
    instances. switch: MIG mode has to be switched on, for which nothing may be on the GPU; reset: and the GPU
    has to be reset for it."""

    gpu: Gpu
    layout: tuple[Instance, ...]
    empty: tuple[Held, ...] = ()
    remove: tuple[Instance, ...] = ()
    create: tuple[Instance, ...] = ()
    switch: bool = False
    reset: bool = False

    @property
    def quiet(self) -> bool:
        """Nothing changes."""
        return not (self.empty or self.remove or self.create or self.switch)


@dataclass(frozen=True, slots=True)
class Repartition:
    """A plan. changes: by GPU, also those where nothing changes. unserved: demand that no plan can serve, by
    profile. pods: who have to leave. used: GPUs with instances in use afterwards. proven: no plan is better
    in what is served and who leaves."""

    changes: tuple[Change, ...]
    unserved: Mapping[str, int]
    pods: int
    used: int
    proven: bool

    @property
    def served(self) -> bool:
        return not self.unserved


class DemandError(Exception):
    """A profile that none of the GPUs has. profile: which; known: those that they have."""

    def __init__(self, profile: str, known: tuple[str, ...]) -> None:
        super().__init__(profile, known)
        self.profile = profile
        self.known = known

    def __str__(self) -> str:
        return f"no GPU has the profile {self.profile}; there are {', '.join(self.known)}"


STEPS = 20_000
_SPARE_STEPS = 300


def repartition(gpus: Sequence[Gpu], demand: Mapping[str, int], steps: int = STEPS) -> Repartition:
    """The plan for instances wanted besides those in use. steps: effort allowed.

    Raises DemandError for a profile that none of the GPUs has, LayoutError for GPUs whose instances in use
    cannot be.
    """
    wanted = Counter({name: count for name, count in demand.items() if count > 0})
    boards = [mig_boards()[gpu.board] for gpu in gpus]
    known = {profile.name for board in boards for profile in board.profiles if not profile.unknown_fields()}
    for name in wanted:
        if name not in known:
            raise DemandError(name, tuple(sorted(known)))
    effort = Effort(steps)
    everything = _leaving(gpus)
    ideal = _pack(gpus, frozenset(everything), wanted, effort)
    # Who need not leave after all: a good plan, and the most pods that an exact search has to look at.
    leaving, packed = _spared(gpus, everything, wanted, ideal)
    bound = sum(everything[number][1].pods for number in leaving)
    for chosen in _in_order(everything, bound):
        if not effort.step():
            break
        if not _canonical(gpus, everything, chosen):
            continue
        found = _pack(gpus, chosen, wanted, effort)
        if found.missing <= ideal.missing:
            leaving, packed = chosen, found
            break
        effort.step(len(gpus))
    return _plan(gpus, everything, leaving, packed, proven=not effort.spent)


def devices_needed(board: str, demand: Mapping[str, int], steps: int = STEPS) -> tuple[int, bool]:
    """How many empty GPUs of one geometry a demand needs at least, and whether that is proven."""
    names = tuple(sorted(name for name, count in demand.items() if count > 0))
    if not names:
        return 0, True
    wanted = Counter({name: demand[name] for name in names})
    counts = tuple(wanted[name] for name in names)
    every = [item.counts for item in patterns(board, (), names)]
    low = max(_least(price, every, counts) for price in (prices(every, counts), *_alone(len(names))))
    proven = True
    for number in itertools.count(low):
        effort = Effort(steps)
        gpus = [Gpu("", str(at), board) for at in range(number)]
        if not _pack(gpus, frozenset(), wanted, effort).missing:
            return number, proven
        proven = proven and not effort.spent
    raise AssertionError


def _least(price: Prices, every: Sequence[Counts], counts: Counts) -> int:
    dearest = max(worth(price, item) for item in every)
    return -(-worth(price, counts) // dearest) if dearest else 0


def _alone(count: int) -> Iterator[Prices]:
    """Prices that count one profile only."""
    for at in range(count):
        yield tuple(int(number == at) for number in range(count))


@dataclass(frozen=True, slots=True)
class _Packed:
    """missing: demand not served, by the weights; used: GPUs with something on them; placed: new instances
    by GPU."""

    missing: int
    used: int
    placed: tuple[tuple[Instance, ...], ...]
    unserved: Mapping[str, int]


def _leaving(gpus: Sequence[Gpu]) -> dict[int, tuple[int, Held]]:
    """Everything in use that could leave: a number, the GPU that it is on, and what it is."""
    found: dict[int, tuple[int, Held]] = {}
    for place, gpu in enumerate(gpus):
        for held in (*gpu.held, *((gpu.whole,) if gpu.whole is not None else ())):
            found[len(found)] = (place, held)
    return found


def _spared(
    gpus: Sequence[Gpu],
    everything: Mapping[int, tuple[int, Held]],
    wanted: Counter[str],
    ideal: _Packed,
) -> tuple[frozenset[int], _Packed]:
    """A set that has to leave for all that can be served, of which nobody could stay: whole GPUs are emptied,
    those with fewest pods first, until that is enough, and then whoever need not leave is spared."""
    by_gpu: dict[int, set[int]] = {}
    for number, (place, _) in everything.items():
        by_gpu.setdefault(place, set()).add(number)

    def pods(numbers: Iterable[int]) -> int:
        return sum(everything[number][1].pods for number in numbers)

    def packed_without(numbers: frozenset[int]) -> _Packed:
        return _pack(gpus, numbers, wanted, Effort(_SPARE_STEPS))

    groups = sorted(by_gpu.values(), key=lambda group: (pods(group), min(group)))
    leaving, packed = frozenset(everything), ideal
    # The more leave the more can be served, so that halving finds how many GPUs have to be emptied.
    low, high = 0, len(groups)
    while low < high:
        middle = (low + high) // 2
        chosen = frozenset[int]().union(*groups[:middle])
        found = packed_without(chosen)
        if found.missing <= ideal.missing:
            leaving, packed, high = chosen, found, middle
        else:
            low = middle + 1
    single = sorted(leaving, key=lambda number: (-pods([number]), number))
    for group in (*reversed(groups), *({number} for number in single)):
        if not group & leaving:
            continue
        found = packed_without(leaving - group)
        if found.missing <= ideal.missing:
            leaving, packed = leaving - group, found
    return leaving, packed


def _canonical(
    gpus: Sequence[Gpu], everything: Mapping[int, tuple[int, Held]], chosen: frozenset[int]
) -> bool:
    """Whether a set is the one to try of all that differ by which of equal GPUs they are on."""
    known: dict[object, tuple[int, ...]] = {}
    marks: dict[int, list[int]] = {}
    for number, (place, _) in everything.items():
        marks.setdefault(place, []).append(int(number in chosen))
    for place, gpu in enumerate(gpus):
        own = tuple(marks.get(place, ()))
        kind = (
            gpu.board,
            gpu.divided,
            gpu.free,
            tuple((item.instance, item.pods) for item in gpu.held),
            gpu.whole.pods if gpu.whole is not None else None,
        )
        if kind in known and known[kind] < own:
            return False
        known[kind] = own
    return True


def _in_order(everything: Mapping[int, tuple[int, Held]], bound: int) -> Iterator[frozenset[int]]:
    """Sets of who might leave with fewer than `bound` pods, those with the fewest first."""
    pods = [held.pods for _, held in everything.values()]
    if all(count == 1 for count in pods):
        for size in range(min(len(pods) + 1, bound)):
            for chosen in itertools.combinations(range(len(pods)), size):
                yield frozenset(chosen)
        return
    reachable = {0}
    for count in pods:
        reachable |= {total + count for total in reachable if total + count < bound}
    for total in sorted(reachable):
        if total < bound:
            yield from _with_pods(pods, total, 0)


def _with_pods(pods: Sequence[int], total: int, first: int) -> Iterator[frozenset[int]]:
    if total == 0:
        yield frozenset()
    for at in range(first, len(pods)):
        if 0 < pods[at] <= total:
            for rest in _with_pods(pods, total - pods[at], at + 1):
                yield rest | {at}


def _share(board: str, name: str) -> Fraction:
    geometry = mig_boards()[board]
    profile = geometry.profile(name)
    return mig_share(geometry, profile) if profile is not None else Fraction(0)


def _weights(gpus: Sequence[Gpu], names: Sequence[str]) -> Prices:
    """The part of a GPU that an instance of each profile is, in units that are the same for all names."""
    boards = [mig_boards()[board] for board in sorted({gpu.board for gpu in gpus})]
    slices = [count for board in boards for count in (board.compute_slices, board.memory_slices or 1)]
    unit = math.lcm(*slices)
    return tuple(
        int(max((_share(board.id, name) for board in boards), default=Fraction(0)) * unit) for name in names
    )


def _pack(gpus: Sequence[Gpu], leaving: frozenset[int], wanted: Counter[str], effort: Effort) -> _Packed:
    """Serve as much of the demand, and of those leaving, as fits, on as few GPUs as possible."""
    everything = _leaving(gpus)
    demand = Counter(wanted)
    stays: list[tuple[Instance, ...]] = []
    closed: list[bool] = []
    for place, gpu in enumerate(gpus):
        own = [(number, held) for number, (at, held) in everything.items() if at == place]
        for number, held in own:
            if number in leaving and held is not gpu.whole:
                demand[held.instance.profile] += 1
            elif number in leaving:
                # Whoever had the whole GPU is in the demand already, with the part that is meant for it.
                continue
        stays.append(
            tuple(
                sorted(
                    held.instance for number, held in own if number not in leaving and held is not gpu.whole
                )
            )
        )
        closed.append(any(number not in leaving and held is gpu.whole for number, held in own))
    names = tuple(sorted(demand))
    order = sorted(
        (place for place in range(len(gpus)) if not closed[place]),
        key=lambda place: (not stays[place], gpus[place].board, stays[place], place),
    )
    slots = [(gpus[place].board, stays[place]) for place in order]
    optional = tuple(wanted[name] for name in names)
    packer = Packer(
        slots, names, _weights(gpus, names), tuple(demand[name] for name in names), optional, effort
    )
    missing, used, chosen, left = packer.best()
    placed: list[tuple[Instance, ...]] = [() for _ in gpus]
    for place, instances in zip(order, chosen, strict=True):
        placed[place] = instances
    unserved = {name: count for name, count in zip(names, left, strict=True) if count}
    return _Packed(missing, used + sum(closed), tuple(placed), unserved)


def _plan(
    gpus: Sequence[Gpu],
    everything: Mapping[int, tuple[int, Held]],
    leaving: frozenset[int],
    packed: _Packed,
    *,
    proven: bool,
) -> Repartition:
    changes = []
    for place, gpu in enumerate(gpus):
        gone = tuple(held for number, (at, held) in everything.items() if at == place and number in leaving)
        stays = tuple(held.instance for held in gpu.held if held not in gone)
        board = mig_boards()[gpu.board]
        idle = frozenset(gpu.free) | {held.instance for held in gone if held is not gpu.whole}
        wanted = Counter(item.profile for item in packed.placed[place])
        new = arranged(board, tuple(sorted(stays)), dict(wanted), idle) or packed.placed[place]
        layout = [*stays, *new]
        for item in sorted(idle - set(new)):
            try:
                check(board, (*layout, item))
            except LayoutError:
                continue
            layout.append(item)
        switch = bool(new) and not gpu.divided
        changes.append(
            Change(
                gpu=gpu,
                layout=tuple(sorted(layout)),
                empty=gone,
                remove=tuple(sorted(idle - set(layout))),
                create=tuple(sorted(set(new) - idle)),
                switch=switch,
                reset=switch and not board.toggles_without_reset(),
            )
        )
    pods = sum(everything[number][1].pods for number in leaving)
    return Repartition(tuple(changes), dict(packed.unserved), pods, packed.used, proven)
