"""Where a workload stands: its pods, and how far its work has come.

Work is counted in pod-seconds, exactly: a workload of 4 pods that runs for 100 s is 400. While at least its
minimum of pods runs, and its start-up is over, every second adds as many as run. When fewer than the minimum
are left, the work falls back to where it was last saved.
"""

import enum

import msgspec

from aliquot.simulation.workload import Workload


class Phase(enum.IntEnum):
    """Of a pod. A pod that leaves still holds what it has."""

    WAITING = 0
    STARTING = 1
    RUNNING = 2
    LEAVING = 3


class Member(msgspec.Struct):
    """A pod. slot: its number in the workload; node: "" while it waits; devices: what it holds once it has a
    node, in billionths; doomed: when it will be gone, for one that leaves."""

    slot: int
    name: str
    devices: int
    phase: Phase = Phase.WAITING
    node: str = ""


class Standing(msgspec.Struct):
    """number: of the workload among all. members: by name. attempts: how many pods there have been, by slot.

    placed, started, finished: see WorkloadResult. queued, queued_since: how long it has waited for a place
    up to `queued_since`, which is None while it has one. done: pod-seconds up to `since`; saved: of those,
    what outlasts an interruption. began: when it last began to work, None while it does not; rate: how many
    pods work. ready: when its start-up is over, None while too few pods run. epoch: counts the times that
    the end of work was foretold; only the last one holds.
    """

    number: int
    members: dict[str, Member] = {}
    attempts: list[int] = []
    placed: int | None = None
    started: int | None = None
    finished: int | None = None
    queued: int = 0
    queued_since: int | None = None
    done: int = 0
    saved: int = 0
    lost: int = 0
    since: int = 0
    began: int | None = None
    rate: int = 0
    ready: int | None = None
    epoch: int = 0
    evictions: int = 0
    failures: int = 0
    reason: str = ""
    promised: bool = False

    def count(self, *phases: Phase) -> int:
        return sum(1 for member in self.members.values() if member.phase in phases)

    def held(self) -> int:
        """The devices that its pods hold, in billionths."""
        return sum(member.devices for member in self.members.values() if member.phase is not Phase.WAITING)

    def wanted(self) -> int:
        """The devices that its waiting pods want, in billionths."""
        return sum(member.devices for member in self.members.values() if member.phase is Phase.WAITING)

    def advance(self, workload: Workload, now: int) -> None:
        """Count the work up to now."""
        if self.began is not None and now > self.since:
            interval = workload.checkpoint_seconds
            if interval:
                last = self.began + (now - self.began) // interval * interval
                if last > self.since:
                    self.saved = self.done + self.rate * (last - self.since)
            self.done += self.rate * (now - self.since)
        self.since = now

    def work(self, workload: Workload, now: int) -> int | None:
        """Bring what it does up to date after its pods changed; the time at which something will happen to
        it by itself (its start-up or its work will be over), None if nothing will.

        To be called with the time of the change. The epoch goes up: earlier answers do not hold any more.
        """
        self.advance(workload, now)
        self.epoch += 1
        running = self.count(Phase.RUNNING)
        if running < workload.minimum:
            self._interrupt(now)
            return None
        if self.started is None:
            self.started = now
        if self.ready is None:
            self.ready = now + workload.startup_seconds
        if now < self.ready:
            return self.ready
        if self.began is None:
            self.began = now
        self.rate = running
        left = self.left(workload)
        return None if left is None else now + -(-left // running)

    def left(self, workload: Workload) -> int | None:
        """Pod-seconds that are still to do; None for work without end."""
        if workload.run_seconds is None:
            return None
        return max(0, workload.run_seconds * workload.pods - self.done)

    def _interrupt(self, now: int) -> None:
        if self.began is not None:
            self.lost += self.done - self.saved
            self.done = self.saved
        self.began = self.ready = None
        self.rate = 0

    def wait(self, workload: Workload, now: int) -> None:
        """Note whether it waits for a place: fewer than its minimum of pods have nodes."""
        if self.count(Phase.STARTING, Phase.RUNNING) >= workload.minimum:
            if self.placed is None:
                self.placed = now
            if self.queued_since is not None:
                self.queued += now - self.queued_since
                self.queued_since = None
        elif self.queued_since is None:
            self.queued_since = now
