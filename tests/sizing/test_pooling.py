"""Workloads together on one device."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.sizing.histories import GIB, MINUTE, START, busy, memory, profile, waves, whole

from aliquot.sizing.policy import SizingPolicy
from aliquot.sizing.pooling import Window, candidate, pools, pools_of
from aliquot.sizing.profiles import Use

POLICY = SizingPolicy()
DEVICE = whole()


def test_peaks_that_never_come_together_fit_where_two_parts_would_not() -> None:
    """30 GiB and at times 45, never at once: 75 and not 90 on 80 GiB."""
    first = [45.0 if at % 120 == 0 else 15.0 for at in range(48 * 60)]
    second = [45.0 if at % 120 == 60 else 15.0 for at in range(48 * 60)]
    apart = [profile(first), profile(second)]
    assert [pool.members for pool in pools_of(apart, DEVICE, POLICY)] == [(0, 1)]
    at_once = [profile(first), profile(first)]
    assert len(pools_of(at_once, DEVICE, POLICY)) == 2


def test_joint_work_may_not_be_late() -> None:
    busy_one = profile([5.0] * 2880, [70.0] * 2880)
    quiet = profile([5.0] * 2880, [10.0] * 2880)
    assert len(pools_of([busy_one, busy_one], DEVICE, POLICY)) == 2
    assert len(pools_of([busy_one, quiet], DEVICE, POLICY)) == 1


def test_work_on_several_devices_is_not_put_together() -> None:
    assert pools_of([profile([5.0] * 2880, devices=2)], DEVICE, POLICY) == ()


def test_the_grid_holds_the_largest_value_of_each_step() -> None:
    window = Window(START, START + 5 * MINUTE)
    assert window.highest(memory([1, 2, 3])).tolist() == [GIB, 2 * GIB, 3 * GIB, 0, 0]
    wide = Window(START, START + 4 * MINUTE, step=2 * MINUTE)
    assert wide.highest(memory([1, 2, 3])).tolist() == [2 * GIB, 3 * GIB]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.floats(1, 60), st.floats(1, 30), st.integers(20, 200)), min_size=1, max_size=7))
def test_every_pool_holds_its_history_with_the_margin_and_everybody_is_in_one(
    shapes: list[tuple[float, float, int]],
) -> None:
    histories = [waves(low, low + more, 24, every=every) for low, more, every in shapes]
    window = Window(START, START + 24 * 60 * MINUTE)
    found = [
        candidate(number, Use(memory(item), busy([1.0] * len(item))), window, DEVICE)
        for number, item in enumerate(histories)
    ]
    groups = pools(found, window, DEVICE, POLICY)
    assert sorted(number for group in groups for number in group.members) == list(range(len(shapes)))
    for group in groups:
        joint = np.sum([found[number].memory for number in group.members], axis=0)
        assert group.peak == int(joint.max())
        if len(group.members) > 1:
            assert group.need <= DEVICE.memory
            assert group.need >= group.peak * 1.15 - 1


def test_those_with_too_little_history_have_a_device_each() -> None:
    short = profile([20.0] * 30)
    groups = pools_of([short, short], DEVICE, POLICY)
    assert [group.members for group in groups] == [(0,), (1,)]
    assert [group.need for group in groups] == [pytest.approx(40 * GIB)] * 2


def test_a_workload_that_ended_has_no_part_in_it() -> None:
    ended, running = profile([50.0] * 1200), profile([0.0] * 1200 + [50.0] * 1200)
    assert [group.members for group in pools_of([ended, running], DEVICE, POLICY)] == [(1,)]
