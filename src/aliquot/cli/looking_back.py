"""What would have been foretold from earlier records of a controller's journal, and what became of it."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from aliquot.simulation.changes import Scenario
from aliquot.simulation.expecting import Terms, expected_starts, key_of
from aliquot.simulation.margins import Foretold
from aliquot.simulation.settings import Settings
from aliquot.traces.recorded import Past, record_before

HOURS_AGO = (1, 2, 4, 8, 16)
"""Moments that are gone back to."""

FUTURES = 5
"""Simulated from each of them."""

MOST_NODES = 200
"""Larger clusters take too long to be simulated so often while somebody waits for it."""


def look_back(
    journal: Path,
    past: Past,
    now: datetime,
    settings: Settings,
    terms: Terms,
    tell: Callable[[str], None] = lambda text: None,
) -> list[Foretold]:
    """Foretell the starts of what waited some hours ago, knowing what was known then, and compare.

    journal: of which `past` was read. Raises JournalError, FormError.
    """
    places = {key_of(item.workload): place for place, item in enumerate(past.history)}
    until = round((now - past.start).total_seconds())
    found: list[Foretold] = []
    if len(past.snapshot.nodes) > MOST_NODES:
        return found
    for hours in HOURS_AGO:
        record = record_before(journal, now - timedelta(hours=hours))
        if record is None:
            break
        tell(f"Looking back by {hours} h")
        moment = round((record.time - past.start).total_seconds())
        scenario = Scenario(
            snapshot=record.snapshot,
            policy=record.policy,
            settings=msgspec.structs.replace(settings, start=record.time),
        )
        shorter = msgspec.structs.replace(terms, futures=FUTURES)
        ranges = expected_starts(scenario, past.known_at(moment), shorter)
        for key, given in ranges.items():
            place = places.get(key)
            if place is None or given.middle is None:
                continue
            placed, gone = past.placed[place], past.gone[place]
            started = placed is not None and moment <= placed <= until
            if not started and (gone is not None or (placed is not None and placed < moment)):
                # It was withdrawn, or had a place before and lost it: its first start is no answer.
                continue
            waited = (placed if started and placed is not None else until) - moment
            found.append(Foretold(age=until - moment, middle=given.middle, waited=waited, started=started))
    return found
