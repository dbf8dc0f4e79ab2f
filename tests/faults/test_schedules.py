"""Whatever a schedule of troubles does: no device given twice, no gang half admitted, all is done."""

import os

import pytest
from tests.faults.trial import tried

BLOCK, BLOCKS = 100, 10


@pytest.mark.parametrize("seed", range(12))
def test_promises_hold_under_a_schedule_of_troubles(seed: int) -> None:
    assert tried(seed).wrong == ()


@pytest.mark.prove
@pytest.mark.parametrize("block", range(BLOCKS))
def test_promises_hold_under_a_thousand_schedules(block: int) -> None:
    first = int(os.environ.get("ALIQUOT_SEED", "1000")) + block * BLOCK
    failed = [result for seed in range(first, first + BLOCK) if (result := tried(seed)).wrong]
    assert failed == []
