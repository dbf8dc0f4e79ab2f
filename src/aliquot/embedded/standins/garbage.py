"""Deletion of objects whose owners are gone, and the foreground and orphan ways of deleting an owner.

Source: Kubernetes documentation, "Garbage Collection" and "Owners and Dependents".
"""

from __future__ import annotations

from collections.abc import Hashable

from aliquot.embedded.hooks import Object
from aliquot.embedded.standins.standin import Cluster, StandIn, controller_user, terminating
from aliquot.embedded.standins.view import Key

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"


def _finalizers(obj: Object) -> list[str]:
    return list(obj["metadata"].get("finalizers") or ())


def _deleting_in_foreground(obj: Object) -> bool:
    return terminating(obj) and FOREGROUND in _finalizers(obj)


class GarbageCollector(StandIn):
    user = controller_user("generic-garbage-collector")

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self.view.on_any(self._changed)

    def _changed(self, key: Key, before: Object | None, after: Object | None) -> None:
        if after is None:
            if before is not None:
                for dependent in self.view.owned_by(before["metadata"]["uid"]):
                    self.queue.add(dependent)
                self._tell_owners(before)
            return
        meta = after["metadata"]
        old_owners = before["metadata"].get("ownerReferences") if before is not None else None
        if meta.get("ownerReferences") and meta["ownerReferences"] != old_owners:
            self.queue.add(key)
        if meta.get("deletionTimestamp") and any(one in (FOREGROUND, ORPHAN) for one in _finalizers(after)):
            self.queue.add(key)
        if before is not None and old_owners and meta.get("ownerReferences") != old_owners:
            self._tell_owners(before)

    def _tell_owners(self, dependent: Object) -> None:
        """An owner that waits for its dependents may be able to go now."""
        for owner in dependent["metadata"].get("ownerReferences") or ():
            key = self._owner_key(dependent, owner)
            obj = self.view.get(key) if key is not None else None
            if key is not None and obj is not None and _deleting_in_foreground(obj):
                self.queue.add(key)

    def reconcile(self, key: Hashable) -> None:
        assert isinstance(key, Key)
        obj = self.view.get(key)
        if obj is None:
            return
        if terminating(obj) and ORPHAN in _finalizers(obj):
            self._orphan(key, obj)
        elif _deleting_in_foreground(obj):
            self._delete_in_foreground(key, obj)
        elif obj["metadata"].get("ownerReferences") and not terminating(obj):
            self._check_owners(key, obj)

    def _owner_key(self, dependent: Object, owner: Object) -> Key | None:
        """Where the owner would be; None where this server does not serve its kind."""
        resource = self.registry.resources.find_kind(owner["apiVersion"], owner["kind"])
        if resource is None:
            return None
        namespace = (dependent["metadata"].get("namespace") or "") if resource.namespaced else ""
        return Key(resource.key, namespace, owner["name"])

    def _check_owners(self, key: Key, obj: Object) -> None:
        solid, dangling, waiting = [], [], []
        for owner in obj["metadata"]["ownerReferences"]:
            owner_key = self._owner_key(obj, owner)
            if owner_key is None:
                solid.append(owner)
                continue
            found = self.view.get(owner_key)
            if found is None or found["metadata"]["uid"] != owner["uid"]:
                dangling.append(owner)
            elif _deleting_in_foreground(found):
                waiting.append(owner)
            else:
                solid.append(owner)
        uid = obj["metadata"]["uid"]
        if solid:
            if (dangling or waiting) and (changed := self.whole(key)) is not None:
                changed["metadata"]["ownerReferences"] = solid
                self.write(key, changed)
        elif waiting:
            blocking = any(one.get("blockOwnerDeletion") for one in waiting)
            has_dependents = bool(self.view.owned_by(uid))
            self.delete(
                key, uid=uid, propagation="Foreground" if blocking and has_dependents else "Background"
            )
        elif ORPHAN not in _finalizers(obj):
            self.delete(
                key, uid=uid, propagation="Foreground" if FOREGROUND in _finalizers(obj) else "Background"
            )

    def _delete_in_foreground(self, key: Key, obj: Object) -> None:
        uid = obj["metadata"]["uid"]
        blocking = False
        for dependent_key in self.view.owned_by(uid):
            dependent = self.view.get(dependent_key)
            if dependent is None:
                continue
            owner = next(one for one in dependent["metadata"]["ownerReferences"] if one["uid"] == uid)
            blocking = blocking or bool(owner.get("blockOwnerDeletion"))
            self.queue.add(dependent_key)
        if not blocking:
            self._drop_finalizer(key, FOREGROUND)

    def _orphan(self, key: Key, obj: Object) -> None:
        uid = obj["metadata"]["uid"]
        for dependent_key in self.view.owned_by(uid):
            changed = self.whole(dependent_key)
            if changed is None:
                continue
            owners = [one for one in changed["metadata"]["ownerReferences"] if one["uid"] != uid]
            if owners:
                changed["metadata"]["ownerReferences"] = owners
            else:
                del changed["metadata"]["ownerReferences"]
            self.write(dependent_key, changed)
        self._drop_finalizer(key, ORPHAN)

    def _drop_finalizer(self, key: Key, finalizer: str) -> None:
        changed = self.whole(key)
        if changed is not None:
            changed["metadata"]["finalizers"] = [one for one in _finalizers(changed) if one != finalizer]
            self.write(key, changed)
