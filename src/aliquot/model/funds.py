"""Funds: what money there is for devices, as far as a decision has to know it.

No kind of the Kubernetes API: the controller makes it from budgets and prices and adds it to the snapshot, so
that whoever decides again from a recorded snapshot has the same money. For whoever decides about the cluster
beside it (`aliquot get`, `plan`, `explain`), it writes the same into a ConfigMap. Money is integer
micro-units.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

from aliquot.model.meta import KubernetesObject, ObjectMeta, Record

CONFIG_MAP = "aliquot-funds"
"""Name of the ConfigMap, in Aliquot's namespace."""

VALID = timedelta(minutes=5)
"""What was written longer ago is of a controller that keeps no funds any more."""

MAX_BYTES = 900_000


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


class _Written(msgspec.Struct, frozen=True, rename="camel"):
    written_at: datetime
    spec: FundsSpec


def funds_of(spec: FundsSpec) -> Funds:
    """The one object of these funds."""
    return Funds(metadata=ObjectMeta(name="funds"), spec=spec)


def written(spec: FundsSpec, now: datetime) -> dict[str, str]:
    """The data of the ConfigMap. now: aware. Raises ValueError if it is more than a ConfigMap takes."""
    text = msgspec.json.encode(_Written(now, spec)).decode()
    if len(text) > MAX_BYTES:
        raise ValueError(f"funds take {len(text)} bytes, a ConfigMap takes {MAX_BYTES}")
    return {"funds": text}


def read(data: Mapping[str, str], now: datetime) -> Funds | None:
    """The funds of a ConfigMap's data; None if there are none, or only old ones, or none that can be read."""
    try:
        found = msgspec.json.decode(data.get("funds", ""), type=_Written)
    except msgspec.DecodeError:
        return None
    if found.written_at.tzinfo is None or now - found.written_at > VALID:
        return None
    return funds_of(found.spec)
