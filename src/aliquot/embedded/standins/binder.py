"""Binding of pods to nodes: what is left for kube-scheduler when devices are allocated beforehand.

A pod is bound when it has no gates, all its claims are allocated, and a node that the allocations name fits.
Devices are never allocated here: a claim without an allocation keeps its pod waiting, as it does with the
real scheduler where the policy one-allocator.aliquot.dev refuses the scheduler's attempt. Nothing is
preempted.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import msgspec

from aliquot.embedded.hooks import Object, User
from aliquot.embedded.standins.binding_conditions import Readiness, binding_end, readiness
from aliquot.embedded.standins.extended import ExtendedResources, SpecialClaim
from aliquot.embedded.standins.node_fit import pinned_nodes, selector_matches
from aliquot.embedded.standins.node_table import NodeTable
from aliquot.embedded.standins.pod_requests import Amounts, pod_requests
from aliquot.embedded.standins.resource_claims import (
    CLAIMS,
    MOST_RESERVATIONS,
    PODGROUPS,
    TEMPLATES,
    allocated,
    claim_key,
    claim_names,
    group_name,
    reservation,
    reserved_for,
)
from aliquot.embedded.standins.standin import (
    Cluster,
    StandIn,
    copy,
    find_condition,
    pod_finished,
    set_condition,
    terminating,
)
from aliquot.embedded.standins.view import Key, controller_of
from aliquot.embedded.status import StatusError

SCHEDULER = User("system:kube-scheduler", ("system:authenticated",))
SCHEDULER_NAME = "default-scheduler"
#: After so long a pod is tried again that no node could serve with devices.
RETRY_SECONDS = 5.0
GATED_MESSAGE = "Scheduling is blocked due to non-empty scheduling gates"


@dataclass(frozen=True, slots=True)
class NodeKey:
    """Work: see which waiting pods fit this node now."""

    name: str


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A pod that fitted nowhere: the nodes its claims allow (None: all), and what makes it like others."""

    nodes: frozenset[str] | None
    signature: bytes
    requests: Amounts


def _used_claims(pod: Object) -> Iterable[str]:
    if (pod.get("spec") or {}).get("nodeName"):
        return ()
    return [f"{pod['metadata']['namespace']}/{name}" for name in claim_names(pod).values() if name]


def _wants_binding(pod: Object) -> bool:
    spec = pod.get("spec") or {}
    return (
        not spec.get("nodeName")
        and not terminating(pod)
        and not pod_finished(pod)
        and (spec.get("schedulerName") or SCHEDULER_NAME) == SCHEDULER_NAME
    )


