"""How long workloads of each class waited, by policy, and what waits still."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import msgspec

from aliquot.inventory.amounts import duration
from aliquot.simulation.results import (
    ALL_SIZE_CLASSES,
    Outcome,
    Result,
    WorkloadResult,
    percentile,
    wait_of,
)
from aliquot.web.report.plots import tone
from aliquot.web.report.scales import Tick, wait_at, wait_ticks

MOST_BARS = 48
"""A chart has so many bars, or a few more; queues with fewer workloads are left out."""

LONGEST = 10

Group = Callable[[WorkloadResult], str]


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """The waits of one class under one policy: half waited no longer than `half`, nine in ten than `most`,
    none than `longest`; all places on the axis, 0 to 100."""

    policy: str
    tone: str
    half: float
    most: float
    longest: float
    texts: tuple[str, str, str]
    count: int
    open: int


class Class(msgspec.Struct, frozen=True, kw_only=True):
    """A class of workloads, with a bar for each policy that had any of it."""

    name: str
    bars: tuple[Bar, ...]


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """Waits by one kind of class."""

    title: str
    classes: tuple[Class, ...]
    ticks: tuple[Tick, ...]


def charts(groups: Mapping[str, Sequence[Result]]) -> tuple[Chart, ...]:
    """Waits by size, and by queue where there are queues."""
    sizes = _chart("By devices", groups, lambda item: item.size_class, ALL_SIZE_CLASSES)
    first = next(iter(groups.values()), ())
    counts = Counter(item.queue for result in first for item in result.workloads if item.queue)
    most = max(4, MOST_BARS // max(1, len(groups)))
    queues = sorted(name for name, _ in counts.most_common(most))
    if len(queues) < 2:
        return (sizes,)
    title = "By queue" if len(counts) <= most else f"By queue, the {most} with most workloads"
    return (sizes, _chart(title, groups, lambda item: item.queue, queues))


def _chart(title: str, groups: Mapping[str, Sequence[Result]], group: Group, names: Sequence[str]) -> Chart:
    found: dict[tuple[str, str], list[int]] = {}
    still: Counter[tuple[str, str]] = Counter()
    for policy, results in groups.items():
        for result in results:
            for item in result.workloads:
                key = (group(item), policy)
                found.setdefault(key, []).append(wait_of(item, result.seconds))
                still[key] += item.placed is None
    longest = max((max(times) for times in found.values()), default=0)
    classes = []
    for name in names:
        bars = [
            _bar(policy, number, sorted(found[name, policy]), still[name, policy], longest)
            for number, policy in enumerate(groups)
            if (name, policy) in found
        ]
        if bars:
            classes.append(Class(name=name, bars=tuple(bars)))
    return Chart(title=title, classes=tuple(classes), ticks=wait_ticks(longest))


def _bar(policy: str, number: int, times: list[int], still: int, longest: int) -> Bar:
    half, most, last = percentile(times, 50), percentile(times, 90), times[-1]
    return Bar(
        policy=policy,
        tone=tone(number),
        half=round(wait_at(half, longest), 2),
        most=round(wait_at(most, longest), 2),
        longest=round(wait_at(last, longest), 2),
        texts=(duration(half), duration(most), duration(last)),
        count=len(times),
        open=still,
    )


class Still(msgspec.Struct, frozen=True, kw_only=True):
    """A workload that waits when its simulation ends."""

    name: str
    queue: str
    devices: str
    waited: str
    reason: str


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """What waits when the simulations of a policy end. count: of all. reasons: with how many each keeps
    waiting, the most first; longest: those that have waited longest."""

    count: int
    reasons: tuple[tuple[str, int], ...]
    longest: tuple[Still, ...]


def waiting(results: Sequence[Result], devices: Callable[[int], str]) -> Waiting:
    """What waits at the end of these simulations. devices: billionths as text."""
    pairs = [
        (result.seconds - item.submitted, item)
        for result in results
        for item in result.workloads
        if item.outcome is Outcome.WAITING
    ]
    reasons = Counter(item.reason or "not decided about yet" for _, item in pairs)
    pairs.sort(key=lambda pair: (-pair[0], pair[1].key))
    return Waiting(
        count=len(pairs),
        reasons=tuple(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
        longest=tuple(
            Still(
                name=f"{item.namespace}/{item.name}",
                queue=item.queue,
                devices=devices(item.devices),
                waited=duration(since),
                reason=item.reason,
            )
            for since, item in pairs[:LONGEST]
        ),
    )
