"""Joining and keeping telemetry, as docs/telemetry.md has it: `python -m benchmarks.telemetry`."""

import tempfile
import time
from fractions import Fraction
from pathlib import Path

import numpy as np

from aliquot.model.meta import ObjectRef
from aliquot.store.usage import DAY, MINUTE, UsageHistory
from aliquot.usage.identity import identity
from aliquot.usage.joining import Reading, joined_usage
from aliquot.usage.matching import Device
from aliquot.usage.metrics import Metric
from aliquot.usage.overview import overview
from aliquot.usage.series import Owner, Series, Subject, column
from aliquot.usage.sharing import Tenure

DEVICES = 1000
METRICS = (
    Metric.SM_BUSY,
    Metric.TENSOR_BUSY,
    Metric.DRAM_BUSY,
    Metric.MEMORY_USED,
    Metric.POWER,
    Metric.ENERGY,
)
STEP = 30_000
START = 1_790_000_000_000 // DAY * DAY


def readings(minutes: int) -> list[Reading]:
    """What exporters say of DEVICES devices."""
    times = column(range(START + STEP, START + minutes * MINUTE + 1, STEP))
    draw = np.random.default_rng(1)
    found = []
    for number in range(DEVICES):
        labels = identity({"UUID": f"GPU-{number}", "pod": f"pod-{number}", "namespace": "ml"})
        for metric in METRICS:
            values = draw.integers(0, 1_000_000, len(times), dtype=np.int64)
            if metric is Metric.ENERGY:
                values = np.cumsum(values)
            found.append(Reading(metric, labels, times, values, "dcgm"))
    return found


def main() -> None:
    places = [Subject(f"n{number // 8}", "d", "p", f"gpu-{number}") for number in range(DEVICES)]
    devices = [Device(place, uuid=f"GPU-{number}") for number, place in enumerate(places)]
    pods = [ObjectRef(kind="Pod", namespace="ml", name=f"pod-{number}") for number in range(DEVICES)]
    tenures = [
        Tenure(place, Owner(queue=f"q{number % 20}", workload=pod, pod=pod), Fraction(1), START)
        for number, (place, pod) in enumerate(zip(places, pods, strict=True))
    ]
    given = readings(60)
    begin = time.perf_counter()
    usage = joined_usage(given, devices, tenures, {})
    joined = time.perf_counter()
    seen = overview(devices, tenures, usage, START, START + 60 * MINUTE)
    done = time.perf_counter()
    samples = sum(len(item.times) for item in given)
    print(f"{DEVICES} devices, {len(METRICS)} metrics, an hour at 30 s: {samples} readings")
    print(f"joined in {joined - begin:.2f} s, summed up in {done - joined:.2f} s")
    print(f"utilisation {float(seen.utilisation):.3f}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "usage.db"
        few = 20
        series = [item for own in list(usage.devices.values())[:few] for item in own.values()]
        hours = [
            Series(
                item.metric,
                item.subject,
                item.times + hour * 60 * MINUTE,
                np.full(len(item), STEP, dtype=np.int64),
                np.resize(item.values, len(item)),
            )
            for hour in range(48)
            for item in series
        ]
        with UsageHistory.open(path) as history:
            begin = time.perf_counter()
            for hour in range(48):
                own = hours[hour * len(series) : (hour + 1) * len(series)]
                history.write(own, START + (hour + 1) * 60 * MINUTE)
            done = time.perf_counter()
            rows = sum(len(item) for item in history.read(START, START + 2 * DAY))
            read = time.perf_counter()
        size = path.stat().st_size
        taken = sum(len(item) for item in hours)
        print(f"history: {taken} samples of {few} devices written in {done - begin:.1f} s")
        print(f"two days in minutes: {rows} rows read in {read - done:.2f} s, {size / rows:.0f} bytes each")


if __name__ == "__main__":
    main()
