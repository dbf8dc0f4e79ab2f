"""The stream of events that keeps pages current.

The view is computed only while somebody looks, once for everybody, in a thread, and not more often than it
takes four times over. A page that reads too slowly loses its place and is told everything anew.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from aliquot.inventory.decisions import told
from aliquot.inventory.report import Report
from aliquot.inventory.workloads import Status, WorkloadState
from aliquot.model.snapshot import Snapshot
from aliquot.model.verdicts import Fact
from aliquot.scheduling.asking_why import taking_facts
from aliquot.scheduling.memory import Memory
from aliquot.scheduling.phrases import reclaim_phrase
from aliquot.scheduling.plan import Plan
from aliquot.scheduling.policy import Policy
from aliquot.scheduling.standings import standings
from aliquot.scheduling.taking_wording import taking_sentences
from aliquot.store.entries import Entry
from aliquot.store.journal import Journal
from aliquot.web.changes import Event, changes, everything
from aliquot.web.view import NO_QUEUE, View, number_queues, verdict_texts, view

MIN_PAUSE_S = 0.2
HEARTBEAT_S = 15.0
BACKLOG = 64
"""So many events may wait for one page."""

MAX_DECISIONS = 200

MOST_NODES_ASKED = 200
"""On a cluster with more nodes it takes longer to decide once more than somebody who looks at a page waits;
`aliquot explain` does it there."""


class Live(Protocol):
    """The newest snapshot and plan; version grows with each."""

    @property
    def snapshot(self) -> Snapshot: ...
    @property
    def plan(self) -> Plan: ...
    @property
    def version(self) -> int: ...
    async def wait(self, since: int) -> int:
        """The version, once it is greater than `since`."""
        ...


def encode(event: Event) -> bytes:
    """An event as text/event-stream writes it."""
    name, data = event
    return b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode(data) + b"\n\n"


_END = b""


class _Page:
    """What one page has yet to be told. None in the queue: everything anew; _END: nothing more.

    early: it asked before anything was known, and is told everything once something is.
    """

    def __init__(self) -> None:
        self.queue: asyncio.Queue[bytes | None] = asyncio.Queue(BACKLOG)
        self.early = False

    def put(self, event: bytes) -> None:
        try:
            self.queue.put_nowait(event)
        except asyncio.QueueFull:
            self.anew()

    def anew(self) -> None:
        """Everything is told from the beginning, and what is in the queue is part of it."""
        while not self.queue.empty():
            self.queue.get_nowait()
        self.queue.put_nowait(None)


class Feed:
    """Keeps the report and the view current while there are readers. Lives in one event loop."""

    def __init__(self, live: Live, journal: Journal | None, policy: Policy) -> None:
        self._live = live
        self._journal = journal
        self._policy = policy
        self._pages: set[_Page] = set()
        self._report: Report | None = None
        self._view: View | None = None
        self._memory = Memory()
        self._version = -1
        self._numbers: dict[str, int] = {"": NO_QUEUE}
        self._decisions: deque[dict[str, object]] = deque(maxlen=MAX_DECISIONS)
        self._wanted = asyncio.Event()
        self._refreshing = asyncio.Lock()
        self._asking = asyncio.Lock()
        self._closed = False

    async def run(self) -> None:
        """Until cancelled: follow the journal and, while there are pages, the cluster."""
        leave: Callable[[], None] | None = None
        if self._journal is not None:
            loop = asyncio.get_running_loop()

            def heard(entries: tuple[Entry, ...]) -> None:
                loop.call_soon_threadsafe(self._decided, entries)

            leave = self._journal.subscribe(heard)
            self._decided(await asyncio.to_thread(self._journal.entries, limit=MAX_DECISIONS))
        try:
            while True:
                await self._wanted.wait()
                await self._live.wait(max(0, self._version))
                pause = await self._advance()
                await asyncio.sleep(pause)
        finally:
            if leave is not None:
                leave()

    async def _advance(self) -> float:
        """Bring the view up to date and tell the pages what changed; the seconds to pause after it."""
        started = time.monotonic()
        before = self._view
        await self.current()
        after = self._view
        for page in self._pages:
            if page.early:
                page.early = False
                page.anew()
        if before is not None and after is not None and before is not after:
            for event in await asyncio.to_thread(_encoded, before, after):
                for page in self._pages:
                    page.put(event)
        return max(MIN_PAUSE_S, 4 * (time.monotonic() - started))

    async def current(self) -> tuple[Report, View]:
        """The report and view of the newest snapshot."""
        async with self._refreshing:
            version = self._live.version
            if self._report is None or self._view is None or version != self._version:
                snapshot, plan = self._live.snapshot, self._live.plan
                report, numbers, shown = await asyncio.to_thread(self._compute, snapshot, plan, version)
                self._report, self._numbers, self._view, self._version = report, numbers, shown, version
            return self._report, self._view

    async def taking(self, state: WorkloadState) -> tuple[str, ...]:
        """Why taking from others does not help a workload that waits, in sentences: what the verdict says of
        reclaim; and of preemption and consolidation, where a decision to find that out is cheap."""
        verdict = state.verdict
        if verdict is None or state.status is not Status.WAITING:
            return ()
        snapshot, now = self._live.snapshot, datetime.now(UTC)
        facts: tuple[Fact, ...] = ()
        if len(snapshot.nodes) <= MOST_NODES_ASKED:
            async with self._asking:
                facts = await asyncio.to_thread(taking_facts, snapshot, self._policy, now, state.ref)
        reclaim = reclaim_phrase(verdict.facts)
        told_of_reclaim = (f"{reclaim[:1].upper()}{reclaim[1:]}.",) if reclaim else ()
        return (*told_of_reclaim, *taking_sentences(facts))

    def _compute(self, snapshot: Snapshot, plan: Plan, version: int) -> tuple[Report, dict[str, int], View]:
        before = (self._report, self._view) if self._report is not None and self._view is not None else None
        now = datetime.now(UTC)
        shares = standings(snapshot, self._policy, now, self._memory)
        report = Report.of(snapshot, plan, self._policy, standings=shares, previous=self._report)
        numbers = number_queues(report, self._numbers)
        return report, numbers, view(report, version, numbers, before, now)

    def _decided(self, entries: Iterable[Entry]) -> None:
        # What is recorded while the journal is first read is heard and read: it counts once.
        known = {item["entry"] for item in self._decisions}
        new = [self._decision(entry) for entry in entries if entry.id not in known]
        self._decisions.extend(new)
        if new:
            event = encode(("decisions", {"all": False, "new": new[-MAX_DECISIONS:]}))
            for page in self._pages:
                page.put(event)

    def _decision(self, entry: Entry) -> dict[str, object]:
        decision = entry.decision
        outcome, text = told(decision)
        return {
            "id": decision.id,
            "entry": entry.id,
            "time": entry.time.isoformat(),
            "namespace": decision.workload.namespace,
            "name": f"{decision.workload.kind.lower()}/{decision.workload.name}",
            "queue": decision.queue,
            "number": self._numbers.get(decision.queue, NO_QUEUE),
            "outcome": outcome,
            "text": text,
            **verdict_texts(decision.verdict),
        }

    async def events(self) -> AsyncIterator[bytes]:
        """Everything, then what changes, and a comment now and then to keep the connection alive."""
        page = _Page()
        self._pages.add(page)
        self._wanted.set()
        if self._live.version:
            page.anew()
        else:
            page.early = True
        try:
            while not self._closed:
                try:
                    async with asyncio.timeout(HEARTBEAT_S):
                        event = await page.queue.get()
                except TimeoutError:
                    yield b": alive\n\n"
                    continue
                if event == _END:
                    return
                if event is not None:
                    yield event
                    continue
                _, shown = await self.current()
                for whole in everything(shown):
                    yield encode(whole)
                yield encode(("decisions", {"all": True, "new": list(self._decisions)}))
        finally:
            self._pages.discard(page)
            if not self._pages:
                self._wanted.clear()

    def close(self) -> None:
        """End all streams, now and from now on: the server stops."""
        self._closed = True
        for page in self._pages:
            while not page.queue.empty():
                page.queue.get_nowait()
            page.queue.put_nowait(_END)

    @property
    def readers(self) -> int:
        return len(self._pages)


def _encoded(before: View, after: View) -> list[bytes]:
    return [encode(event) for event in changes(before, after)]
