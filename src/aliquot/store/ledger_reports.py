"""Reading the ledger: sums over time by who, what and where."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from aliquot.accounting.amounts import DAY_MS, HOUR_MS
from aliquot.accounting.budgets import Alert, Budget, BudgetState, budget_state
from aliquot.accounting.entries import AMOUNTS, Category, Entry
from aliquot.accounting.price_files import milliseconds, moment
from aliquot.accounting.reports import Line, Tally
from aliquot.store.ledger import Ledger
from aliquot.store.ledger_database import Row

_ACCOUNT = (
    "queue",
    "namespace",
    "workload",
    "claim",
    "owner",
    "model",
    "mode",
    "profile",
    "decision",
    "reason",
)
_KIND = {"driver": "driver", "device-model": "model", "region": "region"}
_PLACE = {"node": "node", "pool": "pool", **_KIND}
_TIME = ("day", "month", "hour")

DIMENSIONS = (*_ACCOUNT, *_PLACE, "device", *_TIME, "category", "label:NAME")
"""By what a report can be broken down. `model` is the AI model, `device-model` the accelerator's."""

_SUMS = ", ".join(f"CAST(sum({name}) AS BIGINT) AS {name}" for name in AMOUNTS)


@dataclass(frozen=True, slots=True)
class Query:
    """What to sum up: entries that start from since_ms to before until_ms.

    by: dimensions. where: (dimension, value) pairs that must all hold; a queue stands for those below it.
    Times are best full hours, since entries are cut there.
    """

    since_ms: int
    until_ms: int
    by: tuple[str, ...] = ()
    where: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        for name in (*self.by, *(name for name, _ in self.where)):
            if not known(name):
                raise ValueError(f"{name!r} is no dimension; choose from {', '.join(DIMENSIONS)}")


def known(dimension: str) -> bool:
    return dimension in DIMENSIONS[:-1] or (dimension.startswith("label:") and len(dimension) > 6)


def sums(ledger: Ledger, query: Query, extra: Iterable[Entry] = ()) -> tuple[Line, ...]:
    """The sums by the query's dimensions and by category, in the order of the dimensions.

    extra: entries that are not in the ledger (yet), such as those of time that is not settled.
    """
    found: dict[tuple[tuple[str, ...], Category], list[int]] = {}
    for row in _Statement(ledger, query).rows():
        width = len(query.by)
        key = (tuple(str(item) for item in row[:width]), Category(row[width]))
        amounts = [int(item) for item in row[width + 1 :]]
        held = found.get(key)
        found[key] = amounts if held is None else [one + other for one, other in zip(held, amounts)]
    for entry in extra:
        if query.since_ms <= entry.start_ms < query.until_ms and all(
            _selected(entry, name, value) for name, value in query.where
        ):
            key = (tuple(dimension_of(entry, name) for name in query.by), entry.category)
            amounts = [getattr(entry, name) for name in AMOUNTS]
            held = found.get(key)
            found[key] = amounts if held is None else [one + other for one, other in zip(held, amounts)]
    return tuple(
        Line(keys=keys, category=category, amounts=Tally(*amounts))
        for (keys, category), amounts in sorted(found.items())
        if any(amounts)
    )


def dimension_of(entry: Entry, name: str) -> str:
    """What an entry is under, by a dimension."""
    if name.startswith("label:"):
        return dict(entry.account.labels).get(name[6:], "")
    if name in _PLACE:
        return str(getattr(entry.device.place, _PLACE[name]))
    match name:
        case "device":
            return f"{entry.device.place.node or entry.device.place.pool}/{entry.device.name}"
        case "category":
            return entry.category.word
        case "hour" | "day" | "month":
            return time_text(name, entry.start_ms - entry.start_ms % HOUR_MS)
    return str(getattr(entry.account, name))


def _selected(entry: Entry, name: str, value: str) -> bool:
    if name == "queue" and f"/{value}/" in entry.account.queue_path:
        return True
    return dimension_of(entry, name) == value


