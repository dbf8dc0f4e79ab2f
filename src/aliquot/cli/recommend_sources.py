"""Histories of use from Prometheus or from a kept history, joined to the devices and pods of a cluster."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from aliquot.cli.failures import Failure
from aliquot.cli.moments import moment_given
from aliquot.cli.output import note
from aliquot.cli.recommend_history import read_histories
from aliquot.cli.telemetry_sources import telemetry_settings
from aliquot.cli.whatif import seconds
from aliquot.model.snapshot import Snapshot
from aliquot.sizing.cluster import fleet_report
from aliquot.store.usage import UsageHistory
from aliquot.store.usage_schema import HistoryError
from aliquot.telemetry.collecting import Collector
from aliquot.telemetry.holdings import facts
from aliquot.usage.joining import joined_usage
from aliquot.usage.series import Series

_SQLITE = b"SQLite format 3\0"


@dataclass(frozen=True, slots=True)
class Sources:
    """Where histories are: tables or a kept history; a Prometheus, or a file that names one. since: how far
    to look back from `at`, "" for now."""

    histories: Sequence[Path]
    prometheus: str
    sources: str
    token_file: str
    since: str
    at: str

    @property
    def live(self) -> bool:
        """Whether something is asked beside the files given."""
        return bool(self.prometheus or self.sources or not self.histories)


def read(wanted: Sources, snapshot: Snapshot) -> tuple[tuple[Series, ...], tuple[Series, ...]]:
    """The series of devices and parts by who held them, and those of model servers and containers. Raises
    Failure."""
    start, end = _window(wanted)
    tables = [path for path in wanted.histories if not _kept(path)]
    held = read_histories(tables) if tables else ()
    for path in wanted.histories:
        if _kept(path):
            held = (*held, *_read_kept(path, start, end))
    if not wanted.live:
        return held, ()
    settings = telemetry_settings(wanted.sources, wanted.prometheus, token_file=wanted.token_file)
    if settings.prometheus is None:
        raise Failure(
            "where is the history of use? give --prometheus URL, --sources FILE, or files with --history"
        )
    found = asyncio.run(Collector(settings).collect(start, end))
    if found.problems:
        raise Failure(*(str(problem) for problem in found.problems))
    for text in found.notes:
        note(f"note: {text}")
    known = facts(fleet_report(snapshot))
    usage = joined_usage(found.readings, known.devices, known.tenures, known.owners)
    if usage.unmatched:
        note(f"note: {len(usage.unmatched)} measured devices are not published by the cluster")
    return (*held, *usage.held), usage.servers


def _window(wanted: Sources) -> tuple[int, int]:
    end = moment_given(wanted.at, "--at") if wanted.at else datetime.now(UTC)
    until = round(end.timestamp() * 1000)
    return until - seconds(wanted.since, "--since") * 1000, until


def _kept(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_SQLITE)) == _SQLITE
    except OSError as error:
        raise Failure(f"{path}: cannot be read: {error.strerror}") from None


def _read_kept(path: Path, start: int, end: int) -> tuple[Series, ...]:
    try:
        with UsageHistory.open(path, read_only=True) as history:
            return tuple(history.read(start, end, devices=False))
    except HistoryError as error:
        raise Failure(str(error)) from None
