"""Forms of reports beyond those of other tables: a page, and Parquet; on stdout or in a file."""

import contextlib
import html
import importlib
import io
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from aliquot.cli.failures import Failure
from aliquot.cli.output import Table, write

FORMS = ("table", "wide", "json", "yaml", "csv", "html", "parquet")

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;
color:#1b1f24;background:#fff}
table{border-collapse:collapse;width:100%}
th,td{padding:.35rem .6rem;border-bottom:1px solid #d0d7de;text-align:left}
.n{text-align:right;font-variant-numeric:tabular-nums}
tr.total td{font-weight:600;border-top:2px solid #57606a}
@media (prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}
th,td{border-color:#30363d}}
"""


def write_report(table: Table, form: str, file: Path | None, *, headers: bool, title: str) -> None:
    """Print a report, or write it to a file. Raises Failure."""
    if form == "parquet":
        write_bytes(parquet(flat(row.item for row in table.rows if not row.total)), file)
    elif form == "html":
        write_bytes(page(table, title).encode(), file)
    elif file is None:
        write(table, form, headers=headers)
    else:
        buffer = io.StringIO()
        with contextlib.redirect_stdout(buffer):
            write(table, form, headers=headers)
        write_bytes(buffer.getvalue().encode(), file)


def write_bytes(content: bytes, file: Path | None) -> None:
    """Write whole content: to stdout, or to a file that is there whole or not at all. Raises Failure."""
    if file is None:
        if sys.stdout.isatty() and b"\0" in content:
            raise Failure("this form is not for terminals; write it to a file with --file")
        click.echo(content, nl=False)
        return
    part = file.with_name(f".{file.name}.part")
    try:
        part.write_bytes(content)
        part.replace(file)
    except OSError as error:
        raise Failure(f"{file}: {error.strerror or error}; name another file") from None


def page(table: Table, title: str) -> str:
    """The table as a page that needs nothing else, safe to open whatever names people gave."""

    def cells(texts: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag}{' class=n' if column.right else ''}>{html.escape(text)}</{tag}>"
            for column, text in zip(table.columns, texts)
        )

    rows = "\n".join(
        f"<tr{' class=total' if row.total else ''}>{cells(row.cells, 'td')}</tr>" for row in table.rows
    )
    head = cells([column.title for column in table.columns], "th")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>{html.escape(title)}</h1>\n<table><thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n"
        "</tbody></table></body></html>\n"
    )


def flat(items: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Items with the fields of inner objects beside the others: idle.costMicros."""
    found = []
    for item in items:
        row: dict[str, Any] = {}
        for key, value in item.items():
            if isinstance(value, Mapping):
                row.update({f"{key}.{inner}": amount for inner, amount in value.items()})
            else:
                row[key] = value
        found.append(row)
    names = dict.fromkeys(name for row in found for name in row)
    return [{name: row.get(name) for name in names} for row in found]


def parquet(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Rows as a Parquet file. Raises Failure where pyarrow is not installed."""
    try:
        arrow: Any = importlib.import_module("pyarrow")
        writer: Any = importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise Failure("-o parquet needs pyarrow; install aliquot[parquet]") from None
    buffer = io.BytesIO()
    writer.write_table(arrow.Table.from_pylist([dict(row) for row in rows]), buffer, compression="zstd")
    return buffer.getvalue()
