"""Workloads as a table: one row for each, in the format of docs/simulation.md."""

import difflib
import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path

from aliquot.simulation.workload import MOST_PODS, WHOLE_DEVICE, Workload
from aliquot.traces import tables
from aliquot.traces.errors import TraceError

COLUMNS: Mapping[str, str] = {
    "name": "unique in its namespace",
    "submit_seconds": "when it comes, since the start",
    "run_seconds": "how long its pods work; empty: for ever",
    "expected_seconds": "what it says of its run time, which the policy may know",
    "namespace": "default if empty",
    "pods": "how many (1)",
    "min_pods": "how many are enough to start (all)",
    "devices": "of each pod (1)",
    "device_part": "of each device, above 0 and up to 1 (1)",
    "device": "DeviceClass or extended resource; empty: the cluster's usual one",
    "models": "product names that will do, with | between them; empty: any",
    "cpu": "of each pod, in CPUs (0)",
    "memory_mib": "of each pod (0)",
    "queue": "its queue",
    "priority": "its priority (0)",
    "preemptible": "true or false; empty: as the policy says",
    "checkpoint_seconds": "how often it saves its work; empty: never",
    "startup_seconds": "until its running pods do useful work (0)",
    "topology": "name of a Topology",
    "topology_required": "the level that all pods must be in one domain of",
    "topology_preferred": "the level that all pods should be in one domain of",
}
"""The columns with what they mean; `name` and `submit_seconds` must be there."""

REQUIRED = ("name", "submit_seconds")
OWN = "x_"
"""Columns that begin so are the file's own and are not read."""

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?")
_TEXT = re.compile(r"[A-Za-z0-9_./:-]{0,253}")
_MODEL = re.compile(r"[A-Za-z0-9 ()_./:+-]{1,80}")
_WHOLE = re.compile(r"[0-9]{1,12}(\.0*)?")
_DECIMAL = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?")
_MOST = 10**10

MILLI = 10**6
"""Billionths of a thousandth."""

_DECIMAL_COLUMNS = frozenset({"device_part", "cpu"})
_TEXT_COLUMNS = frozenset(
    {"name", "namespace", "device", "models", "queue", "preemptible"}
    | {"topology", "topology_required", "topology_preferred"}
)


class _Row:
    def __init__(self, source: str, line: int, cells: Mapping[str, str]) -> None:
        self._source = source
        self._line = line
        self._cells = cells

    def error(self, column: str, problem: str, fix: str) -> TraceError:
        return TraceError(self._source, self._line, column, problem, fix)

    def _cell(self, column: str) -> str:
        text = self._cells.get(column, "").strip()
        if len(text) > tables.MAX_CELL:
            raise self.error(column, "is too long", f"use at most {tables.MAX_CELL} characters")
        return text

    def name(self, column: str, default: str = "") -> str:
        text = self._cell(column) or default
        if not _NAME.fullmatch(text):
            fix = "use a-z, 0-9, - and ., 63 characters at most"
            raise self.error(column, f"{text[:64]!r} is not a valid name", fix)
        return text

    def text(self, column: str) -> str:
        text = self._cell(column)
        if not _TEXT.fullmatch(text):
            raise self.error(column, f"{text[:64]!r} is not a name", "use letters, digits and - _ . / :")
        return text

    def number(self, column: str, default: int | None, least: int = 0, most: int = _MOST) -> int | None:
        text = self._cell(column)
        if not text:
            return default
        found = int(text.partition(".")[0]) if _WHOLE.fullmatch(text) else -1
        if not least <= found <= most:
            fix = f"write a whole number from {least} to {most}"
            raise self.error(column, f"{text[:32]!r} is not one", fix)
        return found

    def seconds(self, column: str, default: int | None, least: int = 0) -> int | None:
        """Whole seconds, of a decimal number the nearest."""
        text = self._cell(column)
        if not text:
            return default
        found = round(Fraction(text)) if _DECIMAL.fullmatch(text) else -1
        if not least <= found <= _MOST:
            raise self.error(column, f"{text[:32]!r} is not a time", f"write seconds from {least} on")
        return found

    def thousandths(self, column: str, default: str, most: int, least: int = 0) -> int:
        text = self._cell(column) or default
        found = Fraction(text) * 1000 if _DECIMAL.fullmatch(text) else Fraction(-1)
        if found.denominator != 1 or not least <= found <= most * 1000:
            fix = f"write a number up to {most} with three decimals at most"
            raise self.error(column, f"{text[:32]!r} is not one", fix)
        return int(found)

    def flag(self, column: str) -> bool | None:
        text = self._cell(column).lower()
        if text not in ("", "true", "false"):
            raise self.error(column, f"{text[:32]!r} is neither", "write true or false, or leave it empty")
        return None if not text else text == "true"

    def models(self) -> tuple[str, ...]:
        found = tuple(part.strip() for part in self._cell("models").split("|") if part.strip())
        for name in found:
            if not _MODEL.fullmatch(name):
                fix = "write product names with | between them"
                raise self.error("models", f"{name[:64]!r} is no product name", fix)
        return found


