"""`aliquot report` as people and programs use it."""

import asyncio
import contextlib
import csv
import io
import json
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pyarrow import parquet
from tests.accounting.histories import DEVICES, holding, occupancy
from tests.inventory.world import NOW, QUEUES, claim, pod, world

from aliquot.accounting.amounts import DAY_MS, HOUR_MS
from aliquot.accounting.closing import entries_of
from aliquot.accounting.columns import Columns
from aliquot.accounting.entries import Category, Span
from aliquot.accounting.focus import COLUMNS
from aliquot.accounting.price_files import milliseconds, parse_spending
from aliquot.cli.main import main
from aliquot.cli.report_tables import least
from aliquot.embedded.server import EmbeddedServer
from aliquot.kube.client import Client
from aliquot.kube.config import load_kubeconfig
from aliquot.kube.resources import EVENTS
from aliquot.scheduling.policy import Policy
from aliquot.store.journal import Journal
from aliquot.store.ledger import Ledger

START = milliseconds(NOW) // DAY_MS * DAY_MS
WINDOW = ("--since", "2026-03-01", "--until", "2026-03-03")
PRICES = """
apiVersion: aliquot.dev/v1alpha1
kind: PriceBook
currency: EUR
prices: [{name: all, perDeviceHour: 2.50}]
energy: [{gramsPerKwh: 380}]
invoices: [{name: march, match: {node: n1}, from: 2026-03-01, until: 2026-04-01, amount: 100.01}]
budgets:
  - {name: a, for: {queue: queue-a}, amount: 70, alertAt: [50, 100]}
  - {name: top, for: {queue: top}, amount: 1000, alertAt: [50]}
"""


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    path = tmp_path / "prices.yaml"
    path.write_text(PRICES)
    return path


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """A day: a has a device, b a device for half of it, two others are idle and stranded."""
    path = tmp_path / "ledger.db"
    spans = []
    for hour in range(24):
        begin, end = START + hour * HOUR_MS, START + (hour + 1) * HOUR_MS
        spans += [
            Span(occupancy(DEVICES[0], holding("a")), begin, end),
            Span(occupancy(DEVICES[1], *([holding("b")] if hour < 12 else [])), begin, end),
            Span(occupancy(DEVICES[2]), begin, end),
            Span(occupancy(DEVICES[3], category=Category.STRANDED, reason="TooSmall"), begin, end),
        ]
    with Ledger.open(path) as opened:
        book = parse_spending(PRICES, "prices").book
        opened.append(Columns.of(entries_of(spans, book)), sequence=1, currency="EUR", seen_ms=START + DAY_MS)
    return path


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], ledger: Path, prices: Path) -> Any:
    """Runs `aliquot report ...` on the ledger; exit status, stdout, stderr."""

    def call(*words: object, on: tuple[object, ...] | None = None) -> tuple[int, str, str]:
        where = ("--ledger", ledger, "--prices", prices) if on is None else on
        with pytest.raises(SystemExit) as ended:
            main(["report", *(str(word) for word in (*words, *where))])
        found = capfd.readouterr()
        return int(str(ended.value.code)), found.out, found.err

    return call


def test_cost_by_queue_adds_up_to_what_there_was(run: Any) -> None:
    status, out, err = run("cost", *WINDOW)

    assert status == 0
    assert [line.split() for line in out.splitlines()] == [
        ["QUEUE", "EXCLUSIVE", "SHARED", "IDLE", "STRANDED", "SYSTEM", "TOTAL"],
        ["<none>", "0", "0", "90.00", "60.00", "0", "150.00"],
        ["queue-a", "60.00", "0", "0", "0", "0", "60.00"],
        ["queue-b", "30.00", "0", "0", "0", "0", "30.00"],
        ["*", "90.00", "0", "90.00", "60.00", "0", "240.00"],
    ]
    assert "2026-03-01 00:00 to 2026-03-03 00:00 UTC, EUR" in err
    assert max(len(line) for line in out.splitlines()) <= 80


def test_a_charge_puts_what_nobody_held_on_those_who_held_something(run: Any) -> None:
    _, out, _ = run("cost", "--chargeback", "--by", "label:team", "-o", "json", *WINDOW)
    found = json.loads(out)

    assert [(item["label:team"], item["chargeMicros"]) for item in found["items"]] == [
        ("team-a", 160_000_000),
        ("team-b", 80_000_000),
    ]
    assert found["summary"]["chargeMicros"] == 240_000_000


def test_programs_get_exact_integers_and_people_get_units(run: Any) -> None:
    _, out, _ = run("usage", "--by", "node,reason", "-o", "json", *WINDOW)
    found = json.loads(out)

    assert found["kind"] == "UsageReport"
    assert found["summary"]["total"]["total"]["deviceMilliseconds"] == 4 * DAY_MS
    stranded = next(item for item in found["items"] if item["reason"] == "TooSmall")
    assert stranded["stranded"]["deviceMilliseconds"] == DAY_MS
    _, out, _ = run("carbon", "--where", "category=idle", "-o", "csv", *WINDOW)
    (row,) = csv.DictReader(io.StringIO(out))
    assert row["idle"] == row["total"] != "0"
    _, out, _ = run("energy", *WINDOW)
    assert "unknown" in out, "energy of what is held is not known without samples, and not 0"


