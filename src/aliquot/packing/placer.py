"""Placing pods one by one, each where a policy's score is highest.

Scores are remembered per kind of pod and node, and worked out anew only for the nodes that changed since a
pod of that kind came last; nodes in equal states share them.
"""

from collections.abc import Sequence
from typing import Protocol

from aliquot.packing.cluster import Demand, Node, State

UNFIT = float("-inf")


class Policy(Protocol):
    """Where to place a pod. Scores are compared between nodes for one demand only."""

    def score(self, state: State, demand: Demand) -> float:
        """How good it is to place the demand on a node in this state, which it fits; higher is better."""

    def after(self, state: State, demand: Demand) -> State:
        """The node's state after the demand is placed on it: which devices it takes is the policy's."""

    def pick(self, scores: Sequence[float], best: float) -> int:
        """One of the nodes whose score is the best."""

    def arrived(self, demand: Demand, states: Sequence[State]) -> bool:
        """Told of every arrival, before it is placed. True if remembered scores no longer hold.

        states: of all nodes, as they are.
        """


class Stateless:
    """What most policies share: the first of the best nodes, and nothing learnt from arrivals."""

    def pick(self, scores: Sequence[float], best: float) -> int:
        return scores.index(best)

    def arrived(self, demand: Demand, states: Sequence[State]) -> bool:
        return False


class _Column:
    """The scores of one kind of pod: by node, as of a point of the log of changes, and by state."""

    __slots__ = ("by_node", "by_state", "cursor")

    def __init__(self) -> None:
        self.by_node: list[float] = []
        self.by_state: dict[State, float] = {}
        self.cursor = 0


class Placer:
    """A cluster that fills up. nodes: of equal scores the first wins."""

    def __init__(self, nodes: Sequence[Node], policy: Policy) -> None:
        self.nodes = nodes
        self.states = [node.state() for node in nodes]
        self._policy = policy
        self._columns: dict[Demand, _Column] = {}
        self._changed: list[int] = []

    def place(self, demand: Demand) -> int | None:
        """Place a pod that arrives; the index of its node, or None if it fits nowhere."""
        self.tell(demand, self.states)
        return self.put(demand)

    def tell(self, demand: Demand, states: Sequence[State]) -> None:
        """Tell the policy of an arrival. states: of all nodes, for whose capacity pods compete."""
        if self._policy.arrived(demand, states):
            self._columns.clear()
            self._changed.clear()

    def put(self, demand: Demand) -> int | None:
        """Place a pod that the policy was told of, as `place` does."""
        scores = self._scores(demand)
        best = max(scores, default=UNFIT)
        if best == UNFIT:
            return None
        index = self._policy.pick(scores, best)
        self.change(index, self._policy.after(self.states[index], demand))
        return index

    def change(self, index: int, state: State) -> None:
        """What is left of a node is another now."""
        self.states[index] = state
        self._changed.append(index)

    def _scores(self, demand: Demand) -> list[float]:
        states = self.states
        column = self._columns.get(demand)
        if column is None:
            column = self._columns[demand] = _Column()
            column.by_node = [UNFIT] * len(states)
            stale: Sequence[int] | set[int] = range(len(states))
        else:
            stale = set(self._changed[column.cursor :])
        by_node, by_state = column.by_node, column.by_state
        cpu, memory = demand.cpu, demand.memory
        for index in stale:
            state = states[index]
            if state.cpu < cpu or state.memory < memory:
                by_node[index] = UNFIT
                continue
            score = by_state.get(state)
            if score is None:
                score = self._policy.score(state, demand) if state.fits(demand) else UNFIT
                by_state[state] = score
            by_node[index] = score
        column.cursor = len(self._changed)
        return by_node
