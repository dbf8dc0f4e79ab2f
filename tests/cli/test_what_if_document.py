"""docs/what-if.md shows what its commands print."""

import re
import shlex
from pathlib import Path

import pytest
from tests.cli.world import ROOT, aliquot

DOCUMENT = (ROOT / "docs" / "what-if.md").read_text()


def examples() -> list[tuple[str, list[str]]]:
    """Commands with the lines below them; `...` stands for any lines."""
    found = []
    for block in re.findall(r"```\n(\$ aliquot .*?)```", DOCUMENT, re.DOTALL):
        for part in re.split(r"^\$ aliquot ", block.replace("\\\n", ""), flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition("\n")
            found.append((command, shown.splitlines()))
    return found


@pytest.mark.parametrize(("command", "shown"), examples(), ids=[command[-40:] for command, _ in examples()])
def test_commands_print_what_the_document_shows(
    command: str, shown: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    result = aliquot(capsys, *shlex.split(command))
    assert result.code in (0, 1), result.err
    pieces = ["\n".join(piece).strip("\n") for piece in _split(shown)]
    place = 0
    for piece in pieces:
        found = result.out.find(piece, place)
        assert found >= 0, f"not printed:\n{piece}\nbut\n{result.out}"
        place = found + len(piece)


def _split(lines: list[str]) -> list[list[str]]:
    found: list[list[str]] = [[]]
    for line in lines:
        if line == "...":
            found.append([])
        else:
            found[-1].append(line)
    return found


def test_the_document_has_examples() -> None:
    assert len(examples()) >= 4
    assert Path("examples/what-if").as_posix() in DOCUMENT
