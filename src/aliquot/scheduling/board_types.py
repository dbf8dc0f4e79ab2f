"""Devices that are divided into partitions (counter sets of pools), as the packing measure sees them.

Boards with equal counters on which the same partitions can be had, at the same places, are of one type.
"""

from collections.abc import Mapping, Sequence

from aliquot.dra.demand import Demand
from aliquot.dra.pools import Devices, Pool, PoolState, members
from aliquot.dra.shares import share_of_device
from aliquot.packing.boards import Counters, Partition
from aliquot.packing.cluster import WHOLE, Room
from aliquot.packing.expectation import BoardType

_Spans = tuple[tuple[int, int, int], ...]
"""The type of each board, and where its counters lie among the pool's."""


class BoardTypes:
    """The types of boards of a cluster, for what somebody asks for. types: by number."""

    def __init__(self, demands: Mapping[str, Demand]) -> None:
        """demands: the devices that make up each profile."""
        self.types: list[BoardType] = []
        self._demands = demands
        self._numbers: dict[tuple[Counters, tuple[tuple[str, Partition], ...]], int] = {}
        self._known: dict[tuple[Pool, Devices], _Spans] = {}

    def rooms(self, pool: Pool, devices: Devices, usage: PoolState | None) -> list[Room]:
        """What is left of the boards that these devices belong to; usage: None for whole boards."""
        left: Sequence[int] = pool.counters if usage is None else usage.remaining
        return [
            (number, tuple(max(0, amount) for amount in left[start:end]))
            for number, start, end in self._boards(pool, devices)
        ]

    def _boards(self, pool: Pool, devices: Devices) -> _Spans:
        known = self._known.get((pool, devices))
        if known is None:
            found = []
            for position, (start, end) in enumerate(pool.set_spans):
                board = pool.set_members[position] & devices
                if board:
                    partitions = self._partitions(pool, board, start, end)
                    if partitions:
                        key = (pool.counters[start:end], partitions)
                        number = self._numbers.setdefault(key, len(self.types))
                        if number == len(self.types):
                            self.types.append(BoardType(key[0], dict(partitions)))
                        found.append((number, start, end))
            known = self._known[(pool, devices)] = tuple(found)
        return known

    def _partitions(
        self, pool: Pool, devices: Devices, start: int, end: int
    ) -> tuple[tuple[str, Partition], ...]:
        found = []
        for profile, demand in self._demands.items():
            places: dict[Counters, None] = {}
            milli = 0
            for index in members(demand.eligible(pool).eligible & devices):
                # A device on several boards is none of the partitions of one.
                if all(start <= counter < end for counter, _ in pool.draws[index]):
                    draws = [0] * (end - start)
                    for counter, amount in pool.draws[index]:
                        draws[counter - start] = amount
                    places[tuple(draws)] = None
                    milli = milli or max(1, int(share_of_device(pool, index) * WHOLE))
            if places:
                found.append((profile, Partition(milli, tuple(sorted(places)))))
        return tuple(found)
