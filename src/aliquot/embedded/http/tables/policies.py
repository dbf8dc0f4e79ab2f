"""The rows of roles, admission policies, budgets and priorities."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from aliquot.embedded.hooks import Object
from aliquot.embedded.http.tables.column import (
    Cell,
    Column,
    Table,
    age,
    at,
    count,
)

PRIORITY_CLASSES = Table(
    (
        Column("Value", at("value", 0), "integer"),
        Column("Global-Default", at("globalDefault", False), "boolean"),
        Column("Age", age),
        Column("PreemptionPolicy", at("preemptionPolicy", "")),
    )
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


def _text(path: str) -> Callable[[Object, datetime], str]:
    found = at(path, "N/A")
    return lambda obj, now: str(found(obj, now))


POLICY_BINDINGS = Table(
    (
        Column("PolicyName", at("spec.policyName", "")),
        Column("ParamRef", _param_ref),
        Column("Age", age),
    )
)
BUDGETS = Table(
    (
        Column("Min Available", _text("spec.minAvailable")),
        Column("Max Unavailable", _text("spec.maxUnavailable")),
        Column("Allowed Disruptions", at("status.disruptionsAllowed", 0), "integer"),
        Column("Age", age),
    )
)
