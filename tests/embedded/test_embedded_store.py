"""State over restarts."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from aliquot.embedded.registry import SYSTEM, Registry
from aliquot.embedded.status import StatusError
from aliquot.embedded.storage import Row, Store, StoreFormatError


def open_registry(path: Path, clock: Any, api: Any) -> Registry:
    return Registry(Store(path), clock, api.registry.uid)


def test_objects_and_versions_survive_a_restart(tmp_path: Path, clock: Any, api: Any) -> None:
    first = open_registry(tmp_path / "state.db", clock, api)
    maps = first.resources.named("configmaps")
    kept = first.create(maps, "default", {"metadata": {"name": "a"}, "data": {"x": "1"}}, SYSTEM)
    first.create(maps, "default", {"metadata": {"name": "b"}}, SYSTEM)
    first.delete(maps, "default", "b", SYSTEM)
    version = first.version
    first.store.close()

    second = open_registry(tmp_path / "state.db", clock, api)
    assert second.version == version
    assert second.get(maps, "default", "a") == kept
    assert second.find(maps, "default", "b") is None
    assert second.list(maps, label_selector="x!=y")[0] == [kept]
    made = second.create(maps, "default", {"metadata": {"name": "c"}}, SYSTEM)
    assert int(made["metadata"]["resourceVersion"]) == version + 1
    second.store.close()


def test_a_watch_from_the_newest_version_goes_on_after_a_restart(
    tmp_path: Path, clock: Any, api: Any
) -> None:
    first = open_registry(tmp_path / "state.db", clock, api)
    maps = first.resources.named("configmaps")
    old = first.version
    first.create(maps, "default", {"metadata": {"name": "a"}}, SYSTEM)
    newest = first.version
    first.store.close()
    second = open_registry(tmp_path / "state.db", clock, api)
    assert second.open_watch(maps, since=newest)
    with pytest.raises(StatusError) as caught:
        second.open_watch(maps, since=old)
    assert caught.value.code == 410
    second.store.close()


def test_custom_kinds_are_served_again_after_a_restart(tmp_path: Path, clock: Any, api: Any) -> None:
    first = open_registry(tmp_path / "state.db", clock, api)
    definitions = first.resources.named("customresourcedefinitions", "apiextensions.k8s.io")
    schema = {"openAPIV3Schema": {"type": "object"}}
    spec = {
        "group": "example.com",
        "scope": "Cluster",
        "names": {"plural": "things", "kind": "Thing"},
        "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
    }
    first.create(definitions, None, {"metadata": {"name": "things.example.com"}, "spec": spec}, SYSTEM)
    first.store.close()
    second = open_registry(tmp_path / "state.db", clock, api)
    assert second.resources.find("example.com", "v1", "things") is not None
    second.store.close()


def test_a_bulk_load_is_one_transaction_and_keeps_what_came_before_an_error(
    tmp_path: Path, clock: Any, api: Any
) -> None:
    registry = open_registry(tmp_path / "state.db", clock, api)
    maps = registry.resources.named("configmaps")

    def load() -> None:
        with registry.bulk():
            for name in ("a", "b", "B"):
                registry.create(maps, "default", {"metadata": {"name": name}}, SYSTEM)

    with pytest.raises(StatusError):
        load()
    version = registry.version
    registry.store.close()
    again = open_registry(tmp_path / "state.db", clock, api)
    assert [one["metadata"]["name"] for one in again.list(maps)[0]] == ["a", "b"]
    assert again.version == version
    again.store.close()


def test_another_process_sees_writes_at_once(tmp_path: Path, clock: Any, api: Any) -> None:
    """What a killed server leaves is what it had answered for: every write is committed when it returns."""
    registry = open_registry(tmp_path / "state.db", clock, api)
    registry.create(registry.resources.named("configmaps"), "default", {"metadata": {"name": "a"}}, SYSTEM)
    other = sqlite3.connect(tmp_path / "state.db")
    assert other.execute("SELECT COUNT(*) FROM object WHERE resource='configmaps'").fetchone() == (1,)
    assert other.execute("SELECT value FROM counter").fetchone() == (registry.version,)
    other.close()
    registry.store.close()


def test_a_failed_write_leaves_version_and_objects_alone(tmp_path: Path) -> None:
    store = Store(tmp_path / "state.db")
    store.put(Row("pods", "d", "a", 1, b"{}"))
    with pytest.raises(sqlite3.Error):
        store.put(Row("pods", "d", None, 2, b"{}"))  # type: ignore[arg-type]
    assert (store.version, [row.name for row in store.rows()]) == (1, ["a"])
    store.close()


def test_a_file_of_another_format_is_refused_by_name(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "state.db")
    connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(StoreFormatError, match=r"state.db: state in format 99"):
        Store(tmp_path / "state.db")
