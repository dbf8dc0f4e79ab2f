"""What a source said, by name and labels, and what of it can be used."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from aliquot.telemetry.vocabulary import Vocabulary, scaled
from aliquot.usage.identity import identity
from aliquot.usage.joining import Reading


@dataclass(frozen=True, slots=True)
class RawSeries:
    """times: ms since 1970, values as the source gave them. origin: which exporter said it."""

    name: str
    labels: Mapping[str, str]
    origin: str
    times: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)


def readings(raw: Iterable[RawSeries], vocabulary: Vocabulary, *, step: int = 0) -> tuple[Reading, ...]:
    """The readings among what sources said. step: the distance in which they are taken, ms, 0: as they lie.

    A name counts to the origin: where an exporter gives one metric under two names, one of them is used.
    """
    found = []
    for series in raw:
        term = vocabulary.term(series.name)
        if term is None:
            continue
        good, values = scaled(term, series.values)
        if len(values):
            times = np.asarray(series.times, dtype=np.int64)[good]
            origin = f"{series.origin} {series.name}"
            found.append(Reading(term.metric, identity(series.labels), times, values, origin, step))
    return tuple(found)