class Binder(StandIn):
    user = SCHEDULER

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self._nodes = NodeTable()
        self._waiting: dict[Key, _Waiting] = {}
        self._pinned: dict[str, dict[Key, None]] = {}
        #: Nodes whose room was offered to a pod that is in the queue now.
        self._offered: dict[Key, set[str]] = {}
        self._extended = ExtendedResources(cluster)
        self._failed: dict[bytes, tuple[int, str]] = {}
        self.view.index("pods", "used claim", _used_claims)
        self.view.on("pods", self._pod_changed)
        self.view.on(CLAIMS, self._claim_changed)
        self.view.on("nodes", self._node_changed)

    def _pod_changed(self, key: Key, before: Object | None, after: Object | None) -> None:
        freed = self._nodes.account(before, after)
        if freed is not None:
            self.queue.add(NodeKey(freed))
        if after is not None and _wants_binding(after):
            if before is None or not _same_for_binding(before, after):
                self.queue.add(key)
        else:
            self._forget(key)

    def _claim_changed(self, key: Key, before: Object | None, after: Object | None) -> None:
        for pod in self.view.by("pods", "used claim", f"{key.namespace}/{key.name}"):
            self.queue.add(pod)

    def _node_changed(self, key: Key, before: Object | None, after: Object | None) -> None:
        if before is not None and after is not None and not _changed_for_binding(before, after):
            return
        self._nodes.set_node(key.name, after)
        self.queue.add(NodeKey(key.name))

    def reconcile(self, key: Hashable) -> None:
        if isinstance(key, NodeKey):
            self._offer(key.name)
            return
        assert isinstance(key, Key)
        offered = self._offered.pop(key, set())
        try:
            self._look(key)
        finally:
            pod = self.view.get(key)
            place = pod["spec"].get("nodeName") if pod is not None else None
            for name in offered - {place}:
                # Room that was kept for this pod and is not taken by it may serve another.
                self.queue.add(NodeKey(name))

    def _look(self, key: Key) -> None:
        pod = self.view.get(key)
        self._forget(key)
        if pod is None or not _wants_binding(pod):
            return
        if pod["spec"].get("schedulingGates"):
            self._say(key, pod, "SchedulingGated", GATED_MESSAGE)
            return
        claims: list[Object] = []
        for entry, name in claim_names(pod).items():
            if name is None and self._claim_will_be_made(pod, entry):
                return
            problem = self._claim_problem(pod, name, claims)
            if problem:
                self._say(key, pod, "Unschedulable", f"0/{len(self._nodes)} nodes are available: {problem}.")
                return
        now = self.cluster.seconds()
        failed = [claim for claim in claims if readiness(claim, now) is Readiness.FAILED]
        if failed:
            self._give_up(key, pod, claims, failed)
            return
        self._place(key, pod, claims)

    def _give_up(self, key: Key, pod: Object, claims: list[Object], failed: list[Object]) -> None:
        """Take the pod's reservations back and try to clear the claims whose devices were not made ready.

        Where only another allocator may clear them that is refused, and they stay for it to see.
        """
        for claim in claims:
            changed = copy(claim)
            reservations = changed["status"].get("reservedFor") or []
            left = [one for one in reservations if one.get("uid") != pod["metadata"]["uid"]]
            claim_at = claim_key(key.namespace, claim["metadata"]["name"])
            if len(left) < len(reservations):
                changed["status"]["reservedFor"] = left
                changed = copy(self.write(claim_at, changed, "status"))
            if claim in failed and not left:
                for part in ("allocation", "devices", "reservedFor"):
                    changed["status"].pop(part, None)
                with contextlib.suppress(StatusError):
                    self.write(claim_at, changed, "status")
        total = len(self._nodes)
        message = f"0/{total} nodes are available: {total} resourceclaim not available on the node."
        self._say(key, pod, "Unschedulable", message)

    def _claim_will_be_made(self, pod: Object, entry: str) -> bool:
        for one in pod["spec"]["resourceClaims"]:
            if one["name"] == entry and (template := one.get("resourceClaimTemplateName")):
                return self.view.get(Key(TEMPLATES, pod["metadata"]["namespace"], template)) is not None
        return False

    def _claim_problem(self, pod: Object, name: str | None, claims: list[Object]) -> str | None:
        """Why the pod cannot go on because of this claim; a usable claim is added to ``claims``."""
        if name is None:
            return "the ResourceClaimTemplate of a claim of the pod does not exist"
        claim = self.view.get(claim_key(pod["metadata"]["namespace"], name))
        if claim is None:
            return f'resourceclaim "{name}" not found'
        if terminating(claim):
            return f'resourceclaim "{name}" is being deleted'
        owner = controller_of(claim)
        if owner and owner.get("kind") == "Pod" and owner.get("uid") != pod["metadata"]["uid"]:
            return f'ResourceClaim "{name}" was not created for the pod'
        if not allocated(claim):
            return f"{len(self._nodes)} cannot allocate all claims"
        if (
            not reserved_for(claim, pod)
            and len(claim["status"].get("reservedFor") or ()) >= MOST_RESERVATIONS
        ):
            return f'resourceclaim "{name}" is in use'
        claims.append(claim)
        return None

    def _place(self, key: Key, pod: Object, claims: list[Object]) -> None:
        requests = pod_requests(pod)
        selectors = [one["status"]["allocation"].get("nodeSelector") for one in claims]
        selectors = [one for one in selectors if one is not None]
        allowed: set[str] | None = None
        for selector in selectors:
            names = pinned_nodes(selector)
            if names is not None:
                allowed = names if allowed is None else allowed & names
        signature = _signature(pod, selectors)
        classes = self._extended.classes(requests)
        if classes:
            self._place_extended(key, pod, claims, allowed, classes)
            return
        known = self._failed.get(signature)
        if known is not None and known[0] == self._nodes.epoch:
            message = known[1]
        else:
            found = self._nodes.choose(pod, requests, allowed, selectors)
            if isinstance(found, str):
                self._bind(key, pod, claims, found)
                return
            message = _explain(len(self._nodes), found)
            if len(self._failed) > 10_000:
                self._failed.clear()
            self._failed[signature] = (self._nodes.epoch, message)
        self._wait(key, _Waiting(None if allowed is None else frozenset(allowed), signature, requests))
        self._say(key, pod, "Unschedulable", message)

    def _place_extended(
        self, key: Key, pod: Object, claims: list[Object], allowed: set[str] | None, classes: dict[str, str]
    ) -> None:
        """Place a pod with extended resources that classes stand for: where a device plugin offers them as
        any other pod, elsewhere with a claim of the scheduler's own.
        """
        old = self._extended.left_over(pod)
        if old is not None:
            self._drop(old)
        requests = pod_requests(pod)
        selectors = [one["status"]["allocation"].get("nodeSelector") for one in claims]
        selectors = [one for one in selectors if one is not None]
        found = self._nodes.choose(pod, requests, allowed, selectors)
        if isinstance(found, str):
            self._bind(key, pod, claims, found)
            return
        reasons: list[str] = []
        for name in self._nodes.names():
            entry = self._nodes.entry(name)
            if entry is None or not all(selector_matches(selector, entry.node) for selector in selectors):
                reasons.append("cannot allocate all claims")
                continue
            served = {name for name in classes if not entry.allocatable.get(name)}
            rest = {name: amount for name, amount in requests.items() if name not in served}
            why = entry.why_not(pod, rest)
            special = self._extended.serve(pod, classes, entry) if served and not why else None
            if special is not None:
                pod = self._make_special(key, pod, special)
                self._bind(key, pod, claims, name)
                return
            reasons += why or ["cannot allocate all claims"]
        self.queue.add_at(self.cluster.seconds() + RETRY_SECONDS, key)
        self._say(key, pod, "Unschedulable", _explain(len(self._nodes), reasons))

    def _make_special(self, key: Key, pod: Object, special: SpecialClaim) -> Object:
        made = self.create(CLAIMS, key.namespace, special.claim)
        name = made["metadata"]["name"]
        self.write(claim_key(key.namespace, name), copy(made) | {"status": special.status}, "status")
        changed = copy(pod)
        changed.setdefault("status", {})["extendedResourceClaimStatus"] = {
            "requestMappings": special.mappings,
            "resourceClaimName": name,
        }
        return self.write(key, changed, "status")

    def _drop(self, claim: Object) -> None:
        key = claim_key(claim["metadata"]["namespace"], claim["metadata"]["name"])
        changed = copy(claim)
        changed["metadata"]["finalizers"] = []
        self.write(key, changed)
        self.delete(key, uid=claim["metadata"]["uid"])

    def _bind(self, key: Key, pod: Object, claims: list[Object], node: str) -> None:
        for claim in claims:
            if not reserved_for(claim, pod):
                changed = copy(claim)
                entry = next(one for one in pod["spec"]["resourceClaims"] if _names(pod, one, claim))
                group = self.view.get(Key(PODGROUPS, key.namespace, group_name(pod)))
                changed["status"].setdefault("reservedFor", []).append(reservation(pod, entry, group))
                self.write(claim_key(key.namespace, claim["metadata"]["name"]), changed, "status")
        waiting = [claim for claim in claims if readiness(claim, self.cluster.seconds()) is Readiness.WAITING]
        if waiting:
            ends = [end for claim in waiting if (end := binding_end(claim)) is not None]
            if ends:
                self.queue.add_at(min(ends) + 1.0, key)
            return
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": key.name, "namespace": key.namespace, "uid": pod["metadata"]["uid"]},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        self.registry.create_subresource(
            self.view.resource("pods"), key.namespace, key.name, "binding", binding, self.user
        )

    def _say(self, key: Key, pod: Object, reason: str, message: str) -> None:
        known = find_condition(pod, "PodScheduled")
        if known and (known.get("status"), known.get("reason"), known.get("message")) == (
            "False",
            reason,
            message,
        ):
            return
        if reason == "Unschedulable":
            self.warn(pod, "Pod", "FailedScheduling", message)
        changed = copy(pod)
        set_condition(
            changed.setdefault("status", {}),
            "PodScheduled",
            "False",
            self.cluster.timestamp(),
            reason,
            message,
        )
        self.write(key, changed, "status")

    # Pods that fitted nowhere

    def _wait(self, key: Key, waiting: _Waiting) -> None:
        self._waiting[key] = waiting
        for name in waiting.nodes or ():
            self._pinned.setdefault(name, {})[key] = None

    def _forget(self, key: Key) -> None:
        waiting = self._waiting.pop(key, None)
        for name in (waiting.nodes if waiting else None) or ():
            keys = self._pinned.get(name)
            if keys is not None:
                keys.pop(key, None)
                if not keys:
                    del self._pinned[name]

    def _offer(self, name: str) -> None:
        """Look again at the waiting pods for which there is room on this node now."""
        for key in list(self._pinned.get(name, ())):
            self.queue.add(key)
        entry = self._nodes.entry(name)
        if entry is None:
            for key in list(self._waiting):
                self.queue.add(key)
            return
        taken = dict(entry.used)
        hopeless: set[bytes] = set()
        for key, waiting in list(self._waiting.items()):
            if waiting.nodes is not None or waiting.signature in hopeless:
                continue
            pod = self.view.get(key)
            if pod is None:
                continue
            if entry.why_not(pod, waiting.requests) or any(
                taken.get(resource, 0) + amount > entry.allocatable.get(resource, 0)
                for resource, amount in waiting.requests.items()
                if amount > 0
            ):
                hopeless.add(waiting.signature)
                continue
            for resource, amount in waiting.requests.items():
                taken[resource] = taken.get(resource, 0) + amount
            self._offered.setdefault(key, set()).add(name)
            self.queue.add(key)


