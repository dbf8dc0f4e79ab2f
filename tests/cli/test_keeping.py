"""What the controller keeps beside its decisions, and where other machines may see it."""

import socket
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from aliquot.cli.controller import _login
from aliquot.cli.failures import Failure
from aliquot.cli.keeping import Choices, books
from aliquot.controller.live import Live
from aliquot.scheduling.policy import Policy
from aliquot.store.journal import Journal
from aliquot.web.app import create_app
from aliquot.web.governance.login import digest_of


def test_the_ledger_lies_beside_the_journal_and_use_is_kept_where_a_source_is_named(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "journal.db") as journal:
        with books(tmp_path, Choices(), journal, Policy()) as kept:
            assert kept.history is None
            assert len(kept.parts(Live())) == 1
        with books(tmp_path, Choices(prometheus="http://127.0.0.1:9"), journal, Policy()) as kept:
            assert kept.history is not None
            assert len(kept.parts(Live())) == 2
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
