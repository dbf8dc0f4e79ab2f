"""Nodes as the binder sees them: what each has, what bound pods take of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from aliquot.embedded.hooks import Object
from aliquot.embedded.standins.node_fit import untolerated_taint, wants_node
from aliquot.embedded.standins.pod_requests import Amounts, amounts, pod_requests
from aliquot.embedded.standins.standin import pod_finished

#: As soon as this many nodes fit, the best of them is taken; kube-scheduler samples likewise.
ENOUGH = 8


@dataclass(slots=True)
class NodeEntry:
    node: Object
    allocatable: Amounts
    used: Amounts = field(default_factory=dict)

    def shortage(self, requests: Amounts) -> list[str]:
        """What there is too little of, in kube-scheduler's words."""
        short = []
        for name, amount in requests.items():
            if amount > 0 and self.used.get(name, 0) + amount > self.allocatable.get(name, 0):
                short.append("Too many pods" if name == "pods" else f"Insufficient {name}")
        return short

    def why_not(self, pod: Object, requests: Amounts) -> list[str]:
        """Why the pod does not fit here; empty where it does."""
        if not wants_node(pod, self.node):
            return ["node(s) didn't match Pod's node affinity/selector"]
        taint = untolerated_taint(pod, self.node)
        if taint is not None:
            if taint["key"] == "node.kubernetes.io/unschedulable":
                return ["node(s) were unschedulable"]
            return ["node(s) had untolerated taint(s)"]
        return self.shortage(requests)

    def load(self, requests: Amounts) -> float:
        """How full CPU and memory would be on average, from 0 to 1."""
        total = 0.0
        for name in ("cpu", "memory"):
            have = self.allocatable.get(name, 0)
            total += (self.used.get(name, 0) + requests.get(name, 0)) / have if have else 1.0
        return total / 2


class NodeTable:
    """All nodes, kept up to date by the changes of nodes and pods."""

    def __init__(self) -> None:
        self._entries: dict[str, NodeEntry] = {}
        self._unknown: dict[str, Amounts] = {}
        self._order: list[str] = []
        self._next = 0
        #: Moves when a pod that did not fit anywhere may fit now.
        self.epoch = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def names(self) -> list[str]:
        return list(self._order)

    def entry(self, name: str) -> NodeEntry | None:
        return self._entries.get(name)

    def set_node(self, name: str, node: Object | None) -> None:
        self.epoch += 1
        known = self._entries.get(name)
        if node is None:
            if known is not None:
                del self._entries[name]
                self._order.remove(name)
                self._unknown[name] = known.used
            return
        status = node.get("status") or {}
        allocatable = amounts(status.get("capacity")) | amounts(status.get("allocatable"))
        if known is None:
            self._entries[name] = NodeEntry(node, allocatable, self._unknown.pop(name, {}))
            self._order.append(name)
        else:
            known.node = node
            known.allocatable = allocatable

    def account(self, before: Object | None, after: Object | None) -> str | None:
        """Follow a pod's change; returns the node on which it freed something, if it did."""
        was = _place(before)
        now = _place(after)
        if was == now and (was is None or _same_requests(before, after)):
            return None
        if now is not None and after is not None:
            self._take(now, pod_requests(after), 1)
        if was is not None and before is not None:
            self._take(was, pod_requests(before), -1)
            self.epoch += 1
        return was

    def _take(self, name: str, requests: Amounts, sign: int) -> None:
        entry = self._entries.get(name)
        used = entry.used if entry is not None else self._unknown.setdefault(name, {})
        for resource, amount in requests.items():
            used[resource] = used.get(resource, 0) + sign * amount

    def choose(
        self, pod: Object, requests: Amounts, names: set[str] | None, claims: list[Object]
    ) -> str | list[str]:
        """The least loaded of some nodes that fit, or the reasons why none does, one or more for each node.

        ``names`` narrows the choice (None: all nodes); ``claims`` are node selectors that must match, too.
        """
        from aliquot.embedded.standins.node_fit import selector_matches

        reasons: list[str] = []
        best: tuple[float, str] | None = None
        found = 0
        total = len(self._order)
        order = (
            [name for name in self._order if name in names]
            if names is not None and len(names) > 1
            else self._order
        )
        if names is not None and len(names) == 1:
            order = [name for name in names if name in self._entries]
        start = self._next if order is self._order and order else 0
        seen = 0
        for offset in range(len(order)):
            seen += 1
            name = order[(start + offset) % len(order)]
            entry = self._entries[name]
            if not all(selector_matches(selector, entry.node) for selector in claims):
                reasons.append("cannot allocate all claims")
                continue
            why = entry.why_not(pod, requests)
            if why:
                reasons += why
                continue
            found += 1
            load = entry.load(requests)
            if best is None or load < best[0]:
                best = (load, name)
            if found == ENOUGH:
                break
        if order is self._order and total:
            self._next = (start + seen) % total
        if best is not None:
            return best[1]
        reasons += ["cannot allocate all claims"] * (total - len(order))
        return reasons


def _same_requests(before: Object | None, after: Object | None) -> bool:
    """A pod may be resized where it runs."""
    return (before or {}).get("spec") == (after or {}).get("spec")


def _place(pod: Object | None) -> str | None:
    """The node on which a pod takes room; None for an unbound or finished one."""
    if pod is None or pod_finished(pod):
        return None
    name: str | None = (pod.get("spec") or {}).get("nodeName") or None
    return name
