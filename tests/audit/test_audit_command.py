"""`aliquot audit`: what is printed, what is found, and with which exit status."""

import json
import sqlite3
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from tests.audit.test_log import edited, event
from tests.cli.world import Result, aliquot

from aliquot.audit.record import Outcome
from aliquot.store.audit import AuditLog

Capsys = pytest.CaptureFixture[str]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log of ten calls, one of which was refused."""
    found = tmp_path / "audit.db"
    with AuditLog.open(found) as log:
        log.record(
            [
                event(
                    n,
                    model="llama",
                    input_tokens=10,
                    output_tokens=5,
                    currency="EUR",
                    outcome=Outcome.DENIED if n == 3 else Outcome.COMPLETED,
                    reason="BudgetExhausted" if n == 3 else "",
                )
                for n in range(10)
            ]
        )
    return found


def audit(capsys: Capsys, path: Path, *arguments: str) -> Result:
    return aliquot(capsys, "audit", *arguments, "--log", str(path))


def test_a_sound_log_is_said_to_be_sound(path: Path, capsys: Capsys) -> None:
    result = audit(capsys, path, "verify")

    assert (result.code, result.out) == (0, "")
    assert "10 records (1 to 10), 0 anchors met; the log is sound" in result.err


def test_a_changed_record_is_named(path: Path, capsys: Capsys) -> None:
    edited(
        path, "UPDATE records SET body = replace(body, '\"cost_nano\":4', '\"cost_nano\":1') WHERE seq = 5"
    )

    result = audit(capsys, path, "verify")

    assert (result.code, result.out) == (
        1,
        "EDITED     record 5: it, or one before it, is not as it was written\n",
    )
    found = json.loads(audit(capsys, path, "verify", "-o", "json").out)
    assert (found["sound"], found["problems"][0]["seq"]) == (False, 5)


def test_a_signed_anchor_finds_a_log_that_was_cut(path: Path, capsys: Capsys, tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    private, public, anchors = (tmp_path / name for name in ("key.pem", "public.pem", "anchors"))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    anchors.write_text(audit(capsys, path, "anchor", "--key", str(private)).out)
    checks = ("verify", "--anchors", str(anchors), "--public-key", str(public))
    assert audit(capsys, path, *checks).code == 0

    edited(path, "DELETE FROM records WHERE seq > 8")
    assert audit(capsys, path, "verify").code == 0
    assert "TRUNCATED" in audit(capsys, path, *checks).out
    anchors.write_text(anchors.read_text().replace('"seq":10', '"seq":8'))
    forged = audit(capsys, path, *checks)
    assert (forged.code, "signature" in forged.err) == (2, True)


def test_records_are_found_by_what_they_say(path: Path, capsys: Capsys) -> None:
    refused = audit(capsys, path, "search", "--outcome", "denied")

    assert refused.code == 0
    assert "BudgetExhausted" in refused.out
    assert len(refused.out.splitlines()) == 2
    assert audit(capsys, path, "search", "--agent", "nobody").code == 1
    found = json.loads(audit(capsys, path, "search", "--limit=2", "--private", "-o", "json").out)
    assert [item["seq"] for item in found["items"]] == [9, 10]
    assert found["items"][0]["private"] == {"user": "user-0@example.com"}
    public = audit(capsys, path, "search", "-o", "json")
    assert "@example.com" not in public.out
    wrong = audit(capsys, path, "search", "--since", "yesterday")
    assert (wrong.code, "write 2026-01-31T12:00Z, 90m or 7d" in wrong.err) == (2, True)


@pytest.mark.parametrize("after", [0, 4])
def test_an_export_can_be_verified_elsewhere(
    path: Path, capfdbinary: pytest.CaptureFixture[bytes], tmp_path: Path, after: int
) -> None:
    from aliquot.cli.main import main

    with pytest.raises(SystemExit):
        main(["audit", "export", "--log", str(path), "--after", str(after), "--private"])
    exported = tmp_path / "export.jsonl"
    exported.write_bytes(capfdbinary.readouterr().out)

    def verified() -> int:
        with pytest.raises(SystemExit) as ended:
            main(["audit", "verify", "--export", str(exported)])
        capfdbinary.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code

    # A part of a log begins where no retention record says so: that is told, and nothing else.
    assert verified() == (1 if after else 0)
    text = exported.read_text()
    exported.write_text(text.replace("user-1@", "user-9@"))
    assert verified() == 1
    exported.write_text(text + "no record\n")
    assert verified() == 2


def test_cloud_events_have_the_fields_of_the_standard(
    path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    from aliquot.cli.main import main

    with pytest.raises(SystemExit):
        main(["audit", "export", "--log", str(path), "--format=cloudevents"])
    events = [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]

    assert len(events) == 10
    assert {"specversion", "id", "source", "type", "time", "data"} <= events[3].keys()
    assert events[3]["type"] == "dev.aliquot.audit.call.denied"
    assert events[3]["time"].endswith("Z")
    assert len({event["id"] for event in events}) == 10


def test_a_person_is_forgotten(path: Path, capsys: Capsys) -> None:
    result = audit(capsys, path, "redact", "--user", "user-1@example.com", "--by", "dpo")

    assert (result.code, result.err) == (0, "values of 5 records were deleted\n")
    assert audit(capsys, path, "verify").code == 0
    assert b"user-1@example.com" not in path.read_bytes()
    assert audit(capsys, path, "redact").code == 2


def test_errors_name_the_file_and_the_fix(tmp_path: Path, capsys: Capsys) -> None:
    none = audit(capsys, tmp_path / "none.db", "verify")
    assert (none.code, "does not exist" in none.err) == (2, True)
    other = tmp_path / "other.db"
    sqlite3.connect(other).close()
    assert audit(capsys, other, "search").code == 2
