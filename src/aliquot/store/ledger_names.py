"""The numbers under which places, devices and accounts are stored, each of them once."""

import hashlib
from collections.abc import Sequence

import msgspec

from aliquot.accounting.entries import Account, Device, Place
from aliquot.store.ledger_database import Database

_TEXTS = (
    "queue",
    "queue_path",
    "namespace",
    "workload",
    "workload_uid",
    "claim",
    "owner",
    "model",
    "mode",
    "profile",
    "decision",
    "reason",
)
"""The fields of an account that reports are grouped by."""


def encoded(value: Account | Place) -> bytes:
    """The content as JSON with all fields in their order."""
    return msgspec.json.encode(value)


def content_digest(value: Account | Place) -> str:
    return hashlib.blake2b(encoded(value), digest_size=16).hexdigest()


class Names:
    """Numbers known to one writer. Inside a transaction; after one that failed use a new one."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._places: dict[Place, int] = {}
        self._kinds: dict[tuple[str, str, str], int] = {}
        self._devices: dict[Device, int] = {}
        self._accounts: dict[Account, int] = {}

    def places(self, devices: Sequence[Device]) -> list[int]:
        """The number of each device's place."""
        for device in devices:
            if device.place not in self._places:
                self._places[device.place] = self._place(device.place)
        return [self._places[device.place] for device in devices]

    def kinds(self, devices: Sequence[Device]) -> list[int]:
        """The number of each device's kind: driver, model and region."""
        return [self._kind(device.place) for device in devices]

    def _kind(self, place: Place) -> int:
        key = (place.driver, place.model, place.region)
        if key not in self._kinds:
            found = self._database.execute(
                "SELECT id FROM ledger_kinds WHERE driver = ? AND model = ? AND region = ?", key
            )
            number = int(found[0][0]) if found else self._next("ledger_kinds")
            if not found:
                self._database.insert("ledger_kinds", ("id", "driver", "model", "region"), [(number, *key)])
            self._kinds[key] = number
        return self._kinds[key]

    def devices(self, devices: Sequence[Device]) -> list[int]:
        """The number of each device."""
        places = self.places(devices)
        new = [
            (device, place)
            for device, place in zip(devices, places, strict=True)
            if device not in self._devices
        ]
        if new:
            number = self._next("ledger_devices")
            for device, place in new:
                found = self._database.execute(
                    "SELECT id FROM ledger_devices WHERE place = ? AND name = ?", (place, device.name)
                )
                if found:
                    self._devices[device] = int(found[0][0])
                elif device not in self._devices:
                    self._database.execute(
                        "INSERT INTO ledger_devices (id, place, name) VALUES (?, ?, ?)",
                        (number, place, device.name),
                    )
                    self._devices[device] = number
                    number += 1
        return [self._devices[device] for device in devices]

    def accounts(self, accounts: Sequence[Account]) -> list[int]:
        """The number of each account."""
        new = [account for account in accounts if account not in self._accounts]
        if new:
            number = self._next("ledger_accounts")
            for account in new:
                digest = content_digest(account)
                found = self._database.execute("SELECT id FROM ledger_accounts WHERE digest = ?", (digest,))
                if found:
                    self._accounts[account] = int(found[0][0])
                elif account not in self._accounts:
                    self._add(number, digest, account)
                    self._accounts[account] = number
                    number += 1
        return [self._accounts[account] for account in accounts]

    def _next(self, table: str) -> int:
        return int(self._database.execute(f"SELECT coalesce(max(id), 0) FROM {table}")[0][0]) + 1

    def _place(self, place: Place) -> int:
        digest = content_digest(place)
        found = self._database.execute("SELECT id FROM ledger_places WHERE digest = ?", (digest,))
        if found:
            return int(found[0][0])
        number = self._next("ledger_places")
        columns = ("id", "digest", "node", "pool", "kind", "body")
        row = (number, digest, place.node, place.pool, self._kind(place), encoded(place).decode())
        self._database.insert("ledger_places", columns, [row])
        return number

    def _add(self, number: int, digest: str, account: Account) -> None:
        row = (number, digest, *(getattr(account, name) for name in _TEXTS), encoded(account).decode())
        self._database.insert("ledger_accounts", ("id", "digest", *_TEXTS, "body"), [row])
        self._database.insert(
            "ledger_labels",
            ("account", "name", "value"),
            [(number, name, value) for name, value in dict(account.labels).items()],
        )
        self._database.insert(
            "ledger_pods",
            ("account", "namespace", "name", "uid"),
            [(number, account.namespace, pod.name, pod.uid) for pod in dict.fromkeys(account.pods)],
        )
