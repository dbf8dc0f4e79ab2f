"""Tables as ``kubectl get`` prints them: columns and cells per kind."""

from __future__ import annotations

from aliquot.embedded.http.tables.column import Column, Table, age
from aliquot.embedded.resources import Resource

__all__ = ["Column", "Table", "table_for"]

_PLAIN = Table((Column("Age", age, description="Time since the object was created"),))


def table_for(resource: Resource) -> Table:
    return _PLAIN
