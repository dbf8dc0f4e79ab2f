"""Forms of output: tables as kubectl prints them, and JSON, YAML, CSV and names for programs.

Data goes to stdout. Colour is used only when stdout is a terminal and NO_COLOR is not set.
"""

import contextlib
import csv
import io
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import click
import msgspec
import yaml

from aliquot.cli.printable import in_one_line, printable
from aliquot.cli.widths import ELLIPSIS, Fit, Width, fit, shown
from aliquot.inventory.amounts import NONE

API_VERSION = "aliquot.dev/v1alpha1"
"""The version of the JSON that commands print; fields are added to it, never changed or taken away."""

FORMS = ("table", "wide", "json", "yaml", "csv", "name")

_COLOURS = {
    "Running": "green",
    "Placed": "green",
    "Starting": "cyan",
    "Waiting": "yellow",
    "Broken": "red",
    "Failed": "red",
    "Unusable": "red",
}


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """A column. key: its name in CSV. wide: shown with `-o wide` (and in CSV) only. right: numbers.

    drop, least, names: how it gives way in a terminal where not all fits; see `widths.Width`.
    """

    title: str
    key: str
    wide: bool = False
    right: bool = False
    drop: int = 0
    least: int = 0
    names: bool = False


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A row: a cell for every column, what programs get instead, and its name as `kind/name`.

    total: a row that adds up others; programs do not get it among the items.
    """

    cells: tuple[str, ...]
    item: Mapping[str, Any]
    name: str
    total: bool = False


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A table, the kind of list it is for programs, and what the list says besides its items."""

    kind: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    summary: Mapping[str, Any] = {}


