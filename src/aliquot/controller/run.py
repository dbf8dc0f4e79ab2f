"""The controller as a whole: mirror, leadership, loop and reports, until told to stop."""

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry

from aliquot.controller.deciding import Deciding
from aliquot.controller.enact import Enactor
from aliquot.controller.endpoints import Probes
from aliquot.controller.health import Pulse
from aliquot.controller.live import Live
from aliquot.controller.loop import Loop, Recorder
from aliquot.controller.metrics import Metrics, StateCollector
from aliquot.controller.outcomes import NotLeadingError
from aliquot.controller.queue_status import QueueStatuses
from aliquot.controller.reporting import Describe, Reporter
from aliquot.controller.writing import WRITES_IN_FLIGHT, Writer
from aliquot.kube.client import Client, cancel_and_wait
from aliquot.kube.clock import Clock, SystemClock
from aliquot.kube.config import Connection
from aliquot.kube.leases import Always, LeaderElection
from aliquot.kube.mirror import Mirror
from aliquot.kube.reflector import Failure
from aliquot.kube.transport import Limits, Wire
from aliquot.model.core import Pod
from aliquot.model.resource import ResourceClaim
from aliquot.model.snapshot import Snapshot
from aliquot.scheduling.plan import Plan
from aliquot.scheduling.policy import Policy
from aliquot.scheduling.wording import sentence

_log = logging.getLogger(__name__)

Part = Callable[[], Coroutine[Any, Any, None]]

AGAIN_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class ControllerConfig:
    """connection: the cluster. identity: unique to this process, e.g. the pod's name.

    lease_seconds: after a crash another process takes over after this time. elect: whether the lease is asked
    at all; without it this process leads at once, which is safe only where no other runs. writes_in_flight:
    how many writes may run at a time. wire: what carries requests, connections to the server unless given.
    """

    connection: Connection
    identity: str
    lease_namespace: str = "aliquot-system"
    lease_name: str = "aliquot-controller"
    lease_seconds: int = 15
    elect: bool = True
    writes_in_flight: int = WRITES_IN_FLIGHT
    limits: Limits = field(default_factory=Limits)
    wire: Wire | None = None


async def run(
    config: ControllerConfig,
    policy: Policy,
    *,
    journal: Recorder,
    stop: asyncio.Event,
    live: Live | None = None,
    clock: Clock | None = None,
    randomness: random.Random | None = None,
    describe: Describe = sentence,
    registry: CollectorRegistry | None = None,
    probes: Probes | None = None,
    parts: Callable[[Client], Sequence[Part]] | None = None,
    funds: Callable[[Snapshot], Snapshot] | None = None,
) -> None:
    """Run the controller until `stop` is set. Only the process that holds the lease decides and writes.

    parts: what else the leader does beside deciding; a fault there is told and ends nothing. registry: where
    its metrics belong. probes: told of the mirror, and that the loop goes round. funds: adds to a snapshot
    what money there is for devices (`funding.Funding.attach`).

    An unreachable server is waited for. Raises what is a fault of this program, never what the cluster does.
    """
    clock = clock or SystemClock()
    randomness = randomness or random.Random()
    live = live or Live()
    registry = registry or CollectorRegistry()
    metrics = Metrics(registry)
    async with Client(
        config.connection,
        clock=clock,
        randomness=randomness,
        limits=config.limits,
        user_agent=f"aliquot-controller ({config.identity})",
        observer=metrics,
        wire=config.wire,
    ) as client:
        mirror = Mirror(client)
        pulse = Pulse(clock) if probes is None else probes.pulse
        if probes is not None:
            probes.mirror = mirror
        election = _election(config, client)
        writer = Writer(client, mirror, lambda: election.leading, in_flight=config.writes_in_flight)
        deciding = Deciding()
        loop = Loop(
            mirror=mirror,
            decide=deciding.decide,
            policy=policy,
            enactor=Enactor(writer, policy.eviction_patience_seconds),
            recorder=journal,
            reports=(
                reporter := Reporter(
                    writer, describe, clock=clock, randomness=randomness, instance=config.identity
                )
            ),
            live=live,
            clock=clock,
            randomness=randomness,
            metrics=metrics,
            pulse=pulse,
            funds=funds,
        )

        def depths() -> dict[str, int]:
            conditions, events = reporter.waiting
            return {"object": writer.waiting, "condition": conditions, "event": events}

        state = StateCollector(live, mirror, clock, depths)
        registry.register(state)
        queues = QueueStatuses(writer, policy, live, clock, deciding)
        more = [partial(_again, part, clock) for part in parts(client)] if parts is not None else []
        stopped = asyncio.create_task(stop.wait(), name="stop")
        work = [
            asyncio.create_task(mirror.run(), name="mirror"),
            asyncio.create_task(
                _lead(election, mirror, live, clock, [loop.run, reporter.run, queues.run, *more]),
                name="lead",
            ),
        ]
        try:
            await asyncio.wait([stopped, *work], return_when=asyncio.FIRST_COMPLETED)
            for task in work:
                if task.done():
                    task.result()
        finally:
            registry.unregister(state)
            await cancel_and_wait(stopped, *work)
            await election.release()


def _election(config: ControllerConfig, client: Client) -> LeaderElection | Always:
    if not config.elect:
        return Always()
    return LeaderElection(
        client,
        namespace=config.lease_namespace,
        name=config.lease_name,
        identity=config.identity,
        seconds=config.lease_seconds,
    )


async def _lead(
    election: LeaderElection | Always, mirror: Mirror, live: Live, clock: Clock, parts: Sequence[Part]
) -> None:
    """Lead as often as this process is elected; show the cluster meanwhile."""
    while True:
        live.leading = False
        await _until_first(election.acquire(), _show(mirror, live))
        live.leading = True
        await _until_first(election.hold(), _work(mirror, clock, parts))


async def _again(part: Part, clock: Clock) -> None:
    """Run what stands beside deciding, until cancelled. A fault in it is told and it begins anew: nobody's
    pods may have to wait because use could not be read or a sum could not be written."""
    while True:
        try:
            await part()
        except Exception:
            _log.exception("a part beside the decisions failed and begins anew")
        await clock.sleep(AGAIN_SECONDS)


async def _show(mirror: Mirror, live: Live) -> None:
    await mirror.wait_synced()
    seen = -1
    while True:
        seen = await mirror.wait_for_change(seen)
        live.publish(mirror.snapshot(), Plan())


async def _work(mirror: Mirror, clock: Clock, parts: Sequence[Part]) -> None:
    await mirror.wait_complete()
    # What another leader wrote before this one took over may not have come by watch yet.
    while True:
        try:
            await mirror.refresh(Pod, ResourceClaim)
            break
        except Failure as error:
            _log.warning("claims and pods cannot be listed: %s", error)
            await clock.sleep(1.0)
    try:
        await _until_first(*(part() for part in parts))
    except* NotLeadingError:
        _log.warning("a write was held back: this process leads no more")


async def _until_first(*work: Coroutine[Any, Any, None]) -> None:
    """Run side by side until the first ends; the others are cancelled, and have ended, when this returns."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await cancel_and_wait(*tasks)
    for task in done:
        task.result()
