"""Reading the ledger: sums over time by who, what and where."""

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from aliquot.accounting.amounts import DAY_MS, HOUR_MS, apportion
from aliquot.accounting.entries import AMOUNTS, Account, Category, Device, Entry, Kind, Place
from aliquot.accounting.invoices import Charged, Invoice
from aliquot.accounting.price_files import moment
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
_PLACE = {"node": "node", "pool": "pool", "driver": "driver", "device-model": "model", "region": "region"}
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
        """Sums by the numbers of places, accounts, categories and times: of whole days from the sums by day,
        of the rest from the entries themselves."""
        since, until = self._query.since_ms, self._query.until_ms
        first, last = -(-since // DAY_MS) * DAY_MS, until // DAY_MS * DAY_MS
        if self._device or self._step == HOUR_MS or first >= last:
            return self._of_entries(since, until)
        time = "day_ms" if self._step else "0"
        parts = [
            f"SELECT {time} AS time, place, account, category, {_SUMS} FROM ledger_days"
            f" WHERE day_ms >= {first} AND day_ms < {last} GROUP BY 1, 2, 3, 4"
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
        return (
            f"SELECT {time} AS time, v.place AS place, e.account AS account, e.category AS category,"
            f" {_SUMS}{device} FROM ledger_entries e JOIN ledger_devices v ON v.id = e.device"
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
        if name in _PLACE:
            self._join("JOIN ledger_places p ON p.id = s.place")
            return f"p.{_PLACE[name]}"
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


@dataclass(frozen=True, slots=True)
class PodSums:
    """What one pod had in a time: its part of what its claims had, where several pods share a claim."""

    namespace: str
    name: str
    uid: str
    amounts: Tally


def pod_sums(
    ledger: Ledger, since_ms: int, until_ms: int, *, namespace: str = "", extra: Iterable[Entry] = ()
) -> tuple[PodSums, ...]:
    """What each pod had from since_ms to before until_ms; of entries that reach out of it, by time.

    What pods have together is divided evenly, without rest. For joining with tokens served. extra: entries
    that are not in the ledger (yet).
    """
    found: dict[tuple[str, str, str], list[int]] = {}
    for entry in (*entries(ledger, since_ms, until_ms, namespace=namespace), *extra):
        pods = entry.account.pods
        if not pods or namespace not in ("", entry.account.namespace):
            continue
        length = entry.end_ms - entry.start_ms
        inside = min(entry.end_ms, until_ms) - max(entry.start_ms, since_ms)
        if inside <= 0:
            continue
        for place, name in enumerate(AMOUNTS):
            amount = apportion(getattr(entry, name), (inside, length - inside))[0]
            for pod, part in zip(pods, apportion(amount, [1] * len(pods))):
                key = (entry.account.namespace, pod.name, pod.uid)
                found.setdefault(key, [0] * len(AMOUNTS))[place] += part
    return tuple(PodSums(*key, Tally(*amounts)) for key, amounts in sorted(found.items()))


def entries(
    ledger: Ledger, since_ms: int, until_ms: int, *, namespace: str = "", limit: int = 5_000_000
) -> tuple[Entry, ...]:
    """The entries that reach into a time, in the order in which they were written."""
    condition, values = "", []
    if namespace:
        condition, values = " AND a.namespace = ?", [namespace]
    with ledger.database.reading():
        rows = ledger.database.execute(
            f"SELECT e.device, e.account, e.category, e.kind, e.start_ms, e.end_ms,"
            f" {', '.join(f'e.{name}' for name in AMOUNTS)}"
            " FROM ledger_batches b JOIN ledger_entries e ON e.id BETWEEN b.first_id AND b.last_id"
            f"{' JOIN ledger_accounts a ON a.id = e.account' if namespace else ''}"
            f" WHERE b.end_ms > {since_ms} AND b.start_ms < {until_ms}"
            f" AND e.end_ms > {since_ms} AND e.start_ms < {until_ms}{condition} ORDER BY e.id LIMIT {limit}",
            values,
        )
        devices = _devices(ledger, {row[0] for row in rows})
        accounts = _accounts(ledger, {row[1] for row in rows})
    return tuple(
        Entry(
            device=devices[row[0]],
            account=accounts[row[1]],
            category=Category(row[2]),
            kind=Kind(row[3]),
            start_ms=row[4],
            end_ms=row[5],
            **dict(zip(AMOUNTS, row[6:])),
        )
        for row in rows
    )


def _devices(ledger: Ledger, numbers: set[int]) -> dict[int, Device]:
    places: dict[str, Place] = {}
    found = {}
    for number, name, body in _by_number(
        ledger,
        "SELECT d.id, d.name, p.body FROM ledger_devices d JOIN ledger_places p ON p.id = d.place",
        "d.id",
        numbers,
    ):
        if body not in places:
            places[body] = msgspec.json.decode(body, type=Place)
        found[number] = Device(place=places[body], name=name)
    return found


def _accounts(ledger: Ledger, numbers: set[int]) -> dict[int, Account]:
    rows = _by_number(ledger, "SELECT id, body FROM ledger_accounts", "id", numbers)
    return {number: msgspec.json.decode(body, type=Account) for number, body in rows}


def _by_number(ledger: Ledger, statement: str, column: str, numbers: set[int]) -> list[Row]:
    """The rows of these numbers; all of them in several statements, since one has a largest length."""
    found: list[Row] = []
    ordered = sorted(numbers)
    for start in range(0, len(ordered), 10_000):
        chosen = ", ".join(str(number) for number in ordered[start : start + 10_000])
        found += ledger.database.execute(f"{statement} WHERE {column} IN ({chosen})")
    return found


def charged(ledger: Ledger, invoice: Invoice) -> tuple[Charged, ...]:
    """What was charged so far for the devices and the time of an invoice: by day, device and account."""
    found: dict[tuple[int, Device, Account, Category], list[int]] = {}
    for entry in entries(ledger, invoice.start_ms, invoice.end_ms):
        if invoice.match.fits(entry.device.place) and entry.start_ms >= invoice.start_ms:
            key = (entry.start_ms // DAY_MS * DAY_MS, entry.device, entry.account, entry.category)
            held = found.setdefault(key, [0, 0])
            held[0] += entry.device_ms
            held[1] += entry.cost_micros
    return tuple(
        Charged(
            device=device,
            account=account,
            category=category,
            start_ms=max(day, invoice.start_ms),
            end_ms=min(day + DAY_MS, invoice.end_ms),
            device_ms=amounts[0],
            cost_micros=amounts[1],
        )
        for (day, device, account, category), amounts in found.items()
    )
