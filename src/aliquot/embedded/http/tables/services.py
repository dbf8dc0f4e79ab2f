"""The rows of namespaces, services, configuration and leases."""

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
    joined,
)

NAMESPACES = Table((Column("Status", at("status.phase", "")), Column("Age", age)))
CONFIG_MAPS = Table((Column("Data", count("data")), Column("Age", age)))
SECRETS = Table((Column("Type", at("type", "")), Column("Data", count("data")), Column("Age", age)))
SERVICE_ACCOUNTS = Table((Column("Secrets", count("secrets"), "integer"), Column("Age", age)))
LEASES = Table((Column("Holder", at("spec.holderIdentity", "")), Column("Age", age)))
CREATED_AT = Table((Column("Created At", at("metadata.creationTimestamp", ""), "date"),))


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
