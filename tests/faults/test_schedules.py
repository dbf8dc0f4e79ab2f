"""Whatever a schedule of troubles does: no device given twice, no gang half admitted, all is done."""

import os

import msgspec
import pytest
from tests.faults.schedule import Blow, Happening, Schedule
from tests.faults.trial import carried_out, tried
from tests.faults.world import POLICY

BLOCK, BLOCKS = 100, 10


@pytest.mark.parametrize("seed", range(12))
def test_promises_hold_under_a_schedule_of_troubles(seed: int) -> None:
    assert tried(seed).wrong == ()


def test_a_schedule_comes_out_the_same_wherever_objects_lie_in_memory() -> None:
    first = tried(1630)
    kept = [bytearray(size) for size in range(1, 4000, 7)]
    assert tried(1630) == first
    assert kept


def without_cpu(seed: int) -> Schedule:
    """The node of the first pod that is let go has no CPU left for 48 s, when gangs are about to start."""
    return Schedule(
        seed=seed,
        rate=0.0,
        lag=0.1,
        until=60.0,
        happenings=(Happening(0.2, Blow.NODE_SHORT, 12.0, 0),),
        arrivals=(1.0, 1.5, 2.0, 3.0),
    )


@pytest.mark.parametrize("seed", range(3))
def test_a_gang_that_cannot_be_bound_is_replaced_within_its_bound(seed: int) -> None:
    assert carried_out(without_cpu(seed)).wrong == ()


def test_it_would_be_noticed_if_gangs_stayed_half_admitted() -> None:
    for_ever = msgspec.structs.replace(
        POLICY, admission_seconds=None, staleness_seconds=None, bind_patience_seconds=100_000
    )
    (wrong,) = carried_out(without_cpu(0), for_ever).wrong
    assert "half admitted" in wrong


@pytest.mark.prove
@pytest.mark.parametrize("block", range(BLOCKS))
def test_promises_hold_under_a_thousand_schedules(block: int) -> None:
    first = int(os.environ.get("ALIQUOT_SEED", "1000")) + block * BLOCK
    failed = [result for seed in range(first, first + BLOCK) if (result := tried(seed)).wrong]
    assert failed == []
