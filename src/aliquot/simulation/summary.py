"""From a simulated world to its results."""

from msgspec.structs import replace

from aliquot.simulation.results import Outcome, Result, WorkloadResult
from aliquot.simulation.standing import Standing
from aliquot.simulation.workload import Workload
from aliquot.simulation.world import World


def result_of(world: World, queues: tuple[str, ...], devices: int, *, complete: bool) -> Result:
    """What has come of it so far. queues: by name; devices: of all nodes at the start, in billionths."""
    found = []
    useful = lost = 0
    for number in sorted(world.standings):
        standing, workload = world.standings[number], world.workloads[number]
        standing.advance(workload, world.now)
        useful += (standing.done - workload.worked_seconds * workload.pods) * workload.devices_of_pod
        lost += standing.lost * workload.devices_of_pod
        found.append(_workload(workload, standing, world.now))
    meter, settings = world.meter, world.settings
    states = [item.outcome for item in found]
    totals = replace(
        meter.totals(),
        useful=useful,
        lost=lost,
        submitted=len(found),
        finished=states.count(Outcome.FINISHED),
        running=states.count(Outcome.RUNNING),
        waiting=states.count(Outcome.WAITING),
    )
    return Result(
        label=settings.label,
        seed=settings.seed,
        start=settings.start,
        seconds=world.now,
        complete=complete,
        nodes=len(meter.machines),
        devices=devices,
        queues=queues,
        workloads=tuple(found),
        samples=tuple(meter.samples),
        interruptions=tuple(meter.interruptions),
        totals=totals,
    )


def _workload(workload: Workload, standing: Standing, now: int) -> WorkloadResult:
    if standing.finished is not None:
        outcome = Outcome.FINISHED
    else:
        outcome = Outcome.WAITING if standing.queued_since is not None else Outcome.RUNNING
    waits = outcome is Outcome.WAITING
    waiting = now - standing.queued_since if waits and standing.queued_since is not None else 0
    return WorkloadResult(
        namespace=workload.namespace,
        name=workload.name,
        kind=workload.kind,
        queue=workload.queue,
        priority=workload.priority,
        pods=workload.pods,
        devices=workload.devices_of_all,
        submitted=workload.submitted,
        run_seconds=workload.run_seconds,
        placed=standing.placed,
        started=standing.started,
        finished=standing.finished,
        queued=standing.queued + waiting,
        worked=standing.done // workload.pods,
        lost=standing.lost // workload.pods,
        evictions=standing.evictions,
        failures=standing.failures,
        outcome=outcome,
        reason=standing.reason if waits else "",
    )
