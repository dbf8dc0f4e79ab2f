"""Entries in columns: the form in which many are made, summed up and stored."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from aliquot.accounting.amounts import DAY_MS
from aliquot.accounting.entries import AMOUNTS, Account, Category, Device, Entry, Kind

Integers: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Columns:
    """Entries as 64-bit integers, one array for each field, all of one length.

    device, account: positions in devices and accounts.
    """

    devices: Sequence[Device]
    accounts: Sequence[Account]
    device: Integers
    account: Integers
    category: Integers
    kind: Integers
    start_ms: Integers
    end_ms: Integers
    device_ms: Integers
    used_ms: Integers
    known_ms: Integers
    use_measured_ms: Integers
    energy_mj: Integers
    metered_ms: Integers
    measured_mj: Integers
    cost_micros: Integers
    carbon_ug: Integers

    def __len__(self) -> int:
        return len(self.device)

    @staticmethod
    def of(entries: Iterable[Entry]) -> "Columns":
        """The columns of entries, in their order."""
        devices: dict[Device, int] = {}
        accounts: dict[Account, int] = {}
        rows = [
            (
                devices.setdefault(entry.device, len(devices)),
                accounts.setdefault(entry.account, len(accounts)),
                int(entry.category),
                int(entry.kind),
                entry.start_ms,
                entry.end_ms,
                *(getattr(entry, name) for name in AMOUNTS),
            )
            for entry in entries
        ]
        table = np.array(rows, dtype=np.int64).reshape(len(rows), len(NUMBERS))
        return Columns(tuple(devices), tuple(accounts), *(table[:, place] for place in range(len(NUMBERS))))

    def entries(self) -> tuple[Entry, ...]:
        """The entries, one by one."""
        lists = [getattr(self, name).tolist() for name in NUMBERS]
        return tuple(
            Entry(
                device=self.devices[row[0]],
                account=self.accounts[row[1]],
                category=Category(row[2]),
                kind=Kind(row[3]),
                start_ms=row[4],
                end_ms=row[5],
                **dict(zip(AMOUNTS, row[6:])),
            )
            for row in zip(*lists)
        )


NUMBERS = tuple(field.name for field in fields(Columns))[2:]
"""The columns of numbers, in order; the last ones are AMOUNTS."""


def sums_by(columns: Columns, keys: Sequence[Integers]) -> Integers:
    """The sums of entries that agree in all keys: a row each, first the keys, then columns as in AMOUNTS."""
    table = np.stack(keys, axis=1)
    if not len(table):
        return np.empty((0, len(keys) + len(AMOUNTS)), np.int64)
    order = np.lexsort(tuple(reversed(keys)))
    table = table[order]
    first = np.flatnonzero(np.concatenate(([True], np.any(table[1:] != table[:-1], axis=1))))
    amounts = [np.add.reduceat(getattr(columns, name)[order], first) for name in AMOUNTS]
    return np.concatenate((table[first], np.stack(amounts, axis=1)), axis=1)


def days_of(columns: Columns) -> Integers:
    """The UTC day in which each entry starts."""
    found: Integers = columns.start_ms - columns.start_ms % DAY_MS
    return found
