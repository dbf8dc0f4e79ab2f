"""Pages of lists, and watches from a list on: nothing is missed and nothing comes twice."""

import pytest
from tests.conformance.resources import Space
from tests.conformance.server import Object


def names(items: list[Object]) -> list[str]:
    return [item["metadata"]["name"] for item in items]


def make(space: Space, *wanted: str) -> None:
    for name in wanted:
        space.create("leases", {"metadata": {"name": name}})


def test_pages_hold_everything_once_at_one_version(space: Space) -> None:
    make(space, *"abcde")
    found: list[str] = []
    versions = set()
    query = "limit=2"
    for remaining in (3, 1, None):
        page = space.do("GET leases", query=query).body
        found += names(page["items"])
        versions.add(page["metadata"]["resourceVersion"])
        assert page["metadata"].get("remainingItemCount") == remaining
        query = f"limit=2&continue={page['metadata'].get('continue', '')}"
    assert found == list("abcde")
    assert len(versions) == 1


def test_pages_do_not_tell_how_much_is_left_where_a_selector_picks(space: Space) -> None:
    make(space, *"abc")
    page = space.do("GET leases", query="limit=1&labelSelector=!x").body["metadata"]
    assert page["continue"]
    assert "remainingItemCount" not in page


def test_a_watch_goes_on_from_a_list(space: Space) -> None:
    make(space, "a", "b")
    version = space.do("GET leases").body["metadata"]["resourceVersion"]
    space.do("PATCH leases/a", {"spec": {"holderIdentity": "x"}}, form="merge")
    space.do("DELETE leases/b")
    make(space, "c")
    events = space.api.watch(
        space.path("leases"), f"resourceVersion={version}", lambda event: event["type"] == "ADDED"
    )
    assert [(event["type"], event["object"]["metadata"]["name"]) for event in events] == [
        ("MODIFIED", "a"),
        ("DELETED", "b"),
        ("ADDED", "c"),
    ]
    assert all(event["object"]["kind"] == "Lease" for event in events)
    at = [int(event["object"]["metadata"]["resourceVersion"]) for event in events]
    assert at == sorted(at)
    assert at[0] > int(version)


def test_a_watch_without_a_version_shows_what_there_is_first(space: Space) -> None:
    make(space, "a", "b")
    seen = space.api.watch(space.path("leases"), "", lambda event: event["object"]["metadata"]["name"] == "b")
    assert [event["type"] for event in seen] == ["ADDED", "ADDED"]


def test_initial_events_end_with_a_bookmark(space: Space) -> None:
    make(space, "a")
    query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    seen = space.api.watch(space.path("leases"), query, lambda event: event["type"] == "BOOKMARK")
    if "RequestWatchProgress" in seen[0]["object"].get("message", ""):
        pytest.skip("the cluster's etcd is too old for initial events in a watch")
    assert [event["type"] for event in seen] == ["ADDED", "BOOKMARK"]
    assert seen[-1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert seen[-1]["object"]["metadata"]["resourceVersion"]


def test_what_stops_matching_a_selector_is_deleted_for_its_watch(space: Space) -> None:
    made = space.create("leases", {"metadata": {"name": "a", "labels": {"x": "1"}}})
    version = made["metadata"]["resourceVersion"]
    space.do("PATCH leases/a", {"metadata": {"labels": {"x": "2"}}}, form="merge")
    space.do("PATCH leases/a", {"metadata": {"labels": {"x": "1"}}}, form="merge")
    query = f"resourceVersion={version}&labelSelector=x%3D1"
    seen = space.api.watch(space.path("leases"), query, lambda event: event["type"] == "ADDED")
    assert [event["type"] for event in seen] == ["DELETED", "ADDED"]


def test_a_watch_ends_when_its_time_is_over(space: Space) -> None:
    version = space.do("GET leases").body["metadata"]["resourceVersion"]
    query = f"resourceVersion={version}&timeoutSeconds=2"
    assert space.api.watch(space.path("leases"), query, lambda event: True) == []


def test_a_version_from_the_future_is_not_there_yet(space: Space) -> None:
    answer = space.do("GET leases", query="resourceVersion=9000000000000000")
    assert (answer.code, answer.reason) == (504, "Timeout")
    causes = answer.body["details"]["causes"]
    assert [cause["reason"] for cause in causes] == ["ResourceVersionTooLarge"]


def test_of_two_writers_with_one_version_the_second_is_refused(space: Space) -> None:
    make(space, "a")
    known = space.get("leases/a")
    first = space.do("PUT leases/a", known | {"spec": {"holderIdentity": "one"}})
    second = space.do("PUT leases/a", known | {"spec": {"holderIdentity": "two"}})
    assert (first.code, second.code, second.reason) == (200, 409, "Conflict")
    assert space.get("leases/a")["spec"]["holderIdentity"] == "one"


def test_a_write_that_changes_nothing_makes_no_new_version(space: Space) -> None:
    make(space, "a")
    before = space.get("leases/a")["metadata"]["resourceVersion"]
    space.do("PATCH leases/a", {"metadata": {}}, form="merge")
    assert space.get("leases/a")["metadata"]["resourceVersion"] == before
