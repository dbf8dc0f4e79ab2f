"""What is known of how long workloads run: by what they say, and by how long those before them ran."""

import re
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import msgspec
from msgspec.structs import replace

from aliquot.fractions.resources import WHOLE_DEVICES
from aliquot.model.core import Pod
from aliquot.model.resource import ResourceClaim
from aliquot.model.snapshot import Snapshot
from aliquot.model.workloads import Job
from aliquot.queues.amounts import UNIT
from aliquot.scheduling.requests import CPU, MEMORY, pod_requests
from aliquot.simulation import draws
from aliquot.simulation.lasting import Spread
from aliquot.simulation.workload import WHOLE_DEVICE, Workload
from aliquot.workloads import labels
from aliquot.workloads.settings import seconds


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """A workload that came before, as far as it is known.

    submitted: seconds before now, 0 or less; run_seconds: how long it ran, None while it has not ended;
    worked_seconds: how long it has run so far then, 0 for one that waits.
    """

    workload: Workload
    submitted: int
    run_seconds: int | None = None
    worked_seconds: int = 0


class Hint(msgspec.Struct, frozen=True):
    """What a workload says of its run time: how long it expects to run, and how long it may at most."""

    said: int | None = None
    most: int | None = None


_Likeness: TypeAlias = tuple[object, ...]
_NUMBERS = re.compile(r"[0-9]+")


class RunTimes:
    """What is known of the run times of workloads.

    Known most exactly of those of the same namespace and name but for its numbers, with as many pods and
    devices in the same queue; then of all with as many pods and devices in that queue, of those with as many
    devices in all, and of all. Each counts the less the more of the one before it are known (`Spread`).
    least: so many that said how long they run have to have ended before that tells how wrong they are; until
    then it is guess: by what part it may be wrong, either way.
    """

    def __init__(self, history: Iterable[Past] = (), least: int = 5, guess: float = 0.25) -> None:
        self._least = least
        self._guess = guess
        ended: dict[_Likeness, list[float]] = {}
        going: dict[_Likeness, list[float]] = {}
        wider: dict[_Likeness, _Likeness] = {}
        ratios: tuple[list[float], list[float]] = ([], [])
        for past in history:
            value = past.worked_seconds if past.run_seconds is None else past.run_seconds
            if value <= 0:
                continue
            side = going if past.run_seconds is None else ended
            likenesses = _likenesses(past.workload)
            for place, likeness in enumerate(likenesses):
                side.setdefault(likeness, []).append(value)
                wider[likeness] = likenesses[max(0, place - 1)]
            said = past.workload.expected_seconds
            if said:
                ratios[past.run_seconds is None].append(value / said)
        self._by: dict[_Likeness, Spread] = {}
        # From the widest, which has the shortest name, to the narrowest.
        for likeness in sorted(ended, key=len):
            around = self._by[wider[likeness]] if likeness else None
            self._by[likeness] = Spread(ended[likeness], going.get(likeness, ()), around)
        # Those who say how long they run are seldom wrong by much: hardly a power law.
        self._ratios = Spread(*ratios, share=0.5)
        self.ended = self._by[()].ended if self._by else 0

    def like(self, workload: Workload) -> Spread | None:
        """How long like workloads run; None where nothing is known."""
        known = (self._by.get(likeness) for likeness in reversed(_likenesses(workload)))
        return next((found for found in known if found is not None), None)

    def at(self, workload: Workload, hint: Hint, point: float) -> int | None:
        """How long the workload runs in all; None where nothing is known of it.

        point: 0 to below 1, from a short run time to a long one of those that are possible still, now that it
        has worked for as long as it has.
        """
        worked, most = workload.worked_seconds, hint.most
        if hint.said is not None:
            found = self._told(hint.said, worked, point)
        elif (like := self.like(workload)) is not None:
            found = round(like.at(worked, point))
        elif most is not None:
            found = round(worked + (most - worked) * point)
        else:
            return None
        return max(worked + 1, found if most is None else min(found, most))

    def _told(self, said: int, worked: int, point: float) -> int:
        if self._ratios.ended >= self._least:
            return round(said * self._ratios.at(worked / said, point))
        guess = self._guess
        least = max(worked + 1, round(said * (1 - guess)))
        most = max(round(said * (1 + guess)), round(worked * (1 + guess / 2)), least)
        return round(least + (most - least) * point)


