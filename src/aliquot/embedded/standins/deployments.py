"""Deployments: one ReplicaSet per template, moved over by rolling update or by Recreate.

Source: Kubernetes documentation, "Deployments" (apps/v1). Not done: rollback, proportional scaling.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from typing import Any

import msgspec

from aliquot.embedded.hooks import Object
from aliquot.embedded.standins.replicasets import REPLICA_SETS, replicas
from aliquot.embedded.standins.standin import (
    Cluster,
    StandIn,
    controller_user,
    copy,
    key_of,
    pod_finished,
    set_condition,
    terminating,
)
from aliquot.embedded.standins.view import Key, controller_of, owner_reference
from aliquot.embedded.status import StatusError

DEPLOYMENTS = "deployments.apps"
HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
_LETTERS = "bcdfghjklmnpqrstvwxz2456789"


def template_hash(template: Object) -> str:
    """Ten letters that follow from the template."""
    digest = hashlib.sha256(msgspec.json.encode(template, order="deterministic")).digest()
    return "".join(_LETTERS[byte % len(_LETTERS)] for byte in digest[:10])


def share(value: Any, total: int, *, up: bool) -> int:
    """An absolute number or a percentage of ``total``, rounded up or down."""
    text = str(value)
    if text.endswith("%"):
        product = int(text[:-1]) * total
        return -(-product // 100) if up else product // 100
    return int(text)


def rolling_bounds(spec: Object) -> tuple[int, int]:
    """How many pods there may be above, and how many may be unavailable below, the number of replicas."""
    wanted = 1 if spec.get("replicas") is None else int(spec["replicas"])
    rolling = (spec.get("strategy") or {}).get("rollingUpdate") or {}
    surge = share(rolling.get("maxSurge", "25%"), wanted, up=True)
    unavailable = share(rolling.get("maxUnavailable", "25%"), wanted, up=False)
    return surge, 1 if surge == 0 and unavailable == 0 else unavailable


def _count(obj: Object, name: str) -> int:
    return int((obj.get("status") or {}).get(name) or 0)


class Deployments(StandIn):
    user = controller_user("deployment-controller")
    patient = True

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self.view.on(DEPLOYMENTS, self._deployment_changed)
        self.view.on(REPLICA_SETS, self._set_changed)
        self.view.on("pods", self._pod_changed)

    def _deployment_changed(self, key: Key, before: Object | None, after: Object | None) -> None:
        if after is not None:
            self.queue.add(key)

    def _set_changed(self, key: Key, before: Object | None, after: Object | None) -> None:
        owner = controller_of(after or before or {"metadata": {}})
        if owner is not None and owner.get("kind") == "Deployment":
            self.queue.add(Key(DEPLOYMENTS, key.namespace, owner["name"]))

    def _pod_changed(self, key: Key, before: Object | None, after: Object | None) -> None:
        """Recreate goes on when the last old pod is gone."""
        owner = controller_of(before) if after is None and before is not None else None
        if owner is not None and owner.get("kind") == "ReplicaSet":
            one = Key(REPLICA_SETS, key.namespace, owner["name"])
            if (found := self.view.get(one)) is not None:
                self._set_changed(one, found, found)

    def reconcile(self, key: Hashable) -> None:
        assert isinstance(key, Key)
        deployment = self.view.get(key)
        if deployment is None or terminating(deployment):
            return
        sets = self._sets(deployment)
        wanted_hash = template_hash(deployment["spec"].get("template") or {})
        current = next((one for one in sets if _hash(one) == wanted_hash), None)
        others = [one for one in sets if one is not current]
        if not deployment["spec"].get("paused"):
            recreate = (deployment["spec"].get("strategy") or {}).get("type") == "Recreate"
            if recreate and any(replicas(one) or self._running(one) for one in others):
                for one in others:
                    self._scale(one, 0)
            elif current is None:
                self._make(deployment, wanted_hash, sets, replicas(deployment) if recreate or not sets else 0)
                self.queue.add(key)
            elif recreate or not others:
                self._scale(current, replicas(deployment))
            else:
                self._roll(deployment, current, others)
        elif current is not None:
            self._scale(current, replicas(deployment) - sum(replicas(one) for one in others))
        self._clean(deployment, wanted_hash)
        self._report(key, deployment, wanted_hash)

    def _sets(self, deployment: Object) -> list[Object]:
        found = self.view.controlled_by(deployment["metadata"]["uid"], REPLICA_SETS)
        return sorted((one for one in found if not terminating(one)), key=_revision)

    def _running(self, one: Object) -> bool:
        pods = self.view.controlled_by(one["metadata"]["uid"], "pods")
        return any(not pod_finished(pod) for pod in pods)

    def _make(self, deployment: Object, wanted_hash: str, sets: list[Object], count: int) -> None:
        meta, spec = deployment["metadata"], deployment["spec"]
        template = copy(spec.get("template") or {})
        labels = template.setdefault("metadata", {}).setdefault("labels", {})
        labels[HASH_LABEL] = wanted_hash
        selector = copy(spec.get("selector") or {})
        selector.setdefault("matchLabels", {})[HASH_LABEL] = wanted_hash
        revision = str(max((_revision(one) for one in sets), default=0) + 1)
        owner = {"apiVersion": "apps/v1", "kind": "Deployment"} | deployment
        made: Object = {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": f"{meta['name']}-{wanted_hash}",
                "namespace": meta["namespace"],
                "labels": dict(labels),
                "annotations": {REVISION: revision},
                "ownerReferences": [owner_reference(owner)],
            },
            "spec": {"replicas": count, "selector": selector, "template": template},
        }
        if spec.get("minReadySeconds"):
            made["spec"]["minReadySeconds"] = spec["minReadySeconds"]
        try:
            self.create(REPLICA_SETS, meta["namespace"], made)
        except StatusError as error:
            if error.code != 409:
                raise

    def _scale(self, one: Object, count: int) -> None:
        count = max(count, 0)
        if replicas(one) != count:
            changed = copy(one)
            changed["spec"]["replicas"] = count
            self.write(key_of(REPLICA_SETS, one), changed)

    def _roll(self, deployment: Object, current: Object, others: list[Object]) -> None:
        wanted = replicas(deployment)
        surge, unavailable = rolling_bounds(deployment["spec"])
        total = replicas(current) + sum(replicas(one) for one in others)
        room = wanted + surge - total
        if room > 0 and replicas(current) < wanted:
            self._scale(current, min(replicas(current) + room, wanted))
            return
        if replicas(current) > wanted:
            self._scale(current, wanted)
            return
        available = sum(_count(one, "availableReplicas") for one in (current, *others))
        not_yet = replicas(current) - _count(current, "availableReplicas")
        spare = total - (wanted - unavailable) - not_yet
        # Old pods that are not available serve nobody and go first.
        spare = max(min(spare, available - (wanted - unavailable)), 0)
        for one in others:
            broken = max(replicas(one) - _count(one, "availableReplicas"), 0)
            down = min(replicas(one), broken + spare)
            if down > 0:
                spare -= max(down - broken, 0)
                self._scale(one, replicas(one) - down)

    def _clean(self, deployment: Object, wanted_hash: str) -> None:
        limit = deployment["spec"].get("revisionHistoryLimit")
        old = [
            one
            for one in self._sets(deployment)
            if _hash(one) != wanted_hash and replicas(one) == 0 and _count(one, "replicas") == 0
        ]
        for one in old[: max(len(old) - (10 if limit is None else int(limit)), 0)]:
            self.delete(key_of(REPLICA_SETS, one), uid=one["metadata"]["uid"])

    def _report(self, key: Key, deployment: Object, wanted_hash: str) -> None:
        sets = self._sets(deployment)
        current = [one for one in sets if _hash(one) == wanted_hash]
        wanted = replicas(deployment)
        changed = copy(deployment)
        status = changed.setdefault("status", {})
        ready = sum(_count(one, "readyReplicas") for one in sets)
        available = sum(_count(one, "availableReplicas") for one in sets)
        counts = {
            "replicas": sum(_count(one, "replicas") for one in sets),
            "updatedReplicas": sum(_count(one, "replicas") for one in current),
            "readyReplicas": ready,
            "availableReplicas": available,
            "unavailableReplicas": max(wanted - available, 0),
        }
        for name, count in counts.items():
            if count:
                status[name] = count
            else:
                status.pop(name, None)
        status["observedGeneration"] = deployment["metadata"].get("generation", 1)
        now = self.cluster.timestamp()
        _, unavailable = rolling_bounds(deployment["spec"])
        if available >= wanted - unavailable:
            message = "Deployment has minimum availability."
            set_condition(status, "Available", "True", now, "MinimumReplicasAvailable", message)
        else:
            message = "Deployment does not have minimum availability."
            set_condition(status, "Available", "False", now, "MinimumReplicasUnavailable", message)
        done = counts["updatedReplicas"] == counts["replicas"] == wanted and available >= wanted
        if current:
            name = current[0]["metadata"]["name"]
            if done:
                message = f'ReplicaSet "{name}" has successfully progressed.'
                set_condition(status, "Progressing", "True", now, "NewReplicaSetAvailable", message)
            else:
                message = f'ReplicaSet "{name}" is progressing.'
                set_condition(status, "Progressing", "True", now, "ReplicaSetUpdated", message)
        self.write(key, changed, "status")
        revision = str(_revision(current[0])) if current else ""
        if revision and (deployment["metadata"].get("annotations") or {}).get(REVISION) != revision:
            fresh = copy(self.view.get(key) or deployment)
            fresh["metadata"].setdefault("annotations", {})[REVISION] = revision
            self.write(key, fresh)


def _hash(one: Object) -> str:
    return str((one["metadata"].get("labels") or {}).get(HASH_LABEL, ""))


def _revision(one: Object) -> int:
    text = (one["metadata"].get("annotations") or {}).get(REVISION, "0")
    return int(text) if text.isdigit() else 0
