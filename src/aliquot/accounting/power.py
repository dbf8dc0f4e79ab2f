"""What device models draw, from what nodes say, else from the catalogue."""

from decimal import Decimal, InvalidOperation
from functools import cache

from aliquot.accounting.energy import IDLE_PART_OF_PEAK, Power
from aliquot.accounting.entries import Device
from aliquot.catalog.accelerators import Accelerator, accelerators

_MOST_WATTS = 100_000


def power_of(device: Device) -> Power | None:
    """The power of a device: the node's label aliquot.dev/watts-per-device for the highest, else the
    catalogue's TDP for its product name; None if neither says it."""
    return _power(device.place.model, device.place.watts_label)


@cache
def _power(model: str, label: str) -> Power | None:
    known = by_product().get(plain(model))
    peak = known.tdp_w if known is not None else None
    said = _watts(label)
    if said is not None:
        peak = float(said)
    if peak is None:
        return None
    peak_mw = round(peak * 1000)
    if known is not None and known.idle_w is not None:
        return Power(min(round(known.idle_w * 1000), peak_mw), peak_mw)
    return Power(int(peak_mw * IDLE_PART_OF_PEAK), peak_mw, assumed_idle=True)


def _watts(label: str) -> Decimal | None:
    try:
        watts = Decimal(label)
    except InvalidOperation:
        return None
    return watts if watts.is_finite() and 0 < watts < _MOST_WATTS else None


@cache
def by_product() -> dict[str, Accelerator]:
    """Accelerators by their product name, written plainly."""
    return {plain(item.product_name): item for item in accelerators().values() if item.product_name}


def plain(product: str) -> str:
    """A product's name without what drivers and labels write differently."""
    return product.lower().replace("-", " ").replace("_", " ").strip()
