"""Whether the controller is alive and whether it is ready: what probes ask."""

from dataclasses import dataclass

from aliquot.controller.live import Live
from aliquot.kube.clock import Clock
from aliquot.kube.mirror import Mirror

STUCK_SECONDS = 600.0
"""A leader that has begun no round for so long is stuck: it begins one every 30 s without any change."""


@dataclass(frozen=True, slots=True)
class Health:
    """good: the answer to a probe. why: for people."""

    good: bool
    why: str


class Pulse:
    """When the loop last began a round."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._beat = clock.monotonic()

    def beat(self) -> None:
        self._beat = self._clock.monotonic()

    @property
    def age(self) -> float:
        """Seconds since the last beat."""
        return self._clock.monotonic() - self._beat


def alive(live: Live, pulse: Pulse, limit: float = STUCK_SECONDS) -> Health:
    """Restarting helps only against a fault of this process; an API server that is away is none."""
    if live.leading and pulse.age > limit:
        return Health(False, f"leads, but has begun no round for {pulse.age:.0f} s")
    return Health(True, "ok")


def ready(live: Live, mirror: Mirror) -> Health:
    """Ready to lead or leading. Whoever waits for the lease is ready too: it would go on at once."""
    if not mirror.complete:
        return Health(False, f"not read yet: {', '.join(mirror.missing)}")
    return Health(True, "leads" if live.leading else "waits for the lease")
