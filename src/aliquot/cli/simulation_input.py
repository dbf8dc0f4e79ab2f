"""What `simulate` starts from: a cluster, workloads, and the moment of virtual time 0."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from aliquot.cli import cluster, cluster_input, snapshot_files
from aliquot.cli.cluster import Target
from aliquot.cli.failures import Failure
from aliquot.cli.manifests import InputError
from aliquot.cli.moments import moment_given
from aliquot.cli.output import note
from aliquot.model.resource import ResourceSlice
from aliquot.model.snapshot import Snapshot
from aliquot.queues.amounts import UNIT
from aliquot.queues.tree import QueueTree
from aliquot.simulation.past_work import with_ends
from aliquot.simulation.rates import node_rates
from aliquot.simulation.settings import START
from aliquot.simulation.synthesis import DAY, Day, synthesize
from aliquot.simulation.workload import Workload
from aliquot.store.database import JournalError
from aliquot.traces import openb, recorded, workloads
from aliquot.traces.errors import TraceError
from aliquot.workloads import settings


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Where to read from, as the command line says. until: seconds, for how long to draw synthetic jobs.
    faster: by how many times arrivals are closer together than in the trace."""

    files: tuple[str, ...] = ()
    trace: Path | None = None
    openb: tuple[Path, Path] | None = None
    journal: Path | None = None
    synthetic: int = 0
    load: float = 0.9
    until: int | None = None
    faster: int = 1
    at: str = ""
    target: Target = Target()


class Beginning(msgspec.Struct, frozen=True, kw_only=True):
    """A cluster, and what comes to it besides what it has. seeded: workloads are drawn from the seed."""

    snapshot: Snapshot
    workloads: tuple[Workload, ...]
    start: datetime
    day: Day | None = None

    def all_workloads(self, seed: int) -> tuple[Workload, ...]:
        """The workloads that come, those included that are drawn from the seed."""
        if self.day is None:
            return self.workloads
        return (*self.workloads, *synthesize(self.day, seed))


def read(source: Source) -> Beginning:
    """Read everything. Raises Failure."""
    try:
        return _read(source)
    except (InputError, TraceError, JournalError) as error:
        raise Failure(str(error)) from None


def _read(source: Source) -> Beginning:
    found: list[Workload] = []
    snapshot, start = _cluster(source)
    if source.trace is not None:
        found += workloads.read_workloads(source.trace)
    if source.openb is not None:
        nodes, pods = openb.read_openb(*source.openb)
        snapshot = _joined(nodes, snapshot)
        found += pods
    if source.journal is not None:
        past = recorded.read_journal(source.journal)
        snapshot, start = _joined(past.snapshot, snapshot), past.start
        found += _with_ends(past)
    if source.faster > 1:
        found = [
            msgspec.structs.replace(item, submitted=item.submitted // source.faster)
            if item.submitted > 0
            else item
            for item in found
        ]
    if not snapshot.nodes:
        raise Failure("there are no nodes; give a fleet file, a saved snapshot or nodes with -f")
    _check_queues(found, snapshot)
    day = _day(source, snapshot) if source.synthetic else None
    return Beginning(snapshot=snapshot, workloads=tuple(found), start=start, day=day)


def _with_ends(past: recorded.Past) -> list[Workload]:
    open_still = sum(item.run_seconds is None for item in past.workloads)
    found, endless = with_ends(past.history, past.snapshot)
    if open_still:
        forever = f", but of {endless} nothing is known: they run on" if endless else ""
        note(
            f"note: {open_still} of {len(found)} workloads had not ended at the journal's end; "
            f"how long they run is drawn from what is known{forever}"
        )
    return found


def _cluster(source: Source) -> tuple[Snapshot, datetime]:
    names = source.files
    if not names and (source.openb or source.journal):
        return Snapshot(), _time(source.at) or START
    if not names:
        found = asyncio.run(cluster.snapshot(source.target))
        return found, _time(source.at) or datetime.now(UTC).replace(microsecond=0)
    if len(names) == 1 and names[0] != "-" and snapshot_files.recognised(Path(names[0])):
        saved = snapshot_files.read(Path(names[0]))
        return saved.snapshot, _time(source.at) or saved.time
    given = _time(source.at)
    loaded = cluster_input.load(names, given or START)
    for text in loaded.notes:
        note(f"note: {text}")
    return loaded.snapshot, given or _latest(loaded.snapshot)


def _latest(snapshot: Snapshot) -> datetime:
    """The newest moment that the cluster speaks of; START where it speaks of none that is later."""
    found = START
    for item in snapshot.objects():
        created = item.metadata.creation_timestamp
        if created is not None and created > found:
            found = created
    for pod in snapshot.pods:
        if pod.status.start_time is not None and pod.status.start_time > found:
            found = pod.status.start_time
    return found.replace(microsecond=0) + timedelta(seconds=1) if found > START else START


def _joined(first: Snapshot, second: Snapshot) -> Snapshot:
    if not any(True for _ in second.objects()):
        return first
    return Snapshot.of([*first.objects(), *second.objects()])


def _check_queues(found: Sequence[Workload], snapshot: Snapshot) -> None:
    """A workload that names a queue which is not there would wait for ever."""
    tree = QueueTree.of(snapshot.queues)
    for item in found:
        if item.queue and (item.queue not in tree.numbers or not tree.is_leaf(item.queue)):
            wrong = "has queues below it" if item.queue in tree.numbers else "does not exist"
            leaves = [name for name in tree.names if tree.is_leaf(name)]
            known = f"name one of {', '.join(leaves[:8])}" if leaves else "add a file with queues with -f"
            raise Failure(f"workload {item.namespace}/{item.name}: the queue {item.queue!r} {wrong}; {known}")


def _day(source: Source, snapshot: Snapshot) -> Day:
    """What to draw for the cluster: its leaf queues share the work."""
    by_node: dict[str, list[ResourceSlice]] = {}
    for item in snapshot.resource_slices:
        by_node.setdefault(item.spec.node_name or "", []).append(item)
    devices = sum(node_rates(node, by_node.get(node.name, ())).devices for node in snapshot.nodes)
    tree = QueueTree.of(snapshot.queues)
    return Day(
        jobs=source.synthetic,
        devices=max(1, devices // UNIT),
        seconds=source.until or DAY,
        load=source.load,
        queues=tuple(name for name in tree.names if tree.is_leaf(name)),
    )


def _time(text: str) -> datetime | None:
    return moment_given(text, "--at") if text else None


def duration(text: str | None, option: str) -> int | None:
    """Seconds of a duration such as 24h, 90m or 3600. Raises Failure."""
    if text is None:
        return None
    days = text.removesuffix("d")
    found = int(days) * DAY if days != text and days.isdigit() and len(days) < 6 else settings.seconds(text)
    if found is None or found < 0:
        raise Failure(f"{option}: {text!r} is not a duration; write 7d, 24h, 90m or seconds")
    return found
