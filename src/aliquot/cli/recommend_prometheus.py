"""Histories of use from Prometheus, joined to the devices and pods of a cluster."""

from datetime import UTC, datetime

from aliquot.cli.failures import Failure
from aliquot.cli.output import note
from aliquot.cli.whatif import seconds
from aliquot.model.snapshot import Snapshot
from aliquot.sizing.cluster import fleet_report
from aliquot.telemetry.collecting import Collector
from aliquot.telemetry.endpoint import Endpoint
from aliquot.telemetry.errors import SourceError
from aliquot.telemetry.holdings import facts
from aliquot.telemetry.settings import Settings
from aliquot.usage.joining import Usage, joined_usage


async def read_prometheus(url: str, since: str, token_file: str, snapshot: Snapshot) -> Usage:
    """What a Prometheus knows of a cluster's devices up to now. Raises Failure."""
    if not url:
        raise Failure("where is the history of use? give --prometheus URL, or tables with --history")
    end = round(datetime.now(UTC).timestamp() * 1000)
    start = end - seconds(since, "--since") * 1000
    try:
        endpoint = Endpoint(url, bearer_file=token_file).checked()
    except SourceError as error:
        raise Failure(f"--prometheus: {error}") from None
    found = await Collector(Settings(prometheus=endpoint)).collect(start, end)
    if found.problems:
        raise Failure(*(f"--prometheus: {problem}" for problem in found.problems))
    for text in found.notes:
        note(f"note: {text}")
    known = facts(fleet_report(snapshot))
    usage = joined_usage(found.readings, known.devices, known.tenures, known.owners)
    if usage.unmatched:
        note(f"note: {len(usage.unmatched)} measured devices are not published by the cluster")
    return usage
