"""What gangs wait for, as their queues count it."""

from aliquot.queues.amounts import Charge
from aliquot.queues.ledger import Ledger
from aliquot.workloads.sources.source import GroupKey


class PendingAmounts:
    """Counted in a ledger from decision to decision, and changed for gangs only that are not as they were."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._counted: dict[GroupKey, tuple[str, Charge]] = {}

    def count(self, key: GroupKey, queue: str, charge: Charge) -> None:
        """A gang waits for this much, instead of what was counted for it before."""
        known = self._counted.get(key)
        if known is not None and known[0] == queue and (known[1] is charge or known[1] == charge):
            return
        self.drop(key)
        if queue:
            self._counted[key] = (queue, charge)
            self._ledger.wait(queue, charge)

    def drop(self, key: GroupKey) -> None:
        """A gang waits for nothing any more."""
        known = self._counted.pop(key, None)
        if known is not None:
            self._ledger.forget(*known)
