"""The workloads that a controller's journal tells of: when they came, and how long they worked."""

from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from aliquot.model.core import Pod
from aliquot.model.index import live
from aliquot.model.meta import KubernetesObject
from aliquot.model.resource import ResourceClaim
from aliquot.model.snapshot import Snapshot
from aliquot.scheduling.plan import Evict, Plan
from aliquot.scheduling.policy import Policy
from aliquot.simulation import past_work
from aliquot.simulation.adoption import adopt
from aliquot.simulation.objects import undecided
from aliquot.simulation.workload import Workload
from aliquot.store.entries import Recorded
from aliquot.store.journal import Journal
from aliquot.traces.errors import TraceError

MAX_RECORDS = 100_000

_SECOND = timedelta(seconds=1)
_Key = tuple[str, str, str]


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """What a journal tells. start: the time of its first record; snapshot: the cluster without the pods of
    the workloads; seconds: until its last record.

    workloads: as they came. run_seconds of one that ended: the work of its last stay and what earlier stays
    had saved; None for one that is still there at the end. history: the same workloads as far as they tell
    long work runs, in the same order, with `submitted` counted from `start`. A bare pod that was evicted
    is gone for good and has not ended: whatever takes its place is another workload. placed, gone: seconds
    from `start` to when each first had a place, and to the first record without it; None if that was never.
    """

    start: datetime
    seconds: int
    snapshot: Snapshot
    workloads: tuple[Workload, ...]
    history: tuple[past_work.Past, ...]
    placed: tuple[int | None, ...]
    gone: tuple[int | None, ...]

    def known_at(self, moment: int) -> list[past_work.Past]:
        """The history as it was known so many seconds after `start`, counted from there."""
        found = []
        for item, placed, gone in zip(self.history, self.placed, self.gone, strict=True):
            if item.submitted > moment:
                continue
            item = msgspec.structs.replace(item, submitted=item.submitted - moment)
            if gone is None or gone > moment:
                worked = max(0, moment - placed) if placed is not None else 0
                item = msgspec.structs.replace(item, run_seconds=None, worked_seconds=worked)
            found.append(item)
        return found


