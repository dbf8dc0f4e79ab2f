"""A cluster with a controller, and a history of how its devices are used."""

from typing import Any

from tests.controller.world import Cluster

from aliquot.audit.record import Event
from aliquot.controller.live import Live
from aliquot.kube.client import Client
from aliquot.model.core import Pod
from aliquot.store.usage import UsageHistory


class Used:
    """What acts unasked is given `client` and `history`; `recorded` is what it told the audit record."""

    def __init__(self, running: Cluster, live: Live, client: Client, history: UsageHistory) -> None:
        self.running = running
        self.live = live
        self.client = client
        self.history = history
        self.recorded: list[Event] = []

    def stored(self, plural: str, name: str) -> dict[str, Any]:
        registry = self.running.server.registry
        resource = registry.resources.named(*plural.partition(".")[::2])
        return dict(registry.get(resource, "steady", name))

    def running_pods(self, prefix: str = "") -> list[Pod]:
        """Those that run and stay, as the controller knows them."""
        return [
            pod
            for pod in self.live.snapshot.pods
            if pod.metadata.name.startswith(prefix)
            and pod.status.phase == "Running"
            and pod.metadata.deletion_timestamp is None
        ]

    def events(self, reason: str) -> list[dict[str, Any]]:
        registry = self.running.server.registry
        found, _, _ = registry.list(registry.resources.named("events", "events.k8s.io"))
        return [item for item in found if item.get("reason") == reason]
