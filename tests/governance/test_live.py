"""Facts and costs from a real store, ledger and cluster; the pages as people serve them."""

import asyncio
import json
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
import yaml
from tests.accounting.test_tokens import call, entry
from tests.agents.test_containment import tenant
from tests.approvals.test_custom_resource import model
from tests.budgets import postgres
from tests.cli.world import Cluster, aliquot

from aliquot.accounting.columns import Columns
from aliquot.agents.guards import Switch
from aliquot.budgets.holding import Hold, Settle
from aliquot.budgets.spending import TokenUse
from aliquot.gateway import reading
from aliquot.gateway.configuration import Configuration, load
from aliquot.gateway.server import open_store
from aliquot.install.cluster import Cluster as Access
from aliquot.kube.client import Client
from aliquot.kube.config import load_kubeconfig
from aliquot.store.budgets import BudgetStore
from aliquot.store.budgets_sqlite import SqliteBudgets
from aliquot.store.ledger import Ledger
from aliquot.store.switches import SwitchFile
from aliquot.web.governance.live import LiveSource
from aliquot.web.governance.pages import UnavailableError

NOW_US = time.time_ns() // 1000
HOUR_MS = 3_600_000

CONFIGURATION = {
    "store": {"sqlite": "budgets.db"},
    "currency": "EUR",
    "upstreams": [{"name": "vllm", "url": "http://127.0.0.1:1/v1", "models": {"llama": "llama"}}],
    "models": [{"name": "llama", "inputPrice": "1", "outputPrice": "2"}],
    "budgets": [
        {
            "name": "company",
            "subject": {"everyone": True},
            "limits": [{"measure": "totalTokens", "amount": 1000, "per": "day"}],
        }
    ],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A gateway's configuration and store with two calls of the last hour, and a ledger of that hour."""
    (tmp_path / "gateway.yaml").write_text(yaml.safe_dump(CONFIGURATION))
    start_ms = NOW_US // 1000 - HOUR_MS
    uses = [
        msgspec.structs.replace(
            call(start_ms, start_ms + HOUR_MS // 2, 300, 100, namespace=namespace, model="llama"),
            request=f"r-{namespace}",
            cost_nano=500_000_000,
        )
        for namespace in ("team-a", "team-b")
    ]
    asyncio.run(_stored(tmp_path / "budgets.db", uses))
    with Ledger.open(tmp_path / "ledger.db") as ledger:
        account = msgspec.structs.replace(entry().account, model="llama")
        made = msgspec.structs.replace(
            entry(start_ms, start_ms + HOUR_MS, cost_micros=4_000_000, energy_mj=1_000_000), account=account
        )
        ledger.append(Columns.of([made]), sequence=1, currency="EUR", seen_ms=start_ms + HOUR_MS)
    return tmp_path


async def _stored(path: Path, uses: list[TokenUse]) -> None:
    await _settled(await SqliteBudgets.open(path), uses)


async def _settled(store: BudgetStore, uses: list[TokenUse]) -> None:
    for use in uses:
        hold = Hold(request=use.request, expires_us=NOW_US + 10**9, least=0, most=0, charges=())
        await store.apply(hold)
        await store.apply(Settle(request=use.request, amounts=(), use=use))
    await store.close()


async def test_spend_joins_calls_with_the_ledger_while_the_gateway_runs(folder: Path) -> None:
    running = await SqliteBudgets.open(folder / "budgets.db")
    with Ledger.open(folder / "ledger.db", read_only=True) as ledger:
        source = LiveSource(
            now_us=lambda: NOW_US + 1000, configuration=load(folder / "gateway.yaml"), ledger=ledger
        )
        spend = await source.spend(7)
        budgets = await source.budgets()
    await running.close()

    assert (spend["calls"], spend["tokens"], spend["price"]) == (2, 800, "1.00")
    assert {row["namespace"]: row["cost"] for row in spend["rows"]} == {"team-a": "1.00", "team-b": "1.00"}
    assert spend["idle"] == {"cost": "2.00", "deviceHours": 0.5}
    assert budgets["budgets"][0]["limits"][0]["limit"] == "1,000"


@pytest.mark.prove
async def test_budgets_and_spend_are_read_from_a_shared_database_too(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with postgres.server() as conninfo:
        (folder / "conninfo").write_text(conninfo)
        shared = CONFIGURATION | {"store": {"postgresqlFile": "conninfo"}}
        (folder / "gateway.yaml").write_text(yaml.safe_dump(shared))
        configuration = load(folder / "gateway.yaml")
        uses = await reading.uses(load_sqlite(folder), 0, NOW_US + 1000)
        await _settled(await open_store(configuration), uses)
        source = LiveSource(now_us=lambda: NOW_US + 1000, configuration=configuration)
        spend, budgets = await source.spend(7), await source.budgets()
        command = ("--config", str(folder / "gateway.yaml"), "-o", "json")
        shown = await asyncio.to_thread(aliquot, capsys, "budgets", "list", *command)
        ledger = ("--ledger", str(folder / "ledger.db"))
        cost = await asyncio.to_thread(aliquot, capsys, "models", "cost", *command, *ledger)
    with pytest.raises(UnavailableError, match="check the gateway's store"):
        await source.budgets()

    assert (spend["calls"], spend["tokens"], spend["price"]) == (2, 800, "1.00")
    assert budgets["budgets"][0]["limits"][0]["limit"] == "1,000"
    assert (shown.code, cost.code) == (0, 0)
    assert {item["namespace"] for item in json.loads(cost.out)["items"] if item} >= {"team-a", "team-b"}


def load_sqlite(folder: Path) -> Configuration:
    (folder / "sqlite.yaml").write_text(yaml.safe_dump(CONFIGURATION))
    return load(folder / "sqlite.yaml")


async def test_what_is_not_given_is_said_not_to_be_there(tmp_path: Path) -> None:
    source = LiveSource(now_us=lambda: NOW_US)
    for part in (source.budgets, source.models, source.agents):
        with pytest.raises(UnavailableError):
            await part()
    gone = Client(load_kubeconfig([_kubeconfig(tmp_path)]))
    async with gone:
        with pytest.raises(UnavailableError, match="does not answer"):
            await LiveSource(now_us=lambda: NOW_US, cluster=Access(gone)).models()


def _kubeconfig(folder: Path) -> Path:
    """Of a cluster that is not there."""
    path = folder / "kubeconfig"
    named: dict[str, Any] = {"name": "x"}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "x",
        "clusters": [{**named, "cluster": {"server": "http://127.0.0.1:9"}}],
        "contexts": [{**named, "context": {"cluster": "x", "user": "x"}}],
        "users": [{**named, "user": {}}],
    }
    path.write_text(yaml.safe_dump(content))
    return path


def test_costs_of_tokens_add_up_to_the_ledger(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = (
        "models",
        "cost",
        "--config",
        str(folder / "gateway.yaml"),
        "--ledger",
        str(folder / "ledger.db"),
    )
    shown = aliquot(capsys, *command)
    table = json.loads(aliquot(capsys, *command, "-o", "json", "--by", "namespace").out)
    full = json.loads(aliquot(capsys, *command, "-o", "json", "--idle=charged", "--by=model").out)

    assert shown.code == 0
    assert "<idle: llama>" in shown.out
    assert table["summary"]["costMicros"] == 4_000_000
    assert [item["costMicros"] for item in table["items"]] == [1_000_000, 1_000_000]
    assert table["summary"]["idle"][0]["costMicros"] == 2_000_000
    assert full["items"][0]["microsPerMillion"] == 4_000_000 * 10**6 // 800
    wrong = aliquot(capsys, *command, "--by", "colour")
    assert (wrong.code, "known are namespace" in wrong.err) == (2, True)


async def test_money_of_the_ledger_is_told_in_its_own_currency(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Models are priced in dollars here, devices in euros; nothing is converted."""
    (folder / "gateway.yaml").write_text(yaml.safe_dump(CONFIGURATION | {"currency": "USD"}))
    configuration = load(folder / "gateway.yaml")
    with Ledger.open(folder / "ledger.db", read_only=True) as ledger:
        source = LiveSource(now_us=lambda: NOW_US + 1000, configuration=configuration, ledger=ledger)
        spend = await source.spend(7)
    command = ("--config", str(folder / "gateway.yaml"), "--ledger", str(folder / "ledger.db"), "-o", "json")
    cost = await asyncio.to_thread(aliquot, capsys, "models", "cost", *command)

    assert (spend["currency"], spend["ledgerCurrency"]) == ("USD", "EUR")
    assert json.loads(cost.out)["summary"]["currency"] == "EUR"


def test_costs_of_no_tokens_say_why_there_are_none(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Calls whose server no ledger knows, and no calls at all."""
    with Ledger.open(folder / "none.db"):
        pass
    command = (
        "models",
        "cost",
        "--config",
        str(folder / "gateway.yaml"),
        "--ledger",
        str(folder / "none.db"),
    )
    elsewhere = aliquot(capsys, *command)
    (folder / "budgets.db").unlink()
    asyncio.run(_stored(folder / "budgets.db", []))
    nobody = aliquot(capsys, *command)

    assert (elsewhere.code, nobody.code) == (1, 1)
    assert elsewhere.err.startswith(
        "2 calls were answered by servers that the ledger does not know; label the"
    )
    assert nobody.err == "nobody called in the last 7 days; --days looks further back\n"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("pages") / "state").running() as running:
        running.apply(yaml.safe_dump_all([model(), tenant()]))
        yield running


async def test_budgets_of_the_cluster_stand_beside_those_of_the_file(cluster: Cluster, folder: Path) -> None:
    taken = {**CONFIGURATION, "cluster": {}, "switches": "stopped.json"}
    (folder / "gateway.yaml").write_text(yaml.safe_dump(taken))
    SwitchFile(folder / "stopped.json").stop(Switch(agent="bot", by="ann", reason="loops", at_us=1))
    limits = [{"measure": "requests", "amount": 5, "per": "day"}]
    spec = {"parent": "company", "subject": {"namespace": "a"}, "limits": limits}
    budget = {"apiVersion": "aliquot.dev/v1alpha1", "kind": "TokenBudget", "metadata": {"name": "a"}}
    cluster.apply(yaml.safe_dump({**budget, "spec": spec}))
    async with Client(load_kubeconfig([cluster.kubeconfig])) as client:
        source = LiveSource(
            now_us=lambda: NOW_US, cluster=Access(client), configuration=load(folder / "gateway.yaml")
        )
        budgets = await source.budgets()
        agents = await source.agents()

    assert [(one["name"], one["depth"]) for one in budgets["budgets"]] == [("company", 0), ("a", 1)]
    assert agents["agents"][0]["agent"] == "bot"


async def test_models_and_agents_come_from_the_cluster(cluster: Cluster) -> None:
    async with Client(load_kubeconfig([cluster.kubeconfig])) as client:
        source = LiveSource(now_us=lambda: NOW_US, cluster=Access(client))
        models = await source.models()
        agents = await source.agents()

    assert [(one["name"], one["state"], one["pods"]) for one in models["models"]] == [
        ("llama-1", "Proposed", 0)
    ]
    assert [one["agent"] for one in agents["agents"]] == ["lab/coder", "lab/reviewer"]


async def test_the_pages_are_served_with_a_token_of_their_own(folder: Path) -> None:
    """As a person runs them: the token is printed once, and opens them."""
    command = [sys.executable, "-m", "aliquot", "models", "page", "--no-cluster", "--port=0"]
    token = folder / "token"
    token.write_text("a-token-long-enough-for-this\n")
    process = await asyncio.create_subprocess_exec(
        *command,
        "--config",
        str(folder / "gateway.yaml"),
        "--token-file",
        str(token),
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "NO_COLOR": "1"},
    )
    assert process.stderr is not None
    try:
        port = ""
        while not port:
            line = (await process.stderr.readline()).decode()
            assert line, "it ended"
            if found := re.search(r"serving http://127.0.0.1:([1-9][0-9]*)/governance", line):
                port = found[1]
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:

            async def ask(method: str, path: str, **options: Any) -> tuple[int, str]:
                url = f"http://127.0.0.1:{port}/{path}"
                async with session.request(method, url, **options) as answer:
                    return answer.status, await answer.text()

            assert (await ask("GET", "api/governance/budgets"))[0] == 401
            form = {"token": "a-token-long-enough-for-this"}
            assert (await ask("POST", "login", data=form))[0] == 200
            status, text = await ask("GET", "api/governance/budgets")
            assert (status, json.loads(text)["budgets"][0]["name"]) == (200, "company")
            assert (await ask("GET", "api/governance/models"))[0] == 503
            assert (await ask("GET", "governance", headers={"Host": "evil.example"}))[0] == 421
    finally:
        process.send_signal(signal.SIGINT)
        await asyncio.wait_for(process.communicate(), 30)


def test_a_page_for_other_machines_says_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = tmp_path / "token"
    short.write_text("short")
    result = aliquot(capsys, "models", "page", "--no-cluster", "--token-file", str(short))
    half = aliquot(capsys, "models", "page", "--certificate", str(short))

    assert (result.code, "at least 20 characters" in result.err) == (2, True)
    assert (half.code, "go together" in half.err) == (2, True)
