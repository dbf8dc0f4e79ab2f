"""Results of a simulation as a folder of files: `result.json` with everything, and tables for other tools."""

import zlib
from fractions import Fraction
from pathlib import Path

import msgspec

from aliquot import __version__
from aliquot.model.kinds import convert, encode_json
from aliquot.queues.amounts import UNIT
from aliquot.simulation.results import Result
from aliquot.traces import tables
from aliquot.traces.errors import TraceError
from aliquot.traces.tables import Column, decimals, texts, wholes

FORMAT = "aliquot-simulation-result/1"
RESULT = "result.json"
STATE = "state.z"
TABLES = ("workloads", "samples", "queues", "interruptions")
FORMS = ("csv", "parquet")
MAX_STATE = 4 << 30

Columns = dict[str, Column]


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """result.json: the result, of what it is (fingerprint), and the version of Aliquot that made it."""

    format: str
    version: str
    fingerprint: str
    result: Result


def write_result(folder: Path, result: Result, fingerprint: str, form: str = "csv") -> None:
    """Write a result into a folder, as one of FORMS; equal results give equal bytes. Raises TraceError."""
    prepare(folder)
    for name, columns in result_tables(result).items():
        tables.write(folder / f"{name}.{form}", columns)
    # Last, for what has it is taken to be complete.
    write_file(folder / RESULT, encode_json(_document(result, fingerprint)))


def _document(result: Result, fingerprint: str) -> Written:
    return Written(format=FORMAT, version=__version__, fingerprint=fingerprint, result=result)


def read_result(path: Path) -> Written:
    """A result from its result.json, or the folder of it. Raises TraceError."""
    file = path / RESULT if path.is_dir() else path
    source = str(file)
    try:
        document = msgspec.json.decode(_read(file))
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            fix = f"give a {RESULT} that `aliquot simulate --out` wrote"
            raise TraceError(source, None, "", f"is no result of the format {FORMAT}", fix)
        found: Written = convert(document, Written)
    except msgspec.MsgspecError as error:
        problem = f"is damaged or cut off: {error}"
        raise TraceError(source, None, "", problem, "remove it and simulate again") from None
    return found


def result_tables(result: Result) -> dict[str, Columns]:
    """The tables by name, column by column."""
    return {
        "workloads": _workloads(result),
        "samples": _samples(result),
        "queues": _queues(result),
        "interruptions": _interruptions(result),
    }


def _workloads(result: Result) -> Columns:
    items = result.workloads
    return {
        "namespace": texts(item.namespace for item in items),
        "name": texts(item.name for item in items),
        "kind": texts(item.kind for item in items),
        "queue": texts(item.queue for item in items),
        "priority": wholes(item.priority for item in items),
        "pods": wholes(item.pods for item in items),
        "devices": decimals(item.devices for item in items),
        "size_class": texts(item.size_class for item in items),
        "submit_seconds": wholes(item.submitted for item in items),
        "placed_seconds": wholes(item.placed for item in items),
        "started_seconds": wholes(item.started for item in items),
        "finished_seconds": wholes(item.finished for item in items),
        "run_seconds": wholes(item.run_seconds for item in items),
        "queued_seconds": wholes(item.queued for item in items),
        "worked_seconds": wholes(item.worked for item in items),
        "lost_seconds": wholes(item.lost for item in items),
        "evictions": wholes(item.evictions for item in items),
        "failures": wholes(item.failures for item in items),
        "outcome": texts(item.outcome.value for item in items),
        "reason": texts(item.reason for item in items),
    }


def _samples(result: Result) -> Columns:
    items = result.samples
    return {
        "seconds": wholes(item.time for item in items),
        "nodes": wholes(item.nodes for item in items),
        "capacity": decimals(item.capacity for item in items),
        "allocated": decimals(item.allocated for item in items),
        "waiting": decimals(item.waiting for item in items),
        "fragmented": decimals(item.fragmented for item in items),
        "running_workloads": wholes(item.running for item in items),
        "waiting_workloads": wholes(item.waiting_workloads for item in items),
        "longest_wait_seconds": wholes(item.longest_wait for item in items),
        "watts": wholes(item.watts for item in items),
        "cost_micros_per_hour": wholes(item.cost for item in items),
    }


def _queues(result: Result) -> Columns:
    pairs = [(item.time, queue) for item in result.samples for queue in item.queues]
    return {
        "seconds": wholes(time for time, _ in pairs),
        "queue": texts(queue.queue for _, queue in pairs),
        "allocated": decimals(queue.allocated for _, queue in pairs),
        "fair_share": decimals(queue.share for _, queue in pairs),
        "waiting": decimals(queue.waiting for _, queue in pairs),
        "running_workloads": wholes(queue.running for _, queue in pairs),
        "waiting_workloads": wholes(queue.waiting_workloads for _, queue in pairs),
    }


def _interruptions(result: Result) -> Columns:
    items = result.interruptions
    return {
        "seconds": wholes(item.time for item in items),
        "namespace": texts(item.namespace for item in items),
        "name": texts(item.name for item in items),
        "queue": texts(item.queue for item in items),
        "cause": texts(item.cause.value for item in items),
        "pods": wholes(item.pods for item in items),
        "devices": decimals(item.devices for item in items),
        "lost_seconds": wholes(item.lost for item in items),
        "beneficiary": texts(item.beneficiary for item in items),
    }


def hours(device_seconds: int) -> Fraction:
    """Device-hours of billionths of a device times seconds."""
    return Fraction(device_seconds, UNIT * 3600)


def write_state(folder: Path, state: bytes) -> None:
    """Keep a simulation under way, in place of what was kept before. Raises TraceError."""
    write_file(folder / STATE, zlib.compress(state, 1))


def read_state(folder: Path) -> bytes | None:
    """The simulation that is under way in a folder; None if none is. Raises TraceError."""
    file = folder / STATE
    if not file.exists():
        return None
    try:
        packed = _read(file)
        unpacker = zlib.decompressobj()
        found = unpacker.decompress(packed, MAX_STATE)
    except zlib.error:
        found, unpacker = b"", None
    if unpacker is None or not unpacker.eof:
        fix = "remove it to begin anew"
        raise TraceError(str(file), None, "", "is damaged or cut off", fix)
    return found


def drop_state(folder: Path) -> None:
    """Nothing is under way in the folder any more."""
    (folder / STATE).unlink(missing_ok=True)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
        raise TraceError(str(file), None, "", problem, "check the path and its permissions") from None


def prepare(folder: Path) -> None:
    """Make a folder for results, and see that files can be written there. Raises TraceError."""
    probe = folder / ".aliquot-simulate"
    write_file(probe, b"")
    probe.unlink(missing_ok=True)


def write_file(file: Path, content: bytes) -> None:
    """Write a file whole or not at all. Raises TraceError."""
    part = file.with_name(f"{file.name}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        part.replace(file)
    except OSError as error:
        problem = f"cannot be written: {error.strerror}"
        raise TraceError(str(file), None, "", problem, "check the folder and its permissions") from None
