"""Histories of use from files, for `aliquot recommend`.

A table (CSV, also gzipped) has a header and one line for each sample. Columns, of which `time`, `pod` and
`memory_bytes` are needed:

    time              Unix seconds, or RFC 3339
    namespace, workload, pod, device
    memory_bytes      device memory in use
    busy_percent      share of the time with work on the device, 0 to 100
    bandwidth_percent share of the memory's bandwidth in use, 0 to 100

Tables of GenTD26 (alibaba/clusterdata: `value,timestamp_anon,container_ip`) are read too, plain or as the
archives in which they come; what they hold is told by their names.
"""

import csv
import gzip
import io
import itertools
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

from aliquot.cli.failures import Failure
from aliquot.model.meta import ObjectRef
from aliquot.usage.metrics import WHOLE_PPM, Metric
from aliquot.usage.series import Owner, Series, Subject

MOST_BYTES = 1 << 30
MOST_ROWS = 20_000_000
MOST_NAME = 253
MOST_STEP_MS = 10 * 60_000
"""A sample stands for the time since the one before, up to this much; longer is a gap."""

_COLUMNS = {
    "memory_bytes": (Metric.MEMORY_USED, 1.0),
    "busy_percent": (Metric.ENGINE_BUSY, WHOLE_PPM / 100),
    "bandwidth_percent": (Metric.DRAM_BUSY, WHOLE_PPM / 100),
}
_GENTD26 = {"value", "timestamp_anon", "container_ip"}
_GENTD26_METRICS = {
    "memory": (Metric.MEMORY_USED, 1.0),
    "duty_cycle": (Metric.KERNEL_BUSY, WHOLE_PPM / 100),
}

Key = tuple[str, str, str, str]
"""(namespace, workload, pod, device)."""

Samples = dict[tuple[Key, Metric], dict[int, int]]


def read_histories(names: Sequence[Path]) -> tuple[Series, ...]:
    """The series of these files, sorted by whose they are. Raises Failure, naming file, line and column."""
    samples: Samples = defaultdict(dict)
    for name in names:
        for inner, lines in _tables(name):
            place = f"{name}:{inner}" if inner else str(name)
            _read(place, lines, samples)
    if not samples:
        raise Failure(f"{', '.join(map(str, names))}: there are no samples")
    step = _usual_step(samples)
    return tuple(_series(key, metric, samples[key, metric], step) for key, metric in sorted(samples))


def _tables(name: Path) -> Iterator[tuple[str, Iterable[str]]]:
    try:
        if name.stat().st_size > MOST_BYTES:
            raise Failure(f"{name}: is larger than {MOST_BYTES >> 20} MiB; give a shorter history")
        if name.name.endswith((".tar.gz", ".tgz")):
            with tarfile.open(name, "r:gz") as archive:
                for member in archive:
                    opened = archive.extractfile(member) if member.isfile() else None
                    if opened is not None:
                        yield member.name, io.TextIOWrapper(opened, "utf-8", newline="")
        elif name.suffix == ".gz":
            with gzip.open(name, "rt", encoding="utf-8", newline="") as lines:
                yield "", lines
        else:
            with name.open(encoding="utf-8", newline="") as lines:
                yield "", lines
    except (OSError, EOFError, UnicodeDecodeError, tarfile.TarError) as error:
        raise Failure(f"{name}: cannot be read: {error}") from None


def _read(place: str, lines: Iterable[str], samples: Samples) -> None:
    rows = csv.reader(lines)
    try:
        header = [title.strip() for title in next(rows, [])]
        if set(header) >= _GENTD26:
            _read_gentd26(place, header, rows, samples)
        elif {"time", "pod", "memory_bytes"} <= set(header):
            _read_table(place, header, rows, samples)
        else:
            raise Failure(
                f"{place}: line 1: there are no columns time, pod and memory_bytes; "
                f"there are {', '.join(header[:8]) or 'none'}"
            )
    except csv.Error as error:
        raise Failure(f"{place}: {error}") from None
    except UnicodeDecodeError:
        raise Failure(f"{place}: is not UTF-8 text; give a table as CSV, or a kept history") from None


