"""At most one candidate leads, by the clocks of all of them."""

import asyncio
import contextlib
import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from tests.kube.faults import Fault, FaultyProxy
from tests.kube.times import VirtualClock

from aliquot.embedded.server import EmbeddedServer
from aliquot.kube.client import Client
from aliquot.kube.config import Connection
from aliquot.kube.leases import LeaderElection
from aliquot.kube.resources import LEASES

Candidate = Callable[..., LeaderElection]


@pytest.fixture
def candidate(server: EmbeddedServer, connection: Connection) -> Candidate:
    def make(identity: str, client: Client, clock: VirtualClock) -> LeaderElection:
        return LeaderElection(
            client,
            namespace="default",
            name="controller",
            identity=identity,
            seconds=15,
            clock=clock,
            randomness=random.Random(identity),
        )

    return make


async def spec(client: Client) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.json.decode(await client.get(LEASES, "controller", "default"))
    found: dict[str, Any] = document["spec"]
    return found


async def test_the_first_candidate_leads_and_the_lease_says_so(client: Client, candidate: Candidate) -> None:
    clock = VirtualClock()
    election = candidate("a", client, clock)
    assert not election.leading
    await election.acquire()
    assert election.leading
    stored = await spec(client)
    assert (stored["holderIdentity"], stored["leaseDurationSeconds"]) == ("a", 15)
    clock.advance(10.1)
    assert not election.leading


async def test_another_waits_for_the_whole_lease_by_its_own_clock(
    client: Client, candidate: Candidate
) -> None:
    first_clock, second_clock = VirtualClock(), VirtualClock()
    first, second = candidate("a", client, first_clock), candidate("b", client, second_clock)
    await first.acquire()
    second_clock.advance(100_000)
    started = second_clock.monotonic()
    await second.acquire()
    assert second.leading
    assert second_clock.monotonic() - started >= 15
    assert (await spec(client))["leaseTransitions"] == 1


async def test_the_old_leader_stops_before_another_may_lead(client: Client, candidate: Candidate) -> None:
    clock = VirtualClock()
    first, second = candidate("a", client, clock), candidate("b", client, clock)
    await first.acquire()
    while True:
        was_leading = first.leading
        if await second._attempt():
            break
        clock.advance(0.5)
    assert not was_leading


async def test_a_leader_that_renews_goes_on_leading(client: Client, candidate: Candidate) -> None:
    clock = VirtualClock()
    first, second = candidate("a", client, clock), candidate("b", client, clock)
    await first.acquire()
    for _ in range(40):
        clock.advance(3)
        assert await first._attempt()
        assert not await second._attempt()
    assert first.leading


async def test_hold_ends_when_the_lease_was_taken_by_another(client: Client, candidate: Candidate) -> None:
    clock = VirtualClock()
    first = candidate("a", client, clock)
    await first.acquire()
    taken = {"spec": {"holderIdentity": "b"}}
    await client.patch(LEASES, "controller", taken, "default")
    await first.hold()
    assert not first.leading


async def test_hold_ends_when_the_server_cannot_be_reached_any_more(
    faulty: Client, proxy: FaultyProxy, candidate: Candidate
) -> None:
    clock = VirtualClock()
    faulty.clock = clock
    first = candidate("a", faulty, clock)
    await first.acquire()
    proxy.plan = lambda method, path, query: Fault(status=503)
    await first.hold()
    assert not first.leading


async def test_a_released_lease_is_taken_at_once(client: Client, candidate: Candidate) -> None:
    first_clock, second_clock = VirtualClock(), VirtualClock()
    first, second = candidate("a", client, first_clock), candidate("b", client, second_clock)
    await first.acquire()
    await first.release()
    assert not first.leading
    started = second_clock.monotonic()
    await second.acquire()
    assert second_clock.monotonic() == started


async def test_of_two_that_try_at_once_one_leads(client: Client, candidate: Candidate) -> None:
    clocks = VirtualClock(), VirtualClock()
    first, second = candidate("a", client, clocks[0]), candidate("b", client, clocks[1])
    won = await asyncio.gather(first._attempt(), second._attempt())
    assert sorted(won) == [False, True]


async def test_a_lease_is_released_although_a_renewal_was_cut_short(
    client: Client, faulty: Client, proxy: FaultyProxy, candidate: Candidate
) -> None:
    first, second = candidate("a", faulty, VirtualClock()), candidate("b", client, VirtualClock())
    await first.acquire()
    proxy.plan = lambda method, path, query: Fault(delay=0.2) if method == "PUT" else None
    renewal = asyncio.create_task(first._attempt())
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.05):
            await asyncio.shield(renewal)
    renewal.cancel()
    await asyncio.gather(renewal, return_exceptions=True)
    renewed = await client.get(LEASES, "controller", "default")
    await client.patch(LEASES, "controller", {"metadata": {"labels": {"x": "y"}}}, "default")
    assert b'"a"' in renewed
    proxy.plan = lambda method, path, query: None
    await first.release()
    assert await second._attempt()
