"""Pods and gangs that come, wait if they must, run for a time and leave: how long they wait, how full it is.

The queue is the same for every policy: whatever waits is tried in the order of its coming whenever something
left, and what does not fit lets others pass. A gang starts whole or waits.
"""

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from heapq import heappop, heappush
from math import log

import msgspec

from aliquot.packing.cluster import WHOLE, Demand, Node, State
from aliquot.packing.go_random import GoRandom
from aliquot.packing.placer import Placer, Policy

GANG_SIZES = (2, 4, 8)


class Arrival(msgspec.Struct, frozen=True):
    """Pods of one kind that come together and start together. at, run: seconds."""

    demand: Demand
    at: int
    run: int
    pods: int = 1


class Waits(msgspec.Struct, frozen=True):
    """What came of a run. waits: seconds, of every pod; of one that never started, until the end, that is the
    last arrival. allocated: percent of the GPUs, mean over the time until then."""

    waits: tuple[int, ...]
    allocated: float

    @property
    def mean(self) -> float:
        return sum(self.waits) / len(self.waits) if self.waits else 0.0

    @property
    def waited(self) -> float:
        """Percent of the pods that did not start at once."""
        return 100 * sum(1 for wait in self.waits if wait) / len(self.waits) if self.waits else 0.0

    def percentile(self, percent: int) -> int:
        """The shortest wait that at least so many percent of the pods did not exceed."""
        ordered = sorted(self.waits)
        return ordered[max(0, -(-percent * len(ordered) // 100) - 1)] if ordered else 0


def with_gangs(arrivals: Sequence[Arrival], percent: int, random: GoRandom) -> list[Arrival]:
    """The same with so many percent of the pods that want whole GPUs leading gangs of 2, 4 or 8 of their
    kind. Only as many of them come, over the same time, as ask for no more work than before."""
    work = sum(item.demand.total_milli() * item.run for item in arrivals)
    chosen: list[tuple[Arrival, int]] = []
    asked = 0
    for item in arrivals:
        if asked >= work:
            break
        leads = random.below(100) < percent and item.demand.gpus and not item.demand.is_share()
        pods = GANG_SIZES[random.below(len(GANG_SIZES))] if leads else 1
        chosen.append((item, pods))
        asked += pods * item.demand.total_milli() * item.run
    if not chosen:
        return []
    last, stretched = chosen[-1][0].at, arrivals[-1].at
    return [
        msgspec.structs.replace(item, at=item.at * stretched // max(1, last), pods=pods)
        for item, pods in chosen
    ]


def run(policy: Policy, arrivals: Sequence[Arrival], nodes: Sequence[Node], since: int = 0) -> Waits:
    """arrivals: in the order of their time. nodes: of equal scores the first wins. since: the second from
    which on it counts who waits and what is allocated."""
    return _Run(policy, nodes, since).over(arrivals)


def stream(
    pods: Mapping[str, Demand],
    runs: Mapping[str, int],
    nodes: Sequence[Node],
    load: int,
    count: int,
    random: GoRandom,
) -> list[Arrival]:
    """So many pods, each drawn from those of a trace, that come at random (a Poisson process) and ask for
    `load` percent of the nodes' GPU time. runs: seconds, by the pod's name."""
    names = sorted(pods)
    work = sum(pods[name].total_milli() * runs[name] for name in names) / len(names)
    capacity = sum(node.gpus for node in nodes) * WHOLE
    gap = work / (capacity * load / 100)
    found = []
    at = 0.0
    for _ in range(count):
        at -= gap * log(1 - random.int63() / (1 << 63))
        name = names[random.below(len(names))]
        found.append(Arrival(pods[name], int(at), runs[name]))
    return found


class _Held(msgspec.Struct, frozen=True):
    """What a pod has: a node, by number, and devices of it, by index."""

    node: int
    devices: tuple[int, ...]
    demand: Demand


class _Run:
    def __init__(self, policy: Policy, nodes: Sequence[Node], since: int) -> None:
        self._since = since
        self._policy = policy
        self._placer = Placer(nodes, policy)
        self._empty = list(self._placer.states)
        self._devices = [list(state.gpus) for state in self._empty]
        self._sizes: list[Counter[int]] = [Counter() for _ in nodes]
        self._running: list[tuple[int, int, list[_Held]]] = []
        self._waiting: deque[Arrival] = deque()
        self._waits: list[int] = []
        self._serial = 0
        self._used = 0
        self._used_seconds = 0
        self._now = 0

    def over(self, arrivals: Sequence[Arrival]) -> Waits:
        if not arrivals:
            return Waits((), 0.0)
        self._now = min(arrivals[0].at, self._since)
        for item in arrivals:
            self._pass(item.at)
            self._placer.tell(item.demand, self._empty)
            if not self._start(item):
                self._waiting.append(item)
        for item in self._waiting:
            self._count(item)
        capacity = sum(len(devices) for devices in self._devices) * WHOLE
        time = max(1, self._now - self._since)
        return Waits(tuple(self._waits), 100 * self._used_seconds / (capacity * time) if capacity else 0.0)

    def _pass(self, until: int) -> None:
        """Let time pass: what ends leaves, and what waits is tried."""
        running = self._running
        while running and running[0][0] <= until:
            self._clock(running[0][0])
            while running and running[0][0] == self._now:
                for held in heappop(running)[2]:
                    self._leave(held)
            self._retry()
        self._clock(until)

    def _clock(self, now: int) -> None:
        self._used_seconds += self._used * max(0, now - max(self._now, self._since))
        self._now = now

    def _count(self, item: Arrival) -> None:
        if item.at >= self._since:
            self._waits += [self._now - item.at] * item.pods

    def _retry(self) -> None:
        refused: set[tuple[Demand, int]] = set()
        left: deque[Arrival] = deque()
        for item in self._waiting:
            kind = (item.demand, item.pods)
            if kind in refused or not self._start(item):
                refused.add(kind)
                left.append(item)
        self._waiting = left

    def _start(self, item: Arrival) -> bool:
        demand = item.demand
        if item.pods > 1 and not self._has_room(demand, item.pods):
            return False
        held = []
        for _ in range(item.pods):
            number = self._place(demand)
            if number is None:
                break
            held.append(number)
        if not held:
            return False
        self._serial += 1
        heappush(self._running, (self._now + item.run, self._serial, held))
        self._count(item)
        return True

    def _has_room(self, demand: Demand, pods: int) -> bool:
        found = 0
        for state in self._placer.states:
            if state.fits(demand):
                found += _slots(state, demand)
                if found >= pods:
                    return True
        return False

    def _place(self, demand: Demand) -> _Held | None:
        placer = self._placer
        number = placer.put(demand)
        if number is None:
            return None
        devices = self._devices[number]
        # Which devices they are, the policy's state tells by what is left of them; equal ones are alike.
        after = Counter(placer.states[number].gpus)
        taken = []
        for left in (Counter(devices) - after).elements():
            taken.append(next(at for at, each in enumerate(devices) if each == left and at not in taken))
        for at in taken:
            devices[at] -= demand.milli
        held = _Held(number, tuple(taken), demand)
        self._sizes[number][_size(demand)] += 1 if demand.gpus else 0
        self._used += demand.total_milli()
        self._renew(number, placer.states[number])
        return held

    def _leave(self, held: _Held) -> None:
        demand, number = held.demand, held.node
        for at in held.devices:
            self._devices[number][at] += demand.milli
        if demand.gpus:
            self._sizes[number][_size(demand)] -= 1
        self._used -= demand.total_milli()
        self._renew(number, self._placer.states[number], demand.cpu, demand.memory)

    def _renew(self, number: int, state: State, cpu: int = 0, memory: int = 0) -> None:
        """Devices in the order of what is left of them, as policies expect who look at nothing else."""
        # Only some policies want to know what sizes of pods a node has.
        held = tuple(sorted(+self._sizes[number])) if state.held else ()
        gpus = tuple(sorted(self._devices[number]))
        self._placer.change(number, State(state.cpu + cpu, state.memory + memory, gpus, state.model, held))


def _size(demand: Demand) -> int:
    return 0 if demand.is_share() else demand.gpus


def _slots(state: State, demand: Demand) -> int:
    """How many pods of the kind fit; at least one does."""
    found = []
    if demand.gpus:
        found.append(sum(left // demand.milli for left in state.gpus) // demand.gpus)
    if demand.cpu:
        found.append(state.cpu // demand.cpu)
    if demand.memory:
        found.append(state.memory // demand.memory)
    return min(found, default=len(state.gpus) or 1)
