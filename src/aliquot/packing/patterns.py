"""What parts of a GPU are worth when they have to be cut from whole ones: the cutting-stock problem.

For a mix of part sizes the least number of GPUs that holds it is a linear program over patterns (sets of
parts that fit one GPU), solved by generating patterns as they are needed (Gilmore and Gomory, "A linear
programming approach to the cutting-stock problem", Operations Research 9, 1961). Its dual prices say which
part of a GPU each size really costs. Example: where most shares are 810 and few are 190 or less, an 810 costs
a whole GPU and a 160 costs nothing, for there are more holes of 190 than shares to fill them.
"""

from collections.abc import Callable, Mapping, Sequence

from aliquot.packing.cluster import WHOLE

CELLS = 100
"""A GPU's parts are counted in cells of 10 milli-GPU."""
_PRECISION = 1e-9
_MOST_PATTERNS = 400


def cells(milli: int) -> int:
    """Cells that a part takes: rounded up, unless fewer of them would then fit a GPU (333 takes 33)."""
    return max(1, min(-(-milli * CELLS // WHOLE), CELLS // (WHOLE // milli)))


def part_prices(mix: Mapping[int, float]) -> dict[int, float]:
    """The price of each part in GPUs, from 0 to 1. mix: how frequent parts are, by their cells (1 to 100)."""
    sizes = sorted(mix)
    prices = pattern_prices(
        [mix[size] for size in sizes],
        [CELLS // size for size in sizes],
        lambda prices: _dearest(sizes, prices),
    )
    return dict(zip(sizes, prices, strict=True))


def pattern_prices(
    mix: Sequence[float],
    alone: Sequence[int],
    dearest: Callable[[Sequence[float]], tuple[float, Sequence[int]]],
) -> list[float]:
    """The price of each kind of part in whole devices, from 0 to 1.

    mix: how frequent each kind is. alone: how many of each kind a device holds by themselves, 1 or more.
    dearest: the pattern of the highest price at given prices, as that price and how often it holds each kind.
    """
    count = len(mix)
    # A basis of as many patterns as kinds: at first each holds one kind as often as it fits. `inverse` is
    # that of the matrix whose columns are the patterns; `amounts` how often each pattern is cut.
    inverse = [[0.0] * count for _ in mix]
    amounts = []
    for row, fits in enumerate(alone):
        inverse[row][row] = 1 / fits
        amounts.append(mix[row] / fits)
    prices = [0.0] * count
    for _ in range(_MOST_PATTERNS if count else 0):
        prices = [max(0.0, sum(row[column] for row in inverse)) for column in range(count)]
        value, pattern = dearest(prices)
        if value <= 1 + _PRECISION:
            break
        entering = [sum(cell * times for cell, times in zip(row, pattern)) for row in inverse]
        leaving = min(
            (row for row in range(count) if entering[row] > _PRECISION),
            key=lambda row: (amounts[row] / entering[row], row),
            default=None,
        )
        if leaving is None:
            break
        _pivot(inverse, amounts, entering, leaving)
    return prices


def _pivot(inverse: list[list[float]], amounts: list[float], entering: Sequence[float], leaving: int) -> None:
    scale = entering[leaving]
    pivot = inverse[leaving] = [cell / scale for cell in inverse[leaving]]
    amounts[leaving] /= scale
    for row, factor in enumerate(entering):
        if row != leaving and abs(factor) > 1e-12:
            inverse[row] = [cell - factor * other for cell, other in zip(inverse[row], pivot)]
            amounts[row] = max(0.0, amounts[row] - factor * amounts[leaving])


def _dearest(sizes: Sequence[int], prices: Sequence[float]) -> tuple[float, list[int]]:
    """The pattern of the highest price, as how often it holds each size."""
    worth = [0.0] * (CELLS + 1)
    chosen = [-1] * (CELLS + 1)
    priced = [(size, price, number) for number, (size, price) in enumerate(zip(sizes, prices)) if price > 0]
    for room in range(1, CELLS + 1):
        best = worth[room - 1]
        for size, price, number in priced:
            if size > room:
                break
            value = worth[room - size] + price
            if value > best + 1e-12:
                best = value
                chosen[room] = number
        worth[room] = best
    pattern = [0] * len(sizes)
    room = CELLS
    while room:
        number = chosen[room]
        if number < 0:
            room -= 1
        else:
            pattern[number] += 1
            room -= sizes[number]
    return worth[CELLS], pattern


def worth_of_rooms(prices: Mapping[int, float]) -> list[float]:
    """What a GPU with so many cells left is worth: the dearest parts that fit; a whole GPU is worth 1."""
    worth = [0.0] * (CELLS + 1)
    for room in range(1, CELLS + 1):
        best = worth[room - 1]
        for size, price in prices.items():
            if size <= room and worth[room - size] + price > best:
                best = worth[room - size] + price
        worth[room] = min(1.0, round(best, 9))
    worth[CELLS] = 1.0
    return worth
