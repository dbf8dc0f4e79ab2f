"""The generator of Go's math/rand (version 1, seeded), bit for bit.

The openb benchmark's arrival and tie-break orders are draws of this generator. It is an additive lagged
Fibonacci generator: y[n] = y[n-607] + y[n-273] modulo 2**64, its state mixed from the seed and from a fixed
table, which is the state of the same recurrence, started from seed 1, after 7.8e12 steps
(https://go.dev/src/math/rand/gen_cooked.go). The table is computed here from that description.
"""

from functools import cache

_LENGTH = 607
_TAP = 273
_STEPS = 7_800_000_000_000
_WORD = (1 << 64) - 1
_MODULUS = (1 << 31) - 1
_ZERO_SEED = 89_482_311
_WARM_UP = 20
_SLOT = 144
"""Bits of one coefficient while polynomials are multiplied as big integers: 2 x 64, and 607 sums of such."""


def _lehmer(seed: int, count: int) -> list[int]:
    """Draws of x -> 48271 x modulo 2**31 - 1, from which a state is mixed; the first 20 are discarded."""
    draws = []
    for _ in range(_WARM_UP + count):
        seed = seed * 48_271 % _MODULUS
        draws.append(seed)
    return draws[_WARM_UP:]


def _mixed(seed: int, shift: int) -> list[int]:
    draws = _lehmer(seed, 3 * _LENGTH)
    return [
        draws[place] << 2 * shift ^ draws[place + 1] << shift ^ draws[place + 2]
        for place in range(0, 3 * _LENGTH, 3)
    ]


def _packed(coefficients: list[int]) -> int:
    return int.from_bytes(b"".join(item.to_bytes(_SLOT // 8, "little") for item in coefficients), "little")


def _unpacked(value: int, count: int) -> list[int]:
    raw = value.to_bytes(count * _SLOT // 8, "little")
    size = _SLOT // 8
    return [int.from_bytes(raw[place : place + 8], "little") for place in range(0, count * size, size)]


def _reduced(coefficients: list[int]) -> list[int]:
    """Modulo z**607 = z**334 + 1, the characteristic polynomial of y[n+607] = y[n+334] + y[n]."""
    for place in range(len(coefficients) - 1, _LENGTH - 1, -1):
        high = coefficients[place]
        coefficients[place - _LENGTH] = coefficients[place - _LENGTH] + high & _WORD
        coefficients[place - _TAP] = coefficients[place - _TAP] + high & _WORD
    return coefficients[:_LENGTH]


@cache
def _table() -> tuple[int, ...]:
    """The table, in the generator's own order: computed as z**_STEPS applied to the starting state."""
    start = _mixed(1, 10)
    # In the order of time the oldest word is at index 333, going down, and round to 334, the newest.
    order = [(_LENGTH - _TAP - 1 - age) % _LENGTH for age in range(_LENGTH)]
    power = [1] + [0] * (_LENGTH - 1)
    for bit in bin(_STEPS)[2:]:
        square = _packed(power)
        power = _reduced(_unpacked(square * square, 2 * _LENGTH))
        if bit == "1":
            power = _reduced([0, *power])
    history = [start[index] for index in order]
    for _ in range(_LENGTH):
        history.append(history[-_LENGTH] + history[-_TAP] & _WORD)
    # Word n of the state after the steps is sum(power[j] * history[n + j]): a product of polynomials.
    product = _unpacked(_packed(power[::-1]) * _packed(history), 3 * _LENGTH)
    words = product[_LENGTH - 1 : 2 * _LENGTH - 1]
    table = [0] * _LENGTH
    feed = (_LENGTH - _TAP - _STEPS) % _LENGTH
    for age, word in enumerate(words):
        table[(feed - 1 - age) % _LENGTH] = word
    return tuple(table)


class GoRandom:
    """A generator that draws what Go's math/rand draws after rand.Seed(seed)."""

    def __init__(self, seed: int) -> None:
        seed %= _MODULUS
        self._words = [
            mixed ^ fixed for mixed, fixed in zip(_mixed(seed or _ZERO_SEED, 20), _table(), strict=True)
        ]
        self._tap = 0
        self._feed = _LENGTH - _TAP

    def int63(self) -> int:
        """From 0 to 2**63 - 1."""
        self._tap = (self._tap - 1) % _LENGTH
        self._feed = (self._feed - 1) % _LENGTH
        word = self._words[self._feed] + self._words[self._tap] & _WORD
        self._words[self._feed] = word
        return word & (_WORD >> 1)

    def below(self, bound: int) -> int:
        """rand.Intn for a bound up to 2**31 - 1: from 0 to bound - 1."""
        if bound & (bound - 1) == 0:
            return (self.int63() >> 32) & (bound - 1)
        highest = _MODULUS - (1 << 31) % bound
        while (value := self.int63() >> 32) > highest:
            pass
        return value % bound

    def shuffle(self, items: list[str]) -> None:
        """rand.Shuffle, in place (its own way to bound a draw: multiply and keep the high half)."""
        for last in range(len(items) - 1, 0, -1):
            other = self._multiplied(last + 1)
            items[last], items[other] = items[other], items[last]

    def permutation(self, count: int) -> list[int]:
        """rand.Perm."""
        order = [0] * count
        for place in range(count):
            other = self.below(place + 1)
            order[place] = order[other]
            order[other] = place
        return order

    def _multiplied(self, bound: int) -> int:
        product = (self.int63() >> 31) * bound
        low = product & 0xFFFFFFFF
        if low < bound:
            threshold = (1 << 32) % bound
            while low < threshold:
                product = (self.int63() >> 31) * bound
                low = product & 0xFFFFFFFF
        return product >> 32
