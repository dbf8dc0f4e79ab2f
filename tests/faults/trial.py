"""One schedule from beginning to end, judged."""

import asyncio
from dataclasses import dataclass

from tests.faults.schedule import Blow, Schedule, drawn
from tests.faults.virtual_loop import VirtualLoop, run
from tests.faults.world import BOUND, LEASE_SECONDS, POLICY, World, world

from aliquot.scheduling.policy import Policy

REACTION = 3.0 * LEASE_SECONDS
"""A leader that dies is followed within a lease; then what it left is looked at, and pods end."""

_AWAY = frozenset(
    {Blow.RESTART, Blow.ISOLATE, Blow.THROTTLE, Blow.CONTROL_PLANE, Blow.CLOCK, Blow.KILL, Blow.NODE_LOST}
)
"""While these last nobody can see to it that a bound is kept."""

PATIENCE = 240.0
"""Seconds of virtual time after the last trouble in which all work has to be done."""


@dataclass(frozen=True)
class Result:
    """wrong: broken promises, in words. seconds: of virtual time."""

    seed: int
    wrong: tuple[str, ...]
    allocations: int
    seconds: float


def tried(seed: int) -> Result:
    """The schedule of this seed, carried out."""
    return carried_out(drawn(seed))


def carried_out(schedule: Schedule, policy: Policy = POLICY) -> Result:
    """The schedule, carried out with this policy; see `Result`."""
    return run(lambda loop: _trial(loop, schedule, policy))


async def _trial(loop: VirtualLoop, schedule: Schedule, policy: Policy) -> Result:
    wrong: list[str] = []
    async with world(loop, schedule, policy) as found:
        await found.suffer()
        done = await _until_done(found)
        judge = found.judge
        wrong += judge.broken
        allowed = (
            BOUND + REACTION + sum(item.length + 10.0 for item in schedule.happenings if item.blow in _AWAY)
        )
        wrong += [
            f"gang {key} was half admitted for {seconds:.0f} s"
            for key, seconds in judge.longest().items()
            if seconds > allowed
        ]
        if not done:
            wrong += [f"left: {text}" for text in found.load.unfinished(judge.witness.ran)]
            wrong += [f"held: {text}" for text in found.held()]
            wrong += [f"pod: {text}" for text in found.pods()]
        for replica in found.replicas:
            replica.check()
        allocations = judge.witness.allocations
    return Result(schedule.seed, tuple(wrong), allocations, loop.time())


async def _until_done(found: World) -> bool:
    end = found.loop.time() + PATIENCE
    while found.loop.time() < end:
        if not found.load.unfinished(found.judge.witness.ran) and not found.held():
            return True
        await asyncio.sleep(1.0)
    return False