def _likenesses(workload: Workload) -> tuple[_Likeness, ...]:
    """What other workloads have to be like, from the widest to the narrowest."""
    shape = (workload.devices_of_all, workload.queue, workload.pods)
    stem = _NUMBERS.sub("", workload.name)
    return ((), shape[:1], shape, (*shape, workload.namespace, stem))


def hints(workloads: Iterable[Workload], snapshot: Snapshot) -> list[Hint]:
    """What each workload says, on its pods or on its Job."""
    jobs = {job.key: job for job in snapshot.jobs}
    return [_hint(item, jobs.get(item.key) if item.kind == "Job" else None) for item in workloads]


def _hint(workload: Workload, job: Job | None) -> Hint:
    pods = [item for item in workload.objects if isinstance(item, Pod)]
    if not pods:
        return Hint(said=workload.expected_seconds)
    texts = [pod.metadata.annotations.get(labels.EXPECTED_SECONDS) for pod in pods]
    most = [pod.spec.active_deadline_seconds for pod in pods]
    if job is not None:
        texts.append(job.metadata.annotations.get(labels.EXPECTED_SECONDS))
        most.append(job.spec.active_deadline_seconds)
    said = [found for found in (seconds(text) for text in texts) if found is not None and found > 0]
    bounds = [found for found in most if found is not None and found > 0]
    return Hint(said=said[0] if said else None, most=min(bounds) if bounds else None)


def with_ends(history: Sequence[Past], snapshot: Snapshot, seed: int = 0) -> tuple[list[Workload], int]:
    """The workloads of a past to be simulated again, and for how many of them nothing tells when they end.

    What had not ended gets a run time drawn from what is known, given how long it has worked already: by the
    seed, and the same for it whatever else there is. What nothing is known of runs for ever.
    """
    run_times = RunTimes(history)
    told = hints([past.workload for past in history], snapshot)
    found, endless = [], 0
    for past, hint in zip(history, told, strict=True):
        workload = past.workload
        if workload.run_seconds is None:
            point = draws.unit(seed, f"end of {workload.kind}/{workload.namespace}/{workload.name}", 0)
            worked = replace(workload, worked_seconds=past.worked_seconds)
            workload = replace(workload, run_seconds=run_times.at(worked, hint, point))
            endless += workload.run_seconds is None
        found.append(workload)
    return found, endless


def another(workload: Workload, name: str, submitted: int, run_seconds: int | None) -> Workload:
    """A workload like this one that comes later; of one made of objects, equal pods that ask for as much."""
    found = _plain(workload) if workload.objects else workload
    return replace(
        found,
        kind="",
        name=name,
        submitted=submitted,
        run_seconds=run_seconds,
        objects=(),
        amounts=(),
        worked_seconds=0,
        started=None,
    )


def _plain(workload: Workload) -> Workload:
    """What a table of workloads would say of a workload that was made of objects."""
    pods = [item for item in workload.objects if isinstance(item, Pod)]
    claims = [item for item in workload.objects if isinstance(item, ResourceClaim)]
    asked = [request.exactly for claim in claims for request in claim.spec.devices.requests]
    exact = [item for item in asked if item is not None]
    requests = pod_requests(pods[0].spec) if pods else {}
    if exact:
        device = exact[0].device_class_name
        devices = -(-sum(max(1, item.count or 1) for item in exact) // max(1, len(pods)))
    else:
        device = next((name for name in sorted(requests) if WHOLE_DEVICES.match(name)), "")
        devices = -(-workload.devices_of_pod // UNIT)
    part = WHOLE_DEVICE
    if devices and workload.devices_of_pod < devices * UNIT:
        part = max(1, workload.devices_of_pod * WHOLE_DEVICE // (devices * UNIT))
    return replace(
        workload,
        devices=devices,
        part=part,
        device=device,
        cpu=requests.get(CPU, 0),
        memory=requests.get(MEMORY, 0) >> 20,
    )
