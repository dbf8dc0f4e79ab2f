"""What a GPU with some room and some CPU left can be expected to be filled with, and what CPU that takes.

Pods of a known mix come one by one, and the GPU may take those that fit or wait for better; before each pod
there is a chance that none comes any more. The best it can do is an optimal-stopping problem:

    filled(room, cpu) = sum over kinds k that fit of
                            p[k] * max(value[k] + filled(room - size[k], cpu - cpu[k]), filled(room, cpu))
                        / (END + sum of their p[k])

Example: a room of 530 whose node has 6 CPU left is worth little where the shares that fit ask for 8 CPU, and
nearly the 470 that comes often where it has 12.
"""

from collections.abc import Mapping

from aliquot.packing.patterns import CELLS

END = 0.02
"""The chance that no pod comes any more, to one GPU, for each pod that comes anywhere."""

CPU_CELL = 2000
"""CPU is counted in cells of 2 CPU; more than 64 CPU for one GPU counts as 64."""
CPU_CELLS = 32


class Filling:
    """The tables for a mix: kinds as (cells of GPU, cells of CPU) with how frequent they are.

    prices: of a part in GPUs, by its cells. cpu_needed[room]: cells of CPU that its pods should take.
    """

    def __init__(self, mix: Mapping[tuple[int, int], float], prices: Mapping[int, float]) -> None:
        self._kinds = sorted(
            (size, cpu, frequency, prices[size]) for (size, cpu), frequency in mix.items() if frequency > 0
        )
        self._filled: list[list[float]] = []
        self.cpu_needed: list[float] = []
        sizes = {size for size, _, _, _ in self._kinds}
        for room in range(CELLS + 1):
            if room and self._is_as_the_one_before(room, sizes):
                self._filled.append(self._filled[-1])
                self.cpu_needed.append(self.cpu_needed[-1])
                continue
            self._filled.append(self._row(room))
            self.cpu_needed.append(self._need(room))

    def filled(self, room: int, cpu: float) -> float:
        """GPU value expected in a room of so many cells, with so many cells of CPU (also part of one)."""
        row = self._filled[room]
        whole = int(cpu)
        if whole >= CPU_CELLS:
            return row[CPU_CELLS]
        low = row[whole]
        return low + (row[whole + 1] - low) * (cpu - whole)

    def _is_as_the_one_before(self, room: int, sizes: set[int]) -> bool:
        """Whether one cell more fits nothing more, now or after any pod that fits."""
        rows = self._filled
        return room not in sizes and all(
            rows[room - size] is rows[room - size - 1] for size in sizes if size < room
        )

    def _row(self, room: int) -> list[float]:
        row: list[float] = []
        fitting = [
            (cpu, frequency, price, self._filled[room - size])
            for size, cpu, frequency, price in self._kinds
            if size <= room
        ]
        for cells in range(CPU_CELLS + 1):
            offers = [
                (price + rest[cells - cpu], frequency)
                for cpu, frequency, price, rest in fitting
                if cpu <= cells
            ]
            offers.sort(reverse=True)
            best = chance = total = 0.0
            for value, frequency in offers:
                if value <= best:
                    break
                chance += frequency
                total += frequency * value
                best = total / (END + chance)
            row.append(best)
        return row

    def _need(self, room: int) -> float:
        """Expected CPU of the pods taken where CPU is ample."""
        waiting = self._filled[room][CPU_CELLS]
        chance = total = 0.0
        for size, cpu, frequency, price in self._kinds:
            if size <= room and price + self._filled[room - size][CPU_CELLS - cpu] >= waiting:
                chance += frequency
                total += frequency * (cpu + self.cpu_needed[room - size])
        return total / (END + chance)
