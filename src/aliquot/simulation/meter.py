"""What is measured on the way: amounts per queue now, their integrals over time, and samples."""

from collections.abc import Mapping

import msgspec

from aliquot.queues.amounts import GPU, Amount
from aliquot.queues.ledger import Ledger
from aliquot.queues.rules import ShareRules
from aliquot.queues.shares import FairShares, fair_shares
from aliquot.queues.tree import QueueTree
from aliquot.simulation.rates import NodeRates
from aliquot.simulation.results import Interruption, QueueSample, Sample, Totals
from aliquot.simulation.spare import Spare
from aliquot.simulation.standing import Member, Phase, Standing
from aliquot.simulation.workload import Workload


class Sums(msgspec.Struct):
    """Integrals up to `since`, see Totals. millijoules: thousandths of joules, in billionths of a device.
    spent: micro-units of money times seconds per hour."""

    since: int = 0
    capacity: int = 0
    allocated: int = 0
    fragmented: int = 0
    millijoules: int = 0
    spent: int = 0
    unpriced: int = 0
    unmetered: int = 0


class Account(msgspec.Struct):
    """A queue's own work now: devices held and waited for, workloads with a place and without."""

    allocated: int = 0
    waiting: int = 0
    running: int = 0
    waiting_workloads: int = 0


class Machine(msgspec.Struct):
    """A node: its devices, what is held of them (billionths), and whether it is in order (then it counts)."""

    rates: NodeRates
    held: int = 0
    ready: bool = True


