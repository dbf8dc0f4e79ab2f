"""Watches: order, selectors, bookmarks, expiry, slow readers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aliquot.embedded.changes import Change, ChangeLog, Stored
from aliquot.embedded.status import StatusError
from aliquot.embedded.watching import BOOKMARK_SECONDS, Filter, seen_through

Object = dict[str, Any]


def config_map(name: str, **labels: str) -> Object:
    return {"metadata": {"name": name, "labels": labels}}


async def take(events: AsyncIterator[Object], count: int) -> list[tuple[str, str]]:
    found = []
    async with asyncio.timeout(5):
        for _ in range(count):
            event = await anext(events)
            found.append((event["type"], event["object"]["metadata"].get("name", "")))
    return found


async def test_a_watch_shows_the_state_first_and_then_each_change(api: Any) -> None:
    api.create("configmaps", config_map("a"))
    events = api.registry.watch(api.resource("configmaps"))
    assert await take(events, 1) == [("ADDED", "a")]
    api.create("configmaps", config_map("b"))
    api.patch("configmaps", "a", "merge", {"data": {"x": "y"}})
    api.delete("configmaps", "a")
    assert await take(events, 3) == [("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "a")]


async def test_a_watch_from_a_list_misses_nothing_and_repeats_nothing(api: Any) -> None:
    api.create("configmaps", config_map("a"))
    _, version, _ = api.registry.list(api.resource("configmaps"))
    api.create("configmaps", config_map("b"))
    events = api.registry.watch(api.resource("configmaps"), since=int(version))
    api.create("configmaps", config_map("c"))
    assert await take(events, 2) == [("ADDED", "b"), ("ADDED", "c")]


async def test_a_deletion_carries_a_new_version(api: Any) -> None:
    made = api.create("configmaps", config_map("a"))
    events = api.registry.watch(api.resource("configmaps"), since=int(made["metadata"]["resourceVersion"]))
    api.delete("configmaps", "a")
    event = await anext(events)
    assert event["object"]["metadata"]["resourceVersion"] == str(api.registry.version)


async def test_an_object_that_stops_matching_is_deleted_for_a_selector(api: Any) -> None:
    events = api.registry.watch(api.resource("configmaps"), label_selector="team=a")
    api.create("configmaps", config_map("x", team="a"))
    api.create("configmaps", config_map("y", team="b"))
    assert await take(events, 1) == [("ADDED", "x")]
    api.patch("configmaps", "x", "merge", {"metadata": {"labels": {"team": "b"}}})
    api.patch("configmaps", "y", "merge", {"metadata": {"labels": {"team": "a"}}})
    api.patch("configmaps", "y", "merge", {"data": {"k": "v"}})
    assert await take(events, 3) == [("DELETED", "x"), ("ADDED", "y"), ("MODIFIED", "y")]


async def test_a_watch_of_one_namespace_sees_no_other(api: Any) -> None:
    api.create("namespaces", {"metadata": {"name": "other"}})
    events = api.registry.watch(api.resource("configmaps"), "other")
    api.create("configmaps", config_map("a"))
    api.create("configmaps", config_map("b"), namespace="other")
    assert await take(events, 1) == [("ADDED", "b")]


async def test_initial_events_end_with_an_annotated_bookmark(api: Any) -> None:
    api.create("configmaps", config_map("a"))
    events = api.registry.watch(api.resource("configmaps"), bookmarks=True, send_initial_events=True)
    assert await take(events, 1) == [("ADDED", "a")]
    mark = await anext(events)
    assert mark["type"] == "BOOKMARK"
    assert mark["object"]["kind"] == "ConfigMap"
    assert mark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert mark["object"]["metadata"]["resourceVersion"] == str(api.registry.version)


async def test_bookmarks_tell_the_newest_version_of_an_idle_watch(api: Any) -> None:
    watch = api.registry.open_watch(api.resource("configmaps"), bookmarks=True, bookmark_seconds=0.01)
    batches = watch.batches()
    api.create("secrets", {"metadata": {"name": "s"}})
    items = await anext(batches)
    assert (items[0].type, items[0].version) == (None, api.registry.version)
    assert BOOKMARK_SECONDS > 1


async def test_an_old_version_is_expired_after_compaction(api: Any) -> None:
    first = api.create("configmaps", config_map("a"))
    api.create("configmaps", config_map("b"))
    api.registry.compact()
    with pytest.raises(StatusError) as caught:
        api.registry.watch(api.resource("configmaps"), since=int(first["metadata"]["resourceVersion"]))
    assert (caught.value.code, caught.value.reason) == (410, "Expired")


async def test_a_reader_that_falls_behind_the_log_is_told_so(api: Any) -> None:
    resource = api.resource("configmaps")
    events = api.registry.watch(resource)
    api.create("configmaps", config_map("a"))
    assert await take(events, 1) == [("ADDED", "a")]
    api.create("configmaps", config_map("b"))
    api.create("configmaps", config_map("c"))
    api.registry.log(resource).compact()
    with pytest.raises(StatusError) as caught:
        await anext(events)
    assert caught.value.code == 410


async def test_closing_the_registry_ends_watches(api: Any) -> None:
    events = api.registry.watch(api.resource("configmaps"))
    waiting = asyncio.ensure_future(anext(events, None))
    await asyncio.sleep(0)
    api.registry.close()
    assert await asyncio.wait_for(waiting, 5) is None


async def test_a_watch_ends_after_its_time(api: Any) -> None:
    watch = api.registry.open_watch(api.resource("configmaps"))
    async with asyncio.timeout(5):
        assert [batch async for batch in watch.batches(0.01)] == []


def stored(version: int, team: str) -> Stored:
    return Stored("default", "x", version, b"{}", {"team": team})


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=30), st.integers(0, 40), st.integers(1, 8))
@settings(max_examples=60, deadline=None)
def test_the_log_gives_exactly_what_came_after_a_version_or_says_it_cannot(
    teams: list[str], since: int, window: int
) -> None:
    log = ChangeLog(0, window)
    before = None
    changes = []
    for index, team in enumerate(teams):
        after = stored(2 * index + 2, team)
        changes.append(Change("MODIFIED" if before else "ADDED", after.version, after, before))
        log.append(changes[-1])
        before = after
    position = log.position_after(since)
    if position is None:
        assert since < log.compacted
    else:
        assert log.read(position) == [change for change in changes if change.version > since]


@given(st.lists(st.sampled_from("ab-"), max_size=20))
@settings(max_examples=60, deadline=None)
def test_a_filtered_watch_ends_with_the_state_that_a_filtered_list_shows(steps: list[str]) -> None:
    """``-`` deletes the object; replaying the events must give what is there and matches."""
    from aliquot.embedded.selectors import parse_label_selector

    selected = Filter(labels=parse_label_selector("team=a"))
    current: Stored | None = None
    present = False
    for version, step in enumerate(steps, 1):
        before = current
        if step == "-":
            if before is None:
                continue
            change = Change("DELETED", version, before, before)
            current = None
        else:
            current = stored(version, step)
            change = Change("MODIFIED" if before else "ADDED", version, current, before)
        item = seen_through(change, selected)
        if item is not None:
            assert present is (item.type != "ADDED")
            present = item.type != "DELETED"
    assert present is (current is not None and current.labels["team"] == "a")
