"""Run scenarios of KAI-Scheduler's behaviour through `decide` and print one JSON result a line.

    python -m tests.kai FILE|DIR ... [--check] [--strict] [--remember] [--quiet] [--area A] [--id PART]

A scenario (schema kai-scenario/1) is a cluster, how often to decide about it, and what is expected. Files are
one JSON document each, or `.jsonl` and `.jsonl.gz` with one a line; folders are searched for both. Each is
turned into a snapshot and decided under the policy preset `KAI`, with what its `run` sets otherwise.

A result: {"id", "tasks": {name: {"status", "node", "gpu_groups"}}, "nodes": {name: {"idle_gpus",
"releasing_gpus"}}}, where tasks that share a device have a name of it in common in gpu_groups; of a scenario
of rounds also "after_until_rounds", what it had before the rounds that must change nothing; {"id", "error"}
where a scenario cannot be run.

With --check every stage is compared with what is expected, with --strict also with what the reference had for
each task, and who shares a device: "match", "problems", and "exception", the reason why another answer is
given on purpose. A summary by area goes to stderr. --remember decides each round with what earlier ones left
behind, which must not make a difference. The exit status is 1 when a scenario failed or did not match.
"""

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from tests.kai.comparison import unlike, unmet
from tests.kai.exceptions import EXCEPTIONS
from tests.kai.rounds import Devices, Run, Standings, devices
from tests.kai.scenario import Scenario, ScenarioError, files, load


def result(scenario: Scenario, check: bool, strict: bool, remember: bool) -> dict[str, Any]:
    """What a run of the scenario came to."""
    found: dict[str, Any] = {"id": scenario.id}
    problems: list[str] = []
    for stage in Run(scenario, remember).stages():
        room = devices(scenario, stage)
        shown = _shown(stage.after, room)
        found |= shown
        if stage.name == "after_until_rounds":
            found[stage.name] = shown
        if check:
            differences = unmet(scenario, stage.after, room)
            if strict:
                differences += unlike(scenario, stage.name, stage.after)
            problems += [f"{stage.name}: {difference}" for difference in differences]
    if check:
        found["match"] = not problems
        found["problems"] = problems
        if scenario.id in EXCEPTIONS:
            found["exception"] = EXCEPTIONS[scenario.id]
    return found


def _shown(standings: Standings, room: dict[str, Devices]) -> dict[str, Any]:
    tasks = {
        name: {"status": standing.status, "node": standing.node or None, "gpu_groups": list(standing.groups)}
        for name, standing in standings.items()
    }
    return {"tasks": tasks, "nodes": msgspec.to_builtins(room)}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.kai", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("paths", nargs="+", type=Path, metavar="FILE|DIR")
    parser.add_argument("--check", action="store_true", help="compare with what is expected")
    parser.add_argument("--strict", action="store_true", help="compare with what the reference had, too")
    parser.add_argument("--area", action="append", default=[], help="only scenarios of this area")
    parser.add_argument("--id", action="append", default=[], help="only scenarios whose id has this in it")
    parser.add_argument("--remember", action="store_true", help="decide with what earlier rounds left")
    parser.add_argument("--quiet", action="store_true", help="print only what failed or did not match")
    options = parser.parse_args(arguments)
    check = options.check or options.strict
    counted = {"run": 0, "failed": 0, "matched": 0, "exceptions": 0}
    areas: dict[str, list[int]] = {}
    for path in files(options.paths):
        try:
            scenarios = list(load(path))
        except (ScenarioError, OSError) as error:
            counted["failed"] += 1
            _print({"id": str(path), "error": str(error)})
            continue
        for scenario in scenarios:
            if options.area and scenario.area not in options.area:
                continue
            if options.id and not any(part in scenario.id for part in options.id):
                continue
            counted["run"] += 1
            matched = areas.setdefault(scenario.area, [0, 0])
            matched[1] += 1
            try:
                found = result(scenario, check, options.strict, options.remember)
            except Exception as error:  # one scenario must not keep the others from being run
                counted["failed"] += 1
                _print({"id": scenario.id, "error": f"{type(error).__name__}: {error}"})
                if len(options.id) == 1:
                    traceback.print_exc()
                continue
            counted["matched"] += found.get("match", False)
            matched[0] += found.get("match", False)
            counted["exceptions"] += "exception" in found and not found["match"]
            if not (options.quiet and found.get("match", True)):
                _print(found)
    if not check:
        return 1 if counted["failed"] else 0
    missed = counted["run"] - counted["matched"] - counted["failed"] - counted["exceptions"]
    for area, (matching, all_of_it) in sorted(areas.items()):
        sys.stderr.write(f"{area:24} {matching:4} of {all_of_it:4}\n")
    sys.stderr.write(
        f"{counted['run']} scenarios: {counted['matched']} match, {missed} do not,"
        f" {counted['exceptions']} documented exceptions, {counted['failed']} failed\n"
    )
    return 1 if counted["failed"] or missed else 0


def _print(value: dict[str, Any]) -> None:
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:
        # The reader has seen enough; what is still buffered has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
