"""Packing MIG instances into GPUs: as many as possible, on as few GPUs as possible, by branch and bound."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from aliquot.sizing.layouts import Counts, Instance, Pattern, patterns

Prices = tuple[int, ...]
"""What an instance of each profile is worth."""

Answer = tuple[int, int, tuple[tuple[Instance, ...], ...], Counts]
"""What is missing (by the weights), GPUs used, the new instances of each GPU, the demand left."""


@dataclass(slots=True)
class Effort:
    """Steps of search that are left."""

    left: int

    def step(self, count: int = 1) -> bool:
        """Spend so many; whether there are any left."""
        self.left -= count
        return self.left > 0

    @property
    def spent(self) -> bool:
        return self.left <= 0


class Packer:
    """Branch and bound over GPUs in order, each with one of the patterns that fit beside what stays on it.

    Equal GPUs take patterns in one order only. What a state (GPU, demand left, pattern bound) leads to is
    remembered. A branch is cut when no plan could be better than the best found: prices are put on the
    profiles (`prices`), and no GPU can hold more than its dearest pattern.
    """

    def __init__(
        self,
        slots: Sequence[tuple[str, tuple[Instance, ...]]],
        names: tuple[str, ...],
        weights: Prices,
        demand: Counts,
        optional: Counts,
        effort: Effort,
    ) -> None:
        """demand: instances wanted; optional: as many of each may be left out, at their weight."""
        self._optional = optional
        self._slots = slots
        self._names = names
        self._weights = weights
        self._effort = effort
        self._demand = demand
        self._room = [patterns(board, stays, names) for board, stays in slots]
        every = sorted({item.counts for room in self._room for item in room})
        self._price = prices(every, demand)
        self._bounds = [_Bound(self._price, self._room), _Bound(weights, self._room)]
        self._standing = [sum(1 for _, held in slots[at:] if held) for at in range(len(slots) + 1)]
        self._known: dict[tuple[int, Counts, int], tuple[int, int, tuple[int, ...]]] = {}

    def best(self) -> Answer:
        """Most of the demand, on the fewest GPUs; what was searched if the effort was spent."""
        first = self._prepared()
        left = self._demand
        for at, number in enumerate(first):
            left = _take(self._room[at][number].counts, left)[1]
        missing, used, choice = self._from(len(first), left, 0)
        used += sum(1 for at in range(len(first)))
        choice = (*first, *choice)
        if first and (missing > self._floor(0, self._demand) or used > self._least(0, self._demand)):
            self._known.clear()
            other = self._from(0, self._demand, 0)
            if other[:2] < (missing, used):
                missing, used, choice = other
        left, placed = self._demand, []
        for at, number in enumerate(choice):
            taken, left = _take(self._room[at][number].counts, left)
            placed.append(_some(self._room[at][number].instances, self._names, taken))
        placed += [()] * (len(self._slots) - len(choice))
        return missing, used, tuple(placed), left

    def _from(self, at: int, left: Counts, least: int) -> tuple[int, int, tuple[int, ...]]:
        """The best from GPU `at` on: what is missing, GPUs used, and the patterns chosen."""
        if not any(left) or at == len(self._slots):
            return self._missing(left), self._standing[at], ()
        key = (at, left, least)
        known = self._known.get(key)
        if known is not None:
            return known
        floor = self._floor(at, left)
        fewest = self._least(at, left)
        stays = bool(self._slots[at][1])
        room = self._room[at]
        order = sorted(
            range(least, len(room)),
            key=lambda number: self._rank(_take(room[number].counts, left)[0]),
        )
        alike = at + 1 < len(self._slots) and self._slots[at + 1] == self._slots[at]
        found: tuple[int, int, tuple[int, ...]] | None = None
        for number in order:
            taken, rest = _take(room[number].counts, left)
            missing, used, choice = self._from(at + 1, rest, number if alike else 0)
            used += not stays and any(taken)
            used += stays
            if found is None or (missing, used) < found[:2]:
                found = (missing, used, (number, *choice))
            if (missing <= floor and used <= fewest) or not self._effort.step():
                break
        assert found is not None
        self._known[key] = found
        return found

    def _prepared(self) -> tuple[int, ...]:
        """Patterns for the first of many equal GPUs, as often as the linear relaxation uses them, rounded
        down; what is left for the last ones is searched."""
        size = len(self._slots)
        if size <= _SEARCHED or any(slot != self._slots[0] for slot in self._slots) or self._slots[0][1]:
            return ()
        every = [item.counts for item in self._room[0]]
        chosen: list[int] = []
        for number, often in enumerate(frequencies(every, self._demand)):
            chosen += [number] * int(often)
        chosen = chosen[: size - _SEARCHED]
        left, kept = self._demand, []
        for number in chosen:
            taken, rest = _take(every[number], left)
            if taken == every[number]:
                left = rest
                kept.append(number)
        return tuple(kept)

    def _least(self, at: int, left: Counts) -> int:
        return max(self._standing[at], max(bound.fewest(at, left) for bound in self._bounds))

    def _rank(self, taken: Counts) -> tuple[int, int]:
        """The dearest pattern first: a good plan is found early."""
        return (-worth(self._price, taken), -worth(self._weights, taken))

    def _missing(self, left: Counts) -> int:
        """What it costs to leave this out: no sum of what may be left out outweighs what may not."""
        beyond = sum(max(0, count - most) for count, most in zip(left, self._optional, strict=True))
        return worth(self._weights, left) + beyond * (1 + worth(self._weights, self._demand))

    def _floor(self, at: int, left: Counts) -> int:
        """No less than this can be missing in the end."""
        over = self._bounds[1].over(at, left)
        if over <= 0 and any(bound.over(at, left) > 0 for bound in self._bounds):
            return min(weight for weight, count in zip(self._weights, left) if count)
        return max(0, over)


class _Bound:
    """What prices on profiles prove. most: the dearest pattern of each GPU; ahead: of all from it on."""

    def __init__(self, price: Sequence[int], rooms: Sequence[Sequence[Pattern]]) -> None:
        self._price = tuple(price)
        self._most = [max((worth(self._price, item.counts) for item in room), default=0) for room in rooms]
        ahead, dearest = [0], [0]
        for most in reversed(self._most):
            ahead.append(ahead[-1] + most)
            dearest.append(max(dearest[-1], most))
        self._ahead, self._dearest = ahead[::-1], dearest[::-1]

    def over(self, at: int, left: Counts) -> int:
        """By how much the demand is worth more than what the GPUs from `at` on can hold."""
        return worth(self._price, left) - self._ahead[at]

    def fewest(self, at: int, left: Counts) -> int:
        """So many GPUs from `at` on are needed, as far as there are so many."""
        if not self._dearest[at]:
            return 0
        needed = -(-worth(self._price, left) // self._dearest[at])
        return min(needed, len(self._most) - at)


_SEARCHED = 5
_ROUNDS = 600
_PRECISION = 10_000


def prices(every: Sequence[Counts], demand: Counts) -> Prices:
    """Prices of profiles by which the demand is worth as many dearest patterns as possible: the dual of the
    linear relaxation of covering the demand with patterns. Any prices prove a bound; these come close to the
    best one."""
    return _relaxed(tuple(every), demand)[0]


def frequencies(every: Sequence[Counts], demand: Counts) -> tuple[float, ...]:
    """How often the relaxation uses each pattern to cover the demand, about."""
    return _relaxed(tuple(every), demand)[1]


@lru_cache(maxsize=256)
def _relaxed(every: tuple[Counts, ...], demand: Counts) -> tuple[Prices, tuple[float, ...]]:
    """Multiplicative weights: a pattern is dear that holds much of what has been covered least so far
    (Plotkin, Shmoys and Tardos 1995)."""
    count = len(demand)
    wanted = [number for number in range(count) if demand[number]]
    if not wanted or not any(any(item) for item in every):
        return (0,) * count, (0.0,) * len(every)
    price = [1.0 / demand[number] if demand[number] else 0.0 for number in range(count)]
    best, best_price = -1.0, list(price)
    covered = [0.0] * count
    chosen = [0] * len(every)
    for number in range(1, _ROUNDS + 1):
        values = [sum(a * b for a, b in zip(price, item)) for item in every]
        most = max(values)
        if most <= 0:
            break
        dearest = values.index(most)
        chosen[dearest] += 1
        bound = sum(a * b for a, b in zip(price, demand)) / most
        if bound > best:
            best, best_price = bound, list(price)
        for at in wanted:
            covered[at] += every[dearest][at] / demand[at]
        lowest = min(covered[at] for at in wanted)
        rate = 8.0 / number**0.5
        for at in wanted:
            price[at] = math.exp(-rate * (covered[at] - lowest)) / demand[at]
    top = max(best_price)
    total = max(sum(chosen), 1)
    return (
        tuple(round(value / top * _PRECISION) for value in best_price),
        tuple(best * often / total for often in chosen),
    )


def worth(price: Sequence[int], counts: Counts) -> int:
    return sum(each * count for each, count in zip(price, counts) if count)


def _take(room: Counts, left: Counts) -> tuple[Counts, Counts]:
    taken = tuple(min(a, b) for a, b in zip(room, left, strict=True))
    return taken, tuple(b - a for a, b in zip(taken, left, strict=True))


def _some(instances: Iterable[Instance], names: Sequence[str], counts: Counts) -> tuple[Instance, ...]:
    """So many instances of each profile."""
    left = dict(zip(names, counts, strict=True))
    found = []
    for item in instances:
        if left[item.profile]:
            left[item.profile] -= 1
            found.append(item)
    return tuple(found)