class _Seen(msgspec.Struct):
    """A workload on its way through the records.

    began: since when it has its place, None while it has none; said: when it began, by its pods; last: the
    last record in which it had its place. at_once: something waited then. saved: seconds of work that earlier
    stays saved.
    """

    workload: Workload
    placed: datetime | None = None
    gone: datetime | None = None
    began: datetime | None = None
    said: datetime | None = None
    last: datetime | None = None
    saved: int = 0
    evicted: bool = False
    at_once: bool = False

    def worked(self, until: datetime) -> int:
        """Seconds that it has worked in this stay."""
        if self.began is None:
            return 0
        return max(0, (until - self.began) // _SECOND - self.workload.startup_seconds)

    @property
    def ended(self) -> datetime | None:
        """When its last stay ended, None if it did not.

        Records are written when a decision is news. Where something waits an end mostly is, as it gets a
        place by that. Where nothing waits many minutes may lie between the last record with the workload and
        the first without: it ended when it said it would, if that is between, else in the middle.
        """
        if self.gone is None or self.began is None or self.at_once:
            return self.gone if self.began is not None else None
        last = self.last or self.began
        said = self.workload.expected_seconds
        if said is None:
            return last + (self.gone - last) / 2
        end = self.began + timedelta(seconds=self.workload.startup_seconds + said - self.saved)
        return min(max(end, last), self.gone)

    def leave(self, time: datetime) -> None:
        """Its stay is over, and it is not done: only what it saved counts."""
        interval = self.workload.checkpoint_seconds
        if interval:
            self.saved += self.worked(time) // interval * interval
        self.began = self.said = None

    def stay(self, said: datetime, time: datetime) -> None:
        """It has its place in a record of this time, and its pods say since when."""
        if self.said is not None and said > self.said:
            self.leave(self.last or said)
        self.begin(said)
        self.said, self.last = said, time

    def begin(self, time: datetime) -> None:
        """It has a place since then, unless it has had one for longer."""
        if self.began is None:
            self.began = time
        if self.placed is None:
            self.placed = time


def read_journal(path: Path) -> Past:
    """The workloads of a journal. Each comes when it was created, as it was first seen, and works from when
    it was placed until about the first record from which it is gone. Raises TraceError, JournalError."""
    with Journal.open(path, read_only=True) as journal:
        infos = journal.records(limit=MAX_RECORDS)
        if not infos:
            raise TraceError(str(path), None, "", "holds no decisions", "name the journal of a controller")
        start = infos[0].time
        seen: dict[_Key, _Seen] = {}
        lasting: dict[tuple[type, tuple[str, str]], KubernetesObject] = {}
        shared: dict[tuple[str, str], KubernetesObject] = {}
        background: dict[tuple[str, str], Pod] = {}
        mine: set[str] = set()
        time, waits = start, False
        for info in infos:
            record = journal.recorded(info.id)
            if record is None:
                continue
            time = record.time
            snapshot = record.snapshot
            _follow(snapshot, time, start, record.policy, seen, waits=waits)
            _note_plan(record.plan, time, seen)
            waits = any(decision.verdict is not None for decision in record.plan.decisions)
            for item in snapshot.objects():
                if isinstance(item, Pod):
                    background[item.key] = item
                elif not isinstance(item, ResourceClaim):
                    lasting[type(item), item.key] = item
                elif not _of_a_pod(item):
                    shared.setdefault(item.key, item if time == start else undecided((item,))[0])
        for found in seen.values():
            mine.update(item.metadata.uid for item in found.workload.objects)
    kept = [pod for pod in background.values() if pod.metadata.uid not in mine and _unrelated(pod, seen)]
    return Past(
        start=start,
        seconds=(time - start) // _SECOND,
        snapshot=Snapshot.of([*lasting.values(), *shared.values(), *kept]),
        workloads=tuple(_ended(found) for found in seen.values()),
        history=tuple(_past(found, time) for found in seen.values()),
        placed=tuple(_since(start, found.placed) for found in seen.values()),
        gone=tuple(_since(start, found.gone) for found in seen.values()),
    )


def record_before(path: Path, time: datetime) -> Recorded | None:
    """The newest record of a journal up to this time; None if there is none. Raises JournalError."""
    with Journal.open(path, read_only=True) as journal:
        found = [info.id for info in journal.records(limit=MAX_RECORDS) if info.time <= time]
        return journal.recorded(found[-1]) if found else None


def _since(start: datetime, time: datetime | None) -> int | None:
    return None if time is None else (time - start) // _SECOND


def _of_a_pod(claim: ResourceClaim) -> bool:
    """It comes and goes with a pod; other claims, which several pods may share, are there before them."""
    owner = claim.metadata.controller
    return owner is not None and owner.kind == "Pod"


def _unrelated(pod: Pod, seen: dict[_Key, _Seen]) -> bool:
    """A bound pod that belongs to no workload seen (a pod of a system, say)."""
    owner = pod.metadata.controller
    kinds = {(pod.namespace, pod.name)} | ({(pod.namespace, owner.name)} if owner is not None else set())
    return live(pod) and bool(pod.spec.node_name) and not any(key[:2] in kinds for key in seen)


def _follow(
    snapshot: Snapshot,
    time: datetime,
    start: datetime,
    policy: Policy,
    seen: dict[_Key, _Seen],
    *,
    waits: bool,
) -> None:
    present: set[_Key] = set()
    # What a workload says of its run time is no reason to take it for endless once that is over.
    for workload in adopt(snapshot, time, policy, lambda gang: None):
        key = (workload.namespace, workload.name, workload.kind)
        present.add(key)
        known = seen.get(key)
        if known is None:
            offset = (time - start) // _SECOND
            moved = msgspec.structs.replace(
                workload,
                submitted=workload.submitted + offset,
                started=None if workload.started is None else workload.started + offset,
            )
            first = offset == 0
            known = seen[key] = _Seen(moved if first else _waiting(moved))
        known.gone = None
        if workload.started is not None:
            known.stay(time + timedelta(seconds=workload.started), time)
        elif known.said is not None:
            known.leave(time)
        same = len(workload.amounts) == len(known.workload.amounts)
        if same and workload.started is not None and known.workload.started is None:
            # Only what it was given tells which part of a device it needs.
            known.workload = msgspec.structs.replace(known.workload, amounts=workload.amounts)
    for key, known in seen.items():
        if key not in present and known.gone is None:
            known.gone, known.at_once = time, waits


def _note_plan(plan: Plan, time: datetime, seen: dict[_Key, _Seen]) -> None:
    """A workload begins when it is placed, and a bare pod is gone for good with its eviction; the next record
    may come long after that, or never."""
    for decision in plan.decisions:
        ref = decision.workload
        known = seen.get((ref.namespace, ref.name, ref.kind))
        if known is not None and decision.placements:
            known.begin(time)
        for action in decision.actions:
            if isinstance(action, Evict):
                pod = seen.get((action.pod.namespace, action.pod.name, "Pod"))
                if pod is not None:
                    pod.evicted = True


def _waiting(workload: Workload) -> Workload:
    """A workload that came after the first record, as it was before anything was decided about it."""
    return msgspec.structs.replace(
        workload, objects=undecided(workload.objects), worked_seconds=0, started=None
    )


def _ended(found: _Seen) -> Workload:
    ended = found.ended
    if ended is None:
        return found.workload
    return msgspec.structs.replace(found.workload, run_seconds=max(1, found.saved + found.worked(ended)))


def _past(found: _Seen, end: datetime) -> past_work.Past:
    ended = _ended(found)
    run = None if found.evicted else ended.run_seconds
    return past_work.Past(
        workload=ended,
        submitted=ended.submitted,
        run_seconds=run,
        worked_seconds=found.saved + found.worked(found.ended or end),
    )
