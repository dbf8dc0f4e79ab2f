"""How often expected starts hold: a simulation is stopped now and then, and asked what comes next.

At each of some moments the cluster as it is then is handed over as a snapshot, with what has ended until then
as history, the ranges that were given at the moments before, and nothing else: neither run times nor what
will come. The ranges for what waits are compared with what the simulation does afterwards.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from aliquot.simulation.adoption import adopt
from aliquot.simulation.changes import Scenario
from aliquot.simulation.expecting import (
    Range,
    Terms,
    WorkloadKey,
    expected_starts,
    key_of,
    start_of,
)
from aliquot.simulation.margins import Foretold
from aliquot.simulation.past_work import Past
from aliquot.simulation.results import percentile
from aliquot.simulation.simulation import Simulation

MOST_HISTORY = 5_000
"""So many of the newest workloads are remembered."""


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """A range that was given at a moment for a workload, and when it started after that.

    made, submitted, start: seconds of the simulation; start: None if it did not start before the end of it.
    """

    namespace: str
    name: str
    made: int
    submitted: int
    range: Range
    start: int | None

    @property
    def held(self) -> bool:
        """Whether the workload started within the range."""
        return self.range.holds(None if self.start is None else self.start - self.made)

    @property
    def left(self) -> int | None:
        """Seconds from when the range was given to the start."""
        return None if self.start is None else self.start - self.made

    @property
    def wait(self) -> int | None:
        """Seconds from the submission to the start."""
        return None if self.start is None else self.start - self.submitted


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """Forecasts that were made of one simulation.

    A workload that does not start before the end of the simulation is left out where its range has no end or
    ends after it: whether that holds cannot be known.
    """

    forecasts: tuple[Forecast, ...]
    end: int

    def known(self) -> tuple[Forecast, ...]:
        """Those of which it is known whether they held."""
        return tuple(item for item in self.forecasts if item.start is not None or self._over(item))

    def _over(self, item: Forecast) -> bool:
        return item.range.latest is not None and item.made + item.range.latest < self.end

    def first(self) -> "Calibration":
        """Only the first forecast for each workload."""
        found: dict[tuple[str, str], Forecast] = {}
        for item in self.forecasts:
            found.setdefault((item.namespace, item.name), item)
        return replace(self, forecasts=tuple(found.values()))

    @property
    def held(self) -> float:
        """The part of the known forecasts that held, 0 to 1."""
        known = self.known()
        return sum(item.held for item in known) / len(known) if known else 0.0

    def median_width(self) -> int | None:
        """The median width of the known forecasts, those without end the widest; None: it has no end."""
        widths = [item.range.width for item in self.known()]
        ends = sorted(value for value in widths if value is not None)
        place = -(-len(widths) // 2) - 1
        return ends[place] if 0 <= place < len(ends) else None

    def median_wait(self) -> int:
        """The median of the waits, in seconds from the submission."""
        return _median(item.wait for item in self.known())

    def median_left(self) -> int:
        """The median of what was left of the waits, in seconds from when the range was given."""
        return _median(item.left for item in self.known())


def _median(values: Iterable[int | None]) -> int:
    found = sorted(value for value in values if value is not None)
    return percentile(found, 50) if found else 0


def calibrated(
    scenario: Scenario,
    moments: Sequence[int],
    terms: Terms | None = None,
    observe: Callable[[int], None] | None = None,
) -> Calibration:
    """Simulate the scenario, and foretell the starts of what waits at these moments (ascending seconds).

    observe: called with each moment once it is done. Raises FormError.
    """
    settings = scenario.settings
    simulation = Simulation.of(scenario.snapshot, scenario.workloads, settings, scenario.policy)
    world = simulation.world
    made: list[tuple[int, int, Range]] = []
    starts: list[int | None] = []
    ahead = list(moments)
    going = True
    while going:
        going = simulation.step()
        for place, (number, since, _) in enumerate(made):
            if starts[place] is None:
                starts[place] = start_of(world.standings.get(number), since, world.now)
        if ahead and going and world.now >= ahead[0]:
            while ahead and world.now >= ahead[0]:
                moment = ahead.pop(0)
            before = _before(made, starts, world.now)
            for number, found in _foretold(simulation, scenario, terms, before).items():
                made.append((number, world.now, found))
                starts.append(None)
            if observe is not None:
                observe(moment)
    forecasts = [
        Forecast(
            namespace=world.workloads[number].namespace,
            name=world.workloads[number].name,
            made=since,
            submitted=world.workloads[number].submitted,
            range=found,
            start=start,
        )
        for (number, since, found), start in zip(made, starts, strict=True)
    ]
    return Calibration(forecasts=tuple(forecasts), end=world.now)


def _before(made: Sequence[tuple[int, int, Range]], starts: Sequence[int | None], now: int) -> list[Foretold]:
    """What has become by now of the ranges that were given."""
    return [
        Foretold(
            age=now - since,
            middle=found.middle,
            waited=(now if start is None else start) - since,
            started=start is not None,
        )
        for (_, since, found), start in zip(made, starts, strict=True)
        if found.middle is not None
    ][-MOST_HISTORY:]


def _foretold(
    simulation: Simulation, scenario: Scenario, terms: Terms | None, before: Sequence[Foretold]
) -> dict[int, Range]:
    """The ranges now for what waits, by number; for a workload that never ran before only."""
    world, settings = simulation.world, scenario.settings
    waiting = {number for number in world.meter.waiting if world.standings[number].placed is None}
    if not waiting:
        return {}
    now = world.moment(world.now)
    snapshot = world.cluster.snapshot()
    numbers: dict[WorkloadKey, int] = {}
    for item in adopt(snapshot, now, scenario.policy):
        found = world.owners.get(item.objects[0].key)
        if found is not None:
            numbers[key_of(item)] = found
    asked = replace(
        scenario,
        snapshot=snapshot,
        workloads=(),
        settings=replace(settings, start=now),
    )
    names = {number: key for key, number in numbers.items()}
    ranges = expected_starts(asked, history_of(simulation, names), terms, before)
    return {numbers[key]: found for key, found in ranges.items() if numbers.get(key) in waiting}


def history_of(simulation: Simulation, names: Mapping[int, WorkloadKey]) -> list[Past]:
    """What has come so far, as one who kept a record would know it: run times of what has ended only.

    names: by number, as what are the workloads known that have not ended.
    """
    world = simulation.world
    found = []
    for number in sorted(world.standings)[-MOST_HISTORY:]:
        standing, workload = world.standings[number], world.workloads[number]
        standing.advance(workload, world.now)
        worked = standing.done // workload.pods
        if number in names:
            kind, namespace, name = names[number]
            workload = replace(workload, kind=kind, namespace=namespace, name=name)
        ended = standing.finished is not None
        found.append(
            Past(
                workload=workload,
                submitted=workload.submitted - world.now,
                run_seconds=max(1, worked) if ended else None,
                worked_seconds=worked,
            )
        )
    return found