def test_a_sum_that_is_known_in_part_is_not_shown_as_the_whole(run: Any, tmp_path: Path) -> None:
    _, out, _ = run("energy", *WINDOW)
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines()[1:]}
    idle = float(rows["<none>"][2])
    assert rows["queue-a"] == ["unknown", "0", "0", "0", "0", "unknown", "<none>"]
    assert rows["*"][0] == "unknown"
    assert rows["*"][2] == f"{idle:.2f}"
    assert rows["*"][5] == f">={float(rows['<none>'][5]):.2f}"


def test_carbon_without_the_grids_intensity_is_unknown(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "without.db"
    spans = [Span(occupancy(DEVICES[2]), START, START + HOUR_MS)]
    with Ledger.open(path) as opened:
        columns = Columns.of(
            entries_of(
                spans, parse_spending(PRICES.replace("energy: [{gramsPerKwh: 380}]", ""), "prices").book
            )
        )
        opened.append(columns, sequence=1, currency="EUR", seen_ms=START + HOUR_MS)
    _, energy, _ = run("energy", *WINDOW, on=("--ledger", path))
    _, carbon, _ = run("carbon", *WINDOW, on=("--ledger", path))
    assert float(energy.splitlines()[-1].split()[3]) > 0
    assert carbon.splitlines()[-1].split() == ["*", "0", "0", "unknown", "0", "0", "unknown"]


def test_a_page_and_parquet_hold_the_same(run: Any, tmp_path: Path) -> None:
    assert run("cost", "-o", "html", "-f", tmp_path / "r.html", *WINDOW)[0] == 0
    assert run("cost", "-o", "parquet", "-f", tmp_path / "r.parquet", *WINDOW)[0] == 0

    assert "<td class=n>240.00</td>" in (tmp_path / "r.html").read_text()
    rows = parquet.read_table(tmp_path / "r.parquet").to_pylist()
    assert sum(row["total.costMicros"] for row in rows) == 240_000_000


def test_focus_rows_add_up_to_the_cost(run: Any, tmp_path: Path) -> None:
    status, out, err = run("focus", *WINDOW)
    rows = list(csv.DictReader(io.StringIO(out)))

    assert status == 0
    assert set(COLUMNS) <= set(rows[0])
    assert sum(float(row["BilledCost"]) for row in rows) == 240.0
    assert {row["BillingCurrency"] for row in rows} == {"EUR"}
    assert "FOCUS 1.3" in err
    assert run("focus", "-o", "parquet", "-f", tmp_path / "f.parquet", *WINDOW)[0] == 0
    assert parquet.read_table(tmp_path / "f.parquet").num_rows == len(rows)


def test_invoices_are_compared_and_met(run: Any) -> None:
    assert run("invoices")[0] == 1
    status, out, _ = run("invoices", "--post")
    assert status == 0
    assert "posted" in out
    status, out, _ = run("invoices", "-o", "json")
    assert status == 0
    assert json.loads(out)["items"][0]["chargedMicros"] == 100_010_000
    assert run("check")[0] == 0


def test_an_invoice_that_cannot_be_divided_says_what_to_do_and_posts_none(run: Any, prices: Path) -> None:
    other = "{name: april, match: {node: n1}, from: 2026-04-01, until: 2026-05-01, amount: 5}"
    prices.write_text(PRICES.replace("100.01}]", f"100.01}}, {other}]"))
    status, out, err = run("invoices", "--post")
    assert (status, out) == (2, "")
    assert err == (
        "error: invoice april: no device time was accounted that it could be divided over; correct its from "
        "and until, or post it with the ledger of that time; nothing was posted\n"
    )
    assert json.loads(run("invoices", "-o", "json")[1])["items"][0]["state"] == "differs"


def test_budgets_of_a_queue_hold_what_is_below_it(run: Any) -> None:
    status, out, _ = run("budgets", "--at", "2026-03-16", "-o", "json")
    items = {item["name"]: item for item in json.loads(out)["items"]}

    assert status == 1
    assert (items["a"]["spentMicros"], items["a"]["reached"]) == (60_000_000, [50])
    assert items["top"]["spentMicros"] == 90_000_000
    assert items["a"]["expectedMicros"] == 60_000_000 * 31 // 15
    _, out, _ = run("budgets", "--at", "2026-03-16", "-o", "metrics")
    assert 'aliquot_budget_spent{budget="a",currency="EUR",period="month"} 60.000000' in out


def test_what_is_there_is_never_shown_as_nothing() -> None:
    assert [least(amount, 100, 2) for amount in (0, 1, 12345, -1)] == ["0", "0.01", "123.45", "-0.01"]
    assert [least(amount, 1000, 2) for amount in (4, -4, 5000)] == ["<0.01", "0.00", "5.00"]
    assert least(1, 1000, 0) == "<1"


@contextlib.contextmanager
def hook(status: int) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A webhook on loopback in a thread of its own, and what it was told."""
    import threading

    told: list[dict[str, Any]] = []
    ready, done = threading.Event(), threading.Event()
    place: list[str] = []

    async def take(request: web.Request) -> web.Response:
        told.append(await request.json())
        return web.Response(status=status)

    async def serve() -> None:
        app = web.Application()
        app.router.add_post("/budget/{secret}", take)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        place.append(f"http://127.0.0.1:{runner.addresses[0][1]}/budget/geheim")
        ready.set()
        await asyncio.to_thread(done.wait)
        await runner.cleanup()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(30)
    try:
        yield place[0], told
    finally:
        done.set()
        thread.join(30)


def test_an_alert_is_posted_once_and_again_only_if_it_was_not_taken(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "hook"
    words = ("budgets", "--at", "2026-03-16", "--webhook-file", file)
    with hook(500) as (url, told):
        file.write_text(url)
        file.chmod(0o600)
        status, _, err = run(*words)
        assert (status, len(told)) == (2, 1)
        assert "webhook 127.0.0.1: answered 500" in err
        assert "geheim" not in err
    with hook(200) as (url, told):
        file.write_text(url)
        assert run(*words)[0] == 1
        assert run(*words)[0] == 1
        assert [(item["budget"], item["levelPercent"]) for item in told] == [("a", 50)]
        assert "60.00 of 70.00 EUR" in told[0]["text"]
    file.chmod(0o644)
    status, _, err = run(*words)
    assert status == 2
    assert "chmod 600" in err


def test_a_journal_can_be_accounted_without_a_ledger(run: Any, tmp_path: Path, prices: Path) -> None:
    made = world(QUEUES + claim("one", "red", "deviceClassName: gpu.nvidia.com") + pod("one", "red", "one"))
    with Journal.open(tmp_path / "journal.db") as journal:
        journal.record(NOW, made.before, Policy(), made.plan)
        for minutes, snapshot in ((1, made.after), (3, made.after), (5, made.before)):
            journal.record(NOW + timedelta(minutes=minutes), snapshot, Policy(), made.plan)

    _, out, _ = run(
        "usage",
        "--by",
        "workload,decision",
        "--where",
        "queue=top",
        "-o",
        "json",
        *WINDOW,
        on=("--journal", tmp_path / "journal.db", "--prices", prices),
    )

    (item,) = json.loads(out)["items"]
    assert item["workload"] == "pod/one"
    assert item["total"]["deviceMilliseconds"] == 4 * 60_000
    assert item["decision"] == made.plan.decisions[0].id


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("cost", "--by", "colour"), "--by colour: there is no such dimension; choose from queue, namespace"),
        (("cost", "--where", "queue"), "--where queue: write DIMENSION=VALUE"),
        (("cost", "--since", "yesterday"), "--since yesterday: is no time; write 30d"),
        (("cost", "--since", "2026-03-02", "--until", "2026-03-01"), "make it the later of the two"),
        (("usage", "--chargeback"), "--chargeback: usage is not charged"),
        (("budgets", "--at", "soon"), "--at: 'soon' is not a time"),
    ],
)
def test_what_is_wrong_is_named_with_the_fix(run: Any, words: tuple[str, ...], problem: str) -> None:
    status, out, err = run(*words)

    assert (status, out) == (2, "")
    assert problem in err


def test_without_a_ledger_or_prices_it_says_how_to_name_one(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("ALIQUOT_LEDGER", raising=False)
    (tmp_path / "ledger.db").rename(tmp_path / "moved.db")

    assert "there is no ledger here; name it with --ledger FILE" in run("cost", on=())[2]
    assert "name it with --prices FILE" in run("budgets", on=())[2]
    monkeypatch.setenv("ALIQUOT_LEDGER", str(tmp_path / "moved.db"))
    assert run("cost", *WINDOW, on=())[0] == 0
    assert os.environ["ALIQUOT_LEDGER"]


async def test_an_alert_is_an_event_on_the_queue(run: Any, tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path / "cluster")
    await server.start()
    try:
        words = ("budgets", "--at", "2026-03-16", "--events", "--kubeconfig", server.kubeconfig)
        status, _, err = await asyncio.to_thread(run, *words)
        assert (status, "told: budget a" in err) == (1, True)
        assert "told" not in (await asyncio.to_thread(run, *words))[2]
        async with Client(load_kubeconfig([server.kubeconfig])) as client:
            found = [
                item async for page in client.pages(EVENTS, "default") for item in json.loads(page)["items"]
            ]
    finally:
        await server.stop()
    (event,) = found
    assert event["regarding"]["kind"] == "Queue"
    assert (event["regarding"]["name"], event["reason"], event["type"]) == (
        "queue-a",
        "BudgetReached",
        "Warning",
    )
    assert "60.00 of 70.00 EUR" in event["note"]
    status, _, err = await asyncio.to_thread(
        run, "budgets", "--at", "2026-04-16", "--events", "--kubeconfig", "/none"
    )
    assert status == 2
