"""Funds: what money there is for devices, as far as a decision has to know it.

No object of the Kubernetes API: the controller makes it from budgets and prices and adds it to the snapshot,
so that whoever decides again from a recorded snapshot has the same money. Money is integer micro-units.
"""

from aliquot.model.meta import KubernetesObject, Record


class Purse(Record, frozen=True):
    """One budget, and what may still be committed from it.

    parent: the name of the purse above, which pays too; "" for none. Whose work it pays for: of this queue
    (and of those below it) and this namespace, as far as they are named; everyone: of all; otherwise only of
    purses below. models: for work that serves one of these, empty: for all. left: None where the budget puts
    no bound on money.
    """

    name: str = ""
    parent: str = ""
    queue: str = ""
    namespace: str = ""
    everyone: bool = False
    models: tuple[str, ...] = ()
    left: int | None = None


class NodeRate(Record, frozen=True):
    """What a device of a node costs by the hour."""

    node: str = ""
    micros: int = 0


class FundsSpec(Record, frozen=True):
    """hours: for how long a workload has to have the money for its devices. currency: ISO 4217.

    every_workload: all work that a purse pays for has to have money; otherwise only what serves a model.
    unread: why it is not known what is left, "" if it is; then nobody has money. rates: of nodes whose
    devices do not cost `rate`.
    """

    hours: int = 1
    currency: str = ""
    every_workload: bool = False
    unread: str = ""
    rate: int = 0
    rates: tuple[NodeRate, ...] = ()
    purses: tuple[Purse, ...] = ()


class Funds(KubernetesObject, frozen=True, tag_field="kind", tag="Funds"):
    spec: FundsSpec = FundsSpec()