def _names(pod: Object, entry: Object, claim: Object) -> bool:
    name: str = claim["metadata"]["name"]
    return claim_names(pod).get(entry["name"]) == name


def _signature(pod: Object, selectors: list[Object]) -> bytes:
    """Pods with the same signature fit the same nodes."""
    spec = pod["spec"]
    parts = [
        [(one.get("resources"), one.get("restartPolicy")) for one in spec.get("initContainers") or ()],
        [one.get("resources") for one in spec.get("containers") or ()],
        [spec.get(name) for name in ("resources", "overhead", "nodeSelector", "affinity", "tolerations")],
        selectors,
    ]
    return msgspec.json.encode(parts)


def _same_for_binding(before: Object, after: Object) -> bool:
    return bool(
        before.get("spec") == after.get("spec")
        and (before.get("status") or {}).get("resourceClaimStatuses")
        == (after.get("status") or {}).get("resourceClaimStatuses")
    )


def _changed_for_binding(before: Object, after: Object) -> bool:
    return (
        before.get("spec") != after.get("spec")
        or before["metadata"].get("labels") != after["metadata"].get("labels")
        or any(
            (before.get("status") or {}).get(part) != (after.get("status") or {}).get(part)
            for part in ("allocatable", "capacity")
        )
    )


def _explain(total: int, reasons: list[str]) -> str:
    """``0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint(s).``"""
    if not reasons:
        return f"0/{total} nodes are available."
    counted = sorted(f"{count} {reason}" for reason, count in Counter(reasons).items())
    return f"0/{total} nodes are available: {', '.join(counted)}."
