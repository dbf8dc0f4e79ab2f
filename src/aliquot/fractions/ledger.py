"""Which parts of which devices are taken on each node, now and once everything that is leaving is gone.

Devices that pods share form groups: a group is one device of its node, known by a name. Nothing says which
device it is, so a device is either whole and counted by the caller, or a group's. Two columns are kept:

now    what is taken today: pods placed, and pods that are leaving
later  what is taken once those are gone: pods placed, and pods that are promised a place

A group whose every pod is leaving is a whole device later, and may be promised as one. A group that has only
promised pods is no device yet. Example, devices of 100 with one pod of 60 that leaves and one of 30 promised
beside a pod of 40:  now 60 + 40, later 40 + 30.

The caller counts whole idle devices now and later; every change here says by how many that count changes
(`Shift`). Amounts are billionths of a MiB of device memory, so that parts
and amounts of memory add up exactly.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from aliquot.fractions.devices import NodeDevices
from aliquot.fractions.parts import Choice, Group, Holding, Part, fits_later, fits_now, part_on
from aliquot.fractions.requests import WHOLE, GpuRequest
from aliquot.model.index import Key

PACK = "pack"
SPREAD = "spread"

_T = TypeVar("_T")


class Shift(NamedTuple):
    """By how many the whole idle devices of a node change, today and once what is leaving is gone."""

    now: int
    later: int


class _Effect(NamedTuple):
    """Which columns a step adds to (1), takes from (-1) or leaves alone (0)."""

    now: int
    later: int
    held: int

    @property
    def back(self) -> "_Effect":
        return _Effect(-self.now, -self.later, -self.held)


_TAKE = _Effect(1, 1, 1)
_PROMISE = _Effect(0, 1, 1)
_LEAVE = _Effect(0, -1, 0)
_FINISH = _Effect(-1, 0, -1)

_Entry = tuple[Holding, bool]
"""What a pod has, and whether it is leaving."""


class DeviceLedger:
    """The groups of every node, by the node's number; changes can be taken back to a mark.

    A pod may be known to a node twice: as one that is leaving and as one that is promised a place there.
    """

    def __init__(self, devices: Sequence[NodeDevices]) -> None:
        self.devices = tuple(devices)
        self._groups: dict[int, dict[str, Group]] = {}
        self._held: dict[tuple[int, Key], _Entry] = {}
        self._promised: dict[tuple[int, Key], Holding] = {}
        self._log: list[tuple[int, Key, Holding, _Effect, _Entry | None, Holding | None]] = []

    def options(
        self,
        number: int,
        request: GpuRequest,
        idle_now: int,
        idle_later: int,
        *,
        later: bool,
        order: str = PACK,
    ) -> Choice | None:
        """The devices of a node for a request for parts; None if they do not suffice.

        idle_now, idle_later: whole devices that the caller counts as idle. later: what is idle only once
        something has left will do. order: PACK joins the fullest groups first and opens devices last, SPREAD
        opens devices first and joins the emptiest.
        """
        devices = self.devices[number]
        part = part_on(request, devices)
        capacity = devices.capacity
        if part.memory > capacity:
            return None
        idle_now = max(0, min(idle_now, idle_later))
        room = max(0, idle_later) if later else idle_now
        wanted = request.devices
        opened = min(room, wanted) if order == SPREAD else 0
        fitting: list[tuple[int, str, bool]] = []
        if opened < wanted:
            sign = 1 if order == SPREAD else -1
            for name, group in self._groups.get(number, _EMPTY).items():
                if fits_later(group, part, devices):
                    now = fits_now(group, part, devices)
                    if later or now:
                        fitting.append((sign * group.held, name, now))
            fitting.sort()
            del fitting[wanted - opened :]
        fresh = wanted - len(fitting)
        if fresh > room:
            return None
        now = fresh <= idle_now and all(item[2] for item in fitting)
        return Choice(tuple(item[1] for item in fitting), fresh, part, now)

    def fits_shared(self, number: int, request: GpuRequest | None) -> bool:
        """Whether some group of the node has room for one part of the request, now or later.

        A whole device fits beside nobody. None stands for a pod without accelerators, which fits wherever a
        group is that does not dissolve; KAI-Scheduler prefers such nodes for it all the same.
        """
        groups = self._groups.get(number)
        if not groups or (request is not None and not request.shared):
            return False
        devices = self.devices[number]
        part = Part(0) if request is None else part_on(request, devices)
        return any(fits_later(group, part, devices) for group in groups.values())

    def take(
        self, number: int, choice: Choice, pod: Key, *, promised: bool = False, idle: int = -1
    ) -> tuple[Holding, Shift]:
        """Give the pod the chosen devices, or promise them.

        idle: whole devices that the caller counts as idle, -1 if it does not say. If they are as many as the
        node's ids that name no group, those are the idle ones, and new groups are named by id. Otherwise
        nobody knows which is idle, and new groups get the first names that are free.
        """
        names = (*choice.joined, *self._fresh_names(number, choice.fresh, idle))
        found = tuple((name, choice.part) for name in names)
        shift = self.promise(number, pod, found) if promised else self.occupy(number, pod, found)
        return Holding(found), shift

    def occupy(
        self, number: int, pod: Key, places: Sequence[tuple[str, Part]], *, leaving: bool = False
    ) -> Shift:
        """Count a pod that is on its node.

        A place without a group's name is a device of its own; its group is named after the pod, the same in
        every snapshot, so that a pod which joins it can be told by that name from then on.
        """
        if (number, pod) in self._held:
            raise ValueError(f"{pod[0]}/{pod[1]} holds devices on node {number} already")
        alone = f"{pod[0]}/{pod[1]}#"
        named = tuple((name or f"{alone}{index}", part) for index, (name, part) in enumerate(places))
        holding = Holding(named)
        shift = self._step(number, pod, holding, _TAKE, (holding, False))
        if not leaving:
            return shift
        gone = self.leave(number, pod)
        return Shift(shift.now + gone.now, shift.later + gone.later)

    def promise(self, number: int, pod: Key, places: Sequence[tuple[str, Part]]) -> Shift:
        """Count a pod that is to come once what it needs is free."""
        if (number, pod) in self._promised:
            raise ValueError(f"{pod[0]}/{pod[1]} is promised a place on node {number} already")
        holding = Holding(tuple(places))
        return self._record(number, pod, holding, _PROMISE, self._held.get((number, pod)), holding)

    def leave(self, number: int, pod: Key) -> Shift:
        """A pod that is placed begins to leave: what it has is free later."""
        holding, leaving = self._held[(number, pod)]
        if leaving:
            raise ValueError(f"{pod[0]}/{pod[1]} is leaving node {number} already")
        return self._step(number, pod, holding, _LEAVE, (holding, True))

    def stay(self, number: int, pod: Key) -> Shift:
        """A pod that was leaving stays after all. Ask `may_stay` first."""
        holding, leaving = self._held[(number, pod)]
        if not leaving:
            raise ValueError(f"{pod[0]}/{pod[1]} is not leaving node {number}")
        return self._step(number, pod, holding, _LEAVE.back, (holding, False))

    def may_stay(self, number: int, pod: Key, idle_later: int) -> bool:
        """Whether nobody has been promised what a leaving pod would need to stay."""
        entry = self._held.get((number, pod))
        if entry is None or not entry[1]:
            return False
        groups, devices = self._groups[number], self.devices[number]
        reopened = 0
        for name, part in entry[0].places:
            group = groups[name]
            if not group.later:
                reopened += 1
            elif not fits_later(group, part, devices):
                return False
        return reopened <= idle_later

    def finish(self, number: int, pod: Key) -> Shift:
        """A pod that is placed or leaving is gone."""
        holding, leaving = self._held[(number, pod)]
        return self._step(number, pod, holding, _FINISH if leaving else _TAKE.back, None)

    def forgo(self, number: int, pod: Key) -> Shift:
        """A promise is taken back."""
        holding = self._promised[(number, pod)]
        return self._record(number, pod, holding, _PROMISE.back, self._held.get((number, pod)), None)

    def held(self, number: int, pod: Key) -> Holding | None:
        """What a pod that is placed or leaving has on the node."""
        entry = self._held.get((number, pod))
        return None if entry is None else entry[0]

    def leaving(self, number: int, pod: Key) -> bool:
        entry = self._held.get((number, pod))
        return entry is not None and entry[1]

    def promised(self, number: int, pod: Key) -> Holding | None:
        return self._promised.get((number, pod))

    def groups(self, number: int) -> Mapping[str, Group]:
        """The groups of a node by name, those of leaving and of promised pods too. Not to be changed."""
        return self._groups.get(number, _EMPTY)

    def spare(self, number: int, *, later: bool) -> int:
        """What is free in the groups of a node, in billionths of devices; whole idle devices not counted."""
        capacity = self.devices[number].capacity
        used = (group.later if later else group.now for group in self.groups(number).values())
        return sum(max(0, capacity - taken) * WHOLE // capacity for taken in used if taken)

    def roomiest(self, number: int, *, later: bool) -> int:
        """The largest part that some group still has room for, in billionths of a device."""
        capacity = self.devices[number].capacity
        used = (group.later if later else group.now for group in self.groups(number).values())
        return max((max(0, capacity - taken) * WHOLE // capacity for taken in used if taken), default=0)

    def clear(self, number: int, pods: Iterable[Key]) -> None:
        """Nobody has anything on the node any more; pods: those that may have had. Not to be undone."""
        for pod in pods:
            self._held.pop((number, pod), None)
        self._groups.pop(number, None)

    def settle(self) -> None:
        """What was done up to now stays."""
        self._log.clear()

    def mark(self) -> int:
        return len(self._log)

    def undo(self, mark: int) -> None:
        """Take back every change since the mark. The caller takes back the shifts with its own table."""
        while len(self._log) > mark:
            number, pod, holding, effect, entry, promise = self._log.pop()
            self._apply(number, holding, effect.back)
            _put(self._held, (number, pod), entry)
            _put(self._promised, (number, pod), promise)

    def _step(self, number: int, pod: Key, holding: Holding, effect: _Effect, entry: _Entry | None) -> Shift:
        return self._record(number, pod, holding, effect, entry, self._promised.get((number, pod)))

    def _record(
        self,
        number: int,
        pod: Key,
        holding: Holding,
        effect: _Effect,
        entry: _Entry | None,
        promise: Holding | None,
    ) -> Shift:
        key = (number, pod)
        self._log.append((number, pod, holding, effect, self._held.get(key), self._promised.get(key)))
        _put(self._held, key, entry)
        _put(self._promised, key, promise)
        return self._apply(number, holding, effect)

    def _apply(self, number: int, holding: Holding, effect: _Effect) -> Shift:
        groups = self._groups.setdefault(number, {})
        closed_now = closed_later = 0
        for name, part in holding.places:
            group = groups.get(name)
            if group is None:
                group = groups[name] = Group()
            closed_now += group.pods_now > 0
            closed_later += group.pods_later > 0
            group.change(part, *effect)
            closed_now -= group.pods_now > 0
            closed_later -= group.pods_later > 0
            if group.empty:
                del groups[name]
        if not groups:
            del self._groups[number]
        return Shift(closed_now, closed_later)

    def _fresh_names(self, number: int, count: int, idle: int) -> Iterator[str]:
        taken = self._groups.get(number, _EMPTY)
        ids = [name for name in self.devices[number].ids if name not in taken]
        if len(ids) == idle and count <= idle:
            yield from ids[:count]
            return
        step = 0
        for _ in range(count):
            step += 1
            while f"{_NAME}{step}" in taken:
                step += 1
            yield f"{_NAME}{step}"


_EMPTY: Mapping[str, Group] = {}
_NAME = "shared-"

_PodOnNode = tuple[int, Key]


def _put(entries: dict[_PodOnNode, _T], key: _PodOnNode, value: _T | None) -> None:
    if value is None:
        entries.pop(key, None)
    else:
        entries[key] = value
