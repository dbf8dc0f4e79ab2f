"""What the cluster can still be expected to hold, and how much of that a placement would lose.

The mix of workloads is learnt from the snapshot (`mix`), the measure is that of the openb benchmark
(`aliquot.packing`, docs/placement-benchmark.md), and nodes are seen as they are later, without what leaves.
Everything follows from the snapshot: kinds compete for the nodes as they would be empty, and nothing that was
decided is remembered. What is left of a node is looked at anew when the node changed.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from math import ceil

from aliquot.dra.pools import Devices, Pool, members
from aliquot.model.core import Pod
from aliquot.model.index import Remembered
from aliquot.packing.cluster import WHOLE, Demand, Room, State, tightest
from aliquot.packing.expectation import Expectation
from aliquot.scheduling.board_types import BoardTypes
from aliquot.scheduling.devices_wanted import DevicesWanted, Form, Wanted, accelerators
from aliquot.scheduling.facts import PodFacts
from aliquot.scheduling.mix import CPU_CELL, MEBIBYTE, MEMORY_CELL, Example, Kind, Reading, breed_of
from aliquot.scheduling.requests import CPU, MEMORY
from aliquot.scheduling.room import rest_of_share
from aliquot.scheduling.state import ClusterState

Numbers = Callable[[bytes, Pod], Sequence[int]]
"""The nodes that suit pods of such constraints by labels and taints."""

_TIE = 1e-7
"""Weight of best fit by CPU, and of nodes without devices, where a pod without devices loses the same."""


class Outlook:
    """What one mix lets expect of a cluster."""

    def __init__(
        self,
        state: ClusterState,
        reading: Reading,
        wanted: DevicesWanted,
        numbers: Numbers,
        claim_shapes: Remembered,
    ) -> None:
        self._state = state
        self._wanted = wanted
        self._numbers = numbers
        self._claim_shapes = claim_shapes
        found = {
            breed: wanted.of(breed, example, numbers(breed.constraints, example.pod))
            for breed, example in reading.examples.items()
        }
        self._breeds = {breed: each for breed, each in found.items() if each is not None}
        self._demands = list({each.demand: None for each in self._breeds.values() if each.demand is not None})
        self._profiles = {demand: f"p{number}" for number, demand in enumerate(self._demands)}
        self._boards = BoardTypes({profile: demand for demand, profile in self._profiles.items()})
        self._relevant: dict[Pool, Devices] = {}
        self._models = self._name_models()
        self._states: list[State | None] = [None] * len(self._models)
        self._seen = len(state.table.changes)
        empty = Counter(map(self._empty, range(len(self._models))))
        whole: dict[tuple[str, int], tuple[int, int]] = {}
        for each in empty:
            cpu, memory = whole.get((each.model, len(each.gpus)), (0, 0))
            whole[(each.model, len(each.gpus))] = max(cpu, each.cpu), max(memory, each.memory)
        mix: Counter[Demand] = Counter()
        for kind, count in reading.kinds:
            mix.update(self._learnt(kind, count))
        self._expectation = Expectation(
            mix, max(1, reading.arrivals), empty.elements(), whole, self._boards.types, leaving=True
        )
        self._most = max((self._expectation.value(each) for each in empty), default=0.0) or 1.0

    def value(self, facts: PodFacts) -> Callable[[int], float] | None:
        """How little a node, by number, loses by taking the pod: 1 if nothing, near 0 if all that the largest
        node is worth; 0 where the pod finds no devices. None if nothing can be said for such a pod."""
        claims = facts.claims.claims if facts.extended is None else (*facts.claims.claims, facts.extended)
        breed = breed_of(facts.traits, claims, self._claim_shapes)
        requests = facts.traits.demand.requests
        cpu, memory = requests.get(CPU, 0), ceil(requests.get(MEMORY, 0) / MEBIBYTE)
        if breed is None:
            return self._for_cpu(Demand(cpu, memory, 0, 0))
        each = self._breeds.get(breed)
        if each is None:
            example = Example(facts.pod, claims)
            each = self._wanted.of(breed, example, self._numbers(breed.constraints, facts.pod))
        if each is None:
            return None
        forms = each.forms
        by_form = {form: self._demand(each, form, cpu, memory, ()) for form in set(forms) if form is not None}
        known: dict[tuple[State, Form], float] = {}

        def value(number: int) -> float:
            form = forms[number]
            if form is None:
                return 0.0
            state = self._state_of(number)
            found = known.get((state, form))
            if found is None:
                found = known[(state, form)] = self._kept(state, by_form[form])
            return found

        return value

    def _for_cpu(self, demand: Demand) -> Callable[[int], float]:
        table = self._state.table
        known: dict[State, float] = {}

        def value(number: int) -> float:
            state = self._state_of(number)
            found = known.get(state)
            if found is None:
                found = known[state] = self._kept(state, demand)
            whole = table.whole[number].get(CPU, 0)
            spare = state.cpu / whole if whole else 0.0
            # Devices that nobody has asked for yet: somebody may.
            unasked = not state.model and self._state.accelerators(number) > 0
            return found - _TIE * (spare + unasked)

        return value

    def _kept(self, state: State, demand: Demand) -> float:
        if demand.profile:
            if demand.profile not in self._profiles.values() or not self._expectation.fits(state, demand):
                return 0.0
            loss = self._expectation.score(state, demand)
        else:
            if not state.fits(demand):
                return 0.0
            # Of a node's devices the allocator takes the fullest.
            gpus = list(state.gpus)
            for index in tightest(state, demand):
                gpus[index] -= demand.milli
            after = State(
                state.cpu - demand.cpu,
                state.memory - demand.memory,
                tuple(sorted(left for left in gpus if left)),
                state.model,
                boards=state.boards,
            )
            loss = self._expectation.value(after) - self._expectation.value(state)
        return max(0.0, 1.0 + round(loss, 6) / self._most)

    def _demand(self, each: Wanted, form: Form, cpu: int, memory: int, models: tuple[str, ...]) -> Demand:
        profile = self._profiles.get(each.demand, "?") if form.board and each.demand is not None else ""
        return Demand(cpu, memory, each.devices, form.milli, models, profile)

    def _learnt(self, kind: Kind, count: int) -> dict[Demand, int]:
        """What pods of a kind ask for: one demand for each form, counted by how many nodes give that."""
        each = self._breeds.get(kind.breed)
        if each is None:
            return {}
        nodes = Counter(form for form in each.forms if form is not None)
        found: dict[Demand, int] = {}
        for form, number in nodes.items():
            models = sorted({self._models[at] for at, given in enumerate(each.forms) if given == form})
            demand = self._demand(
                each, form, kind.cpu * CPU_CELL, kind.memory * MEMORY_CELL // MEBIBYTE, tuple(models)
            )
            found[demand] = max(1, count * number // nodes.total())
        return found

    def _name_models(self) -> list[str]:
        """Nodes on which all breeds find the same are of one model; "" where they find nothing."""
        names: dict[tuple[Form | None, ...], str] = {}
        rows = list(zip(*(each.forms for each in self._breeds.values()), strict=True))
        if not rows:
            return [""] * len(self._state.table.nodes)
        return [names.setdefault(row, f"m{len(names)}") if any(row) else "" for row in rows]

    def _state_of(self, number: int) -> State:
        """What is left of the node later."""
        self._catch_up()
        found = self._states[number]
        if found is None:
            table = self._state.table
            found = self._states[number] = self._look(
                number, table.later(number, CPU), table.later(number, MEMORY), empty=False
            )
        return found

    def _empty(self, number: int) -> State:
        whole = self._state.table.whole[number]
        return self._look(number, whole.get(CPU, 0), whole.get(MEMORY, 0), empty=True)

    def _look(self, number: int, cpu: int, memory: int, *, empty: bool) -> State:
        model = self._models[number]
        if not model:
            return State(cpu, memory // MEBIBYTE, (), "")
        state = self._state
        gpus = [WHOLE] * state.parts.whole(number) if empty else state.parts.left(number)
        boards: list[Room] = []
        name = state.table.names[number]
        usages = state.later.usage
        for pool in state.devices.fleet.local_pools(name):
            relevant = self._relevant_of(pool) & pool.local.get(name, 0)
            if not relevant:
                continue
            usage = None if empty else usages.of_pool(pool)
            plain = relevant & ~pool.drawing
            if usage is None:
                gpus += [WHOLE] * plain.bit_count()
            else:
                gpus += [WHOLE] * (plain & ~(usage.taken | usage.shared)).bit_count()
                gpus += [
                    ceil(rest_of_share(pool, usage, index) * WHOLE)
                    for index in members(plain & usage.shared & ~usage.taken)
                ]
            if relevant & pool.drawing:
                boards += self._boards.rooms(pool, relevant & pool.drawing, usage)
        left = tuple(sorted(each for each in gpus if each > 0))
        return State(cpu, memory // MEBIBYTE, left, model, boards=tuple(sorted(boards)))

    def _relevant_of(self, pool: Pool) -> Devices:
        found = self._relevant.get(pool)
        if found is None:
            found = self._relevant[pool] = accelerators(pool, self._demands)
        return found

    def _catch_up(self) -> None:
        """Forget what was seen of nodes that changed."""
        changes = self._state.table.changes
        if self._seen < len(changes):
            for number in changes[self._seen :]:
                self._states[number] = None
            self._seen = len(changes)
