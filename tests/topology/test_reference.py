"""Where the reference scenarios place gangs with topology constraints."""

import json
from pathlib import Path

from tests.topology.placer import Placer

EXPECTED = 29


def test_the_reference_scenarios_end_on_the_same_nodes(shared: Path) -> None:
    files = sorted((shared / "vectors" / "kai" / "topology").glob("*.json"))
    scenarios = [json.loads(path.read_text()) for path in files]
    scenarios = [scenario for scenario in scenarios if "jobs" in scenario]
    assert len(scenarios) == EXPECTED

    wrong = []
    for scenario in scenarios:
        placer = Placer.of(scenario)
        for job in sorted(scenario["jobs"], key=lambda job: job["creation_rank"]):
            if any(task["status"] == "Pending" for task in job["tasks"]):
                placer.place_job(job)
        observed = scenario["observed"]
        ended = observed.get("after") or observed["after_until_rounds"]
        seen = {name: task.get("node") for name, task in ended["tasks"].items()}
        found = {
            name: placer.nodes[placer.placed[name]]["name"] if name in placer.placed else None
            for name in seen
        }
        if found != seen:
            wrong.append((scenario["id"], scenario["name"], found, seen))

    assert wrong == []