class Meter:
    """Told of every change after the clock was moved to it (`tick`)."""

    def __init__(
        self, nodes: Mapping[str, Machine], tree: QueueTree, rules: ShareRules, spare: Spare
    ) -> None:
        self.machines = dict(nodes)
        self.spare = spare
        self.sums = Sums()
        self.samples: list[Sample] = []
        self.interruptions: list[Interruption] = []
        self.evictions = 0
        self.failures = 0
        self.decisions = 0
        self.events = 0
        self.accounts: dict[str, Account] = {}
        self.placed_set: set[int] = set()
        self.waiting: dict[int, int] = {}
        self.waiting_pods = 0
        self.capacity = self.allocated = self.nodes = 0
        self._power = self._cost = self._unpriced = self._unmetered = 0
        self._tree = tree
        self._rules = rules
        self._shares: FairShares | None = None
        self.fragmented = 0
        for machine in self.machines.values():
            self._count(machine, 1)

    def _count(self, machine: Machine, sign: int) -> None:
        """Count a node that is in order, or no longer."""
        if not machine.ready:
            return
        rates = machine.rates
        self.nodes += sign
        self.capacity += sign * rates.devices
        self.allocated += sign * machine.held
        self._cost += sign * (rates.cost or 0)
        if rates.cost is None:
            self._unpriced += sign * rates.devices
        if rates.peak is None:
            self._unmetered += sign * rates.devices
        self._power += sign * rates.power(machine.held)

    def change(self, node: str, machine: Machine) -> None:
        """A node is another than before (failed, back, with fewer devices)."""
        self._count(self.machines[node], -1)
        self.machines[node] = machine
        self._count(machine, 1)

    def hold(self, node: str, devices: int) -> None:
        """So many devices more are held on a node (fewer, below 0)."""
        machine = self.machines.get(node)
        if machine is None:
            return
        if machine.ready:
            self.allocated += devices
            self._power -= machine.rates.power(machine.held)
        machine.held += devices
        if machine.ready:
            self._power += machine.rates.power(machine.held)

    def tick(self, now: int) -> None:
        """Move the clock: everything stayed as it was up to now."""
        sums = self.sums
        passed = now - sums.since
        if passed <= 0:
            return
        sums.since = now
        sums.capacity += self.capacity * passed
        sums.allocated += self.allocated * passed
        sums.fragmented += self.fragmented * passed
        sums.millijoules += self._power * passed
        sums.spent += self._cost * passed
        sums.unpriced += self._unpriced * passed
        sums.unmetered += self._unmetered * passed

    def _account(self, workload: Workload) -> Account:
        found = self.accounts.get(workload.queue)
        if found is None:
            found = self.accounts[workload.queue] = Account()
        return found

    def submitted(self, workload: Workload, standing: Standing) -> None:
        account = self._account(workload)
        account.waiting += standing.wanted()
        account.waiting_workloads += 1
        self.waiting[standing.number] = workload.submitted
        self.waiting_pods += len(standing.members)

    def placed(self, workload: Workload, standing: Standing, member: Member) -> None:
        """A pod has its node."""
        account = self._account(workload)
        account.waiting -= member.devices
        account.allocated += member.devices
        self.waiting_pods -= 1
        self.hold(member.node, member.devices)
        self._sort(workload, standing)

    def made_again(self, workload: Workload, standing: Standing, member: Member) -> None:
        """A pod waits in place of one that lost its place."""
        self._account(workload).waiting += member.devices
        self.waiting_pods += 1
        self._sort(workload, standing)

    def removed(self, workload: Workload, standing: Standing, member: Member) -> None:
        """A pod is gone."""
        account = self._account(workload)
        if member.phase is Phase.WAITING:
            account.waiting -= member.devices
            self.waiting_pods -= 1
        else:
            account.allocated -= member.devices
            self.hold(member.node, -member.devices)

    def _sort(self, workload: Workload, standing: Standing) -> None:
        """Count a workload among those that have a place or those that wait, as it is now."""
        number = standing.number
        account = self._account(workload)
        has = standing.count(Phase.STARTING, Phase.RUNNING) >= workload.minimum
        if has and number in self.waiting:
            del self.waiting[number]
            self.placed_set.add(number)
            account.waiting_workloads -= 1
            account.running += 1
        elif not has and number in self.placed_set:
            self.placed_set.discard(number)
            self.waiting[number] = standing.since
            account.running -= 1
            account.waiting_workloads += 1

    def finished(self, workload: Workload, standing: Standing) -> None:
        account = self._account(workload)
        if standing.number in self.placed_set:
            self.placed_set.discard(standing.number)
            account.running -= 1
        elif self.waiting.pop(standing.number, None) is not None:
            account.waiting_workloads -= 1

    def interrupted(self, found: Interruption) -> None:
        self.interruptions.append(found)
        if found.cause.decided:
            self.evictions += 1
        else:
            self.failures += 1

    def sample(self, now: int) -> None:
        """Note how things stand."""
        self.fragmented = self.spare.fragmented()
        self.samples.append(
            Sample(
                time=now,
                nodes=self.nodes,
                capacity=self.capacity,
                allocated=self.allocated,
                waiting=sum(account.waiting for account in self.accounts.values()),
                fragmented=self.fragmented,
                running=len(self.placed_set),
                waiting_workloads=len(self.waiting),
                longest_wait=now - min(self.waiting.values(), default=now),
                watts=self._power // (1000 * 10**9),
                cost=self._cost,
                queues=self._queues(),
            )
        )

    def _queues(self) -> tuple[QueueSample, ...]:
        tree = self._tree
        if not tree.names:
            return ()
        ledger = Ledger(tree)
        counts: dict[str, list[int]] = {name: [0, 0] for name in tree.names}
        for name, account in self.accounts.items():
            ledger.add(name, {GPU: account.allocated})
            ledger.wait(name, {GPU: account.waiting})
            for step in tree.path(name):
                counts[step][0] += account.running
                counts[step][1] += account.waiting_workloads
        capacity: dict[str, Amount] = {GPU: self.capacity}
        self._shares = shares = fair_shares(tree, capacity, ledger, self._rules, previous=self._shares)
        allocated, pending = ledger.column(GPU), ledger.pending[GPU]
        return tuple(
            QueueSample(
                queue=name,
                allocated=int(allocated[tree.numbers[name]]),
                waiting=int(pending[tree.numbers[name]]),
                share=int(shares.share(name, GPU)),
                running=counts[name][0],
                waiting_workloads=counts[name][1],
            )
            for name in tree.names
        )

    def totals(self) -> Totals:
        """The sums so far; work and workloads are added by whoever knows them."""
        sums = self.sums
        return Totals(
            capacity=sums.capacity,
            allocated=sums.allocated,
            fragmented=sums.fragmented,
            joules=sums.millijoules // (1000 * 10**9),
            cost=sums.spent // 3600,
            unpriced=sums.unpriced,
            unmetered=sums.unmetered,
            evictions=self.evictions,
            failures=self.failures,
            decisions=self.decisions,
            events=self.events,
        )
