"""What a policy on idle workloads would do now, for `aliquot recommend --idle`."""

from collections.abc import Iterable
from pathlib import Path

import msgspec
import yaml

from aliquot.cli.failures import Failure
from aliquot.cli.output import Column, Row, Table, note, write
from aliquot.cli.recommend_input import MOST_POLICY_BYTES
from aliquot.inventory.amounts import duration
from aliquot.model.snapshot import Snapshot
from aliquot.sizing.automation import AutomationPolicy
from aliquot.sizing.cluster import fleet_report
from aliquot.sizing.culling import Cull, Culling, CullingPolicy, Spared, culling
from aliquot.sizing.holders import holders_of
from aliquot.usage.series import Series

_COLUMNS = (
    Column(title="NAMESPACE", key="namespace", least=9),
    Column(title="WORKLOAD", key="workload", least=16),
    Column(title="QUEUE", key="queue", drop=1),
    Column(title="IDLE", key="idle", right=True),
    Column(title="STEP", key="step"),
    Column(title="WHY", key="why", drop=2),
)


def read_policy(path: Path) -> CullingPolicy:
    """A policy in YAML: the file of `aliquot controller --automation`, or what is under `idle` there. Raises
    Failure."""
    try:
        text = path.read_bytes()[: MOST_POLICY_BYTES + 1]
        if len(text) > MOST_POLICY_BYTES:
            raise Failure(f"{path}: is larger than 1 MiB")
        found = yaml.safe_load(text) or {}
        if isinstance(found, dict) and not found.keys().isdisjoint({"idle", "sizes"}):
            return msgspec.convert(found, AutomationPolicy).idle
        return msgspec.convert(found, CullingPolicy)
    except OSError as error:
        raise Failure(f"{path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, msgspec.ValidationError, RecursionError) as error:
        raise Failure(f"{path}: {error}") from None


def show(snapshot: Snapshot, held: Iterable[Series], policy: CullingPolicy, output: str) -> int:
    """Print the first step that is due for each idle workload; 1 if there is any. Nothing is done.

    Now is the end of the newest sample, so that a saved history tells what it told then.
    """
    series = tuple(held)
    now_ms = max((item.end for item in series if len(item)), default=0)
    report = fleet_report(snapshot)
    holders = holders_of(snapshot, report, series, policy, now_ms)
    found = culling(holders, (), policy, now_ms)
    unknown = sum(1 for item in holders if item.idleness.why)
    if unknown:
        note(f"note: of {unknown} workloads it is not known whether they are idle; nothing happens to them")
    write(table(found), output)
    return 1 if found.culls else 0


def table(found: Culling) -> Table:
    """A row for each step and for each idle workload that is spared."""
    rows = [_row(item) for item in found.culls] + [_spared(item) for item in found.spared]
    return Table(kind="IdleWorkloadList", columns=_COLUMNS, rows=tuple(rows))


def _row(item: Cull) -> Row:
    ref = item.workload
    name = f"{ref.kind.lower()}/{ref.name}"
    step = f"{item.step} (dry run)" if item.dry_run else item.step.value
    return Row(
        cells=(ref.namespace, name, item.queue, duration(item.idle_seconds), step, item.reason),
        item=msgspec.to_builtins(item),
        name=name,
    )


def _spared(item: Spared) -> Row:
    ref = item.workload
    name = f"{ref.kind.lower()}/{ref.name}"
    return Row(
        cells=(ref.namespace, name, "", duration(item.idle_seconds), "spared", item.why),
        item={**msgspec.to_builtins(item), "step": "spared"},
        name=name,
    )
