"""FGD's measure, against its definition."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.packing.trace import pods_of

from aliquot.packing.cluster import Demand, State
from aliquot.packing.fragmentation import Fragmentation, typical_pods

DEMANDS = st.builds(
    lambda cpu, size, models: Demand(cpu, 0, *size, models if size[0] else ()),
    st.integers(0, 20).map(lambda cpus: cpus * 1000),
    st.sampled_from([(0, 0), (1, 160), (1, 470), (1, 810), (1, 1000), (2, 1000), (4, 1000)]),
    st.sampled_from([(), ("T4",), ("G2", "T4")]),
)
STATES = st.builds(
    lambda cpu, gpus, model: State(cpu, 0, tuple(gpus), model),
    st.integers(0, 20_000),
    st.lists(st.sampled_from([0, 190, 530, 810, 1000]), min_size=1, max_size=4),
    st.sampled_from(["G2", "T4", "P100"]),
)


def defined(state: State, demand: Demand) -> int:
    """Fragmented milli-GPU for one kind, word for word: memory is not looked at."""
    fits = (
        demand.gpus > 0
        and state.cpu >= demand.cpu
        and (not demand.models or state.model in demand.models)
        and sum(left >= demand.milli for left in state.gpus) >= demand.gpus
    )
    return sum(left for left in state.gpus if not fits or left < demand.milli)


@given(st.dictionaries(DEMANDS, st.integers(1, 50), min_size=1, max_size=6), STATES)
def test_is_the_mean_over_the_kinds(counts: dict[Demand, int], state: State) -> None:
    total = sum(counts.values())
    measure = Fragmentation({demand: count / total for demand, count in counts.items()})
    expected = sum(count * defined(state, demand) for demand, count in counts.items()) / total
    assert measure.of(state) == pytest.approx(expected, abs=1e-6)


def test_typical_pods_are_the_published_ones(shared: Path) -> None:
    text = (shared / "traces/openb/orders/default-typical-pods.csv").read_text()
    rows = [line.split(",") for line in text.splitlines()[1:]]
    typical = typical_pods(pods_of(shared, "default").values())
    found = [(pod.cpu, pod.milli, pod.gpus, frequency) for pod, frequency in typical.items()]
    assert found == [(int(row[0]), int(row[1]), int(row[2]), float(row[3])) for row in rows]


def test_typical_pods_stop_at_95_percent() -> None:
    common, rare = Demand(1000, 5, 1, 500), Demand(2000, 7, 1, 500)
    assert typical_pods([common] * 95 + [rare] * 5) == {Demand(1000, 0, 1, 500): 1.0}
    assert len(typical_pods([common] * 94 + [rare] * 6)) == 2
