"""The removal of old events (kube-apiserver's ``--event-ttl``, one hour)."""

from __future__ import annotations

from collections.abc import Hashable

from aliquot.embedded.hooks import SYSTEM, Object
from aliquot.embedded.standins.events import last_seen
from aliquot.embedded.standins.standin import Cluster, StandIn, parse_time
from aliquot.embedded.standins.view import Key

#: Seconds that an event is kept after it was last seen.
KEPT_SECONDS = 3600.0


class EventExpiry(StandIn):
    user = SYSTEM
    patient = True

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self.view.on("events", self._event_changed)

    def _event_changed(self, key: Key, before: Object | None, after: Object | None) -> None:
        if before is None and after is not None:
            self.queue.add_at(self._end(after), key)

    def _end(self, event: Object) -> float:
        return (parse_time(last_seen(event)) or self.cluster.seconds()) + KEPT_SECONDS

    def reconcile(self, key: Hashable) -> None:
        assert isinstance(key, Key)
        event = self.view.get(key)
        if event is None:
            return
        if self._end(event) > self.cluster.seconds():
            self.queue.add_at(self._end(event), key)
        else:
            self.delete(key, uid=event["metadata"]["uid"], propagation=None)
