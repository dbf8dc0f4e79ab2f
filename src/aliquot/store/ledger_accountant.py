"""Keeps the ledger beside a controller: looks at what it knows, and settles what is over."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from fractions import Fraction
from typing import Protocol

from aliquot.accounting.amounts import HOUR_MS
from aliquot.accounting.budgets import Alert, alerts
from aliquot.accounting.closing import UseOf, entries_of, nothing_known
from aliquot.accounting.columns import Columns
from aliquot.accounting.entries import Entry
from aliquot.accounting.price_files import Spending, milliseconds
from aliquot.accounting.progress import GAP_MS, Progress, Step, advance
from aliquot.accounting.revision import net, revised
from aliquot.model.meta import ObjectRef
from aliquot.model.snapshot import Snapshot
from aliquot.scheduling.plan import Admit, Allocate, Plan
from aliquot.scheduling.policy import Policy
from aliquot.store.entries import Entry as JournalEntry
from aliquot.store.journal import Journal
from aliquot.store.ledger import Ledger, StaleWriterError
from aliquot.store.ledger_database import LedgerError
from aliquot.store.ledger_occupancies import Occupancies, Seen
from aliquot.store.ledger_reading import entries
from aliquot.store.ledger_reports import budget_states, note_told, told_before
from aliquot.store.ledger_usage import HistoryUse, keyed

_log = logging.getLogger(__name__)

LOOK_EVERY_S = 10.0
"""A look that finds nothing changed is noted so often."""

LEAST_PAUSE_S = 1.0
MOST_PAUSE_S = 15.0
SHARE = 20
"""After a look it rests this many times as long as that took: of a processor it takes a twentieth at most."""
RETRY_S = 5.0

ALERT_AGAIN_MS = 60_000

REVISE_AFTER_MS = 300_000
"""So long after an hour its use is looked at again, when late samples have come."""


class Live(Protocol):
    """The newest snapshot and plan; version grows with each. The controller's `Live`."""

    @property
    def snapshot(self) -> Snapshot: ...
    @property
    def plan(self) -> Plan: ...
    @property
    def version(self) -> int: ...
    async def wait(self, since: int) -> int:
        """The version, once it is greater than `since`."""
        ...


class Accountant:
    """Feeds one ledger. Only the leading controller may have one at work; another one is noticed.

    usage: telemetry's history, without which use is unknown. journal: where the ids of decisions
    are looked up that were made before this process started.
    """

    def __init__(
        self,
        ledger: Ledger,
        spending: Spending,
        *,
        policy: Policy | None = None,
        usage: HistoryUse | None = None,
        journal: Journal | None = None,
        gap_ms: int = GAP_MS,
    ) -> None:
        self.ledger = ledger
        self.spending = spending
        self._policy = policy or Policy()
        self._usage = usage
        self._use_of: UseOf = usage.of_span if usage is not None else nothing_known
        self._journal = journal
        self._gap_ms = gap_ms
        self._seen: Seen | None = None
        self._decisions: dict[str, str] = {}
        self._asked: set[str] = set()
        self._occupancies = Occupancies(self._decisions)
        self._progress: Progress = Progress()
        self._sequence = 0
        self._noted_ms = 0
        self.resume()

    def resume(self) -> None:
        """Go on from what the ledger says: at the start, and when another process has written."""
        self._progress, self._sequence = self.ledger.progress()
        self._noted_ms = self._progress.seen_ms

    def decided(self, plan: Plan) -> None:
        """Remember which decision gave which claim and admitted which pod."""
        for action in plan.actions:
            if isinstance(action, Allocate):
                self._decisions[action.claim.uid] = action.decision
            elif isinstance(action, Admit):
                for placement in action.placements:
                    self._decisions[placement.pod.uid] = action.decision

    def heard(self, entries: Iterable[JournalEntry]) -> None:
        """Remember decisions as the journal records them (`Journal.subscribe`)."""
        for entry in entries:
            self.decided(Plan(decisions=(entry.decision,)))

    def observe(self, now: datetime, snapshot: Snapshot, plan: Plan) -> int:
        """Look at the cluster: settle what is over, and write it. The number of entries written.

        Raises LedgerError when it cannot be kept; nothing is lost by that, the next look settles it.
        """
        self.decided(plan)
        seen = self._seen = Seen.of(snapshot, self._policy.default_queue, self._seen)
        self._look_up(seen)
        occupancies = self._occupancies.of(seen)
        for _ in range(3):
            step = advance(self._progress, milliseconds(now), occupancies, gap_ms=self._gap_ms)
            try:
                return self._write(step)
            except StaleWriterError as error:
                _log.warning("%s; going on from there", error)
                self.resume()
        raise LedgerError(self.ledger.database.place, "others keep writing", "run one accountant at a time")

    def revise(self, start_ms: int, end_ms: int) -> int:
        """Correct what was settled in a time by what has become known of its use since; entries written.

        Samples come later than the events that settle time. Raises LedgerError, StaleWriterError.
        """
        if self._usage is None:
            return 0
        found: list[Entry] = []
        for (device, start, end), standing in net(entries(self.ledger, start_ms, end_ms)).items():
            if start < start_ms:
                continue
            whole = sum(entry.device_ms for entry in standing)
            held = [
                keyed(entry.account, Fraction(entry.device_ms, whole))
                for entry in standing
                if entry.category.held
            ]
            use = self._usage.of(device, held, start, end)
            found += revised(standing, use, self.spending.book)
        if not found:
            return 0
        self.ledger.append(
            Columns.of(found),
            sequence=self._sequence + 1,
            currency=self.spending.book.currency,
            seen_ms=self._progress.seen_ms,
        )
        self._sequence += 1
        return len(found)

    def alerts(self, now: datetime) -> tuple[Alert, ...]:
        """What there is to tell about budgets and was not told before. Raises LedgerError."""
        states = budget_states(self.ledger, self.spending.budgets, now)
        found = [alert for state in states for alert in alerts(state, self.spending.book.currency)]
        return tuple(alert for alert in found if not told_before(self.ledger, alert))

    def _write(self, step: Step) -> int:
        progress = step.progress
        if not step.spans and not step.changed:
            if progress.seen_ms - self._noted_ms >= LOOK_EVERY_S * 1000:
                self.ledger.look(progress.seen_ms, self._sequence)
                self._noted_ms = progress.seen_ms
            self._progress = progress
            return 0
        entries = entries_of(step.spans, self.spending.book, self._use_of)
        self.ledger.append(
            Columns.of(entries),
            sequence=self._sequence + 1,
            currency=self.spending.book.currency,
            seen_ms=progress.seen_ms,
            opened={key: progress.open.get(key) for key in step.changed},
        )
        self._sequence += 1
        self._progress = progress
        self._noted_ms = progress.seen_ms
        return len(entries)

    def _look_up(self, seen: Seen) -> None:
        """Find the decisions on claims that were given before this process began."""
        if self._journal is None:
            return
        claims = {claim.key: claim for claim in seen.snapshot.resource_claims}
        for state in seen.devices.devices:
            for holder in state.holders:
                refs = [holder.claim] if holder.claim is not None else list(holder.pods)
                for ref in refs:
                    if ref.uid in self._decisions or ref.uid in self._asked or holder.workload is None:
                        continue
                    self._asked.add(ref.uid)
                    self.heard(self._journal.entries(workload=_named(holder.workload), limit=20))
        if len(self._decisions) > 4 * len(claims) + 10_000:
            there = {claim.metadata.uid for claim in claims.values()}
            there |= {pod.metadata.uid for pod in seen.snapshot.pods}
            for uid in [uid for uid in self._decisions if uid not in there]:
                del self._decisions[uid]
            self._asked &= there


