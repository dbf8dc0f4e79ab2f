"""Aliquot's placement: each pod goes where the cluster loses least of what it can still be expected to hold.

The mix of pods is learnt from the arrivals so far, anew whenever their number has doubled; `expectation` says
what a cluster is worth for a mix.
"""

from collections import Counter
from collections.abc import Sequence

from aliquot.packing.cluster import Demand, State
from aliquot.packing.expectation import FILLING_UP, STEADY, Expectation
from aliquot.packing.placer import Stateless

LONGEST_PERIOD = 4096
"""Arrivals after which the mix is learnt anew at the latest."""

MOST_COUNTED = 16_384
"""When so many arrivals are counted, all counts are halved, so that what came long ago is forgotten."""


class ExpectedCapacity(Stateless):
    """The policy. It learns from `arrived`; of equal losses the first node wins, on it the fullest device."""

    def __init__(self, *, leaving: bool = False) -> None:
        """leaving: whether pods leave again."""
        self._leaving = leaving
        self._counts: Counter[Demand] = Counter()
        self._seen = 0
        self._learn_at = 1
        self._shapes: dict[tuple[str, int], tuple[int, int]] = {}
        self._expectation = Expectation({}, 1, (), {})

    def score(self, state: State, demand: Demand) -> float:
        return self._expectation.score(state, demand)

    def after(self, state: State, demand: Demand) -> State:
        return self._expectation.after(state, demand)

    def arrived(self, demand: Demand, states: Sequence[State]) -> bool:
        self._counts[demand] += 1
        self._seen += 1
        if self._seen < self._learn_at:
            return False
        if self._seen >= MOST_COUNTED:
            self._counts = Counter({kind: count // 2 for kind, count in self._counts.items() if count > 1})
            self._seen = self._counts.total()
        self._learn_at = self._seen + min(self._seen, LONGEST_PERIOD)
        for state in states:
            shape = (state.model, len(state.gpus))
            cpu, memory = self._shapes.get(shape, (0, 0))
            if state.cpu > cpu or state.memory > memory:
                self._shapes[shape] = (max(cpu, state.cpu), max(memory, state.memory))
        self._expectation = Expectation(
            self._counts,
            self._seen,
            states,
            self._shapes,
            leaving=self._leaving,
            weights=STEADY if self._leaving else FILLING_UP,
        )
        return True
