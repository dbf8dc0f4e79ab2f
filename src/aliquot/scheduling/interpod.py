"""Required affinity and anti-affinity between pods: which topology domains a pod must join or avoid.

Source: core/v1 PodAffinityTerm and the scheduler's InterPodAffinity filter. A domain is a value of the node
label `topologyKey`. Counts per domain are kept for each distinct term, so that a test costs a look-up.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from aliquot.model.core import Namespace, Node, Pod, PodAffinityTerm
from aliquot.model.kinds import encode_json
from aliquot.scheduling.affinity import matches_labels


@dataclass(slots=True)
class _Term:
    """A term with the namespace of the pod that has it, and where pods that concern it are.

    matching: pods that the term selects, by domain. owners: pods that have the term, by domain. having: how
    many have it in all.
    """

    term: PodAffinityTerm
    namespace: str
    matching: dict[str, int] = field(default_factory=dict)
    owners: dict[str, int] = field(default_factory=dict)
    having: int = 0

    def selects(self, pod: Pod, namespaces: Mapping[str, Namespace]) -> bool:
        meta = pod.metadata
        if not matches_labels(self.term.label_selector, meta.labels):
            return False
        named = self.term.namespaces
        selector = self.term.namespace_selector
        if not named and selector is None:
            return meta.namespace == self.namespace
        if meta.namespace in named:
            return True
        found = namespaces.get(meta.namespace)
        labels = found.metadata.labels if found is not None else {}
        return selector is not None and matches_labels(selector, labels)


def affinity_terms(pod: Pod) -> tuple[PodAffinityTerm, ...]:
    affinity = pod.spec.affinity
    return (
        affinity.pod_affinity.required if affinity is not None and affinity.pod_affinity is not None else ()
    )


def anti_affinity_terms(pod: Pod) -> tuple[PodAffinityTerm, ...]:
    affinity = pod.spec.affinity
    return (
        affinity.pod_anti_affinity.required
        if affinity is not None and affinity.pod_anti_affinity is not None
        else ()
    )


class PodNeighbours:
    """The pods on nodes, as far as (anti-)affinity terms concern them. Changes can be taken back."""

    def __init__(
        self,
        namespaces: Mapping[str, Namespace],
        nodes: Mapping[str, Node],
        placed: Iterable[tuple[Pod, str]] = (),
    ) -> None:
        self._namespaces = namespaces
        self._nodes = nodes
        self._here: dict[str, list[Pod]] = {}
        self._added: list[tuple[Pod, str]] = []
        self._terms: dict[tuple[str, bytes], _Term] = {}
        self._anti: dict[tuple[str, bytes], _Term] = {}
        for pod, node in placed:
            self._here.setdefault(node, []).append(pod)
            self._change(pod, node, 1)

    def replace(self, node: str, pods: list[Pod]) -> None:
        """These are the pods on the node now. Not to be undone."""
        for pod in self._here.pop(node, ()):
            self._change(pod, node, -1)
        if pods:
            self._here[node] = pods
        for pod in pods:
            self._change(pod, node, 1)

    @property
    def open(self) -> bool:
        """No pod on a node avoids others."""
        return not self._anti

    def concerns(self, pod: Pod) -> bool:
        """Whether any term of this pod, or of a pod on a node, can matter to it."""
        return bool(self._anti) or bool(affinity_terms(pod)) or bool(anti_affinity_terms(pod))

    def pods_on(self, node: str) -> list[Pod]:
        """The pods that have this node, those placed for the while included."""
        return [*self._here.get(node, ()), *(pod for pod, at in self._added if at == node)]

    def mark(self) -> int:
        return len(self._added)

    def add(self, pod: Pod, node: str) -> None:
        self._added.append((pod, node))
        self._change(pod, node, 1)

    def undo(self, mark: int) -> None:
        while len(self._added) > mark:
            pod, node = self._added.pop()
            self._change(pod, node, -1)

    def fall(self, pod: Pod, node: str) -> str | None:
        """The test at which the node refuses the pod: "podAffinity", "podAntiAffinity" or None."""
        for term in affinity_terms(pod):
            known = self._term(pod, term)
            domain = self._domain(term, node)
            if domain is None:
                return "podAffinity"
            if known.matching.get(domain, 0):
                continue
            # The first pod of a group that wants to be near its own kind may start anywhere.
            if any(known.matching.values()) or not known.selects(pod, self._namespaces):
                return "podAffinity"
        return "podAntiAffinity" if self.kept_apart(pod, node) else None

    def kept_apart(self, pod: Pod, node: str) -> bool:
        """Whether the pod avoids a pod in the node's domain, or such a pod avoids it."""
        for term in anti_affinity_terms(pod):
            domain = self._domain(term, node)
            if domain is not None and self._term(pod, term).matching.get(domain, 0):
                return True
        for known in self._anti.values():
            domain = self._domain(known.term, node)
            if domain is not None and known.owners.get(domain, 0) and known.selects(pod, self._namespaces):
                return True
        return False

    def _domain(self, term: PodAffinityTerm, node: str) -> str | None:
        found = self._nodes.get(node)
        return found.metadata.labels.get(term.topology_key) if found is not None else None

    def _term(self, pod: Pod, term: PodAffinityTerm) -> _Term:
        key = (pod.metadata.namespace, encode_json(term))
        known = self._terms.get(key)
        if known is None:
            known = self._terms[key] = _Term(term, pod.metadata.namespace)
            for node, pods in self._here.items():
                for other in pods:
                    if known.selects(other, self._namespaces):
                        _count(known.matching, self._domain(term, node), 1)
            for other, node in self._added:
                if known.selects(other, self._namespaces):
                    _count(known.matching, self._domain(term, node), 1)
        return known

    def _change(self, pod: Pod, node: str, step: int) -> None:
        for known in self._terms.values():
            if known.selects(pod, self._namespaces):
                _count(known.matching, self._domain(known.term, node), step)
        for term in anti_affinity_terms(pod):
            key = (pod.metadata.namespace, encode_json(term))
            own = self._anti.get(key)
            if own is None:
                own = self._anti[key] = _Term(term, pod.metadata.namespace)
            own.having += step
            _count(own.owners, self._domain(term, node), step)
            if not own.having:
                del self._anti[key]


def _count(counts: dict[str, int], domain: str | None, step: int) -> None:
    if domain is not None:
        counts[domain] = counts.get(domain, 0) + step
