"""Namespaces in deletion lose their content and then go; each active one has its default account."""

from __future__ import annotations

from collections.abc import Hashable

from aliquot.embedded.hooks import Object
from aliquot.embedded.standins.standin import (
    Cluster,
    StandIn,
    controller_user,
    copy,
    parse_time,
    set_condition,
    terminating,
)
from aliquot.embedded.standins.view import Key
from aliquot.embedded.status import StatusError

FINALIZER = "kubernetes"


class Namespaces(StandIn):
    """Empties namespaces, ``grace_seconds`` after their deletion.

    The wait (5 s in kube-controller-manager, too) lets whoever deletes a namespace together with objects in
    it, such as ``kubectl delete -f`` of a folder, still find those objects.
    """

    user = controller_user("namespace-controller")
    patient = True

    def __init__(self, cluster: Cluster, grace_seconds: float = 5.0) -> None:
        super().__init__(cluster)
        self._grace = grace_seconds
        self.view.on_any(self._changed)

    def _changed(self, key: Key, before: Object | None, after: Object | None) -> None:
        if key.resource == "namespaces":
            if after is not None and terminating(after):
                self.queue.add(key)
        elif after is None and key.namespace:
            home = Key("namespaces", "", key.namespace)
            namespace = self.view.get(home)
            if namespace is not None and terminating(namespace):
                self.queue.add(home)

    def reconcile(self, key: Hashable) -> None:
        assert isinstance(key, Key)
        namespace = self.view.get(key)
        if namespace is None or not terminating(namespace):
            return
        if FINALIZER not in ((namespace.get("spec") or {}).get("finalizers") or ()):
            return
        begin = (parse_time(namespace["metadata"]["deletionTimestamp"]) or 0.0) + self._grace
        if begin > self.cluster.seconds():
            self.queue.add_at(begin, key)
            return
        remaining: dict[str, int] = {}
        for name in self.view.resource_keys():
            resource = self.view.resource(name)
            if not resource.namespaced:
                continue
            for stored in list(self.registry.collection(resource).items(key.name)):
                one = Key(name, stored.namespace, stored.name)
                obj = self.view.get(one)
                if obj is not None and not terminating(obj):
                    self.delete(one, uid=obj["metadata"]["uid"])
                if self.view.get(one) is not None:
                    remaining[name] = remaining.get(name, 0) + 1
        if remaining:
            self._say_what_remains(key, remaining)
            return
        changed = copy(self.view.get(key) or namespace)
        changed["spec"]["finalizers"] = [one for one in changed["spec"]["finalizers"] if one != FINALIZER]
        self.write(key, changed, "finalize")

    def _say_what_remains(self, key: Key, remaining: dict[str, int]) -> None:
        namespace = self.view.get(key)
        if namespace is None:
            return
        listed = ", ".join(
            f"{name} has {count} resource instances" for name, count in sorted(remaining.items())
        )
        changed = copy(namespace)
        set_condition(
            changed.setdefault("status", {}),
            "NamespaceContentRemaining",
            "True",
            self.cluster.timestamp(),
            "SomeResourcesRemain",
            f"Some resources are remaining: {listed}",
        )
        self.write(key, changed, "status")


class ServiceAccounts(StandIn):
    """The account ``default`` of every active namespace."""

    user = controller_user("service-account-controller")

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self.view.on("namespaces", self._namespace_changed)
        self.view.on("serviceaccounts", self._account_changed)

    def _namespace_changed(self, key: Key, before: Object | None, after: Object | None) -> None:
        if before is None:
            self.queue.add(key.name)

    def _account_changed(self, key: Key, before: Object | None, after: Object | None) -> None:
        if after is None and key.name == "default":
            self.queue.add(key.namespace)

    def reconcile(self, key: Hashable) -> None:
        name = str(key)
        namespace = self.view.get(Key("namespaces", "", name))
        if namespace is None or terminating(namespace):
            return
        if self.view.get(Key("serviceaccounts", name, "default")) is not None:
            return
        account = {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "default", "namespace": name},
        }
        try:
            self.create("serviceaccounts", name, account)
        except StatusError as error:
            if error.code != 409:
                raise
