"""Times that people give: what is taken for one, and what is refused with the option's name."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from aliquot.cli.failures import Failure
from aliquot.cli.main import main
from aliquot.cli.moments import moment_given

FLEET = "fleets/h100-a100.yaml"


@pytest.mark.parametrize(
    "text", ["2026-01-31T12:00:00Z", "2026-01-31T13:00:00+01:00", "2026-01-31T12:00:00", "2026-01-31 12:00"]
)
def test_a_time_is_taken_in_utc(text: str) -> None:
    assert moment_given(text, "--at") == datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        *("NaN", "", "yesterday", "2026-02-30T00:00:00Z", "0001-01-01T00:00:00+14:00", "9" * 5000),
        *("0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "3000-01-01T00:00:00Z", "9999-12-31T23:59:59Z"),
    ],
)
def test_any_other_is_refused_with_the_name_of_the_option(text: str) -> None:
    with pytest.raises(Failure, match=r"^--at: '.*' is not (a time; write 2026|between the years 1970 and)"):
        moment_given(text, "--at")


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
@pytest.mark.parametrize("command", ["plan", "simulate --synthetic 3 --until 1h"])
def test_commands_refuse_times_that_nothing_can_be_reckoned_from(
    command: str, moment: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), "-f", FLEET, "--at", moment])
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"error: --at: {moment!r} is not between the years 1970 and 2999\n"


def test_a_history_of_bytes_is_told_by_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "use.csv").write_bytes(b"time,pod,memory_bytes\n1,\xff\xfe,2\n")
    with pytest.raises(SystemExit) as ended:
        main(["recommend", "--fleet", "A100", "--history", str(tmp_path / "use.csv")])
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith(
        "use.csv: is not UTF-8 text; give a table as CSV, or a kept history\n"
    )


@pytest.mark.parametrize("option", ["retain --keep-days", "redact --older-than-days"])
def test_an_audit_record_is_kept_for_a_century_at_most(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["audit", *option.split(), "99999999999", "--log", str(tmp_path / "audit.db")])
    assert ended.value.code == 2
    assert "99999999999 is not in the range" in capsys.readouterr().err
