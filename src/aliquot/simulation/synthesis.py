"""Days that never were: workloads drawn from a seed, with gangs, queues and the rhythm of a working day."""

import math

import msgspec

from aliquot.simulation import draws
from aliquot.simulation.workload import Workload

DAY = 86_400

SIZES = (
    (1, 1, 40),
    (1, 2, 10),
    (1, 4, 9),
    (1, 8, 11),
    (2, 8, 9),
    (4, 4, 5),
    (4, 8, 7),
    (8, 1, 4),
    (8, 8, 3),
    (16, 8, 1.4),
    (32, 8, 0.5),
    (64, 8, 0.1),
)
"""Pods, devices of each, and how many jobs in a hundred are like that. Most jobs are small and most of the
device-time is in large ones, as in published traces of training clusters (Philly, ATC 2019; Helios, SC 2021).
"""

LARGEST_PART = 4
"""No job asks for more than one in so many of all devices."""


class Day(msgspec.Struct, frozen=True, kw_only=True):
    """What to draw. jobs: how many come in `seconds`; devices: of the cluster they are meant for.

    load: device-time asked for as a part of what there is; mean run times follow from it. queues: names of
    queues, of which the first get the most work (the n-th 1/n of the first). shortest, longest: seconds of
    run time; they are drawn log-normally and cut there. peak: how many times as many jobs come at the busiest
    hour (14:00) as at the quietest. saved: one job in so many says nothing of checkpoints; the others save
    their work every ten minutes. told: one job in so many says how long it expects to run.
    """

    jobs: int = 50_000
    devices: int = 40_000
    seconds: int = DAY
    load: float = 0.9
    queues: tuple[str, ...] = ()
    shortest: int = 60
    longest: int = 12 * 3600
    peak: float = 4.0
    saved: int = 3
    told: int = 2
    cpu_of_device: int = 8_000
    memory_of_device: int = 64 << 10


def synthesize(day: Day, seed: int) -> list[Workload]:
    """The day's workloads in order of submission, always the same for a day and a seed."""
    most = max(1, day.devices // LARGEST_PART)
    sizes = [item for item in SIZES if item[0] * item[1] <= most] or [SIZES[0]]
    total = sum(weight for _, _, weight in sizes)
    shapes: list[tuple[int, int]] = []
    lengths: list[float] = []
    for number in range(day.jobs):
        point = draws.unit(seed, "size", number) * total
        pods, devices = sizes[-1][:2]
        for pods_of, devices_of, weight in sizes:
            point -= weight
            if point < 0:
                pods, devices = pods_of, devices_of
                break
        shapes.append((pods, devices))
        lengths.append(math.exp(1.5 * _normal(seed, "run", number)))
    scale = _scale(day, shapes, lengths)
    found = []
    for number, (arrival, (pods, devices), length) in enumerate(
        zip(_arrivals(day, seed), shapes, lengths, strict=True)
    ):
        seconds = _run(day, length * scale)
        told = draws.below(seed, "told", number, max(1, day.told)) == 0
        saved = draws.below(seed, "saved", number, max(1, day.saved)) != 0
        urgent = draws.below(seed, "urgent", number, 10) == 0
        found.append(
            Workload(
                name=f"job-{number:06}",
                namespace="day",
                submitted=arrival,
                run_seconds=seconds,
                expected_seconds=round(seconds * (0.8 + draws.unit(seed, "guess", number))) if told else None,
                pods=pods,
                minimum=pods,
                devices=devices,
                cpu=devices * day.cpu_of_device,
                memory=devices * day.memory_of_device,
                queue=_queue(day, seed, number),
                priority=100 if urgent else 50,
                checkpoint_seconds=600 if saved else None,
                startup_seconds=30 if pods > 1 else 0,
            )
        )
    return found


def _normal(seed: int, stream: str, number: int) -> float:
    """A number of the standard normal distribution (Box and Muller, 1958)."""
    first, second = draws.unit(seed, stream, 2 * number), draws.unit(seed, stream, 2 * number + 1)
    return math.sqrt(-2 * math.log(1 - first)) * math.cos(2 * math.pi * second)


def _run(day: Day, seconds: float) -> int:
    return min(day.longest, max(day.shortest, round(seconds)))


def _scale(day: Day, shapes: list[tuple[int, int]], lengths: list[float]) -> float:
    """By what to multiply the lengths so that all jobs together ask for the load; found by halving."""
    wanted = day.load * day.devices * day.seconds
    low, high = 0.0, float(day.longest)
    for _ in range(50):
        middle = (low + high) / 2
        asked = sum(
            pods * devices * _run(day, length * middle)
            for (pods, devices), length in zip(shapes, lengths, strict=True)
        )
        low, high = (middle, high) if asked < wanted else (low, middle)
    return (low + high) / 2


def _arrivals(day: Day, seed: int) -> list[int]:
    """Seconds of submission, ascending: drawn evenly, then put in the day's rhythm."""
    steps = 24 * 60
    rates = [
        1 + (day.peak - 1) * (1 + math.cos(2 * math.pi * (step / steps - 14 / 24))) / 2
        for step in range(steps)
    ]
    whole = sum(rates)
    points = sorted(draws.unit(seed, "arrival", number) * whole for number in range(day.jobs))
    found = []
    step, before = 0, 0.0
    for point in points:
        while step < steps - 1 and before + rates[step] <= point:
            before += rates[step]
            step += 1
        inside = (point - before) / rates[step]
        found.append(int((step + inside) * day.seconds / steps))
    return found


def _queue(day: Day, seed: int, number: int) -> str:
    if not day.queues:
        return ""
    weights = [1 / (place + 1) for place in range(len(day.queues))]
    point = draws.unit(seed, "queue", number) * sum(weights)
    for name, weight in zip(day.queues, weights, strict=True):
        point -= weight
        if point < 0:
            return name
    return day.queues[-1]
