"""The command that runs scenario files."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.kai.__main__ import main

SCENARIO: dict[str, Any] = {
    "schema": "kai-scenario/1",
    "id": "made/one-pod",
    "area": "made",
    "run": {"mode": "single_pass", "actions": ["allocate"]},
    "nodes": [{"name": "node0", "gpus": 2, "physical_gpus": 2}],
    "queues": [{"name": "team"}],
    "jobs": [
        {
            "name": "j",
            "queue": "team",
            "sub_groups": {"name": "", "children": [{"name": "default", "min_available": 1}]},
            "tasks": [{"name": "j-0", "request": {"type": "whole", "gpus": 1}}],
        }
    ],
    "expected": {"jobs": {"j": {"status": "Binding", "node": "node0"}}},
    "observed": {"after": {"tasks": {"j-0": {"status": "Binding", "node": "node0"}}}},
}


def write(folder: Path, **changes: Any) -> Path:
    path = folder / f"{changes.get('id', 'one').replace('/', '-')}.json"
    path.write_text(json.dumps({**SCENARIO, **changes}))
    return path


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_one_line_a_scenario(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, id="made/a")
    write(tmp_path, id="made/b")
    (tmp_path / "other.json").write_text("{}")
    assert main([str(tmp_path)]) == 0
    found = lines(capsys)
    assert [line["id"] for line in found] == ["made/a", "made/b"]
    assert found[0]["tasks"] == {"j-0": {"status": "Binding", "node": "node0", "gpu_groups": []}}
    assert found[0]["nodes"] == {"node0": {"idle_gpus": 1, "releasing_gpus": 0}}
    assert "match" not in found[0]


def test_checking_tells_what_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path)
    assert main([str(path), "--strict"]) == 0
    assert lines(capsys)[0]["match"] is True
    wrong = {"jobs": {"j": {"status": "Pending"}}}
    assert main([str(write(tmp_path, expected=wrong)), "--check"]) == 1
    found = lines(capsys)[0]
    assert found["match"] is False
    assert found["problems"] == ["after: job j: j-0 is Binding, expected Pending"]


def test_a_scenario_that_cannot_be_run_does_not_stop_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = write(tmp_path, id="made/broken", run={"actions": ["nothing of the sort"]})
    fine = write(tmp_path, id="made/fine")
    assert main([str(broken), str(tmp_path / "absent.json"), str(fine)]) == 1
    found = lines(capsys)
    assert "nothing of the sort" in found[0]["error"]
    assert "absent.json" in found[1]["error"]
    assert found[2]["id"] == "made/fine"
    assert "error" not in found[2]


def test_filters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, id="made/a")
    write(tmp_path, id="made/b", area="other")
    assert main([str(tmp_path), "--area", "other"]) == 0
    assert [line["id"] for line in lines(capsys)] == ["made/b"]
    assert main([str(tmp_path), "--id", "de/a"]) == 0
    assert [line["id"] for line in lines(capsys)] == ["made/a"]


def test_a_file_may_hold_a_scenario_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "many.jsonl"
    path.write_text("\n".join(json.dumps({**SCENARIO, "id": name}) for name in ("x", "y")) + "\n")
    assert main([str(path)]) == 0
    assert [line["id"] for line in lines(capsys)] == ["x", "y"]


def test_rounds_also_show_where_they_began_to_repeat(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = {"mode": "rounds", "actions": ["allocate"], "rounds_until_match": 1, "rounds_after_match": 1}
    assert main([str(write(tmp_path, run=run))]) == 0
    found = lines(capsys)[0]
    assert found["after_until_rounds"]["tasks"]["j-0"]["status"] == "Running"
    assert found["tasks"]["j-0"]["status"] == "Running"
