"""What others wrote reaches a terminal as text, never as commands to it."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aliquot.cli import output
from aliquot.cli.failures import Failure
from aliquot.cli.printable import in_one_line, printable

HOSTILE = "a\x1b[31mb\x1b]0;title\x07c\x9bd\u202ee\u2066f\x7fg"
SHOWN = r"a\u001b[31mb\u001b]0;title\u0007c\u009bd\u202ee\u2066f\u007fg"


def test_controls_are_shown_as_what_they_are() -> None:
    assert printable(HOSTILE) == SHOWN
    assert printable("a file named in no encoding: \ud800") == r"a file named in no encoding: \ud800"


def test_words_lines_and_letters_of_all_scripts_stay() -> None:
    text = "Größe\t中文 שלום 🙂\nnext"
    assert printable(text) == text
    assert in_one_line(text) == "Größe\\t中文 שלום 🙂\\nnext"


@given(st.text())
def test_no_control_is_left_and_nothing_is_escaped_twice(text: str) -> None:
    found = printable(text)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", found)
    assert printable(found) == found


@given(st.dictionaries(st.text(), st.text()))
def test_json_keeps_its_value(value: dict[str, str]) -> None:
    assert json.loads(printable(json.dumps(value, ensure_ascii=False, indent=2))) == value


def _table() -> output.Table:
    row = output.Row(cells=(HOSTILE + "\nx", "1"), item={"name": HOSTILE}, name=f"gang/{HOSTILE}")
    columns = (output.Column(title="NAME", key="name"), output.Column(title="N", key="n"))
    return output.Table(kind="Things", columns=columns, rows=(row,))


@pytest.mark.parametrize("colour", [False, True])
def test_a_cell_is_one_line_as_wide_as_it_is_shown(*, colour: bool) -> None:
    title, row = output.lines(_table(), wide=False, headers=True, colour=colour)
    assert row == f"{SHOWN}\\nx   1"
    assert title == "NAME".ljust(len(SHOWN) + 3) + "   N"


@pytest.mark.parametrize("form", output.FORMS)
def test_no_form_writes_controls_to_a_terminal(
    form: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", "1")
    output.write(_table(), form)
    written = capsys.readouterr().out
    assert "title" in written
    assert not set(written) & set("\x1b\x07\x9b\u202e\u2066\x7f")


def test_csv_for_a_program_is_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    row = output.Row(cells=("a\u202eb",), item={}, name="x")
    output.write(output.Table(kind="T", columns=(output.Column(title="N", key="n"),), rows=(row,)), "csv")
    assert capsys.readouterr().out == "n\na\u202eb\n"


def test_errors_and_notes_are_printable(capsys: pytest.CaptureFixture[str]) -> None:
    Failure(f"{HOSTILE}: is no file").show()
    output.note(HOSTILE)
    output.say(HOSTILE)
    told = capsys.readouterr()
    assert told.err == f"error: {SHOWN}: is no file\n{SHOWN}\n"
    assert told.out == f"{SHOWN}\n"
