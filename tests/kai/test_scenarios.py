"""Scenarios of KAI-Scheduler's behaviour, and Aliquot's own of the same schema, through `decide`."""

from pathlib import Path

import pytest
from tests.kai.__main__ import result
from tests.kai.exceptions import EXCEPTIONS
from tests.kai.scenario import files, load, parse

HERE = Path(__file__).parent
VECTORS = HERE.parents[2] / "shared" / "vectors" / "kai"
FROM_VECTORS = list(files([VECTORS])) if VECTORS.is_dir() else []
OWN = list(files([HERE / "cases"]))
MOST_EXCEPTIONS = 0.02
"""How much of what is compared may differ, with a reason given."""


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


@pytest.mark.skipif(not FROM_VECTORS, reason="no shared/ folder beside this checkout")
@pytest.mark.parametrize("path", FROM_VECTORS or [HERE], ids=_name)
@pytest.mark.parametrize("remember", [False, True], ids=["afresh", "remembering"])
def test_what_kai_scheduler_does(path: Path, remember: bool) -> None:
    for scenario in load(path):
        found = result(scenario, check=True, strict=True, remember=remember)
        if scenario.id in EXCEPTIONS:
            assert not found["match"], "listed as an exception, but it is none"
        else:
            assert not found["problems"]


@pytest.mark.parametrize("path", OWN, ids=_name)
def test_own_cases(path: Path) -> None:
    scenario = parse(path.read_bytes(), str(path))
    assert not result(scenario, check=True, strict=True, remember=False)["problems"]


def test_exceptions_are_few_have_reasons_and_exist(shared: Path) -> None:
    known = {scenario.id for path in files([shared / "vectors" / "kai"]) for scenario in load(path)}
    assert EXCEPTIONS.keys() <= known
    assert all(reason.endswith(".") for reason in EXCEPTIONS.values())
    assert len(EXCEPTIONS) <= MOST_EXCEPTIONS * len(known)
