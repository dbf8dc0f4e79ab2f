"""The stream tells a page everything once and then only what changes; pages that lag start over."""

import asyncio
import functools
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.inventory.world import NOW
from tests.web.world import Reader, plan_of, scene, served, stream, two_teams, without

from aliquot.controller.live import Live
from aliquot.inventory.report import Report
from aliquot.model.snapshot import Snapshot
from aliquot.scheduling.decide import decide
from aliquot.scheduling.plan import Plan
from aliquot.scheduling.policy import Policy
from aliquot.store.journal import Journal
from aliquot.web import feed as feeding
from aliquot.web.changes import changes, everything
from aliquot.web.feed import Feed
from aliquot.web.view import View, number_queues, view


async def test_a_page_is_told_everything_at_first() -> None:
    live, world = Live(), scene()
    live.publish(world.after, plan_of(world.after))
    async with served(live) as url, stream(url) as events:
        known = await events.until(1)

    assert [name for name, _ in known.seen] == ["layout", "queues", "waiting", "leaving", "summary"]
    assert known.summary["devices"] == 24
    assert known.summary["allocated"] == "6.1"
    assert known.summary["running"] == 3
    assert known.summary["waiting"] == 1
    assert len(known.cells) == 24
    assert [node[0] for node in known.layout["nodes"]] == ["plain-0", "plain-1", "split-0"]
    assert set(known.queues) == {"top", "red", "blue"}
    red = known.queues["red"]
    assert (red["used"], red["quota"], red["share"], red["shareText"]) == (4, 4, 8, "8")
    assert (red["wanted"], red["balance"]) == ("6", "4 under")
    assert known.leaving == {}
    (waiting,) = known.waiting.values()
    assert waiting["name"] == "job/huge"
    assert waiting["reason"] == "OverLimit"
    assert "limit" in waiting["sentence"]
    assert "limit" in waiting["fix"]


async def test_who_leaves_by_the_last_plan_and_who_waits_for_it() -> None:
    live, state = Live(), two_teams()
    live.publish(state, decide(state, Policy(every_pod=True), NOW))
    async with served(live) as url, stream(url) as events:
        known = await events.until(1)

    (leaves,) = known.leaving.values()
    assert leaves["key"] == "research/sweep-2"
    assert (leaves["queue"], leaves["node"], leaves["devices"]) == ("research", "gpu-0", "4")
    assert (leaves["for"], leaves["forQueue"], leaves["reason"]) == ("pod/model", "serving", "Reclaimed")
    assert leaves["lost"]
    (waiting,) = known.waiting.values()
    assert (waiting["reason"], waiting["position"]) == ("RoomPromised", 1)
    assert known.queues["research"]["balance"] == "4 over"


async def test_only_what_changes_is_told_and_leads_to_the_same_page() -> None:
    live, world = Live(), scene()
    live.publish(world.after, plan_of(world.after))
    async with served(live) as url, stream(url) as events:
        await events.until(1)
        events.reader.seen.clear()
        later = without(world.after, "train")
        live.publish(later, plan_of(later, 2))
        known = await events.until(2)
        async with stream(url) as fresh:
            expected = await fresh.until(2)

    assert {name for name, _ in known.seen} <= {
        "cells",
        "queues",
        "waiting",
        "summary",
        "layout",
        "decisions",
    }
    assert known.known == expected.known


async def test_decisions_are_heard_as_they_are_recorded(tmp_path: Path) -> None:
    live, world = Live(), scene()
    live.publish(world.after, plan_of(world.after))
    with Journal.open(tmp_path / "journal.db") as journal:
        journal.record(NOW, world.before, Policy(), world.plan)
        async with served(live, journal) as url, stream(url) as events:
            while len(events.reader.decisions) < 4:
                await events.next()
            names = [item["name"] for item in events.reader.decisions]
            assert sorted(names) == ["job/huge", "job/slice", "job/train", "job/tune"]
            later = without(world.after, "train")
            plan = plan_of(later, 2)
            await asyncio.to_thread(journal.record, NOW + timedelta(seconds=2), later, Policy(), plan)
            known = len(events.reader.decisions)
            while len(events.reader.decisions) == known:
                await events.next()

    newest = events.reader.decisions[-1]
    assert (newest["name"], newest["outcome"]) == ("job/huge", "Placed")


