"""Devices that are divided into partitions of fixed sizes at fixed places, as MIG does.

A board has counters (memory slices, multiprocessors, ...); a partition draws some of each, and two partitions
exist side by side if what they draw is there. A room is what is left of the counters. Example: of 8 memory
slices a 3g.40gb takes slices 0 to 3 or 4 to 7, so that after a 1g.10gb on slice 4 two of them no longer fit.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from aliquot.packing.patterns import pattern_prices

Counters = tuple[int, ...]

MOST_ROOMS = 20_000
"""Rooms that are remembered of one type of board before the memory is emptied."""


class Partition(NamedTuple):
    """A size of partition. milli: its part of the board in thousandths. places: what it draws of each
    counter, for each place where it can be."""

    milli: int
    places: tuple[Counters, ...]


class Board:
    """A type of board. counters: of a whole one. partitions: by profile, those that somebody asks for.

    mix: how often each profile is asked for. What a room is worth follows from that: the dearest partitions
    that fit, at the prices of the cutting-stock problem over this board's patterns.
    """

    def __init__(
        self, counters: Counters, partitions: Mapping[str, Partition], mix: Mapping[str, float]
    ) -> None:
        self.counters = counters
        self.partitions = partitions
        self._most: dict[tuple[Counters, str], int] = {}
        names = [name for name in sorted(partitions) if mix.get(name, 0) > 0 and self.most(counters, name)]
        found = pattern_prices(
            [mix[name] for name in names],
            [self.most(counters, name) for name in names],
            lambda prices: self._dearest(names, prices),
        )
        self.prices = dict(zip(names, found, strict=True))
        self._worth: dict[Counters, float] = {}
        self._milli: dict[Counters, float] = {}

    def places(self, room: Counters, profile: str) -> list[Counters]:
        """The different rooms that one more partition can leave."""
        partition = self.partitions.get(profile)
        if partition is None:
            return []
        found = (_after(room, place) for place in partition.places)
        return list(dict.fromkeys(after for after in found if after is not None))

    def most(self, room: Counters, profile: str) -> int:
        """How many partitions of one profile fit."""
        key = (room, profile)
        found = self._most.get(key)
        if found is None:
            if len(self._most) >= MOST_ROOMS:
                self._most.clear()
            rest = [self.most(after, profile) for after in self.places(room, profile)]
            found = self._most[key] = 1 + max(rest) if rest else 0
        return found

    def worth(self, room: Counters) -> float:
        """What the room is worth in whole boards, from 0 to 1."""
        if room == self.counters:
            return 1.0
        if len(self._worth) >= MOST_ROOMS:
            self._worth.clear()
        return min(1.0, round(self._best(room, self.prices, self._worth), 9))

    def milli(self, room: Counters) -> float:
        """The thousandths of the board that partitions of all profiles can still be given."""
        if len(self._milli) >= MOST_ROOMS:
            self._milli.clear()
        sizes = {name: float(partition.milli) for name, partition in self.partitions.items()}
        return self._best(room, sizes, self._milli)

    def _best(self, room: Counters, prices: Mapping[str, float], known: dict[Counters, float]) -> float:
        found = known.get(room)
        if found is None:
            found = 0.0
            for name, price in prices.items():
                if price > 0:
                    for after in self.places(room, name):
                        found = max(found, price + self._best(after, prices, known))
            known[room] = found
        return found

    def _dearest(self, names: Sequence[str], prices: Sequence[float]) -> tuple[float, Sequence[int]]:
        priced = dict(zip(names, prices, strict=True))
        known: dict[Counters, float] = {}
        room = self.counters
        value = left = self._best(room, priced, known)
        pattern = [0] * len(names)
        # Walk down the rooms along the choices that make up the best value.
        while left > 1e-12:
            position, room = next(
                (position, after)
                for position, name in enumerate(names)
                if prices[position] > 0
                for after in self.places(room, name)
                if prices[position] + known.get(after, -1.0) >= left - 1e-9
            )
            left = known[room]
            pattern[position] += 1
        return value, pattern


def _after(room: Counters, place: Counters) -> Counters | None:
    """What is left of a room after a partition; None if it does not fit."""
    left = []
    for have, take in zip(room, place, strict=True):
        if take > have:
            return None
        left.append(have - take)
    return tuple(left)
