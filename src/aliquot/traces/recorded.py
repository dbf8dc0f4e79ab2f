"""The workloads that a controller's journal tells of: when they came, how long they ran, when they ended."""

from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from aliquot.model.core import Pod
from aliquot.model.index import live
from aliquot.model.meta import KubernetesObject
from aliquot.model.resource import ResourceClaim
from aliquot.model.snapshot import Snapshot
from aliquot.scheduling.plan import Plan
from aliquot.scheduling.policy import Policy
from aliquot.simulation.adoption import adopt
from aliquot.simulation.objects import undecided
from aliquot.simulation.workload import Workload
from aliquot.store.journal import Journal
from aliquot.traces.errors import TraceError

MAX_RECORDS = 100_000

_SECOND = timedelta(seconds=1)


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """What a journal tells. start: the time of its first record; snapshot: the cluster without the pods of
    the workloads; seconds: until its last record."""

    start: datetime
    seconds: int
    snapshot: Snapshot
    workloads: tuple[Workload, ...]


class _Seen(msgspec.Struct):
    """A workload on its way through the records."""

    workload: Workload
    gone: datetime | None = None
    began: datetime | None = None


def read_journal(path: Path) -> Past:
    """The workloads of a journal. Each comes when it was created, as it was first seen, and runs from when it
    was placed until the first record from which it is gone; what is there at the end runs for ever. Raises
    TraceError, JournalError."""
    with Journal.open(path, read_only=True) as journal:
        infos = journal.records(limit=MAX_RECORDS)
        if not infos:
            raise TraceError(str(path), None, "", "holds no decisions", "name the journal of a controller")
        start = infos[0].time
        seen: dict[tuple[str, str, str], _Seen] = {}
        lasting: dict[tuple[type, tuple[str, str]], KubernetesObject] = {}
        background: dict[tuple[str, str], Pod] = {}
        mine: set[str] = set()
        time = start
        for info in infos:
            record = journal.recorded(info.id)
            if record is None:
                continue
            time = record.time
            snapshot = record.snapshot
            _follow(snapshot, time, start, record.policy, seen)
            _note_placed(record.plan, time, seen)
            for item in snapshot.objects():
                if isinstance(item, Pod):
                    background[item.key] = item
                elif not isinstance(item, ResourceClaim):
                    lasting[type(item), item.key] = item
        for found in seen.values():
            mine.update(item.metadata.uid for item in found.workload.objects)
    kept = [pod for pod in background.values() if pod.metadata.uid not in mine and _unrelated(pod, seen)]
    snapshot = Snapshot.of([*lasting.values(), *kept])
    return Past(
        start=start,
        seconds=(time - start) // _SECOND,
        snapshot=snapshot,
        workloads=tuple(_ended(found) for found in seen.values()),
    )


def _unrelated(pod: Pod, seen: dict[tuple[str, str, str], _Seen]) -> bool:
    """A bound pod that belongs to no workload seen (a pod of a system, say)."""
    owner = pod.metadata.controller
    kinds = {(pod.namespace, pod.name)} | ({(pod.namespace, owner.name)} if owner is not None else set())
    return live(pod) and bool(pod.spec.node_name) and not any(key[:2] in kinds for key in seen)


def _follow(
    snapshot: Snapshot,
    time: datetime,
    start: datetime,
    policy: Policy,
    seen: dict[tuple[str, str, str], _Seen],
) -> None:
    present: set[tuple[str, str, str]] = set()
    for workload in adopt(snapshot, time, policy):
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
        if known.began is None and workload.started is not None:
            known.began = time + timedelta(seconds=workload.started)
        same = len(workload.amounts) == len(known.workload.amounts)
        if same and workload.started is not None and known.workload.started is None:
            # Only what it was given tells which part of a device it needs.
            known.workload = msgspec.structs.replace(known.workload, amounts=workload.amounts)
    for key, known in seen.items():
        if key not in present and known.gone is None:
            known.gone = time


def _note_placed(plan: Plan, time: datetime, seen: dict[tuple[str, str, str], _Seen]) -> None:
    """A workload begins when it is placed; the next record may come long after that, or never."""
    for decision in plan.decisions:
        ref = decision.workload
        known = seen.get((ref.namespace, ref.name, ref.kind))
        if known is not None and known.began is None and decision.placements:
            known.began = time


def _waiting(workload: Workload) -> Workload:
    """A workload that came after the first record, as it was before anything was decided about it."""
    return msgspec.structs.replace(
        workload, objects=undecided(workload.objects), worked_seconds=0, started=None
    )


def _ended(found: _Seen) -> Workload:
    if found.gone is None or found.began is None:
        return found.workload
    return msgspec.structs.replace(found.workload, run_seconds=max(1, (found.gone - found.began) // _SECOND))
