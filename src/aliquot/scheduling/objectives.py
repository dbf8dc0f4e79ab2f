"""What makes one node better than another for a pod: the goals of a policy, each worth 0 to 1, weighted."""

from collections.abc import Callable, Sequence

from aliquot.fractions.resources import MIG_PROFILE, WHOLE_DEVICES
from aliquot.model.core import Node
from aliquot.scheduling.facts import PodFacts
from aliquot.scheduling.outlook import Outlook
from aliquot.scheduling.policy import Goal, Objective
from aliquot.scheduling.requests import CPU
from aliquot.scheduling.room import part_wanted
from aliquot.scheduling.state import ClusterState

Value = Callable[[int], float]
"""The value of a node, by number: 0 to 1."""

PRICE_LABEL = "aliquot.dev/price-per-hour"
POWER_LABEL = "aliquot.dev/watts-per-device"


def wants_accelerators(facts: PodFacts) -> bool:
    """Whether the pod asks for accelerators in any form."""
    if facts.claims.claims or facts.device_part is not None:
        return True
    return any(
        WHOLE_DEVICES.match(resource) or MIG_PROFILE.match(resource)
        for resource in facts.traits.demand.requests
        if "/" in resource
    )


class Scoring:
    """Values of nodes for the goals of a policy, in the present state of a cluster."""

    def __init__(self, objectives: Sequence[Objective], state: ClusterState) -> None:
        self._objectives = objectives
        self._outlook: Callable[[], Outlook] | None = None
        self._expected: Outlook | None = None
        self.honours_nomination = any(item.goal is Goal.NOMINATED for item in objectives)
        self._state = state
        nodes = state.table.nodes
        self._most = [state.accelerators(number) for number in range(len(nodes))]
        self._largest = max(self._most, default=0) or 1
        self._whole = (
            [_has_whole(state, number) for number in range(len(nodes))]
            if any(item.whole_only for item in objectives)
            else []
        )
        self._cpu = [whole.get(CPU, 0) for whole in state.table.whole]
        self._most_cpu = max(self._cpu, default=0) or 1

    def expect(self, outlook: Callable[[], Outlook]) -> None:
        """outlook: what can be expected of the cluster from now on; asked for once, when it is needed."""
        self._outlook, self._expected = outlook, None

    def score(self, facts: PodFacts) -> Callable[[int], float | None]:
        """The sum of weighted values of a node for a pod; None where it finds no room even later."""
        state, demand = self._state, facts.traits.demand
        later = state.table.fits_later
        parts = [(item.weight, value) for item in self._objectives if (value := self._value(item, facts))]
        part, gpus = facts.device_part, facts.gpus

        def total(number: int) -> float | None:
            if not later(number, demand) or (gpus is not None and not state.parts.suits(number, gpus)):
                return None
            if part is not None and not state.parts.fits_later(number, part):
                return None
            found = 0.0
            for weight, value in parts:
                found += weight * value(number)
            return found

        return total

    def _value(self, objective: Objective, facts: PodFacts) -> Value | None:
        """The function for a goal; None where it is the same for all nodes or not a matter of the node."""
        state, demand = self._state, facts.traits.demand
        accelerated = wants_accelerators(facts)
        match objective.goal:
            case Goal.IDLE_NOW:
                own = facts.device_part
                if own is not None:
                    wanted = own
                    return lambda number: float(
                        state.table.fits(number, demand) and state.parts.fits_now(number, wanted)
                    )
                return lambda number: 1.0 if state.table.fits(number, demand) else 0.0
            case Goal.SHARED_DEVICE:
                part = facts.device_part
                if part is None and accelerated:
                    return None
                return lambda number: 1.0 if state.parts.joins(number, part) else 0.0
            case Goal.CPU_ONLY_NODE:
                return None if accelerated else lambda number: 0.0 if self._most[number] else 1.0
            case Goal.BIN_PACK:
                if objective.resource not in ("", "gpu" if accelerated else "cpu"):
                    return None
                packed = self._packed_whole if objective.whole_only else self._packed
                return packed if accelerated else self._packed_cpu
            case Goal.SPREAD:
                if objective.resource not in ("", "gpu" if accelerated else "cpu"):
                    return None
                spread = self._spread_whole if objective.whole_only else self._spread
                return spread if accelerated else self._spread_cpu
            case Goal.EXPECTED_CAPACITY:
                return self._kept(facts) or self._full(facts)
            case Goal.LEAST_FRAGMENTATION:
                return self._full(facts)
            case Goal.PRICE:
                return self._cheapest(PRICE_LABEL)
            case Goal.ENERGY:
                return self._cheapest(POWER_LABEL)
            case Goal.NOMINATED | Goal.PREFERRED_DOMAIN:
                return None

    def _kept(self, facts: PodFacts) -> Value | None:
        if self._expected is None and self._outlook is not None:
            self._expected = self._outlook()
        return None if self._expected is None else self._expected.value(facts)

    def _full(self, facts: PodFacts) -> Value:
        room, share = self._state.room, part_wanted(facts.wanted)
        if share is None:
            return room.fullness
        wanted = share
        return lambda number: room.fullness_for(number, wanted)

    def _packed(self, number: int) -> float:
        if not self._most[number]:
            return 0.0
        return 1 - self._state.free_accelerators(number) / self._largest

    def _packed_cpu(self, number: int) -> float:
        return 1 - self._state.table.later(number, CPU) / self._most_cpu if self._cpu[number] else 0.0

    def _packed_whole(self, number: int) -> float:
        return self._packed(number) if self._whole[number] else 0.0

    def _spread_whole(self, number: int) -> float:
        return self._spread(number) if self._whole[number] else 0.0

    def _spread(self, number: int) -> float:
        most = self._most[number]
        return self._state.free_accelerators(number) / most if most else 0.0

    def _spread_cpu(self, number: int) -> float:
        most = self._cpu[number]
        return self._state.table.later(number, CPU) / most if most else 0.0

    def _cheapest(self, label: str) -> Value | None:
        """1 for the node with the least, 0 for that with the most; a node that does not say is taken for the
        latter."""
        numbers = [_number(node, label) for node in self._state.table.nodes]
        known = [number for number in numbers if number is not None]
        if not known or min(known) == max(known):
            return None
        least, most = min(known), max(known)
        values = [0.0 if number is None else (most - number) / (most - least) for number in numbers]
        return values.__getitem__


def _has_whole(state: ClusterState, number: int) -> bool:
    """Whether a node has accelerators that are no MIG instances."""
    whole = state.table.whole[number].items()
    return state.room.most(number) > 0 or any(count and WHOLE_DEVICES.match(name) for name, count in whole)


def _number(node: Node, label: str) -> float | None:
    try:
        found = float(node.metadata.labels.get(label, ""))
    except ValueError:
        return None
    return found if 0 <= found < 1e12 else None
