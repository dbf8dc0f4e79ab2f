"""What every stand-in is: a queue of keys and a way to bring one key's objects to what they should be."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from aliquot.embedded.hooks import Object, User
from aliquot.embedded.metadata import timestamp
from aliquot.embedded.registry import Registry
from aliquot.embedded.standins.events import record
from aliquot.embedded.standins.view import Key, View
from aliquot.embedded.standins.work import WorkQueue
from aliquot.embedded.status import StatusError

_LOG = logging.getLogger(__name__)

_CONTROLLER_GROUPS = ("system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated")


def controller_user(name: str) -> User:
    """The service account under which a controller of kube-controller-manager acts."""
    return User(f"system:serviceaccount:kube-system:{name}", _CONTROLLER_GROUPS)


@dataclass(frozen=True, slots=True)
class Cluster:
    """What the stand-ins share: the objects to write to and the objects to read."""

    registry: Registry
    view: View
    clock: Callable[[], datetime]

    def seconds(self) -> float:
        """The time in seconds since the epoch."""
        return self.clock().timestamp()

    def timestamp(self) -> str:
        return timestamp(self.clock())


class StandIn:
    """One part of a control plane. Its state follows from the objects alone, so it may restart any time."""

    user: User
    #: Whether it may wait until those that are not patient have nothing to do.
    patient = False

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.registry = cluster.registry
        self.view = cluster.view
        self.queue = WorkQueue()

    def reconcile(self, key: Hashable) -> None:
        """Look at one key; raises StatusError where the server refuses: the key is due again later."""
        raise NotImplementedError

    def work(self, *, tolerant: bool = False) -> bool:
        """Look at the next key that is due; False where there is none.

        ``tolerant``: an error of the stand-in itself is logged and the key is tried again later, so that
        one object that it cannot cope with does not stop the others.
        """
        now = self.cluster.seconds()
        key = self.queue.pop(now)
        if key is None:
            return False
        try:
            self.reconcile(key)
        except StatusError as error:
            self.refused(key, error)
            self.queue.retry(now, key)
        except Exception:
            if not tolerant:
                raise
            _LOG.exception("%s: %s", type(self).__name__, key)
            self.queue.retry(now, key)
        else:
            self.queue.succeeded(key)
        return True

    def refused(self, key: Hashable, error: StatusError) -> None:
        """Tell people of a refusal that they can do something about; most are conflicts that pass."""

    def warn(self, about: Object, kind: str, reason: str, message: str) -> None:
        """Note a warning event about an object of ``kind``."""
        # An event that cannot be noted, as in a namespace that is going away, is no reason to stop.
        with contextlib.suppress(StatusError):
            record(self.cluster, self.user, about, kind, reason, message)

    # Writing as this stand-in

    def create(self, resource: str, namespace: str, obj: Object) -> Object:
        return self.registry.create(self.view.resource(resource), namespace or None, obj, self.user)

    def whole(self, key: Key) -> Object | None:
        """A copy of the object with all its parts, which the view need not have."""
        return self.registry.find(self.view.resource(key.resource), key.namespace or None, key.name)

    def write(self, key: Key, obj: Object, subresource: str = "") -> Object:
        """Update an object or its subresource; nothing is written where nothing differs."""
        resource = self.view.resource(key.resource)
        return self.registry.update(
            resource, key.namespace or None, key.name, obj, self.user, subresource=subresource or None
        )

    def delete(
        self,
        key: Key,
        *,
        uid: str | None = None,
        propagation: str | None = "Background",
        grace_period: int | None = None,
    ) -> None:
        """Delete an object, if it is still the one with this uid; one that is gone is no error."""
        preconditions = {"uid": uid} if uid else None
        try:
            self.registry.delete(
                self.view.resource(key.resource),
                key.namespace or None,
                key.name,
                self.user,
                preconditions=preconditions,
                propagation=propagation,
                grace_period=grace_period,
            )
        except StatusError as error:
            if error.code not in (404, 409):
                raise


def key_of(resource: str, obj: Object) -> Key:
    meta = obj["metadata"]
    return Key(resource, meta.get("namespace") or "", meta["name"])


def copy(obj: Object) -> Object:
    """A copy that shares nothing with the original."""
    copied: Object = msgspec.json.decode(msgspec.json.encode(obj))
    return copied


def parse_time(text: str | None) -> float | None:
    """RFC 3339 as seconds since the epoch; None for None or for text that is no time."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def find_condition(obj: Object, kind: str) -> Object | None:
    for condition in (obj.get("status") or {}).get("conditions") or ():
        if condition.get("type") == kind:
            return dict(condition)
    return None


def is_true(obj: Object, kind: str) -> bool:
    condition = find_condition(obj, kind)
    return condition is not None and condition.get("status") == "True"


def set_condition(
    status: dict[str, Any], kind: str, value: str, now: str, reason: str = "", message: str = ""
) -> None:
    """Set a condition; ``lastTransitionTime`` moves only when the status does."""
    condition: Object = {"type": kind, "status": value}
    if reason:
        condition["reason"] = reason
    if message:
        condition["message"] = message
    conditions = [dict(one) for one in status.get("conditions") or ()]
    for index, one in enumerate(conditions):
        if one.get("type") == kind:
            since = one.get("lastTransitionTime") if one.get("status") == value else None
            extra = {"observedGeneration": one["observedGeneration"]} if "observedGeneration" in one else {}
            conditions[index] = condition | {"lastTransitionTime": since or now} | extra
            break
    else:
        conditions.append(condition | {"lastTransitionTime": now})
    status["conditions"] = conditions


def pod_finished(pod: Object) -> bool:
    """Its containers have ended for good."""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def pod_ready(pod: Object) -> bool:
    return is_true(pod, "Ready")


def terminating(obj: Object) -> bool:
    return bool(obj["metadata"].get("deletionTimestamp"))
