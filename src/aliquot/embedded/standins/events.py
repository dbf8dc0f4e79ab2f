"""Events that the stand-ins note about objects (Kubernetes API reference, Event v1)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from aliquot.embedded.hooks import Object, User

if TYPE_CHECKING:
    from aliquot.embedded.standins.standin import Cluster


def record(
    cluster: Cluster, user: User, about: Object, kind: str, reason: str, message: str, *, warning: bool = True
) -> None:
    """Note an event about an object of ``kind`` (``Pod``, ``Job`` ...); one that recurs counts up.

    The name follows from what is said, so that a restarted stand-in counts on where another stopped.
    """
    meta = about["metadata"]
    digest = hashlib.sha256(f"{meta['uid']} {reason} {message}".encode()).hexdigest()[:16]
    namespace = meta.get("namespace") or "default"
    name = f"{meta['name'][:220]}.{digest}"
    now = cluster.timestamp()
    events = cluster.view.resource("events")
    known = cluster.registry.find(events, namespace, name)
    if known is not None:
        known["count"] = int(known.get("count") or 1) + 1
        known["lastTimestamp"] = now
        cluster.registry.update(events, namespace, name, known, user)
        return
    component = user.name.rpartition(":")[2]
    event: Object = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "involvedObject": {
            "apiVersion": about.get("apiVersion") or "v1",
            "kind": kind,
            "namespace": meta.get("namespace") or "",
            "name": meta["name"],
            "uid": meta["uid"],
            "resourceVersion": meta.get("resourceVersion") or "",
        },
        "type": "Warning" if warning else "Normal",
        "reason": reason,
        "message": message[:1024],
        "count": 1,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "source": {"component": component},
        "reportingComponent": component,
        "reportingInstance": "",
    }
    cluster.registry.create(events, namespace, event, user)


def last_seen(event: Object) -> str | None:
    """When it last happened, as text of RFC 3339."""
    times = [
        event.get("lastTimestamp"),
        (event.get("series") or {}).get("lastObservedTime"),
        event.get("eventTime"),
        event["metadata"].get("creationTimestamp"),
    ]
    return max((time for time in times if time), default=None)
