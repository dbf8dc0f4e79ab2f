"""Commands that documents show are run as they stand, in the order of the document.

A fenced block marked `console` holds lines that begin with `$ ` (commands, which a backslash at the end of a
line continues) and what they print. Each command must succeed (or end with 1 where it reports findings), and
print the column headings that the document shows.
"""

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.acceptance.cluster import ROOT, Cluster

from aliquot.model.verdicts import Reason

DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
STARTS_ITS_OWN = re.compile(r"^(make |git |cd |export KUBECONFIG=)")
REPORTS_FINDINGS = re.compile(r"^aliquot (plan|explain|replay)\b")
HEADING = re.compile(r"^[A-Z][A-Z0-9%/()-]*(  ?[A-Z0-9%/()-]+)*( {2,}[A-Z][A-Z0-9%/() -]*)+$")


@dataclass
class Shown:
    """A command of a document with the output shown under it."""

    document: Path
    command: str
    output: list[str] = field(default_factory=list)


def commands(document: Path) -> list[Shown]:
    found: list[Shown] = []
    for block in re.findall(r"^```console\n(.*?)^```", document.read_text(), re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("$ "):
                found.append(Shown(document, line[2:]))
            elif found:
                found[-1].output.append(line)
    return found


@pytest.mark.parametrize(
    "document", [path for path in DOCUMENTS if commands(path)], ids=lambda path: str(path.relative_to(ROOT))
)
def test_the_commands_of_the_document_run(document: Path, cluster: Cluster) -> None:
    for shown in commands(document):
        if STARTS_ITS_OWN.match(shown.command):
            continue
        done = subprocess.run(
            ["bash", "-c", shown.command],
            env=cluster.environment(),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

        allowed = (0, 1) if REPORTS_FINDINGS.match(shown.command) else (0,)
        assert done.returncode in allowed, f"{shown.command}\n{done.stdout}\n{done.stderr}"
        for heading in (line for line in shown.output if HEADING.match(line)):
            columns = heading.split()
            assert any(line.split() == columns for line in done.stdout.splitlines()), (
                f"{shown.command} does not print the heading {heading!r} but\n{done.stdout}"
            )


def test_every_module_folder_that_the_architecture_names_exists() -> None:
    named = set(re.findall(r"`aliquot\.(\w+)`", (ROOT / "ARCHITECTURE.md").read_text()))

    assert named == {
        path.name for path in (ROOT / "src/aliquot").iterdir() if path.is_dir() and path.name != "__pycache__"
    } - {"manifests"}


def test_every_reason_to_wait_is_documented_and_no_other() -> None:
    documented = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/reasons.md").read_text(), re.MULTILINE)

    assert documented == sorted(reason.value for reason in Reason)
