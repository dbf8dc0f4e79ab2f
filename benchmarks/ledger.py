"""The ledger at scale: a month of 10,000 devices, sampled once a minute, accounted and reported.

Samples are prepared in columns, day by day, outside of what is measured; everything else is measured: from
the columns of a day to its entries and sums on disk.
"""

import resource
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from aliquot.accounting.amounts import DAY_MS
from aliquot.accounting.bulk import HELD, Rates, Samples, settle_samples
from aliquot.accounting.columns import NUMBERS, Columns
from aliquot.accounting.entries import Account, Category, Device, Place, PodRef
from aliquot.store.ledger import Ledger
from aliquot.store.ledger_audit import problems
from aliquot.store.ledger_reports import Query, sums

SIZES = (10_000,)
DAYS = 30
STEP_MS = 60_000
MINUTES = DAY_MS // STEP_MS
BEGIN_MS = 1_790_812_800_000 // DAY_MS * DAY_MS
CHUNK = 500
"""Devices that are accounted at a time: their columns stay in the processor's caches."""

PARTS = 4
SPLIT = 5
"""Of so many devices one is split into parts."""

QUEUES = 40
TEAMS = 25
FREE, STRANDED, BROKEN = range(3)

BARS = {"month_s": 600.0, "memory_mib": 2048, "report_s": 1.0}


@dataclass(frozen=True)
class Fleet:
    """Devices eight to a node; every fifth node has split ones."""

    devices: tuple[Device, ...]
    rates: Rates

    @staticmethod
    def of(count: int) -> "Fleet":
        devices = []
        for number in range(count):
            node = f"node-{number // 8}"
            place = Place(node=node, pool=node, driver="gpu.nvidia.com", model="NVIDIA H100 80GB HBM3")
            devices.append(Device(place=place, name=f"gpu-{number % 8}"))
        numbers = np.arange(count, dtype=np.int64)
        rates = Rates(
            micros_per_hour=np.full(count, 98_320_000, np.int64),
            index=numbers % 8,
            of=np.full(count, 8, np.int64),
            idle_mw=np.full(count, 70_000, np.int64),
            per_kwh=Fraction(120_000) * Fraction(13, 10),
            grams_per_kwh=Fraction(380) * Fraction(13, 10),
        )
        return Fleet(tuple(devices), rates)

    def part(self, first: int, last: int) -> Rates:
        rates = self.rates
        return Rates(
            micros_per_hour=rates.micros_per_hour[first:last],
            index=rates.index[first:last],
            of=rates.of[first:last],
            idle_mw=rates.idle_mw[first:last],
            per_kwh=rates.per_kwh,
            grams_per_kwh=rates.grams_per_kwh,
        )


def account(number: int) -> Account:
    """A job of some queue and team."""
    return Account(
        queue=f"queue-{number % QUEUES}",
        queue_path=f"/top/queue-{number % QUEUES}/",
        namespace=f"team-{number % TEAMS}",
        workload=f"job/train-{number}",
        workload_uid=f"uid-{number}",
        claim=f"train-{number}",
        mode="exclusive",
        pods=(PodRef(f"train-{number}-0", f"pod-{number}"),),
        labels=(("app", f"app-{number % 200}"), ("team", f"team-{number % TEAMS}")),
    )


NOBODY = (Account(reason="Expected"), Account(reason="TooFewTogether"), Account(reason="NodeNotReady"))