def read_workloads(path: Path) -> list[Workload]:
    """The workloads of a table, in file order. Raises TraceError with the line and column."""
    return parse_workloads(tables.read(path))


def parse_workloads(rows: tables.Rows) -> list[Workload]:
    """The workloads of a table that was read. Raises TraceError."""
    _check_header(rows)
    found: list[Workload] = []
    seen: set[tuple[str, str]] = set()
    for line, cells in rows.rows:
        row = _Row(rows.source, line, cells)
        workload = _workload(row)
        if workload.key in seen:
            problem = f"{workload.namespace}/{workload.name} is there twice"
            raise row.error("name", problem, "give every workload its own name")
        seen.add(workload.key)
        found.append(workload)
    if not found:
        raise TraceError(rows.source, None, "", "holds no workloads", "add a row for each workload")
    return found


def _check_header(rows: tables.Rows) -> None:
    for name in REQUIRED:
        if name not in rows.columns:
            raise TraceError(rows.source, 1, name, "there is no such column", _likely(rows.columns))
    for name in rows.columns:
        if name in COLUMNS or name.startswith(OWN):
            continue
        near = difflib.get_close_matches(name, COLUMNS, n=1, cutoff=0.6)
        meant = f"did you mean {near[0]}? Otherwise " if near else ""
        fix = f"{meant}call it {OWN}{name} to have it left alone, or remove it"
        raise TraceError(rows.source, 1, name[:64], "is none of the columns that are read", fix)


def _likely(columns: tuple[str, ...]) -> str:
    if {"num_gpu", "gpu_milli"} <= set(columns):
        return "this looks like a pod list of openb: give it with --openb NODES.csv PODS.csv"
    return f"the columns are {', '.join(COLUMNS)}; of these {' and '.join(REQUIRED)} must be there"


def _workload(row: _Row) -> Workload:
    pods = row.number("pods", 1, 1, MOST_PODS) or 1
    minimum = row.number("min_pods", pods, 1, pods) or pods
    devices = row.number("devices", 1, 0, 1024)
    part = row.thousandths("device_part", "1", 1, 1)
    name = row.name("name")
    if pods > 1 and len(name) > 55:
        raise row.error("name", "is too long for one with several pods", "use 55 characters at most")
    return Workload(
        name=name,
        namespace=row.name("namespace", "default"),
        submitted=_required(row, "submit_seconds"),
        run_seconds=row.seconds("run_seconds", None),
        expected_seconds=row.seconds("expected_seconds", None, 1),
        pods=pods,
        minimum=minimum,
        devices=devices or 0,
        part=part if devices else WHOLE_DEVICE,
        device=row.text("device"),
        models=row.models(),
        cpu=row.thousandths("cpu", "0", 1_000_000),
        memory=row.number("memory_mib", 0) or 0,
        queue=row.text("queue"),
        priority=row.number("priority", 0, 0, 10**9) or 0,
        preemptible=row.flag("preemptible"),
        checkpoint_seconds=row.seconds("checkpoint_seconds", None, 1),
        startup_seconds=row.seconds("startup_seconds", 0) or 0,
        topology=row.text("topology"),
        topology_required=row.text("topology_required"),
        topology_preferred=row.text("topology_preferred"),
    )


def _required(row: _Row, column: str) -> int:
    found = row.seconds(column, None)
    if found is None:
        raise row.error(column, "is empty", "write seconds since the start")
    return found


def write_workloads(path: Path, workloads: Iterable[Workload]) -> None:
    """Write workloads as a table that `read_workloads` gives back. Raises TraceError; ValueError for those
    that consist of Kubernetes objects."""
    columns: dict[str, list[tables.Cell]] = {name: [] for name in COLUMNS}
    for item in workloads:
        if item.objects:
            raise ValueError(f"{item.namespace}/{item.name} consists of objects")
        cells: dict[str, tables.Cell] = {
            "name": item.name,
            "submit_seconds": item.submitted,
            "run_seconds": item.run_seconds,
            "expected_seconds": item.expected_seconds,
            "namespace": item.namespace,
            "pods": item.pods,
            "min_pods": item.minimum,
            "devices": item.devices,
            "device_part": item.part * MILLI,
            "device": item.device,
            "models": "|".join(item.models),
            "cpu": item.cpu * MILLI,
            "memory_mib": item.memory,
            "queue": item.queue,
            "priority": item.priority,
            "preemptible": None if item.preemptible is None else str(item.preemptible).lower(),
            "checkpoint_seconds": item.checkpoint_seconds,
            "startup_seconds": item.startup_seconds,
            "topology": item.topology,
            "topology_required": item.topology_required,
            "topology_preferred": item.topology_preferred,
        }
        for name, cell in cells.items():
            columns[name].append(cell)
    tables.write(path, {name: _column(name, cells) for name, cells in columns.items()})


def _column(name: str, cells: list[tables.Cell]) -> tables.Column:
    if name in _DECIMAL_COLUMNS:
        return tables.Column(tables.Kind.DECIMAL, cells)
    return tables.Column(tables.Kind.TEXT if name in _TEXT_COLUMNS else tables.Kind.WHOLE, cells)