class _Statement:
    """The SQL of one query. Numbers are written into it, texts are parameters."""

    def __init__(self, ledger: Ledger, query: Query) -> None:
        self._ledger = ledger
        self._query = query
        self._joins: list[str] = []
        self._labels: list[str] = []
        self._values: list[str] = []
        names = {*query.by, *(name for name, _ in query.where)}
        self._device = "device" in names
        self._by_account = bool(names - {*_PLACE, *_TIME, "device", "category"})
        # Without accounts the sums by place are the fewest.
        self._by_place = bool(names & {"node", "pool", "device"}) or not self._by_account
        self._step = HOUR_MS if "hour" in names else DAY_MS if names & {"day", "month"} else 0

    def rows(self) -> list[Row]:
        """Rows of dimensions, category and amounts, each perhaps in several pieces."""
        query = self._query
        columns = [f"{self._column(name)} AS d{number}" for number, name in enumerate(query.by)]
        conditions = [self._condition(name, value) for name, value in query.where]
        keys = ", ".join([*(f"d{number}" for number in range(len(columns))), "category"])
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        with self._ledger.database.reading():
            statement = (
                f"SELECT {', '.join([*columns, 's.category AS category'])},"
                f" {', '.join(f'CAST(sum(s.{name}) AS BIGINT)' for name in AMOUNTS)}"
                f" FROM ({self._inner()}) s {' '.join(self._joins)}{where} GROUP BY {keys}"
            )
            rows = self._ledger.database.execute(statement, [*self._labels, *self._values])
        return [self._texts(row) for row in rows]

    def _texts(self, row: Row) -> Row:
        texts = [self._text(name, value) for name, value in zip(self._query.by, row)]
        return (*texts, *row[len(texts) :])

    def _text(self, name: str, value: object) -> str:
        if name == "category":
            return Category(int(str(value))).word
        if name in _TIME:
            return time_text(name, int(str(value)))
        return str(value)

    def _inner(self) -> str:
        """Rows of time, place or kind, account, category and amounts: of whole days from the sums by day, of
        the rest from the entries themselves."""
        since, until = self._query.since_ms, self._query.until_ms
        first, last = -(-since // DAY_MS) * DAY_MS, until // DAY_MS * DAY_MS
        newest = self._ledger.database.execute("SELECT coalesce(max(end_ms), 0) FROM ledger_batches")[0][0]
        if until >= newest:
            # The sums of the day that is not over hold just what is wanted of it.
            last = until = -(-until // DAY_MS) * DAY_MS
        if self._device or self._step == HOUR_MS or first >= last:
            return self._of_entries(since, until)
        place, account = "place" if self._by_place else "kind", "account" if self._by_account else "0"
        table = "ledger_days" if self._by_place else "ledger_account_days"
        if not self._by_account:
            table = "ledger_place_days"
        parts = [
            f"SELECT {'day_ms' if self._step else '0'} AS time, {place} AS place, {account} AS account,"
            f" category, {', '.join(AMOUNTS)} FROM {table} WHERE day_ms >= {first} AND day_ms < {last}"
        ]
        parts += [self._of_entries(since, first)] if since < first else []
        parts += [self._of_entries(last, until)] if last < until else []
        return " UNION ALL ".join(parts)

    def _of_entries(self, start: int, end: int) -> str:
        time = f"e.start_ms - e.start_ms % {self._step}" if self._step else "0"
        device = ", e.device AS device" if self._device else ""
        found = self._ledger.database.execute(
            "SELECT min(first_id), max(last_id) FROM ledger_batches"
            " WHERE end_ms > ? AND start_ms < ? AND last_id >= first_id",
            (start, end),
        )
        low, high = found[0] if found and found[0][0] is not None else (0, -1)
        place, joins = "v.place", "JOIN ledger_devices v ON v.id = e.device"
        if not self._by_place:
            place, joins = "q.kind", f"{joins} JOIN ledger_places q ON q.id = v.place"
        return (
            f"SELECT {time} AS time, {place} AS place, e.account AS account, e.category AS category,"
            f" {_SUMS}{device} FROM ledger_entries e {joins}"
            f" WHERE e.id BETWEEN {int(low)} AND {int(high)} AND e.start_ms >= {start} AND e.start_ms < {end}"
            f" GROUP BY 1, 2, 3, 4{', e.device' if device else ''}"
        )

    def _join(self, text: str) -> None:
        if text not in self._joins:
            self._joins.append(text)

    def _column(self, name: str) -> str:
        if name.startswith("label:"):
            alias = f"l{len(self._joins)}"
            self._join(f"LEFT JOIN ledger_labels {alias} ON {alias}.account = s.account AND {alias}.name = ?")
            self._labels.append(name[6:])
            return f"coalesce({alias}.value, '')"
        if name in _KIND:
            number = "s.place"
            if self._by_place:
                self._join("JOIN ledger_places p ON p.id = s.place")
                number = "p.kind"
            self._join(f"JOIN ledger_kinds k ON k.id = {number}")
            return f"k.{_KIND[name]}"
        if name in _PLACE:
            self._join("JOIN ledger_places p ON p.id = s.place")
            return f"p.{name}"
        if name in _TIME:
            return "s.time"
        if name == "category":
            return "s.category"
        if name == "device":
            self._join("JOIN ledger_places p ON p.id = s.place")
            self._join("JOIN ledger_devices w ON w.id = s.device")
            return "(CASE WHEN p.node = '' THEN p.pool ELSE p.node END) || '/' || w.name"
        self._join("JOIN ledger_accounts a ON a.id = s.account")
        return f"a.{name}"

    def _condition(self, name: str, value: str) -> str:
        if name in _TIME:
            raise ValueError(f"{name} is chosen by the times of a report, not by a condition")
        column = self._column(name)
        if name == "category":
            return f"s.category = {int(Category[value.upper()])}"
        self._values.append(value)
        if name != "queue":
            return f"{column} = ?"
        self._values.append(f"%/{value}/%")
        return f"({column} = ? OR a.queue_path LIKE ?)"


def time_text(dimension: str, time_ms: int) -> str:
    """A time as a report shows it: 2026-01-31, 2026-01, 2026-01-31T12:00Z."""
    form = {"day": "%Y-%m-%d", "month": "%Y-%m", "hour": "%Y-%m-%dT%H:%MZ"}[dimension]
    return moment(time_ms).strftime(form)


def budget_states(ledger: Ledger, budgets: Iterable[Budget], now: datetime) -> tuple[BudgetState, ...]:
    """How budgets stand, by what is settled; hours that are not over yet are not in it."""
    found = []
    for budget in budgets:
        start, _ = budget.period.bounds(now)
        query = Query(milliseconds(start), milliseconds(now), where=budget.selects)
        spent = sum(line.amounts.cost_micros for line in sums(ledger, query))
        found.append(budget_state(budget, spent, now))
    return tuple(found)


def told_before(ledger: Ledger, alert: Alert) -> bool:
    """Whether an alert was told already."""
    key = (alert.budget, milliseconds(alert.start), alert.level)
    found = ledger.database.execute(
        "SELECT 1 FROM ledger_alerts WHERE budget = ? AND start_ms = ? AND level = ?", key
    )
    return bool(found)


def note_told(ledger: Ledger, alert: Alert, now: datetime) -> None:
    """Note that an alert was told, so that nobody tells it again."""
    row = (alert.budget, milliseconds(alert.start), alert.level, milliseconds(now))
    with ledger.database.writing():
        ledger.database.executemany(
            "INSERT INTO ledger_alerts (budget, start_ms, level, told_ms) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (budget, start_ms, level) DO NOTHING",
            [row],
        )
