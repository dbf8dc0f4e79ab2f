"""Short runs of the fuzzer; `python -m tests.dra.fuzz` is the long one."""

import pytest
from tests.dra.fuzz import fuzz


def test_a_few_hundred_rounds_find_nothing() -> None:
    assert fuzz(1, rounds=300) == []


@pytest.mark.prove
@pytest.mark.parametrize("seed", [2, 3])
def test_thousands_of_rounds_find_nothing(seed: int) -> None:
    assert fuzz(seed, rounds=15_000) == []
