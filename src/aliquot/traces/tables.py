"""Tables as files: CSV, and Parquet where pyarrow is installed. Reading is bounded in size."""

import contextlib
import csv
import enum
import importlib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from aliquot.traces.errors import TraceError

MAX_BYTES = 256 << 20
MAX_UNPACKED = 2 << 30
MAX_ROWS = 2_000_000
MAX_CELL = 4096
PARQUET = ".parquet"
BATCH_ROWS = 4096

PLACES = 9
"""Decimal places of numbers that are no whole ones."""

Cell = str | int | None


class Kind(enum.Enum):
    """Of a column: text, whole numbers, or decimal numbers, given in billionths."""

    TEXT = "text"
    WHOLE = "whole"
    DECIMAL = "decimal"


class Column(msgspec.Struct, frozen=True):
    """A column to be written."""

    kind: Kind
    cells: Sequence[Cell]


def texts(cells: Iterable[str | None]) -> Column:
    return Column(Kind.TEXT, list(cells))


def wholes(cells: Iterable[int | None]) -> Column:
    return Column(Kind.WHOLE, list(cells))


def decimals(cells: Iterable[int | None]) -> Column:
    """cells: billionths."""
    return Column(Kind.DECIMAL, list(cells))


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
    with _told(arrow, source):
        if path.stat().st_size > MAX_BYTES:
            raise TraceError(source, None, "", f"is larger than {MAX_BYTES >> 20} MiB", "split it")
        file = parquet.ParquetFile(path)
    metadata = file.metadata
    # What a few bytes may stand for is bounded before any of it is unpacked.
    size = sum(metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))
    if metadata.num_rows > MAX_ROWS:
        raise TraceError(source, None, "", f"has more than {MAX_ROWS} rows", "split it")
    if size > MAX_UNPACKED:
        raise TraceError(source, None, "", f"unpacks to more than {MAX_UNPACKED >> 20} MiB", "split it")
    columns = [str(name) for name in file.schema_arrow.names]
    _check_columns(columns, source)

    def rows() -> Iterator[tuple[int, Mapping[str, str]]]:
        line = 1
        with _told(arrow, source):
            for batch in file.iter_batches(batch_size=BATCH_ROWS):
                for row in batch.to_pylist():
                    line += 1
                    yield line, {name: _text(row[name]) for name in columns}

    return Rows(source, tuple(columns), rows())


@contextlib.contextmanager
def _told(arrow: ModuleType, source: str) -> Iterator[None]:
    """Errors of reading a Parquet file, as TraceError."""
    try:
        yield
    except OSError as error:
        problem = f"cannot be read: {error.strerror or error}"
        raise TraceError(source, None, "", problem, "check the path, and that the file is whole") from None
    except (arrow.ArrowException, ValueError, OverflowError) as error:
        problem = f"is no Parquet file that can be read: {error}"
        raise TraceError(source, None, "", problem, "check that it is whole") from None


def _text(value: object) -> str:
    """A cell as CSV would have it. Missing whole numbers may come as NaN (pandas)."""
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float | Decimal):
        # Without an exponent, and 60.0 as 60.
        text = f"{Decimal(str(value)):f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return str(value)


def write(path: Path, columns: Mapping[str, Column]) -> None:
    """Write columns of equal length to a .csv or .parquet file, None as an empty cell. Raises TraceError."""
    source = str(path)
    try:
        if path.suffix == PARQUET:
            arrow, parquet = _arrow(source)
            made = {name: _array(arrow, column) for name, column in columns.items()}
            parquet.write_table(arrow.table(made), path)
            return
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(columns)
            cells = (
                _decimals(item.cells) if item.kind is Kind.DECIMAL else item.cells
                for item in columns.values()
            )
            writer.writerows(zip(*cells, strict=True))
    except OSError as error:
        problem = f"cannot be written: {error.strerror}"
        raise TraceError(source, None, "", problem, "check the path and its permissions") from None


def _array(arrow: ModuleType, column: Column) -> Any:
    """A column for Parquet. Its type does not depend on what is in it, not even where that is nothing."""
    if column.kind is Kind.DECIMAL:
        exact = [None if item is None else Decimal(item).scaleb(-PLACES) for item in column.cells]
        return arrow.array(exact, type=arrow.decimal128(28, PLACES))
    return arrow.array(column.cells, type=arrow.string() if column.kind is Kind.TEXT else arrow.int64())


def _decimals(cells: Sequence[Cell]) -> Iterator[str | None]:
    for item in cells:
        yield None if item is None else decimal(int(item))


def decimal(billionths: int) -> str:
    """Billionths as a decimal number: 2500000000 is 2.5."""
    whole, rest = divmod(abs(billionths), 10**PLACES)
    text = f"{whole}.{rest:0{PLACES}}".rstrip("0").rstrip(".")
    return f"-{text}" if billionths < 0 else text
