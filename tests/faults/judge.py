"""What must hold: no device given twice, no gang half admitted for long, nothing left half done."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from tests.controller.witness import Witness

from aliquot.embedded.registry import Registry
from aliquot.model.core import Pod
from aliquot.model.kinds import convert

Key = tuple[str, str]


@dataclass
class _Gang:
    """The pods of one Job by uid. since: when the first gate was lifted of those that are there now, while
    fewer of them are bound than the Job needs; None while it is whole or has not begun."""

    size: int
    pods: dict[str, Pod] = field(default_factory=dict)
    since: float | None = None
    longest: float = 0.0


class Judge:
    """Watches every change. `witness` sees to devices; here gangs are followed.

    A gang is half admitted from the lifting of the first gate of its present pods until so many are bound, or
    have ended well, as it needs, or until none of them is left that was let go. One that was whole and lost a
    member is another matter: its owner makes it whole again, or it is taken down as stale.
    """

    def __init__(self, registry: Registry) -> None:
        self.witness = Witness(registry)
        self.gangs: dict[Key, _Gang] = {}
        self._whole: set[Key] = set()
        registry.observe(registry.resources.named("jobs", "batch"), self._job)
        registry.observe(registry.resources.named("pods", ""), self._pod)

    @property
    def broken(self) -> list[str]:
        return self.witness.broken

    def longest(self) -> dict[Key, float]:
        """For how long each gang was half admitted at the most."""
        now = asyncio.get_running_loop().time()
        return {
            key: max(gang.longest, now - gang.since if gang.since is not None else 0.0)
            for key, gang in self.gangs.items()
        }

    def _job(self, change: str, obj: dict[str, Any]) -> None:
        key = (obj["metadata"]["namespace"], obj["metadata"]["name"])
        if change == "DELETED":
            self.gangs.pop(key, None)
            return
        self.gangs.setdefault(key, _Gang(obj["spec"]["parallelism"]))

    def _pod(self, change: str, obj: dict[str, Any]) -> None:
        pod = convert(obj, Pod)
        owner = pod.metadata.controller
        if owner is None or owner.kind != "Job":
            return
        key = (pod.namespace, owner.name)
        gang = self.gangs.get(key)
        if gang is None:
            return
        if change == "DELETED" or pod.status.phase == "Failed" or pod.metadata.deletion_timestamp is not None:
            gang.pods.pop(pod.metadata.uid, None)
        else:
            gang.pods[pod.metadata.uid] = pod
        self._follow(key, gang)

    def _follow(self, key: Key, gang: _Gang) -> None:
        now = asyncio.get_running_loop().time()
        let_go = [pod for pod in gang.pods.values() if not pod.gated]
        bound = [pod for pod in let_go if pod.spec.node_name]
        if len(bound) >= gang.size:
            self._whole.add(key)
        if not let_go:
            self._whole.discard(key)
        half = bool(let_go) and len(bound) < gang.size and key not in self._whole
        if half and gang.since is None:
            gang.since = now
        elif not half and gang.since is not None:
            gang.longest = max(gang.longest, now - gang.since)
            gang.since = None
