"""Files that may be read and not written: whoever is given a copy can look at it."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from aliquot.store.audit import AuditLog
from aliquot.store.budgets_sqlite import connect
from aliquot.store.journal import Journal
from aliquot.store.ledger import Ledger
from aliquot.store.usage import UsageHistory

Opened = Callable[..., contextlib.AbstractContextManager[object]]


def budgets(path: Path, *, read_only: bool = False) -> contextlib.AbstractContextManager[object]:
    return contextlib.closing(connect(path, read_only=read_only))


@pytest.mark.parametrize(
    "opened",
    [AuditLog.open, Journal.open, Ledger.open, UsageHistory.open, budgets],
    ids=["audit record", "journal", "ledger", "history", "budgets"],
)
def test_a_file_in_a_folder_that_may_not_be_written_is_read_and_nothing_is_put_beside_it(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "given" / "file.db"
    path.parent.mkdir()
    with opened(path):
        pass
    content = path.read_bytes()
    assert list(path.parent.iterdir()) == [path]
    monkeypatch.setattr(os, "access", lambda place, mode: False)
    path.chmod(0o400)
    path.parent.chmod(0o500)
    try:
        with opened(path, read_only=True):
            # SQLite makes -wal and -shm beside a file that somebody may be writing.
            assert list(path.parent.iterdir()) == [path]
    finally:
        path.parent.chmod(0o700)
    assert path.read_bytes() == content


def test_what_a_writer_has_not_moved_into_the_file_yet_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.db"
    with budgets(path) as writer:
        writer.execute("CREATE TABLE later (x)")  # type: ignore[attr-defined]
        monkeypatch.setattr(os, "access", lambda place, mode: False)
        with budgets(path, read_only=True) as reader:
            found = reader.execute("SELECT count(*) FROM later").fetchone()  # type: ignore[attr-defined]
            assert found == (0,)
