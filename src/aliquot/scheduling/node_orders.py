"""In which order nodes are tried for a pod: those that suit it by labels and taints, the best first."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from aliquot.model.core import Pod
from aliquot.model.resource import AllocationResult, ResourceClaim
from aliquot.scheduling.affinity import named_node
from aliquot.scheduling.facts import PodFacts, Shape
from aliquot.scheduling.gang_state import Member
from aliquot.scheduling.objectives import Scoring
from aliquot.scheduling.outlook import Numbers, Outlook
from aliquot.scheduling.policy import Policy
from aliquot.scheduling.ranking import Ranking
from aliquot.scheduling.state import ClusterState
from aliquot.scheduling.static_fit import StaticFit


class NodeOrders:
    """The orders of nodes for all shapes of pods; they follow the state."""

    def __init__(self, state: ClusterState, static: dict[bytes, StaticFit], policy: Policy) -> None:
        """static: fits by constraints for these nodes, as far as they are known."""
        self._state = state
        self._static = static
        self._node_rules = policy.node_rules
        self._scoring = Scoring(policy.placement, state)
        self._rankings: dict[Shape, Ranking] = {}
        self._everywhere = StaticFit(tuple(range(len(state.table.nodes))), {})

    def expect(self, outlook: Callable[[Numbers], Outlook]) -> None:
        """Value nodes by another outlook from now on. What fits where is as before."""
        self._scoring.expect(lambda: outlook(self._numbers))
        self._rankings.clear()

    @property
    def count(self) -> int:
        """Of how many shapes the order is kept."""
        return len(self._rankings)

    def static_fit(self, facts: PodFacts) -> StaticFit:
        """What labels and taints alone say."""
        return self._fit(facts.traits.constraints, facts.pod)

    def _numbers(self, constraints: bytes, pod: Pod) -> Sequence[int]:
        return self._fit(constraints, pod).numbers

    def _fit(self, constraints: bytes, pod: Pod) -> StaticFit:
        if not self._node_rules:
            return self._everywhere
        known = self._static.get(constraints)
        if known is None:
            known = self._static[constraints] = StaticFit.of(pod, self._state.table.nodes)
        return known

    def of_shape(self, facts: PodFacts, shape: Shape) -> Ranking:
        """The order for the pod's shape, kept for all pods of the same."""
        known = self._rankings.get(shape)
        if known is None:
            numbers = self.static_fit(facts).numbers
            score = self._scoring.score(facts)
            known = self._rankings[shape] = Ranking(score, numbers, self._state.table.changes)
        return known

    def of_one(
        self,
        facts: PodFacts,
        held: Sequence[tuple[ResourceClaim, AllocationResult]],
        bands: Sequence[int] | None,
    ) -> Iterable[int]:
        """The order for a pod that is like no other."""
        numbers = self.static_fit(facts).numbers
        for _, allocation in held:
            named = named_node(allocation.node_selector)
            if named is not None:
                only = self._state.table.numbers.get(named)
                numbers = (only,) if only is not None and only in set(numbers) else ()
                break
        return Ranking(self._scoring.score(facts), numbers, self._state.table.changes).numbers(bands)

    def favourite(self, member: Member) -> int | None:
        """The node of an earlier promise, which is tried first."""
        nominated = member.pod.status.nominated_node_name
        if nominated and self._scoring.honours_nomination:
            return self._state.table.numbers.get(nominated)
        return None


def with_first(first: int, numbers: Iterable[int]) -> Iterator[int]:
    """The nodes with one of them before all others, if it is among them."""
    ordered = list(numbers)
    if first in ordered:
        yield first
    yield from (number for number in ordered if number != first)
