"""How much running work holds, counted for many gangs together."""

from dataclasses import dataclass

from aliquot.queues.amounts import GPU, Amount, exact
from aliquot.scheduling.gang_state import Crew, Status


@dataclass(slots=True)
class Tally:
    """How many gangs hold accelerators, and how many billionths of those; fixed: of these, what is not
    preemptible."""

    workloads: int = 0
    amount: Amount = 0
    fixed_workloads: int = 0
    fixed_amount: Amount = 0

    def count(self, amount: Amount, *, fixed: bool) -> None:
        """Count a gang; one that holds nothing does not count."""
        if not amount:
            return
        self.workloads += 1
        self.amount = exact(self.amount + amount)
        if fixed:
            self.fixed_workloads += 1
            self.fixed_amount = exact(self.fixed_amount + amount)

    def add(self, other: "Tally", sign: int = 1) -> None:
        """Count what another counted too, or with sign -1 no more."""
        self.workloads += sign * other.workloads
        self.amount = exact(self.amount + sign * other.amount)
        self.fixed_workloads += sign * other.fixed_workloads
        self.fixed_amount = exact(self.fixed_amount + sign * other.fixed_amount)


def accelerators(crew: Crew) -> Amount:
    """What the running members of a gang hold, in billionths."""
    amount: Amount = 0
    for member in crew.members:
        if member.hold is not None and member.status is Status.RUNNING:
            amount = exact(amount + member.hold.charge.get(GPU, 0))
    return amount
