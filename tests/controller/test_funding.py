"""Funds are read from budgets and prices; what cannot be read leaves nobody with money, and replays agree."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import msgspec
import pytest
from tests.controller.test_loop import OWNING, Record, plan_for_a_pod
from tests.controller.world import cluster as world_of
from tests.controller.world import until
from tests.kube.times import VirtualClock
from tests.scheduling.builders import NOW, cluster, gpu_node, node, queue
from tests.scheduling.test_means import model, reasons

from aliquot.accounting.budgets import Budget, Period, budget_state
from aliquot.accounting.prices import Basis, Match, Price, PriceBook
from aliquot.cli.replay import replayed
from aliquot.controller import funding as funding_module
from aliquot.controller import loop as loop_module
from aliquot.controller.enact import Enactor
from aliquot.controller.funding import STALE_SECONDS, Funding, spending_purses
from aliquot.controller.live import Live
from aliquot.controller.loop import Loop
from aliquot.controller.run import ControllerConfig, run
from aliquot.controller.writing import Writer
from aliquot.embedded.hooks import SYSTEM
from aliquot.kube.client import Client
from aliquot.kube.clock import SystemClock
from aliquot.kube.config import Connection, load_kubeconfig
from aliquot.kube.mirror import Mirror
from aliquot.kube.resources import CONFIG_MAPS, Resource
from aliquot.manifests import NAMESPACE
from aliquot.model.funds import CONFIG_MAP, VALID, FundsSpec, NodeRate, Purse, read, written
from aliquot.model.verdicts import Reason
from aliquot.scheduling.decide import decide
from aliquot.scheduling.policy import Policy
from aliquot.store.journal import Journal

UNIT = 10**6
NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
TERMS = FundsSpec(hours=2, currency="EUR")


def book(*prices):
    return PriceBook(currency="EUR", prices=prices, catalogue=False)


def price(node, micros, *, per_device=True):
    match = Match(node=node)
    return Price(name=node, match=match, basis=Basis.OWN, micros_per_hour=micros, per_device=per_device)


class Source:
    def __init__(self, *purses):
        self.purses = purses
        self.problem = None

    async def __call__(self):
        if self.problem is not None:
            raise self.problem
        return self.purses


def funding(snapshot, prices, *sources, clock=None):
    return Funding(TERMS, prices, sources, lambda: snapshot, clock or VirtualClock())


SOME = cluster(gpu_node("n"))


async def spec(funding, snapshot):
    await funding.look()
    (funds,) = funding.attach(snapshot).funds
    return funds.spec


async def test_nodes_cost_what_the_price_book_says_by_the_device():
    snapshot = cluster(
        gpu_node("a", 8), gpu_node("b", 8), gpu_node("c", 2), node("d", **{"nvidia.com/gpu": 4}), node("e")
    )
    prices = book(price("c", 5 * UNIT, per_device=False), price("d", 7), price("*", 3 * UNIT))
    found = await spec(funding(snapshot, prices), snapshot)

    assert found.rate == 3 * UNIT
    assert found.rates == (NodeRate(node="c", micros=5 * UNIT // 2), NodeRate(node="d", micros=7))


async def test_before_nodes_are_known_nobody_has_money():
    found = await spec(funding(cluster(), book(), Source(Purse(name="apps", left=1))), cluster())

    assert found.unread == "no nodes are known yet"


async def test_of_two_sources_the_first_names_a_purse():
    first = Source(Purse(name="apps", left=1))
    second = Source(Purse(name="apps", left=2), Purse(name="more", left=3))
    found = await spec(funding(SOME, book(), first, second), SOME)

    assert [(purse.name, purse.left) for purse in found.purses] == [("apps", 1), ("more", 3)]


async def test_what_was_read_last_holds_for_a_minute_then_nobody_has_money():
    clock, source = VirtualClock(), Source(Purse(name="apps", left=1))
    made = funding(SOME, book(), source, clock=clock)
    assert made.attach(SOME).funds[0].spec.unread
    assert not (await spec(made, SOME)).unread

    source.problem = OSError("the store does not answer")
    clock.advance(STALE_SECONDS)
    assert not (await spec(made, SOME)).unread
    clock.advance(1)
    assert (await spec(made, SOME)).unread == "the store does not answer"

    source.problem = None
    assert (await spec(made, SOME)).purses == source.purses


async def test_the_funds_stay_the_same_object_while_nothing_changes():
    made = funding(SOME, book(), Source(Purse(name="apps", left=1)))
    await made.look()
    first = made.attach(SOME).funds
    await made.look()

    assert made.attach(SOME).funds is first


def test_budgets_of_the_price_book_about_queues_and_namespaces_are_purses():
    def state(name, *selects):
        budget = Budget(name=name, selects=selects, period=Period.MONTH, amount_micros=10)
        return budget_state(budget, 4, datetime(2026, 1, 5, tzinfo=UTC))

    found = spending_purses(
        [
            state("q", ("queue", "apps")),
            state("both", ("queue", "apps"), ("namespace", "lab")),
            state("owner", ("owner", "ann")),
            state("all"),
        ]
    )

    assert found == (
        Purse(name="q", queue="apps", left=6),
        Purse(name="both", queue="apps", namespace="lab", left=6),
        Purse(name="all", everyone=True, left=6),
    )


async def test_a_decision_about_money_is_replayed_from_the_journal(tmp_path: Path):
    snapshot = cluster(queue("default"), gpu_node("n"), model("a", 6), model("b", 2, created=1))
    made = funding(
        snapshot, book(price("*", UNIT)), Source(Purse(name="apps", queue="default", left=5 * UNIT))
    )
    await made.look()
    seen = made.attach(snapshot)
    plan = decide(seen, Policy(), NOW)
    assert reasons(plan) == {"a": Reason.BUDGET_EXHAUSTED}

    with Journal.open(tmp_path / "journal.db") as journal:
        journal.record(NOW, seen, Policy(), plan)
        (info,) = journal.records()
        recorded = journal.recorded(info.id)

    assert recorded.snapshot.funds == seen.funds
    assert replayed(recorded).differences == ()


async def test_the_loop_decides_about_and_records_the_snapshot_with_funds(
    client: Client, mirror: Mirror, writer: Writer
) -> None:
    plan = await plan_for_a_pod(client, mirror)
    made = funding(SOME, book(), Source(Purse(name="apps", left=1)))
    await made.look()
    record, live, seen = Record(), Live(), []

    def choose(snapshot, policy, now):
        seen.append(snapshot.funds[0].spec.purses)
        return plan

    await Loop(
        mirror=mirror,
        decide=choose,
        policy=OWNING,
        enactor=Enactor(writer),
        recorder=record,
        reports=record,
        live=live,
        clock=client.clock,
        randomness=random.Random(1),
        funds=made.attach,
    ).cycle()

    assert seen == [(Purse(name="apps", left=1),)]
    assert live.snapshot.funds == made.attach(SOME).funds
    assert record.plans == [plan]


async def test_commands_beside_the_controller_decide_within_the_same_funds(
    client: Client, connection: Connection, mirror: Mirror, tmp_path: Path
) -> None:
    kept = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": CONFIG_MAP}}
    home = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    await client.create(NAMESPACES, home)
    await client.create(CONFIG_MAPS, kept, NAMESPACE)
    made = funding(SOME, book(), Source(Purse(name="apps", left=1)), clock=OneLook())
    with pytest.raises(asyncio.CancelledError):
        await made.run(client)
    stored = msgspec.json.decode(await client.get(CONFIG_MAPS, CONFIG_MAP, NAMESPACE))["data"]

    assert (read(stored, datetime(2026, 1, 1, tzinfo=UTC)),) == made.attach(SOME).funds
    assert read(stored, datetime(2026, 1, 1, tzinfo=UTC) + VALID + timedelta(seconds=1)) is None
    before = mirror.version
    mirror.have(made.attach(SOME).funds)
    assert mirror.version > before
    assert mirror.snapshot().funds == made.attach(SOME).funds


class OneLook(VirtualClock):
    """Time ends with the first wait."""

    async def sleep(self, seconds: float) -> None:
        raise asyncio.CancelledError


@pytest.mark.parametrize("data", [{}, {"funds": ""}, {"funds": "[]"}, {"funds": '{"writtenAt": "x"}'}])
def test_what_is_no_funds_is_none(data: dict[str, str]) -> None:
    assert read(data, datetime(2026, 1, 1, tzinfo=UTC)) is None


def test_funds_that_no_config_map_takes_are_not_written() -> None:
    rates = tuple(NodeRate(node="n" * 250, micros=number) for number in range(5000))
    with pytest.raises(ValueError, match="a ConfigMap takes"):
        written(FundsSpec(rates=rates), datetime(2026, 1, 1, tzinfo=UTC))


def serving(name: str, size: int) -> dict[str, object]:
    """A Job of so many pods that serve a model with one device each."""
    spec = {
        "restartPolicy": "Never",
        "priorityClassName": "aliquot-default",
        "containers": [{"name": "main", "image": "none", "resources": {"requests": {"cpu": "100m"}}}],
        "resourceClaims": [{"name": "a", "resourceClaimTemplateName": "gpus-1"}],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {
            "parallelism": size,
            "completions": size,
            "template": {"metadata": {"labels": {"aliquot.dev/model": name}}, "spec": spec},
        },
    }


async def test_devices_and_money_are_given_and_given_back_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(funding_module, "SECONDS", 0.1)
    monkeypatch.setattr(loop_module, "MONEY_SECONDS", 0.1)
    source = Source(Purse(name="steady", namespace="steady", left=3))
    terms, stop, live = FundsSpec(hours=1), asyncio.Event(), Live()
    made = Funding(terms, book(price("*", 1)), [source], lambda: live.snapshot, SystemClock())
    async with world_of(tmp_path, random.Random(1)) as running:
        registry = running.server.registry
        jobs, pods = (registry.resources.named(*name) for name in (("jobs", "batch"), ("pods", "")))

        def has(name: str, *, devices: bool = True) -> bool:
            found = [pod for pod in registry.list(pods)[0] if pod["metadata"]["name"].startswith(name)]
            if devices:
                return len(found) == 2 and all(pod["spec"].get("nodeName") for pod in found)
            conditions = [one for pod in found for one in pod["status"].get("conditions", ())]
            return [one["reason"] for one in conditions].count("BudgetExhausted") == 2

        config = ControllerConfig(load_kubeconfig([running.server.controller_kubeconfig]), identity="a")
        with Journal.open(tmp_path / "journal.db") as journal:
            task = asyncio.create_task(
                run(
                    config,
                    Policy(),
                    journal=journal,
                    stop=stop,
                    live=live,
                    parts=lambda client: [partial(made.run, client)],
                    funds=made.attach,
                )
            )
            running.load.create("jobs.batch", "steady", serving("one", 2))
            assert await until(lambda: has("one"), 30), live.plan
            running.load.create("jobs.batch", "steady", serving("two", 2))
            assert await until(lambda: has("two", devices=False), 30), live.plan
            registry.delete(jobs, "steady", "one", SYSTEM)
            assert await until(lambda: has("two"), 30), live.plan
            running.load.create("jobs.batch", "steady", serving("three", 2))
            assert await until(lambda: has("three", devices=False), 30), live.plan
            source.purses = (Purse(name="steady", namespace="steady", left=4),)
            assert await until(lambda: has("three"), 30), live.plan
            stop.set()
            await asyncio.wait_for(task, 20)
            recorded = [journal.recorded(info.id) for info in journal.records()]

        assert all(replayed(one).differences == () for one in recorded)
        assert running.witness.broken == []
