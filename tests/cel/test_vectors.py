"""The device selectors of Kubernetes 1.36.2's own tests, with outcome, message, static and actual cost."""

import json
from pathlib import Path
from typing import Any

import pytest

from aliquot.cel import CompileError, DeviceView, Environment, EvaluationError, Quantity, VersionText

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "vectors" / "cel"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))


def value_of(attribute: dict[str, Any]) -> Any:
    ((kind, value),) = attribute.items()
    if kind == "version":
        return VersionText(value)
    if kind == "versions":
        return tuple(map(VersionText, value))
    return tuple(value) if isinstance(value, list) else value


def device_of(device: dict[str, Any]) -> DeviceView:
    return DeviceView(
        device["driver"],
        {name: value_of(attribute) for name, attribute in device["attributes"].items()},
        {name: Quantity.parse(entry["value"]) for name, entry in device["capacity"].items()},
        device.get("allowMultipleAllocations"),
    )


@pytest.mark.skipif(not NAMES, reason="no shared/ folder beside this checkout")
@pytest.mark.parametrize("name", NAMES)
def test_selector_has_the_outcome_message_and_cost_of_kubernetes(name: str) -> None:
    case = json.loads((FOLDER / f"{name}.json").read_text())
    expected, actual, features = case["expected"], case["actual"], case["features"]
    environment = Environment.for_devices(
        (1, 36),
        consumable_capacity=features["consumableCapacity"],
        list_attributes=features["listTypeAttributes"],
        stored=case["envType"] == "StoredExpressions",
    )
    device = device_of(case["device"])
    if expected["outcome"] == "compile-error":
        with pytest.raises(CompileError) as refused:
            environment.compile(case["expression"])
        assert expected["compileErrorSubstring"] in str(refused.value)
        return
    program = environment.compile(case["expression"])
    assert program.cost == actual["maxCost"]
    if expected["outcome"] == "match-error":
        with pytest.raises(EvaluationError) as failed:
            program.matches(device)
        assert expected["matchErrorSubstring"] in str(failed.value)
        return
    assert program.matches(device) is expected["match"]
    result, cost = program.measure({"device": device})
    assert result is expected["match"]
    assert cost == actual["actualCost"]
