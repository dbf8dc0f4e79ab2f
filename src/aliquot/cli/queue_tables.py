"""The table of queues, and a fair share term by term for programs."""

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from aliquot.cli.output import Column, Row, Table
from aliquot.cli.tables import TOTAL
from aliquot.inventory import amounts
from aliquot.inventory.amounts import NONE
from aliquot.inventory.queues import QueueState, QueueTable, ResourceState
from aliquot.queues.shares import FairShare
from aliquot.queues.tree import GPU, UNIT, Amount

_QUEUE_COLUMNS = (
    Column(title="NAME", key="name", least=14),
    Column(title="RESOURCE", key="resource", wide=True),
    Column(title="PRIORITY", key="priority", wide=True, right=True),
    Column(title="QUOTA", key="quota", right=True),
    Column(title="SHARE", key="fairShare", right=True),
    Column(title="LIMIT", key="limit", right=True),
    Column(title="USED", key="used", right=True),
    Column(title="WANTED", key="wanted", right=True),
    Column(title="USED/LIMIT", key="share", wide=True),
    Column(title="WEIGHT", key="weight", wide=True, right=True),
    Column(title="PASTUSE", key="pastUse", wide=True, right=True),
    Column(title="RUNNING", key="running", wide=True, right=True),
    Column(title="WAITING", key="waiting", right=True),
    Column(title="STATUS", key="status"),
)


def queue_table(
    table: QueueTable,
    capacity: Mapping[str, Amount],
    *,
    wide: bool,
    keep: Callable[[QueueState], bool] = lambda state: True,
) -> Table:
    """The tree, indented; GPUs only, or with `wide` a row for every resource that has terms; then totals.

    The totals are those of the whole tree, also when only some queues are kept. capacity: what the cluster
    has of a resource, in billionths; it stands in for a limit that is not set.
    """
    rows: list[Row] = []
    for queue in filter(keep, table.queues):
        shown = queue.resources if wide else queue.resources[:1]
        for number, resource in enumerate(shown):
            rows.append(_queue_row(queue, resource, capacity, first=not number))
    tops = [queue.resource(GPU) for queue in table.queues if not queue.depth and not queue.problem]
    if table.outside.resources or table.outside.running or table.outside.waiting:
        rows.append(_queue_row(table.outside, table.outside.resource(GPU), capacity, first=True))
    if tops:
        used: Amount = sum((resource.used for resource in tops), table.outside.resource(GPU).used)
        total = ResourceState(GPU, used)
        sums = QueueState(
            name=TOTAL,
            parent="",
            depth=0,
            priority=0,
            resources=(total,),
            waiting=sum(q.waiting for q in table.queues if not q.depth) + table.outside.waiting,
            running=sum(q.running for q in table.queues if not q.depth) + table.outside.running,
        )
        rows.append(_queue_row(sums, total, capacity, first=True))
    return Table(kind="QueueTable", columns=_QUEUE_COLUMNS, rows=tuple(rows))


def _queue_row(
    queue: QueueState, resource: ResourceState, capacity: Mapping[str, Amount], *, first: bool
) -> Row:
    whole = resource.limit if resource.limit is not None else capacity.get(resource.name)
    name = "  " * queue.depth + (queue.name or "<no queue>")
    used = f"{amounts.amount(resource.used)}/{amounts.amount(whole)}" if whole is not None else NONE
    if whole is not None:
        used += f" ({amounts.percent(Fraction(resource.used), Fraction(whole))})"
    cells = (
        name if first else "",
        resource.name,
        str(queue.priority) if first and queue.name not in ("", TOTAL) else NONE,
        amounts.bounded(resource.quota),
        amounts.amount(resource.share),
        amounts.amount(resource.limit),
        amounts.amount(resource.used),
        amounts.amount(resource.wanted),
        used,
        str(resource.weight) if queue.name not in ("", TOTAL) else NONE,
        amounts.percent(Fraction(resource.terms.usage), UNIT) if resource.terms is not None else NONE,
        str(queue.running),
        str(queue.waiting),
        _queue_status(queue, resource),
    )
    special = queue.name in ("", TOTAL) or not first
    return Row(
        cells=cells,
        item={} if special else _queue_item(queue),
        name=f"queue/{queue.name}",
        total=special,
    )


def _queue_status(queue: QueueState, resource: ResourceState) -> str:
    """Broken (why), OverShare or UnderShare (it holds more, or less, than its fair share), OverQuota (more
    than its quota, and it is entitled to it), or Ready."""
    if queue.problem:
        return f"Broken: {queue.problem}"
    balance = resource.balance
    if balance:
        return "OverShare" if balance > 0 else "UnderShare"
    over = queue.name not in ("", TOTAL) and resource.quota is not None and resource.over_quota
    return "OverQuota" if over else "Ready"


def _queue_item(queue: QueueState) -> dict[str, Any]:
    return {
        "name": queue.name,
        "parent": queue.parent,
        "priority": queue.priority,
        "running": queue.running,
        "waiting": queue.waiting,
        "problem": queue.problem,
        "resources": [
            {
                "name": resource.name,
                "quota": text(resource.quota),
                "limit": text(resource.limit),
                "used": text(resource.used),
                "overQuotaWeight": resource.weight,
                "fairShare": text(resource.share),
                "wanted": text(resource.wanted),
                "balance": text(resource.balance),
                "terms": share_terms(resource.terms) if resource.terms is not None else None,
            }
            for resource in queue.resources
        ],
    }


def share_terms(terms: FairShare) -> dict[str, Any]:
    """A fair share term by term, for programs; amounts exact, without a suffix, null for no bound."""
    return {
        "total": text(terms.total),
        "quota": text(terms.quota),
        "limit": text(terms.limit),
        "priority": terms.priority,
        "weight": terms.weight,
        "weights": terms.weights,
        "pastUse": text(terms.usage),
        "allocated": text(terms.allocated),
        "pending": text(terms.pending),
        "requestable": text(terms.requestable),
        "guaranteed": text(terms.guaranteed),
        "surplus": [
            {
                "over": text(item.over),
                "part": str(item.part),
                "given": text(item.given),
                "rest": item.rest,
            }
            for item in terms.surplus
        ],
        "share": text(terms.share),
        "allocatable": text(terms.allocatable),
    }


def text(value: Amount | None) -> str | None:
    """An amount for programs: exact, without a suffix."""
    return None if value is None else str(Fraction(value) / UNIT)
