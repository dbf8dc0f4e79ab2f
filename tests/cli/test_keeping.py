"""What the controller keeps beside its decisions, and where other machines may see it."""

import random
import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient
from tests.controller.world import cluster

from aliquot.accounting.budgets import Alert
from aliquot.audit.record import Event, Kind, Outcome, read
from aliquot.cli.automation import automation, left_within_hour, read_automation
from aliquot.cli.controller import _login
from aliquot.cli.failures import Failure
from aliquot.cli.keeping import Choices, books
from aliquot.cli.report_events import EventError, tell_by_event
from aliquot.controller.live import Live
from aliquot.kube.client import Client
from aliquot.kube.config import Connection, load_kubeconfig
from aliquot.kube.transport import Limits
from aliquot.model.meta import ObjectRef
from aliquot.scheduling.policy import Policy
from aliquot.store.audit import AuditLog
from aliquot.store.journal import Journal
from aliquot.store.usage import UsageHistory
from aliquot.web.app import create_app
from aliquot.web.governance.login import digest_of

NOBODY = Connection(server="http://127.0.0.1:9")


def test_the_ledger_lies_beside_the_journal_and_use_is_kept_where_a_source_is_named(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "journal.db") as journal:
        with books(tmp_path, Choices(), journal, Policy()) as kept:
            assert kept.history is None
            assert len(kept.parts(Client(NOBODY), Live())) == 1
        with books(tmp_path, Choices(prometheus="http://127.0.0.1:9"), journal, Policy()) as kept:
            assert kept.history is not None
            assert len(kept.parts(Client(NOBODY), Live())) == 2
    assert (tmp_path / "ledger.db").is_file()
    assert (tmp_path / "usage.db").is_file()


def test_a_wrong_price_book_is_refused_with_its_place(tmp_path: Path) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text("- none\n")
    with (
        Journal.open(tmp_path / "journal.db") as journal,
        pytest.raises(Failure, match=r"prices\.yaml"),
        books(tmp_path, Choices(prices=prices), journal, Policy()),
    ):
        pass


AUTOMATION = """\
idle:
  rules:
  - queues: ["notebooks-*"]
    kinds: [notebook]
    steps: [{step: notify, afterSeconds: 3600}, {step: suspend, afterSeconds: 14400}]
    dryRun: false
sizes:
  queues: [research]
  sizing: {risk: 0.0001}
"""


@pytest.mark.parametrize(
    ("text", "parts"),
    [(AUTOMATION, 4), (AUTOMATION.partition("sizes:")[0], 3), ("", 2)],
    ids=["idle work and sizes", "idle work", "nothing"],
)
def test_what_is_done_unasked_are_parts_of_what_the_leader_does(
    tmp_path: Path, text: str, parts: int
) -> None:
    (tmp_path / "automation.yaml").write_text(text)
    choices = Choices(prometheus="http://127.0.0.1:9", automation=tmp_path / "automation.yaml")
    with Journal.open(tmp_path / "journal.db") as journal:
        with books(tmp_path, choices, journal, Policy()) as kept:
            assert len(kept.parts(Client(NOBODY), Live())) == parts
        assert (tmp_path / "automation.db").is_file()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (AUTOMATION, "give --prometheus URL"),
        ("idle: {rules: [{steps: [{step: kill, afterSeconds: 1}]}]}", "idle.rules"),
        ("idle: {rule: []}", "idle"),
        ("sizes: {sizing: {risk: 2}}", "is no probability"),
        ("sizes: {sizing: {isolation: some}}", "isolation"),
        ("idle: {rules: [{atOnce: -1}]}", "below 0"),
        ("idle: [", "is not valid YAML"),
    ],
)
def test_a_wrong_policy_is_refused_with_its_place(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "automation.yaml").write_text(text)
    with (
        Journal.open(tmp_path / "journal.db") as journal,
        pytest.raises(Failure, match=problem),
        books(tmp_path, Choices(automation=tmp_path / "automation.yaml"), journal, Policy()),
    ):
        pass


