"""What will happen at which time."""

import heapq
from typing import TypeAlias

import msgspec


class PodStarts(msgspec.Struct, frozen=True, tag=True, gc=False):
    """A pod that has its node begins to run. number: of the workload."""

    number: int
    pod: str


class PodGone(msgspec.Struct, frozen=True, tag=True, gc=False):
    """The grace period of a pod that leaves is over."""

    number: int
    pod: str


class WorkTurns(msgspec.Struct, frozen=True, tag=True, gc=False):
    """The start-up or the work of a workload is over, if the epoch is still the same."""

    number: int
    epoch: int


class MachineFails(msgspec.Struct, frozen=True, tag=True, gc=False):
    """The draw with this number of a kind of failure comes due: `node`, `device` or `spot`."""

    kind: str
    draw: int


class MachineReturns(msgspec.Struct, frozen=True, tag=True, gc=False):
    """A node (device "") or one device of it is in order again."""

    node: str
    device: str = ""


class SpotGone(msgspec.Struct, frozen=True, tag=True, gc=False):
    """The warning time of a spot node is over; back: seconds until there is another in its place."""

    node: str
    back: int


Event: TypeAlias = PodStarts | PodGone | WorkTurns | MachineFails | MachineReturns | SpotGone


class Agenda(msgspec.Struct):
    """Events by time; of those at one time the one that was entered first comes first."""

    entries: list[tuple[int, int, Event]] = []
    entered: int = 0

    def add(self, time: int, event: Event) -> None:
        heapq.heappush(self.entries, (time, self.entered, event))
        self.entered += 1

    def next(self) -> int | None:
        """The time of the first event."""
        return self.entries[0][0] if self.entries else None

    def take(self, now: int) -> Event | None:
        """The next event that is due; None if none is."""
        if self.entries and self.entries[0][0] <= now:
            return heapq.heappop(self.entries)[2]
        return None
