"""Pods leave devices that have got a NoExecute taint, and DeviceTaintRules say how far that is.

Does what kube-controller-manager's device taint eviction controller does (KEP-5055). Taints come from slices
and from rules; what was tolerated when the devices were allocated counts.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass

from aliquot.embedded.hooks import Object
from aliquot.embedded.standins.resource_claims import CLAIMS, claim_names, reserved_for
from aliquot.embedded.standins.standin import (
    Cluster,
    StandIn,
    controller_user,
    copy,
    parse_time,
    pod_finished,
    set_condition,
    terminating,
)
from aliquot.embedded.standins.view import Key

SLICES = "resourceslices.resource.k8s.io"
RULES = "devicetaintrules.resource.k8s.io"
IN_PROGRESS = "EvictionInProgress"


@dataclass(frozen=True, slots=True)
class RuleKey:
    """Work: bring the status of this rule up to date."""

    name: str


def _results(claim: Object) -> list[Object]:
    allocation = (claim.get("status") or {}).get("allocation") or {}
    return list((allocation.get("devices") or {}).get("results") or ())


def _pools_held(claim: Object) -> Iterable[str]:
    return [f"{one['driver']}/{one['pool']}" for one in _results(claim)]


def _claims_used(pod: Object) -> Iterable[str]:
    return [f"{pod['metadata']['namespace']}/{name}" for name in claim_names(pod).values() if name]


def _evicting(taint: Object) -> bool:
    return taint.get("effect") == "NoExecute"


def _tolerates(toleration: Object, taint: Object) -> bool:
    """Only a toleration that names the effect keeps from eviction, unlike one for allocation (1.36.2)."""
    if toleration.get("effect") != "NoExecute":
        return False
    if toleration.get("key") not in (None, "", taint.get("key")):
        return False
    if toleration.get("operator") == "Exists":
        return True
    return (toleration.get("value") or "") == (taint.get("value") or "")


def _end(result: Object, taint: Object, now: float) -> float | None:
    """Until when the device may be used with this taint; None for ever."""
    since = parse_time(taint.get("timeAdded")) or now
    covering = [one for one in result.get("tolerations") or () if _tolerates(one, taint)]
    if any(one.get("tolerationSeconds") is None for one in covering):
        return None
    limits = [max(0.0, float(one["tolerationSeconds"])) for one in covering]
    return since + min(limits, default=0.0)


class DeviceTaintEviction(StandIn):
    user = controller_user("device-taint-eviction-controller")

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        #: By pool, then by slice: the generation, and the evicting taints of its devices.
        self._tainted: dict[str, dict[str, tuple[int, dict[str, list[Object]]]]] = {}
        self._evicted: dict[str, int] = {}
        self.view.index(CLAIMS, "held pool", _pools_held)
        self.view.index("pods", "used claim of taints", _claims_used)
        self.view.watch(SLICES, self._slice_changed)
        self.view.on(RULES, self._rule_changed)
        self.view.on(CLAIMS, self._claim_changed)
        self.view.on("pods", self._pod_changed)

    def _slice_changed(self, key: Key, after: Object | None) -> None:
        spec = (after or {}).get("spec") or {}
        taints = {
            one["name"]: found
            for one in spec.get("devices") or ()
            if (found := [taint for taint in one.get("taints") or () if _evicting(taint)])
        }
        pools = {pool for pool, slices in self._tainted.items() if slices.pop(key.name, None) is not None}
        if taints:
            pool = f"{spec['driver']}/{spec['pool']['name']}"
            pools.add(pool)
            generation = int(spec["pool"].get("generation") or 0)
            self._tainted.setdefault(pool, {})[key.name] = (generation, taints)
        for pool in pools:
            for claim in self.view.by(CLAIMS, "held pool", pool):
                self.queue.add(claim)

    def _rule_changed(self, key: Key, before: Object | None, after: Object | None) -> None:
        if before is not None and after is not None and before.get("spec") == after.get("spec"):
            return
        for claim in self.view.keys(CLAIMS):
            obj = self.view.get(claim)
            if obj is not None and any(
                rule is not None and _selects(rule, one) for one in _results(obj) for rule in (before, after)
            ):
                self.queue.add(claim)
        if after is not None:
            self.queue.add(RuleKey(key.name))

    def _claim_changed(self, key: Key, before: Object | None, after: Object | None) -> None:
        if after is not None and _results(after):
            self.queue.add(key)

    def _pod_changed(self, key: Key, before: Object | None, after: Object | None) -> None:
        if after is None or (before is not None and _place(before) == _place(after)):
            if after is None and before is not None:
                self._tell_rules(before)
            return
        for name in claim_names(after).values():
            if name:
                self.queue.add(Key(CLAIMS, key.namespace, name))

    def _tell_rules(self, pod: Object) -> None:
        if any(name for name in claim_names(pod).values()):
            for rule in self.view.keys(RULES):
                self.queue.add(RuleKey(rule.name))

    def reconcile(self, key: Hashable) -> None:
        if isinstance(key, RuleKey):
            self._report(key)
            return
        assert isinstance(key, Key)
        claim = self.view.get(key)
        if claim is None:
            return
        found = self._ends(claim)
        if not found:
            return
        now = self.cluster.seconds()
        end = min(time for time, _ in found)
        rules = {rule["metadata"]["name"]: rule for _, rule in found if rule is not None}
        if end > now:
            self.queue.add_at(end, key)
        else:
            for pod in self._pods(claim):
                self._evict(pod)
                for rule in rules.values():
                    uid = rule["metadata"]["uid"]
                    self._evicted[uid] = self._evicted.get(uid, 0) + 1
        for name in rules:
            self.queue.add(RuleKey(name))

    def _ends(self, claim: Object) -> list[tuple[float, Object | None]]:
        """When the claim's pods have to go, for each taint that makes them, with its rule if it has one."""
        now = self.cluster.seconds()
        found: list[tuple[float, Object | None]] = []
        for result in _results(claim):
            for taint, rule in self._taints(result):
                end = _end(result, taint, now)
                if end is not None:
                    found.append((end, rule))
        return found

    def _taints(self, result: Object) -> Iterator[tuple[Object, Object | None]]:
        slices = self._tainted.get(f"{result['driver']}/{result['pool']}", {})
        newest = max((generation for generation, _ in slices.values()), default=0)
        for generation, devices in slices.values():
            if generation == newest:
                for taint in devices.get(result["device"], ()):
                    yield taint, None
        for rule in self.view.objects(RULES):
            taint = (rule.get("spec") or {}).get("taint") or {}
            if _evicting(taint) and _selects(rule, result):
                yield taint, rule

    def _pods(self, claim: Object) -> list[tuple[Key, Object]]:
        """Pods on nodes that use the claim and have not been asked to go."""
        meta = claim["metadata"]
        found = []
        for key in self.view.by("pods", "used claim of taints", f"{meta['namespace']}/{meta['name']}"):
            pod = self.view.get(key)
            if (
                pod is not None
                and _place(pod)
                and not terminating(pod)
                and not pod_finished(pod)
                and reserved_for(claim, pod)
            ):
                found.append((key, pod))
        return found

    def _evict(self, found: tuple[Key, Object]) -> None:
        key, pod = found
        message = "Device Taint manager: deleting due to NoExecute taint"
        self.warn(pod, "Pod", "DeviceTaintManagerEviction", "Marking for deletion")
        changed = copy(pod)
        set_condition(
            changed.setdefault("status", {}),
            "DisruptionTarget",
            "True",
            self.cluster.timestamp(),
            "DeletionByDeviceTaintManager",
            message,
        )
        self.write(key, changed, "status")
        self.delete(key, uid=pod["metadata"]["uid"], propagation=None)

    def _report(self, key: RuleKey) -> None:
        rule_key = Key(RULES, "", key.name)
        rule = self.view.get(rule_key)
        if rule is None:
            return
        effect = ((rule.get("spec") or {}).get("taint") or {}).get("effect")
        status, reason, message = "False", "OtherEffect", "Eviction only happens for the NoExecute effect."
        if effect == "NoExecute":
            status, reason, message = self._progress(rule)
        elif effect == "None":
            pods = self._affected(rule)
            reason, message = "NoEffect", f"{_pods(len(pods))} would be evicted if the effect was NoExecute."
        changed = copy(rule)
        set_condition(
            changed.setdefault("status", {}), IN_PROGRESS, status, self.cluster.timestamp(), reason, message
        )
        for condition in changed["status"]["conditions"]:
            if condition["type"] == IN_PROGRESS:
                condition["observedGeneration"] = rule["metadata"].get("generation", 0)
        self.write(rule_key, changed, "status")

    def _progress(self, rule: Object) -> tuple[str, str, str]:
        evicted = self._evicted.get(rule["metadata"]["uid"], 0)
        done = f"{_pods(evicted)} evicted since starting the controller." if evicted else ""
        pending = self._affected(rule)
        if pending:
            spaces = len({key.namespace for key in pending})
            where = "1 namespace" if spaces == 1 else f"{spaces} different namespaces"
            need = "needs" if len(pending) == 1 else "need"
            text = f"{_pods(len(pending))} {need} to be evicted in {where}."
            return "True", "PodsPendingEviction", f"{text} {done}".strip()
        return "False", "Completed" if evicted else "NotStarted", done

    def _affected(self, rule: Object) -> set[Key]:
        """Pods that the rule sends away now or later, or would if its effect was NoExecute."""
        taint = rule["spec"]["taint"] | {"effect": "NoExecute"}
        now = self.cluster.seconds()
        found: set[Key] = set()
        for claim in self.view.objects(CLAIMS):
            if any(_selects(rule, one) and _end(one, taint, now) is not None for one in _results(claim)):
                found.update(key for key, _ in self._pods(claim))
        return found


def _place(pod: Object) -> str:
    return str((pod.get("spec") or {}).get("nodeName") or "")


def _pods(count: int) -> str:
    return "1 pod" if count == 1 else f"{count} pods"


def _selects(rule: Object, result: Object) -> bool:
    """A rule without selector selects nothing, an empty selector everything."""
    selector = (rule.get("spec") or {}).get("deviceSelector")
    return selector is not None and all(
        selector.get(part) in (None, result[part]) for part in ("driver", "pool", "device")
    )