def test_how_many_left_within_the_hour_is_known_after_a_restart(tmp_path: Path) -> None:
    now = 1_790_000_000_000_000
    event = Event(
        event="1", time_us=now - 1_000_000, kind=Kind.DEVICE, outcome=Outcome.DONE, action="idle-suspend"
    )
    failed = replace(event, event="2", outcome=Outcome.FAILED)
    told = replace(event, event="3", action="idle-notify")
    before = replace(event, event="4", time_us=now - 3_700_000_000)
    with AuditLog.open(tmp_path / "automation.db") as log:
        log.record([before, event, failed, told])
    with AuditLog.open(tmp_path / "automation.db") as log:
        assert left_within_hour(log, now) == ((now - 1_000_000) // 1000,)


async def test_a_budget_that_is_spent_is_an_event_on_its_queue(tmp_path: Path) -> None:
    alert = Alert(
        budget="red",
        start=datetime(2026, 11, 1, tzinfo=UTC),
        level=80,
        spent_micros=8,
        amount_micros=10,
        currency="EUR",
        selects=(("queue", "red"),),
    )
    async with (
        cluster(tmp_path, random.Random(1)) as running,
        Client(load_kubeconfig([running.server.controller_kubeconfig])) as client,
    ):
        await tell_by_event(client, alert)
        registry = running.server.registry
        (event,) = registry.list(registry.resources.named("events", "events.k8s.io"))[0]
        assert (event["type"], event["reason"]) == ("Warning", "BudgetReached")
        assert event["regarding"] | {"kind": "Queue", "name": "red"} == event["regarding"]
    async with Client(NOBODY, limits=Limits(attempts=1)) as nobody:
        with pytest.raises(EventError, match="budget red"):
            await tell_by_event(nobody, alert)


@pytest.mark.parametrize(("host", "refused"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_a_page_that_other_machines_reach_needs_a_token(host: str, refused: bool) -> None:
    with socket.socket() as listener:
        listener.bind((host, 0))
        if refused:
            with pytest.raises(Failure, match="--web-token-file"):
                _login(listener, None)
        else:
            assert _login(listener, None) == ""


def test_with_a_token_nothing_is_seen_before_the_login() -> None:
    app = create_app(Live(), login=digest_of("secret" * 8))
    client = TestClient(app, base_url="http://localhost")
    assert client.get("/api/devices").status_code == 401
    assert client.get("/", headers={"accept": "text/html"}, follow_redirects=False).status_code == 303


def test_the_policy_in_the_documentation_is_one(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "automation.md").read_text()
    path = tmp_path / "automation.yaml"
    path.write_text(text.split("```yaml\n")[1].split("```")[0])
    found = read_automation(path)
    assert [step.step.value for step in found.idle.rules[0].steps] == ["notify", "suspend"]
    assert found.sizes.covers("research-a")
    assert not found.sizes.covers("team")
    assert not found.sizes.dry_run


async def test_what_is_done_unasked_is_counted_and_recorded(tmp_path: Path) -> None:
    (tmp_path / "automation.yaml").write_text(AUTOMATION)
    registry = CollectorRegistry()
    with (
        UsageHistory.open(tmp_path / "usage.db") as history,
        automation(tmp_path / "automation.yaml", tmp_path, history, lambda report: {}) as found,
    ):
        assert found is not None
        async with Client(NOBODY) as nobody:
            parts = found.parts(nobody, Live(), Policy(), registry)
            culler = parts[0].__self__  # type: ignore[attr-defined]
            ref = ObjectRef(kind="Deployment", namespace="team", name="chat", uid="u")
            culler._unasked.record(ref, "idle-suspend", "idle for 4h", queue="team")
        found.log.flush()
        (stored,) = found.log.records()
    body = read(stored.body)
    assert (body.action, body.reason, body.asked) == ("idle-suspend", "IdleSuspend", "deployment/chat")
    assert body.details == {"why": "idle for 4h"}
    labels = {"action": "idle-suspend", "outcome": "done"}
    assert registry.get_sample_value("aliquot_unasked_changes_total", labels) == 1
