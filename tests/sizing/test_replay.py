"""A history on another part."""

import itertools
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sizing.histories import GIB, MINUTE, START, busy, memory, profile, whole

from aliquot.catalog.accelerators import accelerators
from aliquot.sizing.parts import Mode, parts_of
from aliquot.sizing.profiles import Use
from aliquot.sizing.replay import over_memory, replay, replay_use, speed_ratio
from aliquot.usage.metrics import Metric
from aliquot.usage.series import Series, Subject

A100 = accelerators()["A100-SXM4-80GB"]
QUARTER = next(part for part in parts_of(A100, [Mode.MPS]) if part.name == "1/4")


def test_the_worked_example_of_the_module_holds() -> None:
    use = Use(memory([1.0] * 5), busy([50, 50, 0, 0, 0]), had=whole())
    found = replay_use(use, QUARTER)
    assert found.late == pytest.approx(0.5)
    assert found.behind_ms == 2 * MINUTE


def test_time_over_the_memory_is_counted_and_the_hours_that_have_any() -> None:
    history = memory([10.0] * 60 + [10.0] * 30 + [20.5] * 2 + [10.0] * 28)
    assert over_memory(history, 20 * GIB) == (2 * MINUTE, 1, 2)
    assert over_memory(history, 21 * GIB) == (0, 0, 2)


def test_a_gap_is_time_to_catch_up() -> None:
    times = [(START + MINUTE, MINUTE, 1_000_000), (START + 60 * MINUTE, MINUTE, 1_000_000)]
    gapped = Series.of(Metric.ENGINE_BUSY, Subject(), times)
    use = Use(memory([1.0]), gapped, had=whole())
    assert replay_use(use, QUARTER).behind_ms == pytest.approx(3 * MINUTE, abs=1)


@given(st.lists(st.integers(0, 100), min_size=1, max_size=40), st.sampled_from(["1/2", "1/4", "1/8"]))
def test_the_queue_is_the_one_that_is_worked_off_minute_by_minute(percent: list[int], name: str) -> None:
    part = next(item for item in parts_of(A100, [Mode.MPS]) if item.name == name)
    found = replay_use(Use(memory([1.0]), busy(percent), had=whole()), part)
    behind, most, late = Fraction(0), Fraction(0), Fraction(0)
    for value in percent:
        arriving = Fraction(value, 100)
        late += max(Fraction(0), arriving - part.compute)
        behind = max(Fraction(0), behind + arriving - part.compute)
        most = max(most, behind)
    total = Fraction(sum(percent), 100)
    assert found.behind_ms is not None
    assert found.behind_ms == pytest.approx(float(most / part.compute) * MINUTE, abs=2)
    assert found.late == pytest.approx(float(late / total) if total else 0.0, abs=1e-9)


def test_work_takes_longer_on_a_slower_model() -> None:
    use = Use(memory([1.0] * 10), busy([40] * 10), had=whole("H100-SXM5-80GB"))
    assert replay_use(use, whole("H100-SXM5-80GB")).late == 0.0
    slower = replay_use(use, whole("A100-SXM4-80GB"))
    assert slower.scaled
    assert slower.late == pytest.approx(1 - 1 / (0.4 * 989 / 312))


def test_models_that_are_not_known_count_as_equal() -> None:
    assert speed_ratio(None, A100) == 1
    assert speed_ratio(A100, A100) == 1


def test_of_several_pods_times_are_added_and_the_worst_queue_counts() -> None:
    one = profile([10.0] * 60, [10] * 60, had=whole())
    two = profile([30.0] * 60, [90] * 60, had=whole())
    uses = (*one.uses, *two.uses)
    results = [replay_use(use, QUARTER) for use in uses]
    both = replay(type(one)(**{**_fields(one), "uses": uses}), QUARTER)
    assert both.over_ms == sum(item.over_ms for item in results) == 60 * MINUTE
    assert both.late == max(item.late or 0 for item in results)


def _fields(item: object) -> dict[str, object]:
    names = itertools.chain.from_iterable(getattr(kind, "__slots__", ()) for kind in type(item).__mro__)
    return {name: getattr(item, name) for name in names}
