"""Which field manager owns which field of an object (``metadata.managedFields``)."""

from __future__ import annotations

from aliquot.embedded.hooks import Object
from aliquot.embedded.resources import Resource


def record(
    resource: Resource, new: Object, old: Object | None, manager: str | None, now: str, subresource: str
) -> None:
    """Note in ``new`` that ``manager`` owns what it changed since ``old``."""
    if old is not None and "managedFields" in old["metadata"]:
        new["metadata"]["managedFields"] = old["metadata"]["managedFields"]
