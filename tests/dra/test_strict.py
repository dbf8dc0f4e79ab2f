"""Mode strict against the recorded behaviour of kube-scheduler's allocator."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.dra.vectors import inputs, run

from aliquot.dra.allocator import allocate


@pytest.fixture(scope="module")
def cases(shared: Path) -> list[dict[str, Any]]:
    files = sorted((shared / "vectors" / "dra").glob("*.json"))
    return [json.loads(file.read_text()) for file in files if file.name != "index.json"]


@pytest.fixture(scope="module")
def referee(shared: Path) -> ModuleType:
    """The comparison that belongs to the vectors."""
    module = ModuleType("compare")
    source = (shared / "vectors" / "compare.py").read_text()
    exec(compile(source, "compare.py", "exec"), module.__dict__)
    return module


def test_every_recorded_case_gives_the_same_devices_in_the_same_order(cases, referee):
    assert len(cases) >= 219
    wrong = {}
    for case in cases:
        got = run(case, "strict")
        why = referee.compare(case, got, ordered=True) or referee.compare(case, got)
        if why:
            wrong[case["name"]] = why
    assert not wrong


def recorded(case: dict[str, Any]) -> dict[str, Any]:
    return case["actual"].get("incubating") or case["actual"]["experimental"]


def test_the_search_takes_as_many_steps_as_recorded(cases):
    compared = 0
    for case in cases:
        steps = recorded(case).get("numAllocateOneInvocations")
        fleet, usage, node, claims = inputs(case)
        outcome = allocate(fleet, usage, node, claims, mode="strict")
        if steps is not None and hasattr(outcome, "steps"):
            compared += 1
            assert outcome.steps == steps, case["name"]
    assert compared > 100


def test_errors_are_told_apart_by_what_they_are_an_error_of(cases):
    for case in cases:
        if recorded(case)["outcome"] == "error":
            fleet, usage, node, claims = inputs(case)
            outcome = allocate(fleet, usage, node, claims, mode="strict")
            assert outcome.node_only is bool(recorded(case).get("errorIsNodeLevel")), case["name"]


def test_best_serves_every_recorded_case_that_strict_serves(cases):
    # Except from slices of which a newer generation exists elsewhere, which kube-scheduler does not notice.
    for case in cases:
        if recorded(case)["outcome"] == "allocated" and "multiple-pool-generations" not in case["tags"]:
            assert run(case, "best")["outcome"] == "allocated", case["name"]
