"""What the controller does to workloads without anybody asking: the policy's file, and the parts that it
takes."""

import contextlib
import logging
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import yaml
from prometheus_client import CollectorRegistry, Counter

from aliquot.audit.record import Event, Kind, Outcome, read
from aliquot.audit.search import Search
from aliquot.cli.failures import Failure
from aliquot.controller.culling import HOUR_MS, Culler
from aliquot.controller.live import Live
from aliquot.controller.resizing import Resizer, Sizes
from aliquot.controller.unasked import Unasked
from aliquot.inventory.report import Report
from aliquot.kube.client import Client
from aliquot.scheduling.policy import Policy
from aliquot.sizing.automation import AutomationPolicy
from aliquot.store.audit import AuditLog
from aliquot.store.audit_file import AuditError
from aliquot.store.usage import UsageHistory

LOG = "automation.db"
MOST_POLICY_BYTES = 1 << 20
_LEAVING = ("idle-suspend", "idle-reclaim")

Part = Callable[[], Coroutine[Any, Any, None]]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Automation:
    """A policy with what is needed to carry it out. log: where everything done is recorded."""

    policy: AutomationPolicy
    log: AuditLog
    history: UsageHistory
    prices: Callable[[Report], dict[str, int]]

    def parts(self, client: Client, live: Live, decisions: Policy, registry: CollectorRegistry) -> list[Part]:
        """What the leader does beside deciding, counted in `registry`."""
        counted = Counter(
            "aliquot_unasked_changes",
            "Steps on idle work and changes of sizes that were made without anybody asking, by outcome.",
            ["action", "outcome"],
            registry=registry,
        )

        def record(event: Event) -> None:
            counted.labels(event.action, event.outcome.value).inc()
            self._record(event)

        found: list[Part] = []
        if self.policy.idle.rules:
            unasked = Unasked(client, record, "automation/idle")
            left = left_within_hour(self.log, time.time_ns() // 1000)
            found.append(Culler(unasked, live, self.history, self.policy.idle, decisions, left).run)
        if self.policy.sizes.queues:
            unasked = Unasked(client, record, "automation/sizes")
            sizes = Sizes(self.policy.sizes.sizing, self.policy.sizes, self.prices)
            found.append(Resizer(unasked, live, self.history, sizes, decisions).run)
        return found

    def _record(self, event: Event) -> None:
        try:
            self.log.append(event)
        except AuditError as error:
            _log.error("%s", error)


def left_within_hour(log: AuditLog, now_us: int) -> tuple[int, ...]:
    """When workloads were suspended or reclaimed within the last hour, in ms."""
    since = now_us - HOUR_MS * 1000
    events = (read(item.body) for item in log.records(Search(kind=Kind.DEVICE, since_us=since)))
    return tuple(
        event.time_us // 1000
        for event in events
        if event.action in _LEAVING and event.outcome is Outcome.DONE
    )


@contextlib.contextmanager
def automation(
    file: Path | None, state: Path, history: UsageHistory | None, prices: Callable[[Report], dict[str, int]]
) -> Iterator[Automation | None]:
    """The policy of a file with its log in the folder of the state; None without a file. Raises Failure."""
    if file is None:
        yield None
        return
    policy = read_automation(file)
    if policy.empty:
        _log.info("%s: names no rules and no queues; nothing is done", file)
    if history is None:
        raise Failure(
            "--automation: nobody knows how devices are used; give --prometheus URL or --telemetry FILE, too"
        )
    try:
        with AuditLog.open(state / LOG) as log:
            yield Automation(policy, log, history, prices)
    except AuditError as error:
        raise Failure(str(error)) from None


def read_automation(path: Path) -> AutomationPolicy:
    """A policy in YAML. Raises Failure with the place."""
    try:
        text = path.read_bytes()[: MOST_POLICY_BYTES + 1]
    except OSError as error:
        raise Failure(f"{path}: cannot be read: {error.strerror}; check the path") from None
    if len(text) > MOST_POLICY_BYTES:
        raise Failure(f"{path}: is larger than 1 MiB; leave out what is not needed")
    try:
        found = msgspec.convert(yaml.safe_load(text) or {}, AutomationPolicy)
    except msgspec.ValidationError as error:
        problem, _, where = str(error).partition(" - at `$.")
        raise Failure(f"{path}: {where.rstrip('`') or 'top'}: {problem}; see docs/automation.md") from None
    except (yaml.YAMLError, RecursionError) as error:
        first = str(error).splitlines()[0]
        raise Failure(f"{path}: is not valid YAML: {first}; check this place") from None
    if found.problem():
        raise Failure(f"{path}: {found.problem()}")
    return found
