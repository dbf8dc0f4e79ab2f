"""Mode best against an oracle, and what it chooses."""

import os

from hypothesis import HealthCheck, given, settings
from tests.dra.build import DRIVER, device_class
from tests.dra.instances import Problem, problems, solvable

from aliquot.dra.allocator import allocate
from aliquot.dra.checker import check
from aliquot.dra.clashes import clashes
from aliquot.dra.fleet import Fleet
from aliquot.dra.outcome import Allocated, Unallocatable
from aliquot.dra.usage import Usage
from aliquot.model.resource import ResourceClaim, ResourceClaimStatus

CLASSES = [device_class("gpu", f'device.driver == "{DRIVER}"')]


def agree_with_the_oracle(problem: Problem) -> None:
    fleet = Fleet.of(problem.slices(), CLASSES)
    holders = problem.holders()
    usage = Usage.of(fleet, holders)
    before = usage.state()
    outcome = allocate(fleet, usage, problem.node(), problem.wanted())
    assert isinstance(outcome, Allocated | Unallocatable)
    assert isinstance(outcome, Allocated) is solvable(problem)
    assert usage.state() == before
    if isinstance(outcome, Unallocatable):
        assert outcome.falls or outcome.needs
        return
    claims = problem.wanted()
    allocated = [
        ResourceClaim(metadata=each.metadata, spec=each.spec, status=ResourceClaimStatus(allocation=result))
        for each, result in zip(claims, outcome.results, strict=True)
    ]
    overdrawn = {(violation.rule, violation.subject) for violation in clashes(fleet, holders)}
    for each in allocated:
        allocation = each.status.allocation
        assert allocation is not None
        # All is fixed before the call, so that only earlier holders decide what belongs to it.
        wrong = check(allocation, each, fleet, [problem.node()], holders)
        assert not [each for each in wrong if (each.rule, each.subject) not in overdrawn]
        usage.take(each.key, allocation)
    for each in allocated:
        usage.release(each.key)
    assert usage.state() == before


@settings(
    max_examples=int(os.environ.get("EXAMPLES", "1500")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(problems())
def test_what_is_solvable_is_solved_and_every_result_is_valid(problem):
    agree_with_the_oracle(problem)
