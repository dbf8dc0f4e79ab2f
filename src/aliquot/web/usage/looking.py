"""One look at how a cluster's devices are used: sources read, joined to holders, kept, and summed up."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from aliquot.accounting.entries import Category
from aliquot.inventory.report import Report
from aliquot.model.index import SnapshotIndex
from aliquot.model.snapshot import Snapshot
from aliquot.queues.tree import QueueTree
from aliquot.scheduling.plan import Plan
from aliquot.scheduling.policy import Policy
from aliquot.store.ledger_occupancies import Occupancies, Seen
from aliquot.store.usage import UsageHistory
from aliquot.telemetry.collecting import Collected, Collector
from aliquot.telemetry.holdings import Facts, facts, ms
from aliquot.telemetry.settings import Settings
from aliquot.usage.joining import Usage, joined_usage
from aliquot.usage.metrics import Metric
from aliquot.usage.overview import Overview, overview
from aliquot.usage.series import NOBODY, Series, Subject
from aliquot.usage.sharing import carried
from aliquot.usage.waste import Thresholds


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen: the sums, the usage that they were made of, the cluster, and what could not be read."""

    overview: Overview
    usage: Usage
    facts: Facts
    report: Report
    collected: Collected


class Looker:
    """Looks again and again. Counters need two looks where no source has the past."""

    def __init__(
        self,
        settings: Settings,
        *,
        window_ms: int,
        history: UsageHistory | None = None,
        keep: bool = False,
        thresholds: Thresholds | None = None,
        policy: Policy | None = None,
    ) -> None:
        """history: where the past is read from; keep: and what is seen is written to."""
        self._settings = settings
        self._collector = Collector(settings, remember=window_ms)
        self._window = window_ms
        self._history = history
        self._keep = keep
        self._thresholds = thresholds or Thresholds()
        self._policy = policy or Policy()
        self._report: Report | None = None
        self._known: Facts | None = None

    @property
    def blind(self) -> bool:
        """Whether there is nothing to learn usage from."""
        return self._settings.empty and self._history is None

    async def look(self, snapshot: Snapshot, now: datetime, plan: Plan | None = None) -> Look:
        """What the sources and the cluster say. plan: what was decided on the snapshot, for whoever asks the
        report about it; nothing is decided for a look, as use is of what is held."""
        end = ms(now)
        start = end - self._window
        collected = await self._collector.collect(start, end)
        return await asyncio.to_thread(self._sum_up, snapshot, plan or Plan(), start, end, collected)

    def _sum_up(self, snapshot: Snapshot, plan: Plan, start: int, end: int, collected: Collected) -> Look:
        report = Report.of(snapshot, plan, self._policy, previous=self._report)
        self._report = report
        now_known = facts(report, team_labels=self._settings.team_labels)
        known = self._known = with_past(now_known, self._known, end, start)
        usage = joined_usage(collected.readings, known.devices, known.tenures, known.owners)
        if self._history is not None:
            if self._keep and collected.readings:
                self._history.write(kept(usage), end)
            usage = remembered(self._history, start, end, usage)
        seen = overview(
            known.devices,
            known.tenures,
            usage,
            start,
            end,
            team=known.team,
            thresholds=self._thresholds,
            stranded=stranded(report),
        )
        return Look(seen, usage, known, report, collected)


def with_past(known: Facts, before: Facts | None, now: int, forget: int) -> Facts:
    """Facts with who held devices a while ago and whom pods worked for then; see `carried`.

    before: what this gave at the last look. now, forget: ms.
    """
    tenures = carried(before.tenures if before is not None else (), known.tenures, now, forget)
    gone = {
        (item.owner.pod.namespace, item.owner.pod.name): item.owner
        for item in tenures
        if item.owner.pod is not None
    }
    return Facts(known.devices, tenures, {**gone, **known.owners}, known.teams)


def kept(usage: Usage) -> tuple[Series, ...]:
    """What of usage goes into a history: devices' own series and those of holders.

    Error codes cannot be added up and are not kept.
    """
    devices = [item for own in usage.devices.values() for item in own.values()]
    held = [item for item in (*usage.held, *usage.servers) if item.owner != NOBODY]
    return tuple(item for item in (*devices, *held) if item.metric is not Metric.XID)


def remembered(history: UsageHistory, start: int, end: int, usage: Usage) -> Usage:
    """Usage as a history has it; what it does not know is taken from `usage`."""
    devices: dict[Subject, dict[Metric, Series]] = {}
    for series in history.read(start, end, devices=True):
        devices.setdefault(series.subject, {})[series.metric] = series
    holders = history.read(start, end, devices=False)
    held = [item for item in holders if item.subject != Subject()]
    servers = [item for item in holders if item.subject == Subject()]
    for subject, own in usage.devices.items():
        for metric, series in own.items():
            devices.setdefault(subject, {}).setdefault(metric, series)
    known = {(item.subject, item.metric) for item in held}
    held += [item for item in usage.held if (item.subject, item.metric) not in known]
    return Usage(devices, tuple(held), tuple(servers) or usage.servers, usage.unmatched)


def stranded(report: Report) -> Mapping[Subject, str]:
    """Why what is free of a device can be given to nobody, for devices of which that is so."""
    found = {}
    snapshot = report.snapshot
    seen = Seen(
        snapshot,
        SnapshotIndex.of(snapshot),
        QueueTree.of(snapshot.queues),
        report.fleet,
        report.layout,
        report.devices,
    )
    for occupancy in Occupancies({}).of(seen):
        place = occupancy.device.place
        for spare in occupancy.spare:
            if spare.category is Category.STRANDED and spare.share:
                subject = Subject(place.node, place.driver, place.pool, occupancy.device.name)
                found[subject] = spare.reason
    return found
