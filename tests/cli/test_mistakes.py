"""Errors of the command line name the place once, what is wrong with it, and the fix, in one line."""

from pathlib import Path

import pytest

from aliquot.cli.main import main

FLEET = ("-f", "fleets/h100-a100.yaml")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("explain", ""), "'' names nothing to explain; write job/training, or queue/research"),
        (("explain", "pod/"), "'pod/' names nothing to explain; write job/training, or queue/research"),
        (
            ("explain", "foo/bar"),
            "there is nothing to explain of kind 'foo'; write one of pod, job, jobset,",
        ),
        (("explain", "jbo/bar"), "there is nothing to explain of kind 'jbo'; did you mean 'job'?"),
        (("install", "--dry-run", "--image", "a\nb: c"), "--image: 'a\\nb: c' is no name of an image; write"),
        (("install", "--dry-run", "--image", ""), "--image: '' is no name of an image; write"),
        (
            ("install", "--dry-run", "--driver", "a=b=c"),
            "--driver: 'a=b=c' is not NAME or NAME=RESOURCE,...;",
        ),
        (("install", "--dry-run", "--driver", "A"), "--driver: 'A' is not NAME or NAME=RESOURCE,...; write"),
        (
            ("plan", *FLEET, "--change", "quota=product=24"),
            "--change quota=product=24: name: there is no such queue; the cluster has no queues; add one",
        ),
        (
            ("simulate", *FLEET, "--synthetic", "3", "--until", "1h", "--write-trace", "-"),
            "--write-trace: a table is written to a file; name one, such as jobs.csv",
        ),
        (
            ("report", "prices", *FLEET, "--prices", "examples/10-queues.yaml"),
            "examples/10-queues.yaml:10: more",
        ),
    ],
)
def test_a_mistake_is_told_in_one_line(
    arguments: tuple[str, ...], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    told = capsys.readouterr()
    assert (ended.value.code, told.out) == (2, "")
    assert told.err.startswith(f"error: {problem}")
    assert told.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("get", "queues", "--kubeconfig", "{}"),
        ("top", "--snapshot", "{}", "--sources", "{}"),
        ("top", "--sources", "{}", "--kubeconfig", "{}"),
        ("recommend", "--fleet", "A100", "--sources", "{}"),
        ("gateway", "--check", "--config", "{}"),
        ("plan", "-f", "{}"),
        ("dra", "allocate", "{}"),
        ("report", "cost", "--ledger", "{}"),
        ("replay", "--journal", "{}"),
    ],
)
@pytest.mark.parametrize("content", [b"\xaa\x00\xff", b"a: \x00", b"[" * 1000, b"- 1\n", b"text\n"])
def test_a_file_of_another_kind_is_named_once(
    arguments: tuple[str, ...], content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "given.yaml"
    path.write_bytes(content)
    with pytest.raises(SystemExit) as ended:
        main([word.format(path) for word in arguments])
    told = capsys.readouterr()
    assert (ended.value.code, told.out) == (2, "")
    (line,) = told.err.splitlines()
    assert line.startswith("error: ")
    assert line.split(";")[0].count(str(path)) == 1
