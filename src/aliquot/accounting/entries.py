"""What the ledger consists of: entries, and what they speak of (places, devices, accounts)."""

import enum
from collections.abc import Iterable
from fractions import Fraction

import msgspec

from aliquot.usage.provenance import Provenance


class Category(enum.IntEnum):
    """What the time of a device went to. Every millisecond of every device is in exactly one of these."""

    EXCLUSIVE = 0
    """The whole device is held by one claim (or one pod, where a device plugin gives devices)."""
    SHARED = 1
    """A part of a device that is given out in parts; each part belongs to its holder."""
    IDLE = 2
    """Free, and could be given to someone who waits or is expected."""
    STRANDED = 3
    """Free, and could not be given to anybody; the account's reason says why."""
    SYSTEM = 4
    """Reserved or broken; the account's reason says which."""

    @property
    def word(self) -> str:
        return self.name.lower()

    @property
    def held(self) -> bool:
        return self in (Category.EXCLUSIVE, Category.SHARED)


class Kind(enum.IntEnum):
    """Why an entry was written."""

    ACCRUAL = 0
    """Time passed."""
    CORRECTION = 1
    """An earlier entry turned out wrong: its amounts negated, or what replaces them."""
    INVOICE = 2
    """Money only: the difference between what was accrued and what the supplier's invoice says."""


class Place(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A kind of device in one place: what prices and reports tell apart. Names are as Kubernetes has them.

    model: the device's product name. capacity_type: "on-demand", "spot", "reserved" or "". price_label,
    watts_label: what the node's labels say about its price per hour and the power of one device, "" if
    nothing.
    """

    node: str
    pool: str
    driver: str
    model: str
    instance_type: str = ""
    region: str = ""
    capacity_type: str = ""
    price_label: str = ""
    watts_label: str = ""


class Device(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A physical device, and the place it is in."""

    place: Place
    name: str

    @property
    def key(self) -> tuple[str, str, str]:
        """Driver, pool and name: what a device is known by."""
        return (self.place.driver, self.place.pool, self.name)


class PodRef(msgspec.Struct, frozen=True, gc=False):
    """A pod by name and uid, in the namespace of its account."""

    name: str
    uid: str = ""


class Account(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Whom an entry is about: who holds, with what, on whose decision; or, of what nobody holds, why.

    queue_path: the names of the queue and those above it from the top, as /top/queue/. workload: the object
    that stands for the gang, as kind/name. model: the AI model served or trained, where
    labels say it. mode: how the device is shared in fact (exclusive, mig, mps, time-slicing, consumable ...).
    profile: the part, such as 1g.10gb, "" for a whole device. decision: the id in the journal. pods: those
    that use the holding. labels: of the first pod, sorted. reason: of free and reserved time, a word in
    CamelCase.
    """

    queue: str = ""
    queue_path: str = ""
    namespace: str = ""
    workload: str = ""
    workload_uid: str = ""
    claim: str = ""
    claim_uid: str = ""
    owner: str = ""
    model: str = ""
    mode: str = ""
    profile: str = ""
    decision: str = ""
    pods: tuple[PodRef, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    reason: str = ""


class Holding(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A part of a device that somebody has. share: of the device, above 0.

    key: what tells it from other holdings of the device and stays the same while it is held (a claim's uid
    and share, a pod's uid). since_ms: when it was given, where that is known.
    """

    key: str
    account: Account
    share: Fraction
    since_ms: int | None = None


class Spare(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A part of a device that nobody has: IDLE, STRANDED or SYSTEM, and why."""

    category: Category
    share: Fraction
    reason: str


class Occupancy(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Who has which part of a device. The shares of holdings and spare add up to its capacity.

    capacity: 1; less for a MIG instance that a device plugin hands out without saying which device it is of.
    index, width, of: where the device's part of its node's price lies, in slices of it (`accrued_share`): for
    whole devices its number among them, 1, and how many there are.
    """

    device: Device
    holdings: tuple[Holding, ...]
    spare: tuple[Spare, ...]
    index: int = 0
    width: int = 1
    of: int = 1
    capacity: Fraction = Fraction(1)

    def __post_init__(self) -> None:
        shares = [item.share for item in self.holdings] + [item.share for item in self.spare]
        if len(shares) == 1 and shares[0] is self.capacity:
            return
        total = sum(shares, Fraction(0))
        if total != self.capacity or min(shares) <= 0:
            raise ValueError(f"the parts of {self.device.key} add up to {total}, not to {self.capacity}")

    @property
    def whole(self) -> bool:
        """One holding has the whole device."""
        return len(self.holdings) == 1 and self.holdings[0].share == 1


class Span(msgspec.Struct, frozen=True, gc=False):
    """A stretch of time, from start_ms to before end_ms, in which a device's occupancy stayed the same."""

    occupancy: Occupancy
    start_ms: int
    end_ms: int

    @property
    def length_ms(self) -> int:
        return self.end_ms - self.start_ms

    @property
    def capacity_ms(self) -> int:
        """Device time that there was: length times capacity, by a running total that does not drift."""
        part = self.occupancy.capacity
        over, under = part.numerator, part.denominator
        return self.end_ms * over // under - self.start_ms * over // under


class Entry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One line of the ledger. All amounts are integers in the units of this package.

    device_ms: device time, by the part held. used_ms: how much of it the device was busy; known_ms,
    use_measured_ms: the device time of which use is known at all, and known by measurement. energy_mj:
    energy; metered_ms: the device time of which energy is known; measured_mj: energy that was measured.
    """

    device: Device
    account: Account
    category: Category
    start_ms: int
    end_ms: int
    kind: Kind = Kind.ACCRUAL
    device_ms: int = 0
    used_ms: int = 0
    known_ms: int = 0
    use_measured_ms: int = 0
    energy_mj: int = 0
    metered_ms: int = 0
    measured_mj: int = 0
    cost_micros: int = 0
    carbon_ug: int = 0

    @property
    def use_provenance(self) -> Provenance:
        """How well use is known: UNKNOWN as soon as a part of it is."""
        return _provenance(self.known_ms == self.device_ms, self.use_measured_ms == self.device_ms)

    @property
    def energy_provenance(self) -> Provenance:
        return _provenance(self.metered_ms == self.device_ms, self.measured_mj == self.energy_mj)

    def negated(self) -> "Entry":
        """What takes this entry back."""
        amounts = {name: -getattr(self, name) for name in AMOUNTS}
        return msgspec.structs.replace(self, kind=Kind.CORRECTION, **amounts)


AMOUNTS = (
    "device_ms",
    "used_ms",
    "known_ms",
    "use_measured_ms",
    "energy_mj",
    "metered_ms",
    "measured_mj",
    "cost_micros",
    "carbon_ug",
)
"""The fields of an entry that are added up."""


def _provenance(known: bool, measured: bool) -> Provenance:
    if not known:
        return Provenance.UNKNOWN
    return Provenance.MEASURED if measured else Provenance.ESTIMATED


def totals(entries: Iterable[Entry]) -> dict[str, int]:
    """The sums of all amounts."""
    found = dict.fromkeys(AMOUNTS, 0)
    for entry in entries:
        for name in AMOUNTS:
            found[name] += getattr(entry, name)
    return found