def _named(ref: ObjectRef) -> ObjectRef:
    return ObjectRef(kind=ref.kind, namespace=ref.namespace, name=ref.name)


async def keep(
    accountant: Accountant,
    live: Live,
    now: Callable[[], datetime],
    tell: Callable[[Alert], Awaitable[bool]] | None = None,
) -> None:
    """Run an accountant beside the controller, until cancelled; a part of what the leader does.

    It looks after every change, but not more often than once a second and a twentieth of the time, and every
    ten seconds if nothing changes. tell: takes alerts of budgets; where it answers False the alert is told
    again after a minute, else never again. A ledger that cannot be written holds nobody up: it is told and
    tried again.
    """
    await asyncio.to_thread(accountant.resume)
    seen, revised_ms, alert_ms = 0, 0, 0
    while True:
        try:
            async with asyncio.timeout(LOOK_EVERY_S):
                seen = await live.wait(seen)
        except TimeoutError:
            pass
        if not live.version:
            continue
        started = time.monotonic()
        seen, snapshot, plan = live.version, live.snapshot, live.plan
        try:
            await asyncio.to_thread(accountant.observe, now(), snapshot, plan)
            over_ms = (milliseconds(now()) - REVISE_AFTER_MS) // HOUR_MS * HOUR_MS
            if over_ms > revised_ms:
                await asyncio.to_thread(accountant.revise, over_ms - 2 * HOUR_MS, over_ms)
                revised_ms = over_ms
                alert_ms = 0
            if tell is not None and milliseconds(now()) >= alert_ms:
                told = True
                for alert in await asyncio.to_thread(accountant.alerts, now()):
                    if await tell(alert):
                        await asyncio.to_thread(note_told, accountant.ledger, alert, now())
                    else:
                        told = False
                alert_ms = (
                    over_ms + HOUR_MS + REVISE_AFTER_MS if told else milliseconds(now()) + ALERT_AGAIN_MS
                )
        except StaleWriterError as error:
            _log.warning("%s; going on from there", error)
            await asyncio.to_thread(accountant.resume)
        except LedgerError as error:
            _log.error("%s", error)
            await asyncio.sleep(RETRY_S)
        except Exception:
            _log.exception("devices could not be accounted")
            await asyncio.sleep(RETRY_S)
        taken = time.monotonic() - started
        await asyncio.sleep(min(max(LEAST_PAUSE_S, SHARE * taken), MOST_PAUSE_S))
