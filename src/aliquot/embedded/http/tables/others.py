"""The rows of events, services, roles, policies and the rest."""

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
)

NAMESPACES = Table((Column("Status", at("status.phase", "")), Column("Age", age)))
CONFIG_MAPS = Table((Column("Data", count("data"), "integer"), Column("Age", age)))
SECRETS = Table(
    (Column("Type", at("type", "")), Column("Data", count("data"), "integer"), Column("Age", age))
)
SERVICE_ACCOUNTS = Table((Column("Secrets", count("secrets"), "integer"), Column("Age", age)))
LEASES = Table((Column("Holder", at("spec.holderIdentity", "")), Column("Age", age)))
CREATED_AT = Table((Column("Created At", at("metadata.creationTimestamp", ""), "date"),))
PRIORITY_CLASSES = Table(
    (
        Column("Value", at("value", 0), "integer"),
        Column("Global-Default", at("globalDefault", False), "boolean"),
        Column("Age", age),
        Column("PreemptionPolicy", at("preemptionPolicy", "")),
    )
)


def _ports(service: Object, now: datetime) -> str:
    texts = []
    for port in (service.get("spec") or {}).get("ports") or ():
        node = f":{port['nodePort']}" if port.get("nodePort") else ""
        texts.append(f"{port.get('port')}{node}/{port.get('protocol', 'TCP')}")
    return joined(texts)


def _pairs(path: str) -> Cell:
    find = at(path, {})

    def cell(obj: Object, now: datetime) -> str:
        return joined(f"{key}={value}" for key, value in sorted(find(obj, now).items()))

    return cell


SERVICES = Table(
    (
        Column("Type", at("spec.type", "")),
        Column("Cluster-IP", at("spec.clusterIP")),
        Column("External-IP", at("spec.externalName")),
        Column("Port(s)", _ports),
        Column("Age", age),
        Column("Selector", _pairs("spec.selector"), priority=1),
    )
)


def _first(obj: Object, *keys: str) -> object:
    return next((obj[key] for key in keys if obj.get(key)), None)


def _seen(*keys: str) -> Cell:
    def cell(event: Object, now: datetime) -> str:
        series = event.get("series") or {}
        text = series.get("lastObservedTime") if keys[0] in ("lastTimestamp",) else None
        meta = event.get("metadata") or {}
        moment = parse_time(text or _first(event, *keys) or meta.get("creationTimestamp"))
        return "<unknown>" if moment is None else human_duration((now - moment).total_seconds())

    return cell


def _about(event: Object, now: datetime) -> str:
    about = event.get("involvedObject") or event.get("regarding") or {}
    return f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}"


def _part(event: Object, now: datetime) -> str:
    return str((event.get("involvedObject") or event.get("regarding") or {}).get("fieldPath") or "")


def _source(event: Object, now: datetime) -> str:
    source = event.get("source") or event.get("deprecatedSource") or {}
    name = source.get("component") or _first(event, "reportingComponent", "reportingController") or ""
    host = source.get("host") or event.get("reportingInstance") or ""
    return f"{name}, {host}" if host else str(name)


def _message(event: Object, now: datetime) -> str:
    return str(_first(event, "message", "note") or "").strip()


def _count(event: Object, now: datetime) -> object:
    series = (event.get("series") or {}).get("count")
    return series or _first(event, "count", "deprecatedCount") or 1


def _event_name(event: Object, now: datetime) -> str:
    return str((event.get("metadata") or {}).get("name", ""))


EVENTS = Table(
    (
        Column("Last Seen", _seen("lastTimestamp", "deprecatedLastTimestamp", "eventTime")),
        Column("Type", at("type", "")),
        Column("Reason", at("reason", "")),
        Column("Object", _about),
        Column("Subobject", _part, priority=1),
        Column("Source", _source, priority=1),
        Column("Message", _message),
        Column("First Seen", _seen("firstTimestamp", "deprecatedFirstTimestamp", "eventTime"), priority=1),
        Column("Count", _count, "integer", priority=1),
        Column("Name", _event_name, priority=1),
    ),
    named=False,
)


def _role(binding: Object, now: datetime) -> str:
    ref = binding.get("roleRef") or {}
    return f"{ref.get('kind', '')}/{ref.get('name', '')}"


def _subjects(kind: str) -> Cell:
    def cell(binding: Object, now: datetime) -> str:
        found = [one for one in binding.get("subjects") or () if one.get("kind") == kind]
        if kind == "ServiceAccount":
            return ", ".join(f"{one.get('namespace', '')}/{one.get('name', '')}" for one in found)
        return ", ".join(str(one.get("name", "")) for one in found)

    return cell


ROLE_BINDINGS = Table(
    (
        Column("Role", _role),
        Column("Age", age),
        Column("Users", _subjects("User"), priority=1),
        Column("Groups", _subjects("Group"), priority=1),
        Column("ServiceAccounts", _subjects("ServiceAccount"), priority=1),
    )
)


def _param_kind(policy: Object, now: datetime) -> str:
    kind = (policy.get("spec") or {}).get("paramKind")
    return f"{kind.get('apiVersion', '')}/{kind.get('kind', '')}" if kind else "<unset>"


def _param_ref(binding: Object, now: datetime) -> str:
    ref = (binding.get("spec") or {}).get("paramRef")
    if not ref:
        return "<unset>"
    name = ref.get("name") or "*"
    return f"{ref['namespace']}/{name}" if ref.get("namespace") else str(name)


VALIDATING_POLICIES = Table(
    (
        Column("Validations", count("spec.validations"), "integer"),
        Column("ParamKind", _param_kind),
        Column("Age", age),
    )
)
MUTATING_POLICIES = Table(
    (
        Column("Mutations", count("spec.mutations"), "integer"),
        Column("ParamKind", _param_kind),
        Column("Age", age),
    )
)
POLICY_BINDINGS = Table(
    (
        Column("PolicyName", at("spec.policyName", "")),
        Column("ParamRef", _param_ref),
        Column("Age", age),
    )
)
BUDGETS = Table(
    (
        Column("Min Available", at("spec.minAvailable", "N/A")),
        Column("Max Unavailable", at("spec.maxUnavailable", "N/A")),
        Column("Allowed Disruptions", at("status.disruptionsAllowed", 0), "integer"),
        Column("Age", age),
    )
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
