"""The rows of workloads and pod groups."""

from __future__ import annotations

from datetime import datetime

from aliquot.embedded.hooks import Object
from aliquot.embedded.http.tables.column import (
    Column,
    Table,
    age,
    joined,
)


def _gang(policy: object) -> str:
    gang = policy.get("gang") if isinstance(policy, dict) else None
    return f"gang of {gang.get('minCount')}" if isinstance(gang, dict) else "basic"


def _group_policy(group: Object, now: datetime) -> str:
    return _gang((group.get("spec") or {}).get("schedulingPolicy"))


def _templates(workload: Object, now: datetime) -> str:
    templates = (workload.get("spec") or {}).get("podGroupTemplates") or ()
    return joined(f"{one.get('name')} ({_gang(one.get('schedulingPolicy'))})" for one in templates)


POD_GROUPS = Table((Column("Policy", _group_policy), Column("Age", age)))
WORKLOADS = Table((Column("Pod Groups", _templates), Column("Age", age)))
