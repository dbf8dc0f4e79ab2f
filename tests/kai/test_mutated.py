"""Scenarios changed at random: whatever becomes of them, they are decided about or refused as scenarios."""

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest
from tests.kai.rounds import Run
from tests.kai.scenario import ScenarioError, files, parse

CASES = Path(__file__).with_name("cases")
WORDS = (
    "",
    "default",
    "team",
    "node0",
    "Pending",
    "Running",
    "Releasing",
    "Gated",
    "whole",
    "fraction",
    "0.5",
)


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The paths of everything in a document, what it is compared with and its name left out."""
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in items:
        if path or name not in ("schema", "id", "area", "name", "why", "expected", "observed"):
            found += leaves(item, (*path, name))
    return found


def mutated(document: Any, chance: random.Random) -> Any:
    """The document with a few things taken out, doubled, or replaced by something else of their kind."""
    found = copy.deepcopy(document)
    for _ in range(chance.randint(1, 4)):
        *above, last = chance.choice(leaves(found))
        place = found
        for step in above:
            place = place[step]
        match chance.randint(0, 3):
            case 0:
                del place[last]
            case 1 if isinstance(place, list):
                place.insert(chance.randint(0, len(place)), copy.deepcopy(place[last]))
            case _:
                place[last] = other(place[last], chance)
        if not leaves(found):
            break
    return found


def other(value: Any, chance: random.Random) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return chance.choice((-1, 0, 1, 2, 7, value + 1, value * 3, 100))
    if isinstance(value, float):
        return chance.choice((0.0, 0.1, 0.5, 1.0, 1.5, value / 3))
    if isinstance(value, str):
        return chance.choice(WORDS)
    return copy.deepcopy(value)


def survives(document: Any) -> bool:
    """Whether it is a scenario still; with what is remembered and without it comes to the same."""
    try:
        scenario = parse(json.dumps(document).encode(), "mutated")
    except ScenarioError:
        return False

    def told(remember: bool) -> list[Any]:
        return [(stage.name, stage.after) for stage in Run(scenario, remember).stages()]

    try:
        assert told(False) == told(True)
    except ScenarioError:
        return False
    return True


def tried(paths: list[Path], number: int, seed: int) -> int:
    chance = random.Random(seed)
    documents = [
        json.loads(line)
        for path in paths
        for line in ([path.read_text()] if path.suffix == ".json" else path.read_text().splitlines())
        if line.strip()
    ]
    return sum(survives(mutated(chance.choice(documents), chance)) for _ in range(number))


def test_forty_changed_scenarios_are_decided_about_or_refused() -> None:
    assert tried(list(files([CASES])), 40, seed=1) > 10


@pytest.mark.prove
def test_two_hundred_changed_scenarios_of_the_reference_are_decided_about_or_refused(shared: Path) -> None:
    paths = [path for path in files([shared / "vectors/kai"]) if path.suffix in (".json", ".jsonl")]
    assert tried(paths, 200, seed=2) > 50
