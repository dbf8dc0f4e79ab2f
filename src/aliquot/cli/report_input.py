"""What reports are made from: which ledger, which time, which prices."""

import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import click
import msgspec

from aliquot.accounting.closing import entries_of
from aliquot.accounting.entries import Entry
from aliquot.accounting.price_files import Spending, milliseconds, parse_spending
from aliquot.accounting.progress import unsettled
from aliquot.accounting.reports import Line
from aliquot.catalog.fleet_yaml import FleetError
from aliquot.cli.failures import Failure
from aliquot.store.database import JournalError
from aliquot.store.journal import Journal
from aliquot.store.ledger import Ledger
from aliquot.store.ledger_accountant import Accountant
from aliquot.store.ledger_database import LedgerError
from aliquot.store.ledger_reports import DIMENSIONS, Query, known, sums

LEDGER = "ledger.db"
ENVIRONMENT = "ALIQUOT_LEDGER"
MOST_FILE = 1 << 20

_AGO = re.compile(r"([0-9]{1,5})([hdw])")
_HOURS = {"h": 1, "d": 24, "w": 168}

Command = TypeVar("Command", bound=Callable[..., object])


class Source(msgspec.Struct, frozen=True):
    """Where entries are taken from: a ledger, or a journal that is accounted for this report only."""

    ledger: str = ""
    journal: Path | None = None
    prices: Path | None = None
    settled: bool = False

    def spending(self) -> Spending:
        """The price book with invoices and budgets; what the catalogue says where no file is named."""
        return read_spending(self.prices) if self.prices is not None else Spending()

    def open(self, *, read_only: bool = True) -> Ledger:
        """The ledger. Raises Failure."""
        try:
            if self.journal is not None:
                return _from_journal(self.journal, self.spending())
            place = self.ledger or os.environ.get(ENVIRONMENT, "") or _beside()
            if not place:
                raise Failure(
                    "there is no ledger here; name it with --ledger FILE, or a PostgreSQL address in"
                    f" {ENVIRONMENT}, or make one from a journal with --journal FILE"
                )
            return Ledger.open(place, read_only=read_only)
        except LedgerError as error:
            raise Failure(str(error)) from None

    def rest(self, ledger: Ledger) -> tuple[Entry, ...]:
        """Entries of the time that is not settled yet, up to when somebody last looked."""
        if self.settled:
            return ()
        progress, _ = ledger.progress()
        return entries_of(unsettled(progress), self.spending().book)


def read_spending(path: Path) -> Spending:
    """A price book's file. Raises Failure with the place and the fix."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_FILE + 1)
        if len(content) > MOST_FILE:
            raise Failure(f"{path}: is larger than {MOST_FILE} bytes; leave out prices that are long over")
        return parse_spending(content.decode(), str(path))
    except OSError as error:
        raise Failure(f"{path}: {error.strerror or error}; name a price book with --prices") from None
    except UnicodeDecodeError:
        raise Failure(f"{path}: is not UTF-8; save it as plain text") from None
    except FleetError as error:
        raise Failure(str(error)) from None


def _beside() -> str:
    """The ledger beside the kubeconfig, or in .aliquot here."""
    kubeconfig = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    places = [Path(kubeconfig).parent] if kubeconfig else []
    for folder in (*places, Path(".aliquot")):
        if (folder / LEDGER).is_file():
            return str(folder / LEDGER)
    return ""


def _from_journal(path: Path, spending: Spending) -> Ledger:
    ledger = Ledger.open(None)
    try:
        with Journal.open(path, read_only=True) as journal:
            accountant = Accountant(ledger, spending, journal=journal)
            for info in journal.records(limit=1_000_000):
                recorded = journal.recorded(info.id)
                if recorded is not None:
                    accountant.observe(recorded.time, recorded.snapshot, recorded.plan)
    except JournalError as error:
        raise Failure(str(error)) from None
    return ledger


def source_options(command: Command) -> Command:
    """The options --ledger, --journal and --prices."""
    command = click.option(
        "--settled", is_flag=True, help="Leave out the time since the last full hour that is still open."
    )(command)
    command = click.option(
        "--prices",
        type=click.Path(path_type=Path, dir_okay=False),
        default=None,
        envvar="ALIQUOT_PRICES",
        help="Price book, for time that is not settled yet, for invoices and budgets.",
    )(command)
    command = click.option(
        "--journal",
        type=click.Path(path_type=Path, dir_okay=False),
        default=None,
        help="Account a journal anew instead of reading a ledger.",
    )(command)
    return click.option(
        "--ledger",
        default="",
        metavar="FILE|ADDRESS",
        help=f"The ledger, or a PostgreSQL address; {ENVIRONMENT}, or beside the kubeconfig, if left out.",
    )(command)


class Window(msgspec.Struct, frozen=True):
    """The time of a report, in full hours."""

    since: datetime
    until: datetime

    @staticmethod
    def of(since: str, until: str, now: datetime) -> "Window":
        """From texts such as 30d, 12h, 2026-01-31 or 2026-01-31T12:00Z. Raises Failure."""
        end = _moment("--until", until, now) if until else now
        start = _moment("--since", since, end)
        if _AGO.fullmatch(since) and not since.endswith("h"):
            start = start.replace(hour=0)
        start = start.replace(minute=0, second=0, microsecond=0)
        if end <= start:
            raise Failure(f"--until {until}: is not after --since {since}; make it the later of the two")
        return Window(start, end)

    @property
    def bounds(self) -> tuple[int, int]:
        """In milliseconds; what began before the end is in."""
        return milliseconds(self.since), milliseconds(self.until)

    @property
    def text(self) -> str:
        return f"{self.since:%Y-%m-%d %H:%M} to {self.until:%Y-%m-%d %H:%M} UTC"


def _moment(option: str, text: str, now: datetime) -> datetime:
    found = _AGO.fullmatch(text)
    try:
        if found:
            return now - timedelta(hours=int(found[1]) * _HOURS[found[2]])
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise Failure(
            f"{option} {text}: is no time; write 30d, 12h, 2026-01-31 or 2026-01-31T12:00Z"
        ) from None


def window_options(command: Command) -> Command:
    """The options --since and --until."""
    command = click.option("--until", default="", help="A time as for --since; now if left out.")(command)
    return click.option(
        "--since",
        default="30d",
        show_default=True,
        help="So long ago (30d, 4w: from midnight UTC; 12h), a date or a time.",
    )(command)


def dimensions(text: str) -> tuple[str, ...]:
    """The dimensions of --by. Raises Failure."""
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    for name in found:
        if not known(name):
            raise Failure(f"--by {name}: there is no such dimension; choose from {', '.join(DIMENSIONS)}")
    if len(found) > 8 or len(set(found)) != len(found):
        raise Failure(f"--by {text}: give eight dimensions at most, each once")
    return found


def conditions(texts: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """The conditions of --where, such as queue=research. Raises Failure."""
    found = []
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not known(name) or name in ("day", "month", "hour"):
            raise Failure(f"--where {text}: write DIMENSION=VALUE; dimensions are {', '.join(DIMENSIONS)}")
        found.append((name, value))
    return tuple(found)


def lines_of(source: Source, ledger: Ledger, query: Query) -> tuple[Line, ...]:
    """The sums that a report shows. Raises Failure."""
    try:
        return sums(ledger, query, source.rest(ledger))
    except (LedgerError, ValueError) as error:
        raise Failure(str(error)) from None
