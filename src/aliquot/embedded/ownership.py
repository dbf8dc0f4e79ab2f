"""Which field manager owns which field of an object (``metadata.managedFields``)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from aliquot.embedded.fieldsets import FieldSet, from_fields, owned, to_fields
from aliquot.embedded.hooks import Object
from aliquot.embedded.resources import Resource
from aliquot.embedded.shapes import Shape

#: Who changes objects whose fields are tracked without saying who it is: the stand-ins.
_ANONYMOUS = "aliquot-embedded"
_MAX_UPDATERS = 10


@dataclass(frozen=True, slots=True)
class Owner:
    """One entry of managedFields. ``operation``: ``Apply`` or ``Update``."""

    manager: str
    operation: str
    api_version: str
    subresource: str
    time: str
    fields: FieldSet

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """Entries with the same identity are one; an apply is the same over versions."""
        version = self.api_version if self.operation == "Update" else ""
        return (self.manager, self.operation, version, self.subresource)

    def to_json(self) -> Object:
        entry: Object = {
            "manager": self.manager,
            "operation": self.operation,
            "apiVersion": self.api_version,
            "time": self.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": to_fields(sorted(self.fields)),
        }
        if self.subresource:
            entry["subresource"] = self.subresource
        return entry


def owners_of(meta: Object) -> list[Owner]:
    found = []
    for entry in meta.get("managedFields") or ():
        if isinstance(entry, dict) and entry.get("operation") in ("Apply", "Update"):
            found.append(
                Owner(
                    str(entry.get("manager") or ""),
                    str(entry["operation"]),
                    str(entry.get("apiVersion") or ""),
                    str(entry.get("subresource") or ""),
                    str(entry.get("time") or ""),
                    from_fields(entry.get("fieldsV1")),
                )
            )
    return found


def write(meta: Object, owners: list[Owner]) -> None:
    """Put the owners into the metadata; those that own nothing any more are left out."""
    entries = [owner.to_json() for owner in owners if owner.fields]
    if entries:
        meta["managedFields"] = entries
    else:
        meta.pop("managedFields", None)


def root_of(resource: Resource) -> Shape | None:
    return resource.schema.root if resource.schema is not None else None


def record(
    resource: Resource, new: Object, old: Object | None, manager: str | None, now: str, subresource: str
) -> None:
    """Note in ``new`` that ``manager`` owns what it changed since ``old``; others lose what was changed.

    Objects that only the stand-ins wrote are not tracked at all.
    """
    meta = new["metadata"]
    given: Any = meta.get("managedFields")
    before = old["metadata"].get("managedFields") if old is not None else None
    if given == [{}]:
        meta.pop("managedFields", None)
        return
    if old is None or not given:
        given = before
    if given:
        meta["managedFields"] = given
    else:
        meta.pop("managedFields", None)
    if manager is None and not given:
        return
    root = root_of(resource)
    now_owned = owned(new, root)
    was_owned = owned(old, root) if old is not None else {}
    changed = frozenset(
        path for path, value in now_owned.items() if path not in was_owned or was_owned[path] != value
    )
    gone = frozenset(path for path in was_owned if path not in now_owned)
    if not changed and not gone:
        return
    owner = Owner(manager or _ANONYMOUS, "Update", resource.api_version, subresource, now, changed)
    owners: list[Owner] = []
    found = False
    for one in owners_of(meta):
        if one.identity == owner.identity:
            owners.append(replace(owner, fields=(one.fields | changed) - gone))
            found = True
        else:
            owners.append(replace(one, fields=one.fields - changed - gone))
    if not found:
        owners.append(owner)
    write(meta, _few(owners))


def _few(owners: list[Owner]) -> list[Owner]:
    """At most ten updaters: the oldest are joined under the name Kubernetes gives them."""
    updaters = [one for one in owners if one.operation == "Update" and one.fields]
    surplus = len(updaters) - _MAX_UPDATERS
    if surplus <= 0:
        return owners
    oldest = sorted(updaters, key=lambda one: one.time)[: surplus + 1]
    fields: FieldSet = frozenset().union(*(one.fields for one in oldest))
    joined = replace(oldest[-1], manager="ancient-changes", subresource="", fields=fields)
    return [joined, *(one for one in owners if one not in oldest)]