def day(fleet: Fleet, number: int) -> Iterator[tuple[Samples, Rates]]:
    """The samples of a day, in chunks. Half of the nodes run jobs on the whole node, half on one device
    each."""
    randomness = np.random.default_rng(number)
    count = len(fleet.devices)
    jobs = [account(number * 100_000 + job) for job in range(max(64, count // 2))]
    accounts = (*NOBODY, *jobs)
    category_of = np.full(len(accounts), HELD, np.int8)
    category_of[:3] = (int(Category.IDLE), int(Category.STRANDED), int(Category.SYSTEM))
    # A job holds either whole devices or parts; those of parts are the last fifth.
    bounds = (3, len(accounts) - len(jobs) // SPLIT, len(accounts))
    for first in range(0, count, CHUNK):
        last = min(first + CHUNK, count)
        split = (first // CHUNK) % SPLIT == SPLIT - 1
        parts = PARTS if split else 1
        size = last - first
        holder = np.empty((size, parts, MINUTES), np.int32)
        for device in range(size):
            shared = (first + device) // 8 % 2 and device % 8 and not split
            for part in range(parts):
                if shared:
                    holder[device, part] = holder[device - 1, part]
                    continue
                cuts = np.sort(randomness.integers(1, MINUTES, randomness.integers(1, 6)))
                pieces = np.diff(np.concatenate(([0], cuts, [MINUTES])))
                chosen = randomness.integers(*(bounds[1:] if split else bounds[:2]), len(pieces))
                free = randomness.random(len(pieces))
                chosen = np.where(free < 0.2, (free * 15).astype(np.int64), chosen)
                holder[device, part] = np.repeat(chosen, pieces)
        share = np.empty((size, parts, MINUTES), np.uint8)
        share[:] = np.array([4, 2, 1, 1][:parts] if split else [8], np.uint8)[None, :, None]
        activity = randomness.integers(0, 101, (size, parts, MINUTES), dtype=np.uint8)
        activity[holder < 3] = 0
        energy = randomness.integers(70_000 * 60, 700_000 * 60, (size, MINUTES), dtype=np.uint32)
        yield (
            Samples(
                devices=fleet.devices[first:last],
                accounts=accounts,
                category_of=category_of,
                start_ms=BEGIN_MS + number * DAY_MS,
                step_ms=STEP_MS,
                denominator=8,
                account=holder,
                share=share,
                activity=activity,
                energy_mj=energy,
            ),
            fleet.part(first, last),
        )


def joined(fleet: Fleet, columns: Sequence[Columns]) -> Columns:
    """The columns of several chunks of one day as one batch."""
    device, offset = [], 0
    for part in columns:
        device.append(part.device + offset)
        offset += len(part.devices)
    arrays = {name: np.concatenate([getattr(part, name) for part in columns]) for name in NUMBERS[1:]}
    return Columns(fleet.devices, columns[0].accounts, device=np.concatenate(device), **arrays)


def peak_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


REPORTS = (
    ("cost by queue", ("queue",), ()),
    ("cost by namespace and day", ("namespace", "day"), ()),
    ("usage by team", ("label:team",), ()),
    ("energy by node", ("node",), ()),
    ("cost of a queue by workload", ("workload",), (("queue", "queue-7"),)),
    ("fleet", (), ()),
)


def month(count: int, days: int, folder: Path) -> Iterable[str]:
    """Account `days` days of `count` devices; lines of the table."""
    fleet = Fleet.of(count)
    settled = stored = prepared = 0.0
    entries = samples = 0
    with Ledger.open(folder / "ledger.db") as ledger:
        for number in range(days):
            began = time.perf_counter()
            chunks = list(day(fleet, number))
            prepared += time.perf_counter() - began
            began = time.perf_counter()
            columns = joined(fleet, [settle_samples(part, rates) for part, rates in chunks])
            settled += time.perf_counter() - began
            samples += count * MINUTES
            capacity = count * DAY_MS
            assert int(columns.device_ms.sum()) == capacity, "exclusive + shared + idle + stranded + system"
            began = time.perf_counter()
            end = BEGIN_MS + (number + 1) * DAY_MS
            ledger.append(columns, sequence=number + 1, currency="USD", seen_ms=end)
            stored += time.perf_counter() - began
            entries += len(columns)
            del chunks, columns
        seconds = settled + stored
        full = seconds * DAYS * 10_000 / (days * count)
        size = sum(path.stat().st_size for path in folder.iterdir()) / (1 << 20)
        yield (
            f"{count:,} devices, {days} days, {samples:,} samples, {entries:,} entries: {seconds:.1f} s"
            f" ({settled:.1f} to settle, {stored:.1f} to store), {peak_mib():,} MiB at most,"
            f" {size:,.0f} MiB on disk; preparing took {prepared:.1f} s"
        )
        if (days, count) != (DAYS, 10_000):
            yield f"in proportion, a month of 10,000 devices: {full:.0f} s"
        slowest = 0.0
        window = (BEGIN_MS, BEGIN_MS + days * DAY_MS)
        for title, by, where in REPORTS:
            taken = []
            for _ in range(3):
                began = time.perf_counter()
                lines = sums(ledger, Query(*window, by=by, where=where))
                taken.append(time.perf_counter() - began)
            slowest = max(slowest, min(taken))
            yield f"report, {title}: {sorted(taken)[1]:.3f} s, {len(lines):,} lines"
        bars = (full <= BARS["month_s"], peak_mib() <= BARS["memory_mib"], slowest <= BARS["report_s"])
        words = ["met" if bar else "MISSED" for bar in bars]
        yield f"bars: month in 10 min {words[0]}, 2 GiB {words[1]}, reports in 1 s {words[2]}"
        if days * count <= 100_000:
            assert problems(ledger) == ()


def table(sizes: Sequence[int], days: int = DAYS) -> Iterator[str]:
    for count in sizes:
        with tempfile.TemporaryDirectory(prefix="aliquot-ledger-") as name:
            yield from month(count, days, Path(name))


def main() -> None:
    """`python -m benchmarks.ledger [DEVICES [DAYS]]`."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else SIZES[0]
    days = int(sys.argv[2]) if len(sys.argv) > 2 else DAYS
    for line in table((count,), days):
        print(line, flush=True)


if __name__ == "__main__":
    main()
