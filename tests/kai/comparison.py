"""Whether a run came out as a scenario expects, and as the reference had it."""

from collections.abc import Mapping

from tests.kai.pods import Standing
from tests.kai.rounds import Devices, Standings
from tests.kai.scenario import ExpectedTask, ObservedTask, Scenario


def unmet(scenario: Scenario, standings: Standings, devices: Mapping[str, Devices]) -> list[str]:
    """What the scenario expects and did not come about."""
    found: list[str] = []
    tasks_of = {job.name: [task.name for task in job.tasks] for job in scenario.jobs}
    expected = scenario.expected
    for name, wanted in expected.jobs.items():
        for task in tasks_of.get(name, ()):
            found += _differs(task, standings[task], wanted, f"job {name}")
    for name, wanted in expected.tasks.items():
        if name in standings:
            found += _differs(name, standings[name], wanted, "task")
    for name, room in expected.nodes.items():
        for what in ("idle_gpus", "releasing_gpus"):
            has, wants = getattr(devices[name], what), getattr(room, what)
            if abs(has - wants) > 1e-9:
                found.append(f"node {name}: {what} {has:g}, expected {wants:g}")
    return found


def _differs(task: str, standing: Standing, wanted: ExpectedTask, where: str) -> list[str]:
    found: list[str] = []
    if standing.status != wanted.status:
        found.append(f"{where}: {task} is {standing.status}, expected {wanted.status}")
    if wanted.node and standing.node != wanted.node:
        found.append(f"{where}: {task} is on {standing.node or 'no node'}, expected {wanted.node}")
    return found


def unlike(scenario: Scenario, name: str, standings: Standings) -> list[str]:
    """Where a stage differs from what the reference had: states, nodes, and who shares a device.

    Names of shared devices mean nothing; tasks of which the reference's runs differ are passed over.
    """
    stage = getattr(scenario.observed, name, None)
    if stage is None:
        return []
    settled = {task: seen for task, seen in stage.tasks.items() if seen.varies is None and task in standings}
    found = []
    for task, seen in settled.items():
        has = standings[task]
        if (has.status, has.node) != (seen.status, seen.node or ""):
            found.append(
                f"observed: {task} is {_spot(has.status, has.node)}, was {_spot(seen.status, seen.node)}"
            )
    return found + _sharing(settled, standings)


def _spot(status: str, node: str | None) -> str:
    return f"{status} on {node}" if node else status


def _sharing(settled: Mapping[str, ObservedTask], standings: Standings) -> list[str]:
    sharers = [task for task, seen in settled.items() if seen.gpu_groups]
    found = []
    for number, one in enumerate(sharers):
        for other in sharers[number + 1 :]:
            together = _meet(settled[one].node, settled[one].gpu_groups, settled[other])
            if together != _meet(standings[one].node, standings[one].groups, standings[other]):
                found.append(f"observed: {one} and {other} {'shared' if together else 'did not share'} a GPU")
    return found


def _meet(node: str | None, groups: tuple[str, ...], other: Standing | ObservedTask) -> bool:
    others = other.groups if isinstance(other, Standing) else other.gpu_groups
    return bool(node) and node == other.node and bool(set(groups) & set(others))
