"""Namespace."""

from __future__ import annotations

from aliquot.embedded import metadata
from aliquot.embedded.behaviors import Behavior, Moment
from aliquot.embedded.hooks import Object

FINALIZER = "kubernetes"


class NamespaceBehavior(Behavior):
    """A namespace holds the finalizer ``kubernetes`` in its spec until its content is gone."""

    name_rule = staticmethod(metadata.label_name_error)
    returns_deleted = True

    def default(self, obj: Object) -> None:
        meta = obj["metadata"]
        if meta.get("name"):
            meta["labels"] = (meta.get("labels") or {}) | {"kubernetes.io/metadata.name": meta["name"]}

    def on_create(self, obj: Object, now: Moment) -> None:
        obj["spec"] = {"finalizers": [FINALIZER]}
        obj["status"] = {"phase": "Active"}