@functools.cache
def left(gone: frozenset[str]) -> tuple[Snapshot, Plan]:
    """The scene without some jobs, and what is decided on it."""
    state = scene().after
    for job in gone:
        state = without(state, job)
    return state, plan_of(state)


def shown(gone: frozenset[str], numbers: dict[str, int], version: int) -> tuple[View, dict[str, int]]:
    report = Report.of(*left(gone), Policy())
    numbers = number_queues(report, numbers)
    return view(report, version, numbers), numbers


@given(st.lists(st.sets(st.sampled_from(["train", "tune", "slice", "huge"])), min_size=1, max_size=5))
@settings(max_examples=25, deadline=None)
def test_changes_always_lead_to_the_next_view(series: list[set[str]]) -> None:
    known, numbers = Reader(), {"": 1}
    before, numbers = shown(frozenset(), numbers, 0)
    for name, data in everything(before):
        known.apply(name, json_like(data))
    for version, gone in enumerate(series, 1):
        after, numbers = shown(frozenset(gone), numbers, version)
        for name, data in changes(before, after):
            known.apply(name, json_like(data))
        fresh = Reader()
        for name, data in everything(after):
            fresh.apply(name, json_like(data))
        assert known.known == fresh.known
        before = after


def json_like(data: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(data))


async def test_nothing_is_computed_while_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    computed = 0
    of = Report.of

    def counted(*arguments: Any, **options: Any) -> Report:
        nonlocal computed
        computed += 1
        return of(*arguments, **options)

    monkeypatch.setattr(Report, "of", staticmethod(counted))
    live, world = Live(), scene()
    async with served(live) as url:
        for _ in range(3):
            live.publish(world.after, plan_of(world.after))
            await asyncio.sleep(0)
        assert computed == 0
        async with stream(url) as events:
            await events.until(3)

    assert computed == 1


async def test_a_page_that_lags_behind_is_told_everything_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeding, "BACKLOG", 2)
    live, world = Live(), scene()
    live.publish(world.after, plan_of(world.after))
    with Journal.open(tmp_path / "journal.db") as journal:
        feed = Feed(live, journal, Policy())
        running = asyncio.create_task(feed.run())
        events = feed.events()

        async def names(last: bytes) -> list[bytes]:
            found: list[bytes] = []
            async with asyncio.timeout(20):
                while last not in found:
                    found.append((await anext(events)).split(b"\n")[0])
            return found

        whole = await names(b"event: decisions")
        for second in range(5):
            plan = world.plan if second % 2 else plan_of(world.before, second)
            await asyncio.to_thread(
                journal.record, NOW + timedelta(seconds=second), world.before, Policy(), plan
            )
        again = await names(b"event: decisions")
        await events.aclose()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    assert whole[0] == b"event: layout"
    assert again == whole
    assert feed.readers == 0


@functools.cache
def moved(gone: frozenset[str]) -> tuple[Snapshot, Plan]:
    """The same with the namespace red in the queue blue."""
    state, _ = left(gone)
    replace = msgspec.structs.replace
    labels = {"aliquot.dev/queue": "blue"}
    state = replace(
        state,
        namespaces=tuple(
            item
            if item.name != "red"
            else replace(item, metadata=replace(item.metadata, labels={**item.metadata.labels, **labels}))
            for item in state.namespaces
        ),
    )
    return state, plan_of(state)


@given(st.lists(st.sets(st.sampled_from(["train", "tune", "slice", "huge"])), min_size=1, max_size=5))
@settings(max_examples=25, deadline=None)
def test_taking_over_what_is_unchanged_shows_the_same_as_starting_afresh(series: list[set[str]]) -> None:
    numbers = {"": 1, "top": 2, "red": 3, "blue": 4}
    report, seen = None, None
    for version, gone in enumerate(series):
        state, plan = moved(frozenset(gone - {"huge"})) if "huge" in gone else left(frozenset(gone))
        before = (report, seen) if report is not None and seen is not None else None
        fresh = Report.of(state, plan, Policy())
        report = Report.of(state, plan, Policy(), previous=report)
        seen = view(report, version, numbers, before)
        assert report.devices == fresh.devices
        assert seen == view(fresh, version, numbers)
