"""Streams that end early, are full or closed: one line or none, and the exit status that is documented."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ALIQUOT = (sys.executable, "-m", "aliquot")
LONG = ("fleet", "render", "fleets/large.yaml")


def test_a_reader_that_leaves_is_no_finding() -> None:
    with subprocess.Popen([*ALIQUOT, *LONG], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"apiVersion: resource.k8s.io/v1\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 141


@pytest.mark.parametrize("arguments", [("version",), ("dra", "match", "true", "fleets/h100-a100.yaml")])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk_is_told_in_a_line(arguments: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*ALIQUOT, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    assert done.returncode == 2
    assert done.stderr == (
        "error: standard output cannot be written: No space left on device; write it elsewhere\n"
    )


@pytest.mark.parametrize("encoding", ["latin-1", "cp437", "utf-8"])
def test_what_an_encoding_lacks_is_escaped(encoding: str, tmp_path: Path) -> None:
    document = tmp_path / "pod.yaml"
    document.write_text(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a, annotations: {aliquot.dev/gang: 'ü…😀'}}\n"
        "spec: {containers: [{name: c, image: x}]}\n",
        "utf-8",
    )
    done = subprocess.run(
        [*ALIQUOT, "plan", "-f", "fleets/h100-a100.yaml", "-f", str(document), "-o", "json"],
        capture_output=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )
    assert b"Traceback" not in done.stderr
    assert json.loads(done.stdout.decode(encoding))["items"][0]["workload"]["name"] == "ü…😀"


@pytest.mark.parametrize("closed", ["1>&-", "2>&-"])
def test_a_closed_stream_changes_nothing_else(closed: str) -> None:
    plan = (*ALIQUOT, "plan", "-f", "fleets/h100-a100.yaml", "-f", "examples")
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" "$@" {closed}', *plan], capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert (done.stdout == b"") == ("1>" in closed)
    assert done.stderr == b""