def coloured() -> bool:
    """Whether stdout takes colour: a terminal, and NO_COLOR (no-color.org) not set to anything."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def terminal_width() -> int:
    """How many characters a line of stdout holds; 0 if it is no terminal, or one that does not say."""
    return shutil.get_terminal_size((0, 0)).columns if sys.stdout.isatty() else 0


def writable(text: str) -> bool:
    """Whether the encoding of stdout has all of these characters."""
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def note(text: str) -> None:
    """A line for people, on stderr."""
    click.echo(printable(text), err=True)


def say(text: str) -> None:
    """A line of text for people, on stdout. Colour is not for this: it would be escaped."""
    click.echo(printable(text))


@contextlib.contextmanager
def working(text: str) -> Iterator[Callable[[str], None]]:
    """Say on stderr what is being done, if that is a terminal; what is yielded says what is done next."""
    if not sys.stderr.isatty():
        yield lambda text: None
        return
    from rich.console import Console

    with Console(stderr=True).status(f"{text} ...") as status:
        yield lambda text: status.update(f"{text} ...")


def write(table: Table, form: str, *, headers: bool = True) -> None:
    """Print a table in one of FORMS."""
    if form in ("json", "yaml"):
        write_document(document(table), form)
    elif form == "csv":
        _hand_over(_csv(table, headers))
    elif form == "name":
        for row in table.rows:
            if not row.total:
                _hand_over(row.name + "\n")
    else:
        wide = form == "wide"
        width = 0 if wide else terminal_width()
        for line in lines(table, wide=wide, headers=headers, colour=coloured(), width=width):
            click.echo(line)
        if titles := left_out(table, width, headers=headers):
            note(f"note: no room for {', '.join(titles)}; -o wide shows all")


def document(table: Table) -> dict[str, Any]:
    """The table for programs."""
    found: dict[str, Any] = {"apiVersion": API_VERSION, "kind": table.kind}
    if table.summary:
        found["summary"] = dict(table.summary)
    found["items"] = [dict(row.item) for row in table.rows if not row.total]
    return found


def write_document(value: object, form: str) -> None:
    """Print a JSON-like value as JSON or YAML."""
    if form == "yaml":
        _hand_over(yaml_text(value))
    else:
        click.echo(printable(json.dumps(value, indent=2, ensure_ascii=False)))


def _hand_over(text: str) -> None:
    """Data as it is to programs, and printable to a terminal."""
    click.echo(printable(text) if sys.stdout.isatty() else text, nl=False)


_DUMPER: type[Any] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def yaml_text(value: object) -> str:
    """A JSON-like value as YAML in block style, keys in their order."""
    text: str = yaml.dump(
        value, Dumper=_DUMPER, sort_keys=False, allow_unicode=True, default_flow_style=False, width=110
    )
    return text


def lines(table: Table, *, wide: bool, headers: bool, colour: bool, width: int = 0) -> Iterable[str]:
    """The table as lines, columns padded to their widest cell and three blanks apart.

    width: what a line holds, in which all is to fit if it can; 0 for no bound.
    """
    places, fitted = _fitted(table, wide=wide, headers=headers, width=width)
    columns = [table.columns[place] for place in places]
    rooms = [fitted.rooms[place] or 0 for place in places]
    right = [column.right for column in columns]
    gap = " " * fitted.gap
    ellipsis = ELLIPSIS if writable(ELLIPSIS) else "~"
    if headers:
        yield _line([column.title for column in columns], rooms, right, None, gap)
    for row in table.rows:
        cells = [
            shown(_cell(row, place), room, names=table.columns[place].names, ellipsis=ellipsis)
            for place, room in zip(places, rooms, strict=True)
        ]
        yield _line(cells, rooms, right, _painter(row) if colour else None, gap)


def left_out(table: Table, width: int, *, headers: bool) -> tuple[str, ...]:
    """The titles of columns that say something and for which there is no room."""
    places, _ = _fitted(table, wide=False, headers=headers, width=width)
    return tuple(
        column.title
        for place, column in enumerate(table.columns)
        if place not in places and not column.wide and not _blank(table, place)
    )


def _fitted(table: Table, *, wide: bool, headers: bool, width: int) -> tuple[list[int], Fit]:
    """Which columns are shown, and of all columns how wide they may be."""
    candidates = [place for place, column in enumerate(table.columns) if wide or not column.wide]
    found = fit([_asked(table, place, headers) for place in candidates], width)
    rooms = dict(zip(candidates, found.rooms, strict=True))
    places = [place for place in candidates if rooms[place] is not None]
    return places, Fit(gap=found.gap, rooms=tuple(rooms.get(place) for place in range(len(table.columns))))


def _asked(table: Table, place: int, headers: bool) -> Width:
    column = table.columns[place]
    return Width(
        cells=[column.title] * headers + [_cell(row, place) for row in table.rows],
        drop=column.drop,
        least=max(column.least, len(column.title)) if column.least else 0,
        names=column.names,
        blank=_blank(table, place),
    )


def _blank(table: Table, place: int) -> bool:
    return bool(table.rows) and all(row.cells[place] in ("", NONE) for row in table.rows)


def _cell(row: Row, place: int) -> str:
    return in_one_line(row.cells[place]) or ("" if row.total else NONE)


def _line(
    cells: Sequence[str],
    widths: Sequence[int],
    right: Sequence[bool],
    paint: Callable[[str], str] | None,
    between: str,
) -> str:
    pieces = []
    last = len(cells) - 1
    for place, cell in enumerate(cells):
        gap = " " * (widths[place] - len(cell))
        text = paint(cell) if paint else cell
        if right[place]:
            pieces.append(gap + text)
        else:
            pieces.append(text if place == last else text + gap)
    return between.join(pieces).rstrip()


def _painter(row: Row) -> Callable[[str], str]:
    def paint(cell: str) -> str:
        if row.total:
            return click.style(cell, bold=True)
        colour = _COLOURS.get(cell)
        return click.style(cell, fg=colour) if colour else cell

    return paint


def _csv(table: Table, headers: bool) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if headers:
        writer.writerow([column.key for column in table.columns])
    for row in table.rows:
        if not row.total:
            writer.writerow(["" if cell == NONE else cell for cell in row.cells])
    return text.getvalue()


def sorted_by(table: Table, key: str) -> Table:
    """The table with its rows in the order of one column; totals stay where they are: at the end.

    Raises ValueError with the known keys for a column that is not there.
    """
    keys = {column.key.lower(): number for number, column in enumerate(table.columns)}
    keys |= {column.title.lower(): number for number, column in enumerate(table.columns)}
    place = keys.get(key.lower())
    if place is None:
        raise ValueError(", ".join(column.key for column in table.columns))
    items = [row for row in table.rows if not row.total]
    totals = [row for row in table.rows if row.total]
    items.sort(key=lambda row: _natural(row.cells[place]))
    return msgspec.structs.replace(table, rows=tuple(items + totals))


def _natural(cell: str) -> tuple[tuple[int, float, str], ...]:
    pieces: list[tuple[int, float, str]] = []
    digits = ""
    for character in cell + " ":
        if character.isdigit() and character.isascii():
            digits += character
            continue
        if digits:
            pieces.append((0, int(digits), ""))
            digits = ""
        pieces.append((1, 0, character))
    return tuple(pieces)
