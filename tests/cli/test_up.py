"""`aliquot up` holds its state folder, keeps the controller running, and ends cleanly."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from tests.cli.world import FLEET, aliquot


def wait_for(page: str, seconds: float = 30) -> None:
    """Return once the page answers."""
    end = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(f"{page}healthz", timeout=5) as answer:
                assert answer.status == 200
                return
        except OSError:
            assert time.monotonic() < end, "the page does not answer"
            time.sleep(0.1)


def controllers(state: Path) -> list[int]:
    """Processes that run the controller of a state folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"controller" in words and str(state).encode() in words:
                found.append(int(entry.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc")
def test_a_killed_controller_is_started_again_and_everything_ends_with_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet, state = tmp_path / "fleet.yaml", tmp_path / "state"
    fleet.write_text(FLEET)
    arguments = ["up", "--fleet", str(fleet), "--state", str(state)]
    command = [sys.executable, "-m", "aliquot", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        page = ""
        for line in process.stdout:
            page = (re.findall(r"http://\S+", line) or [page])[0]
            if line.startswith("export KUBECONFIG="):
                break
        wait_for(page)
        (first,) = controllers(state)
        os.kill(first, signal.SIGKILL)
        end = time.monotonic() + 30
        while first in (running := controllers(state)) or not running:
            assert time.monotonic() < end
            time.sleep(0.05)
        wait_for(page)
        with urllib.request.urlopen(f"{page}api/devices?limit=1", timeout=10) as answer:
            assert json.loads(answer.read())["rows"] is not None

        second = aliquot(capsys, *arguments)
        assert second.code == 2
        assert "another `aliquot up` runs on it" in second.err

        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert "is started again" in process.stderr.read()
    assert controllers(state) == []
    assert (state / "journal.db").exists()


def test_fresh_does_not_empty_a_folder_of_something_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    precious = tmp_path / "precious.txt"
    precious.write_text("keep me")
    result = aliquot(capsys, "up", "--state", str(tmp_path), "--fresh")

    assert result.code == 2
    assert "holds no state of an embedded cluster" in result.err
    assert precious.read_text() == "keep me"


def test_a_damaged_journal_is_said_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "journal.db").write_bytes(b"nonsense " * 1000)
    result = aliquot(capsys, "up", "--state", str(tmp_path))

    assert result.code == 2
    assert "journal.db: is damaged" in result.err
    assert not (tmp_path / "state.db").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("defaultQeue: a", "defaultQeue: unknown field"),
        ("searchBudget: many", "searchBudget: Expected `int`"),
        ("[1]", "is not a mapping"),
        ("a: [", "policy.yaml:2:1: is not valid YAML"),
    ],
)
def test_a_wrong_policy_is_pointed_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    policy, kubeconfig = tmp_path / "policy.yaml", tmp_path / "kubeconfig"
    policy.write_text(f"{text}\n")
    kubeconfig.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n"
        "contexts: [{name: c, context: {cluster: c, user: u}}]\n"
        "clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]\nusers: [{name: u, user: {}}]\n"
    )
    result = aliquot(
        capsys,
        "controller",
        "--kubeconfig",
        str(kubeconfig),
        "--policy",
        str(policy),
        "--state",
        str(tmp_path),
    )

    assert result.code == 2
    assert said in result.err
