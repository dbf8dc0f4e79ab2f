"""Idle accelerators: counted as nodes change, as if all were counted anew."""

from hypothesis import given
from hypothesis import strategies as st

from aliquot.scheduling.idle import IdleAccelerators

amounts = st.sampled_from([0.0, 0.5, 1.0, 8.0])


@given(st.lists(amounts, max_size=6), st.lists(st.lists(st.tuples(st.integers(0, 5), amounts), max_size=4)))
def test_counted_step_by_step_is_what_there_is(free: list[float], steps: list[list[tuple[int, float]]]):
    changes: list[int] = []
    idle = IdleAccelerators(lambda number: free[number], changes, len(free))
    for step in [[], *steps]:
        for number, amount in step:
            if number < len(free):
                free[number] = amount
                changes.append(number)
        found = idle.catch_up()

        assert found.by_node == free
        assert found.nodes == {amount: free.count(amount) for amount in free}
        assert found.some == sum(1 << number for number, amount in enumerate(free) if amount)
        assert (found.total(), found.most()) == (sum(free), max(free, default=0.0))
