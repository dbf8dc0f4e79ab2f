"""The rows of what makes pods: deployments, replica sets, stateful sets, daemon sets, jobs."""

from __future__ import annotations

from datetime import datetime

from aliquot.embedded.hooks import Object
from aliquot.embedded.http.tables.column import (
    Cell,
    Column,
    Table,
    age,
    at,
    count,
    human_duration,
    joined,
    parse_time,
    since,
)
from aliquot.embedded.subresources import selector_text


def _of_template(key: str, path: str = "spec.template.spec.containers") -> Cell:
    find = at(path, [])

    def cell(obj: Object, now: datetime) -> str:
        return joined(one.get(key, "") for one in find(obj, now))

    return cell


def _selector(obj: Object, now: datetime) -> str:
    return selector_text((obj.get("spec") or {}).get("selector") or {}) or "<none>"


def _wide(path: str = "spec.template.spec.containers", *, selector: bool = True) -> tuple[Column, ...]:
    columns = [
        Column("Containers", _of_template("name", path), priority=1),
        Column("Images", _of_template("image", path), priority=1),
    ]
    if selector:
        columns.append(Column("Selector", _selector, priority=1))
    return tuple(columns)


def _ready(obj: Object, now: datetime) -> str:
    return f"{at('status.readyReplicas', 0)(obj, now)}/{at('spec.replicas', 0)(obj, now)}"


def _number(name: str, path: str) -> Column:
    return Column(name, at(path, 0), "integer")


DEPLOYMENTS = Table(
    (
        Column("Ready", _ready),
        Column("Up-to-date", at("status.updatedReplicas", 0)),
        Column("Available", at("status.availableReplicas", 0)),
        Column("Age", age),
        *_wide(),
    )
)
REPLICA_SETS = Table(
    (
        _number("Desired", "spec.replicas"),
        _number("Current", "status.replicas"),
        _number("Ready", "status.readyReplicas"),
        Column("Age", age),
        *_wide(),
    )
)
STATEFUL_SETS = Table((Column("Ready", _ready), Column("Age", age), *_wide(selector=False)))
DAEMON_SETS = Table(
    (
        _number("Desired", "status.desiredNumberScheduled"),
        _number("Current", "status.currentNumberScheduled"),
        _number("Ready", "status.numberReady"),
        _number("Up-to-date", "status.updatedNumberScheduled"),
        _number("Available", "status.numberAvailable"),
        Column("Age", age),
        *_wide(),
    )
)


def _job_status(job: Object, now: datetime) -> str:
    status = job.get("status") or {}
    true = {one.get("type") for one in status.get("conditions") or () if one.get("status") == "True"}
    for kind, word in (
        ("Complete", "Complete"),
        ("Failed", "Failed"),
        ("Suspended", "Suspended"),
        ("FailureTarget", "FailureTarget"),
        ("SuccessCriteriaMet", "SuccessCriteriaMet"),
    ):
        if kind in true:
            return word
    return "Terminating" if (job.get("metadata") or {}).get("deletionTimestamp") else "Running"


def _completions(job: Object, now: datetime) -> str:
    spec, done = job.get("spec") or {}, (job.get("status") or {}).get("succeeded", 0)
    if spec.get("completions") is not None:
        return f"{done}/{spec['completions']}"
    parallelism = spec.get("parallelism") or 0
    return f"{done}/1 of {parallelism}" if parallelism > 1 else f"{done}/1"


def _duration(job: Object, now: datetime) -> str:
    status = job.get("status") or {}
    start, end = parse_time(status.get("startTime")), parse_time(status.get("completionTime"))
    return "" if start is None else human_duration(((end or now) - start).total_seconds())


JOBS = Table(
    (
        Column("Status", _job_status),
        Column("Completions", _completions),
        Column("Duration", _duration),
        Column("Age", age),
        *_wide(),
    )
)


def _suspend(obj: Object, now: datetime) -> str:
    return "True" if (obj.get("spec") or {}).get("suspend") else "False"


CRON_JOBS = Table(
    (
        Column("Schedule", at("spec.schedule", "")),
        Column("Timezone", at("spec.timeZone")),
        Column("Suspend", _suspend, "boolean"),
        Column("Active", count("status.active"), "integer"),
        Column("Last Schedule", since("status.lastScheduleTime", "<none>")),
        Column("Age", age),
        *_wide("spec.jobTemplate.spec.template.spec.containers", selector=False),
    )
)
