"""Events on pods and their owners: what happened and why, without repetition and at a bounded rate."""

import logging
import random
from collections import OrderedDict, deque
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from aliquot.kube.client import Client
from aliquot.kube.clock import Clock
from aliquot.kube.leases import micro_time
from aliquot.kube.reflector import Failure
from aliquot.kube.resources import EVENTS, Resource
from aliquot.model.meta import ObjectRef

_log = logging.getLogger(__name__)

REPORTING_CONTROLLER = "aliquot.dev/controller"

SAME_SECONDS = 600.0
"""An event that says the same about the same pod is not repeated for so long."""

REMEMBERED = 8_192
WAITING = 1_000
NOTE_LENGTH = 1_000
"""events.k8s.io/v1 allows 1,024 bytes of note; the rest is room for characters of several bytes."""

_CORE_EVENTS = Resource("", "v1", "events", "Event", True)


@dataclass(frozen=True, slots=True)
class Event:
    """subject: the pod, or what owns it; api_version: its. kind: Normal or Warning. reason, action: words.
    note: for people.
    """

    subject: ObjectRef
    kind: str
    reason: str
    action: str
    note: str
    api_version: str = "v1"


class Events:
    """Events that wait to be written. `add` never blocks; of too many the oldest are dropped."""

    def __init__(self, client: Client, *, clock: Clock, randomness: random.Random, instance: str) -> None:
        self._client = client
        self._clock = clock
        self._randomness = randomness
        self._instance = instance[:128]
        self._waiting: deque[Event] = deque(maxlen=WAITING)
        self._said: OrderedDict[tuple[str, str, str], float] = OrderedDict()
        self._resource: Resource | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, event: Event) -> None:
        """Have this event written unless it was a short while ago."""
        key = (event.subject.uid, event.reason, event.note)
        now = self._clock.monotonic()
        said = self._said.get(key)
        if said is not None and now - said < SAME_SECONDS:
            return
        self._said[key] = now
        self._said.move_to_end(key)
        if len(self._said) > REMEMBERED:
            self._said.popitem(last=False)
        self._waiting.append(event)

    async def write_one(self) -> bool:
        """Write the event that waits longest. One that the server does not take is dropped; False then."""
        event = self._waiting.popleft()
        try:
            if self._resource is None:
                served = await self._client.discover(EVENTS.api_version)
                self._resource = EVENTS if EVENTS.kind in served else _CORE_EVENTS
            await self._client.create(self._resource, self._document(event), event.subject.namespace)
        except Failure as error:
            _log.debug("an event is dropped: %s", error)
            return False
        return True

    def _document(self, event: Event) -> dict[str, Any]:
        subject = event.subject
        name = f"{subject.name[:220]}.{self._randomness.getrandbits(64):016x}"
        reference = {
            "apiVersion": event.api_version,
            "kind": subject.kind,
            "namespace": subject.namespace,
            "name": subject.name,
            "uid": subject.uid,
        }
        metadata = {"name": name, "namespace": subject.namespace}
        note = event.note.encode()[:NOTE_LENGTH].decode("utf-8", "ignore")
        now = self._clock.now()
        common = {
            "kind": "Event",
            "metadata": metadata,
            "type": event.kind,
            "reason": event.reason,
            "action": event.action,
            "eventTime": micro_time(now),
        }
        if self._resource is EVENTS:
            return {
                **common,
                "apiVersion": EVENTS.api_version,
                "regarding": reference,
                "note": note,
                "reportingController": REPORTING_CONTROLLER,
                "reportingInstance": self._instance,
            }
        second = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            **common,
            "apiVersion": "v1",
            "involvedObject": reference,
            "message": note,
            "reportingComponent": REPORTING_CONTROLLER,
            "reportingInstance": self._instance,
            "source": {"component": REPORTING_CONTROLLER},
            "firstTimestamp": second,
            "lastTimestamp": second,
            "count": 1,
        }