def _read_table(place: str, header: list[str], rows: Iterable[list[str]], samples: Samples) -> None:
    at = {title: number for number, title in enumerate(header)}
    names = [at.get(title) for title in ("namespace", "workload", "pod", "device")]
    measured = [(at[title], title, *_COLUMNS[title]) for title in _COLUMNS if title in at]
    for number, row in enumerate(rows, 2):
        if not row:
            continue
        if len(row) != len(header) or number > MOST_ROWS:
            problem = f"has {len(row)} cells of {len(header)}" if number <= MOST_ROWS else "is one too many"
            raise Failure(f"{place}: line {number}: {problem}")
        moment = _time(row[at["time"]], f"{place}: line {number}")
        namespace, workload, pod, device = (
            "" if column is None else row[column].strip()[:MOST_NAME] for column in names
        )
        key = (namespace, workload, pod, device)
        for column, title, metric, scale in measured:
            text = row[column].strip()
            if text:
                value = _number(text, scale, f"{place}: line {number}, {title}")
                known = samples[key, metric]
                known[moment] = max(value, known.get(moment, 0))


def _read_gentd26(place: str, header: list[str], rows: Iterable[list[str]], samples: Samples) -> None:
    found = next((what for word, what in _GENTD26_METRICS.items() if word in place), None)
    if found is None:
        raise Failure(f"{place}: its name tells neither memory nor duty_cycle; give one of these two tables")
    metric, scale = found
    value, time, pod = (header.index(title) for title in ("value", "timestamp_anon", "container_ip"))
    for number, row in enumerate(rows, 2):
        if not row:
            continue
        if len(row) != len(header):
            raise Failure(f"{place}: line {number}: has {len(row)} cells of {len(header)}")
        key = ("gentd26", "", row[pod][:MOST_NAME], "")
        moment = _time(row[time], f"{place}: line {number}")
        samples[key, metric][moment] = _number(row[value], scale, f"{place}: line {number}, value")


def _time(text: str, place: str) -> int:
    try:
        seconds = float(text)
    except ValueError:
        try:
            parsed = datetime.fromisoformat(text.strip())
        except ValueError:
            parsed = None
        if parsed is None or parsed.tzinfo is None:
            raise Failure(
                f"{place}, time: {text[:40]!r} is no time; write Unix seconds or RFC 3339"
            ) from None
        seconds = parsed.timestamp()
    if not 0 <= seconds < 1e11:
        raise Failure(f"{place}, time: {text[:40]!r} is not in seconds since 1970")
    return round(seconds * 1000)


def _number(text: str, scale: float, place: str) -> int:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e15:
        raise Failure(f"{place}: {text[:40]!r} is no amount")
    return round(value * scale)


def _usual_step(samples: Samples) -> int:
    """The most frequent distance of samples, ms."""
    counts: dict[int, int] = defaultdict(int)
    for known in list(samples.values())[:50]:
        times = sorted(known)[:1000]
        for before, after in itertools.pairwise(times):
            counts[after - before] += 1
    return max(counts, key=lambda step: (counts[step], -step), default=60_000)


def _series(key: Key, metric: Metric, known: dict[int, int], step: int) -> Series:
    rows = []
    before: int | None = None
    longest = min(max(2 * step, 1), MOST_STEP_MS)
    for moment in sorted(known):
        span = min(step, longest) if before is None else moment - before
        rows.append((moment, span if span <= longest else min(step, span), known[moment]))
        before = moment
    namespace, workload, pod, device = key
    owner = Owner(
        pod=ObjectRef(kind="Pod", namespace=namespace, name=pod),
        workload=ObjectRef(kind="Workload", namespace=namespace, name=workload) if workload else None,
    )
    return Series.of(metric, Subject(device=device), rows, owner)
