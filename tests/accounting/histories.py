"""Random histories of devices, and a plain count of who had what, millisecond by millisecond."""

from dataclasses import dataclass, field
from fractions import Fraction

from hypothesis import strategies as st

from aliquot.accounting.entries import (
    Account,
    Category,
    Device,
    Holding,
    Occupancy,
    Place,
    PodRef,
    Spare,
)

BEGIN_MS = 1_790_000_000_000
"""Some time in 2026, not a full hour."""

PLACES = (
    Place(node="n1", pool="n1", driver="gpu.nvidia.com", model="NVIDIA H100 80GB HBM3", price_label="98.321"),
    Place(node="n2", pool="n2", driver="gpu.nvidia.com", model="NVIDIA A100-SXM4-40GB", price_label="7"),
)
DEVICES = tuple(Device(place=place, name=f"gpu-{number}") for place in PLACES for number in range(2))
NAMES = ("a", "b", "c", "d")


def account(name: str, pods: tuple[str, ...] = ()) -> Account:
    return Account(
        queue=f"queue-{name}",
        queue_path=f"/top/queue-{name}/",
        namespace=f"ns-{name}",
        workload=f"job/{name}",
        claim=f"claim-{name}",
        claim_uid=f"uid-{name}",
        mode="mig",
        pods=tuple(PodRef(pod) for pod in pods or (f"{name}-0",)),
        labels=(("team", f"team-{name}"),),
    )


def holding(name: str, share: Fraction = Fraction(1), since_ms: int | None = None) -> Holding:
    return Holding(key=name, account=account(name), share=share, since_ms=since_ms)


def occupancy(
    device: Device, *holdings: Holding, category: Category = Category.IDLE, reason: str = "Expected"
) -> Occupancy:
    """These holdings; the rest is free (or stranded, or system)."""
    rest = 1 - sum((item.share for item in holdings), Fraction(0))
    spare = (Spare(category=category, share=rest, reason=reason),) if rest else ()
    number = DEVICES.index(device)
    return Occupancy(device=device, holdings=holdings, spare=spare, index=number % 2, of=2)


@st.composite
def occupancies(draw: st.DrawFn, device: Device) -> Occupancy:
    """Whole, split in sevenths or eighths, free, stranded or out of order."""
    whole = draw(st.integers(0, 3)) == 0
    if whole:
        return occupancy(device, holding(draw(st.sampled_from(NAMES))))
    slices = draw(st.sampled_from((7, 8)))
    left, parts = slices, []
    for name in draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=4)):
        size = draw(st.integers(1, 3))
        if size <= left:
            parts.append(holding(name, Fraction(size, slices)))
            left -= size
    category = draw(st.sampled_from((Category.IDLE, Category.STRANDED, Category.SYSTEM)))
    return occupancy(device, *parts, category=category, reason=draw(st.sampled_from(("R1", "R2"))))


@dataclass(frozen=True)
class Look:
    """What somebody saw at a time of a clock. crash: where the process ends while it writes what it saw."""

    now_ms: int
    seen: tuple[Occupancy, ...]
    crash: int | None = None
    repeat: bool = False


@dataclass
class History:
    looks: list[Look] = field(default_factory=list)


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Looks at devices that come, change and go, with clocks that are set, crashes and repeated writes."""
    now = BEGIN_MS
    found = History()
    for _ in range(draw(st.integers(2, 9))):
        now += draw(
            st.one_of(
                st.integers(0, 2_000),
                st.integers(1_000, 290_000),
                st.integers(300_000, 9_000_000),
                st.integers(-400_000, 0),
            )
        )
        present = draw(st.lists(st.sampled_from(DEVICES), unique=True, max_size=4))
        seen = tuple(draw(occupancies(device)) for device in sorted(present, key=lambda item: item.key))
        crash = draw(st.one_of(st.none(), st.none(), st.integers(0, 30)))
        found.looks.append(Look(now, seen, crash, draw(st.booleans())))
    return found
