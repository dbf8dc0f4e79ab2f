"""Expected start: for every workload that waits, from when to when it may start.

The cluster is simulated ahead from now, several times, each with other run times: drawn from what is known of
them, given how long the workload has run already. Known is, in this order, what the workload says
(`aliquot.dev/expected-seconds`), how long like workloads ran, and how long it may run at most
(activeDeadlineSeconds). Work that will come is taken to be like the work that has come lately; without a
history nothing is taken to come. The range lies about the middle of the starts in these futures, and is as
wide as they are apart and as what was foretold before was wrong (`aliquot.simulation.margins`). It has no end
where that lies far beyond the time that is looked ahead.

Ranges hold as far as the future is like the past; `aliquot.simulation.calibration` measures how often.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import msgspec
from msgspec.structs import replace

from aliquot.simulation import draws, objects
from aliquot.simulation.adoption import adopt
from aliquot.simulation.changes import Scenario
from aliquot.simulation.margins import Foretold, MarginRules, Margins, Middle, middle_of
from aliquot.simulation.past_work import Hint, Past, RunTimes, another, hints
from aliquot.simulation.settings import Settings
from aliquot.simulation.simulation import Simulation
from aliquot.simulation.standing import Phase, Standing
from aliquot.simulation.workload import Workload

WorkloadKey: TypeAlias = tuple[str, str, str]
"""(kind, namespace, name) of the object that stands for a workload."""

DAY = 86_400

FEWEST = 20
SHORTEST = 600
"""A rate is taken of so many arrivals in so many seconds at least."""


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """How to look ahead. futures: how many are simulated. ahead: for how many seconds. seed: of all draws.

    margins: how wide ranges are. lean: how far the futures lean from short to long run times at most, 0
    (every workload draws for itself) to 1 (in one future all run times are equally long or short for what
    they are); the more workloads have ended, the better run times are known and the less they lean.
    newcomers: no more work than this is taken to come. backlog, decisions: a future is given up when so many
    workloads more wait than twice as many as now, or after so many decisions; what has not started by then
    does not start in it. decision_seconds: how often the futures decide at most, unless the scenario does
    less.
    """

    futures: int = 12
    ahead: int = DAY
    seed: int = 0
    margins: MarginRules = MarginRules()
    lean: float = 0.5
    newcomers: int = 1_000
    backlog: int = 150
    decisions: int = 300
    decision_seconds: int = 60


class Range(msgspec.Struct, frozen=True, kw_only=True):
    """From when to when a workload may start, in seconds from now.

    earliest, latest: None means that it is not known to start at all, or that no latest time is known.
    middle: of the futures, None where nothing is known. starts: in how many of the simulated futures it
    starts; futures: how many there are; ahead: seconds that each of them goes on for.
    """

    earliest: int | None
    latest: int | None
    starts: int
    futures: int
    ahead: int = DAY
    middle: Middle | None = None

    def holds(self, start: int | None) -> bool:
        """Whether a start (None: it never starts) is within the range."""
        if start is None:
            return self.latest is None
        if self.earliest is None or start < self.earliest:
            return False
        return self.latest is None or start <= self.latest

    @property
    def width(self) -> int | None:
        """Seconds from the earliest to the latest; None where there is no end."""
        if self.earliest is None or self.latest is None:
            return None
        return self.latest - self.earliest


def key_of(workload: Workload) -> WorkloadKey:
    """By what expected starts name a workload."""
    return (workload.kind, workload.namespace, workload.name)


def expected_starts(
    scenario: Scenario,
    history: Sequence[Past] = (),
    terms: Terms | None = None,
    before: Sequence[Foretold] = (),
) -> Mapping[WorkloadKey, Range]:
    """A range for the start of every workload that waits in the scenario's cluster now.

    The scenario's own workloads are taken to be known to come, and get a range too if they are there from the
    beginning. history: what came before, which tells how long workloads run and what will come. before:
    ranges that were foretold before, and what became of them. Equal inputs give equal ranges. Raises
    FormError.
    """
    terms = terms or Terms()
    start = scenario.settings.start
    adopted = adopt(scenario.snapshot, start, scenario.policy, lambda gang: None)
    known: tuple[Workload, ...] = (*adopted, *scenario.workloads)
    waiting = {key_of(item) for item in known if item.started is None and item.submitted <= 0}
    if not waiting:
        return {}
    # What it did before it last lost its place, only a record of the past tells.
    worked = {key_of(past.workload): past.worked_seconds for past in history if past.run_seconds is None}
    known = tuple(
        replace(item, worked_seconds=max(item.worked_seconds, worked.get(key_of(item), 0))) for item in known
    )
    run_times = RunTimes(history)
    terms = replace(terms, lean=min(terms.lean, 2 / math.sqrt(max(1, run_times.ended))))
    told = hints(known, scenario.snapshot)
    form = objects.Form.of(scenario.snapshot)
    starts: dict[WorkloadKey, list[int | None]] = {key: [] for key in waiting}
    for future in range(terms.futures):
        come = [*_future(known, told, run_times, terms, future)]
        come += _newcomers(history, run_times, form, terms, future)
        found = _starts(scenario, come, waiting, terms)
        for key in waiting:
            starts[key].append(found.get(key))
    margins = Margins(before, terms.margins)
    blind = not run_times.ended
    return {key: _range(starts[key], terms, margins, blind) for key in sorted(waiting)}


def _range(starts: Sequence[int | None], terms: Terms, margins: Margins, blind: bool) -> Range:
    """From the futures to a range. blind: nothing is known of how long anything runs that does not say it."""
    known = sum(value is not None for value in starts)
    count = Range(earliest=None, latest=None, starts=known, futures=len(starts), ahead=terms.ahead)
    if not known and blind:
        return count
    middle = middle_of(starts, terms.ahead)
    earliest, latest = margins.range(middle)
    return replace(
        count,
        earliest=earliest,
        latest=None if latest is None or latest > 2 * terms.ahead else latest,
        middle=middle,
    )


def _future(
    workloads: Sequence[Workload], told: Sequence[Hint], run_times: RunTimes, terms: Terms, future: int
) -> Iterable[Workload]:
    """The workloads of one future, with the run times that they have in it."""
    for number, (workload, hint) in enumerate(zip(workloads, told, strict=True)):
        point = _point(terms, future, "run time", number)
        yield replace(workload, run_seconds=run_times.at(workload, hint, point))


def _point(terms: Terms, future: int, stream: str, number: int) -> float:
    """Where in the spread of its run times a workload lies in a future.

    The futures lean from short to long, so that the first is one in which most is over soon and the last one
    in which most takes long: with 8 futures and a lean of 0.5, points of the first are 0.03 to 0.53.
    """
    lean = (future + 0.5) / terms.futures
    drawn = draws.unit(terms.seed + future, stream, number)
    return terms.lean * lean + (1 - terms.lean) * drawn


def _newcomers(
    history: Sequence[Past], run_times: RunTimes, form: objects.Form, terms: Terms, future: int
) -> list[Workload]:
    """What comes in one future: the work of the past again, at its times, in another order."""
    times, span = _arrivals([past.submitted for past in history], (future + 0.5) / terms.futures)
    if not times:
        return []
    found: list[Workload] = []
    for turn in range(1 + terms.ahead // span):
        for place, time in enumerate(times):
            number = turn * len(times) + place
            if number >= terms.newcomers:
                return found
            past = history[draws.below(terms.seed + future, "newcomer", number, len(history))]
            runs = past.run_seconds
            if runs is None:
                point = _point(terms, future, "newcomer's run time", number)
                worked = replace(past.workload, worked_seconds=past.worked_seconds)
                runs = run_times.at(worked, Hint(past.workload.expected_seconds), point)
            come = another(past.workload, f"expected-{number}", time + turn * span, runs)
            found.append(_expressed(come, form))
    return found


def _arrivals(submitted: Sequence[int], lean: float) -> tuple[list[int], int]:
    """When work comes, in seconds from now, and after how many seconds that goes on anew.

    After a day and more: as at this time yesterday. Before that as of late, between the slowest and the
    fastest of the last eighth, quarter, half and all of the past, from few (lean 0) to many (1). Nothing
    where the past is too short to tell (`SHORTEST`, `FEWEST`).
    """
    span = -min(submitted, default=0)
    if span >= DAY:
        return sorted(time + DAY for time in submitted if time > -DAY), DAY
    late = [
        (part, [time for time in submitted if time > -part])
        for part in (span, span // 2, span // 4, span // 8)
    ]
    known = [(part, times) for part, times in late if part >= SHORTEST and len(times) >= FEWEST]
    if not known:
        return [], 1
    rates = sorted(len(times) / part for part, times in known)
    rate = rates[0] * (rates[-1] / rates[0]) ** lean
    part, times = known[-1]
    stretch = len(times) / part / rate
    return sorted(round((time + part) * stretch) for time in times), max(1, round(part * stretch))


def _expressed(workload: Workload, form: objects.Form) -> Workload:
    """The workload, with whole devices where the cluster does not share them (any more)."""
    try:
        objects.check(workload, form)
    except objects.FormError:
        return replace(workload, part=1000)
    return workload


def _starts(
    scenario: Scenario, come: Iterable[Workload], waiting: set[WorkloadKey], terms: Terms
) -> Mapping[WorkloadKey, int]:
    """When the waiting workloads first run in one future, which is simulated no further than that."""
    settings = Settings(
        start=scenario.settings.start,
        until=terms.ahead,
        seed=terms.seed,
        sample_seconds=0,
        decision_seconds=max(scenario.settings.decision_seconds, terms.decision_seconds),
        again_seconds=600,
        pod_start_seconds=scenario.settings.pod_start_seconds,
        grace_seconds=scenario.settings.grace_seconds,
    )
    simulation = Simulation.of(scenario.snapshot, come, settings, scenario.policy)
    world = simulation.world
    unstarted = {
        number: key_of(item) for number, item in enumerate(world.workloads) if key_of(item) in waiting
    }
    found: dict[WorkloadKey, int] = {}
    most_waiting = 2 * len(waiting) + terms.backlog
    going = True
    while unstarted and going and world.meter.decisions < terms.decisions:
        going = simulation.step()
        if len(world.meter.waiting) > most_waiting:
            break
        for number in list(unstarted):
            begun = start_of(world.standings.get(number), 0, world.now)
            if begun is not None:
                found[unstarted.pop(number)] = begun
    return found


def start_of(standing: Standing | None, since: int, now: int) -> int | None:
    """When a workload that had no place at `since` ran after it, None if it has not yet."""
    if standing is None or standing.started is None:
        return None
    if standing.started >= since:
        return standing.started
    # It ran before and lost its place; when exactly it came back is not noted.
    back = standing.finished is not None or standing.count(Phase.RUNNING) > 0
    return now if back and standing.queued_since is None else None
