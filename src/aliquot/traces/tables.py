"""Tables as files: CSV, and Parquet where pyarrow is installed. Reading is bounded in size."""

import csv
import importlib
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from aliquot.traces.errors import TraceError

MAX_BYTES = 256 << 20
MAX_ROWS = 2_000_000
MAX_CELL = 4096
PARQUET = ".parquet"

Cell = str | int | None


class Rows(msgspec.Struct, frozen=True):
    """A table as read: its columns in order, and its rows with their lines."""

    source: str
    columns: tuple[str, ...]
    rows: Iterator[tuple[int, Mapping[str, str]]]


def read(path: Path) -> Rows:
    """A table from a .csv or .parquet file; every cell as text, "" where there is none. Raises TraceError,
    for the rows when they are taken."""
    source = str(path)
    if path.suffix == PARQUET:
        return _parquet(path, source)
    return csv_rows(text_of(path), source)


def text_of(path: Path) -> str:
    """A text file. Raises TraceError."""
    source = str(path)
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
        raise TraceError(source, None, "", problem, "check the path and its permissions") from None
    if len(content) > MAX_BYTES:
        raise TraceError(source, None, "", f"is larger than {MAX_BYTES >> 20} MiB", "split it")
    if content[:4] == b"PAR1":
        fix = f"name it with the ending {PARQUET}"
        raise TraceError(source, None, "", "is a Parquet file and not CSV", fix)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise TraceError(source, line, "", "is not UTF-8 text", "save the file as UTF-8 CSV") from None


def csv_rows(text: str, source: str) -> Rows:
    """A table from CSV text with a header. Raises TraceError."""
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise TraceError(source, line, "", "holds binary data", "give a CSV file")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
    except csv.Error as error:
        raise TraceError(source, 1, "", f"is not valid CSV: {error}", "check its quotes") from None
    if not header:
        raise TraceError(source, None, "", "is empty", "begin with a line of column names")
    _check_columns(header, source)
    return Rows(source, tuple(header), _cells(reader, header, source, ends_whole=text.endswith(("\n", "\r"))))


def _cells(
    reader: Any, header: list[str], source: str, *, ends_whole: bool
) -> Iterator[tuple[int, Mapping[str, str]]]:
    count = 0
    try:
        for cells in reader:
            if not cells:
                continue
            count += 1
            if count > MAX_ROWS:
                raise TraceError(source, reader.line_num, "", f"has more than {MAX_ROWS} rows", "split it")
            if len(cells) != len(header):
                problem = f"has {len(cells)} cells under {len(header)} columns"
                cut = "" if ends_whole else ": its last line has no end"
                fix = f"check for a missing or extra comma, and that the file is whole{cut}"
                raise TraceError(source, reader.line_num, "", problem, fix)
            yield reader.line_num, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        fix = "check its quotes, and that the file is whole"
        raise TraceError(source, reader.line_num, "", f"is not valid CSV: {error}", fix) from None


def _check_columns(header: Sequence[str], source: str) -> None:
    seen: set[str] = set()
    for name in header:
        if not name:
            raise TraceError(source, 1, "", "has a column without a name", "name every column")
        if name in seen:
            raise TraceError(source, 1, name[:64], "is there twice", "keep one of them")
        seen.add(name)


def check_form(form: str) -> None:
    """Raises TraceError for "parquet" where the package for it is missing."""
    if f".{form}" == PARQUET:
        _arrow(f"tables as {form}")


def _arrow(source: str) -> tuple[ModuleType, ModuleType]:
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError:
        fix = "install it (pip install 'aliquot[parquet]'), or use CSV"
        raise TraceError(source, None, "", "Parquet needs the package pyarrow", fix) from None


def _parquet(path: Path, source: str) -> Rows:
    arrow, parquet = _arrow(source)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise TraceError(source, None, "", f"is larger than {MAX_BYTES >> 20} MiB", "split it")
        table = parquet.read_table(path)
    except OSError as error:
        raise TraceError(source, None, "", f"cannot be read: {error}", "check that it is whole") from None
    except arrow.ArrowException as error:
        problem = f"is no Parquet file that can be read: {error}"
        raise TraceError(source, None, "", problem, "check that it is whole") from None
    if table.num_rows > MAX_ROWS:
        raise TraceError(source, None, "", f"has more than {MAX_ROWS} rows", "split it")
    columns = [str(name) for name in table.column_names]
    _check_columns(columns, source)

    def rows() -> Iterator[tuple[int, Mapping[str, str]]]:
        line = 1
        for batch in table.to_batches():
            for row in batch.to_pylist():
                line += 1
                yield line, {name: _text(row[name]) for name in columns}

    return Rows(source, tuple(columns), rows())


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def write(path: Path, columns: Mapping[str, Sequence[Cell]]) -> None:
    """Write columns of equal length to a .csv or .parquet file, None as an empty cell. Raises TraceError."""
    source = str(path)
    try:
        if path.suffix == PARQUET:
            arrow, parquet = _arrow(source)
            parquet.write_table(arrow.table({name: list(cells) for name, cells in columns.items()}), path)
            return
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))
    except OSError as error:
        problem = f"cannot be written: {error.strerror}"
        raise TraceError(source, None, "", problem, "check the path and its permissions") from None
