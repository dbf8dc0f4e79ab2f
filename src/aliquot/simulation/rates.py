"""What a node has and costs: devices, money per hour, power. From its labels, else from the catalogue."""

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from functools import cache

import msgspec

from aliquot.catalog.accelerators import Accelerator, accelerators
from aliquot.catalog.prices import MICROS, prices_of
from aliquot.fractions.resources import extended_devices
from aliquot.model.core import Node
from aliquot.model.resource import ResourceSlice
from aliquot.queues.amounts import UNIT
from aliquot.scheduling.objectives import POWER_LABEL, PRICE_LABEL
from aliquot.scheduling.policy import NO_ACCELERATORS

SPOT_LABELS: Mapping[str, str] = {
    "karpenter.sh/capacity-type": "spot",
    "eks.amazonaws.com/capacityType": "SPOT",
    "cloud.google.com/gke-spot": "true",
    "kubernetes.azure.com/scalesetpriority": "spot",
    "aliquot.dev/spot": "true",
}
"""Labels that say that a node may be reclaimed at any time (Karpenter, EKS, GKE, AKS, Aliquot)."""

INSTANCE_TYPE = "node.kubernetes.io/instance-type"
REGION = "topology.kubernetes.io/region"
_PRODUCT_LABELS = ("nvidia.com/gpu.product", "amd.com/gpu.product-name")
_MOST = 10**12


class NodeRates(msgspec.Struct, frozen=True):
    """devices: physical devices, in billionths. cost: micro-units of money per hour; None: not known. idle,
    peak: milliwatts of one device that is free and one that is held; None: not known."""

    devices: int
    cost: int | None = None
    idle: int | None = None
    peak: int | None = None

    def power(self, held: int) -> int:
        """Milliwatts times billionths that the node's devices draw with so many of them held."""
        if self.peak is None:
            return 0
        idle = self.idle or 0
        return self.devices * idle + min(held, self.devices) * (self.peak - idle)


def is_spot(node: Node) -> bool:
    """Whether the node may be reclaimed at any time."""
    labels = node.metadata.labels
    return any(labels.get(name) == value for name, value in SPOT_LABELS.items())


def in_order(node: Node) -> bool:
    """Whether the node is ready. One that takes no new work (cordoned, drained) is there all the same, and is
    paid for."""
    return all(item.status == "True" for item in node.status.conditions if item.type == "Ready")


def takes_work(node: Node) -> bool:
    """Whether the node is in order and may be given work."""
    return in_order(node) and not node.spec.unschedulable


def node_rates(node: Node, slices: Sequence[ResourceSlice]) -> NodeRates:
    """What the node has and costs. slices: those of the node."""
    idle, peak = _power(node, slices)
    return NodeRates(_devices(node, slices), _cost(node), idle, peak)


def _devices(node: Node, slices: Sequence[ResourceSlice]) -> int:
    """Physical devices: counter sets, and devices that draw on none; else those of device plugins."""
    found = 0
    for item in slices:
        if item.spec.driver in NO_ACCELERATORS:
            continue
        found += len(item.spec.shared_counters)
        found += sum(1 for device in item.spec.devices if not device.consumes_counters)
    if found:
        return found * UNIT
    whole = {name: int(amount.value()) for name, amount in node.status.allocatable.items() if "/" in name}
    return int(Fraction(extended_devices(whole, node)) * UNIT)


def _cost(node: Node) -> int | None:
    labels = node.metadata.labels
    said = labels.get(PRICE_LABEL)
    if said is not None:
        try:
            amount = Decimal(said)
        except InvalidOperation:
            return None
        return int(amount * MICROS) if amount.is_finite() and 0 <= amount < _MOST else None
    kind = labels.get(INSTANCE_TYPE, "")
    found = prices_of(kind, labels.get(REGION, "")) if kind else ()
    spot = is_spot(node)
    known = [price.spot_micros if spot else price.on_demand_micros for price in found]
    given = [amount for amount in known if amount is not None]
    return min(given) if given else None


def product(node: Node, slices: Sequence[ResourceSlice]) -> str:
    """The product name of the node's devices, "" where nothing says it."""
    labels = node.metadata.labels
    named = (device.attributes.get("productName") for item in slices for device in item.spec.devices)
    model = next((found.string for found in named if found is not None and found.string), "")
    return model or next((labels[name] for name in _PRODUCT_LABELS if name in labels), "")


def _power(node: Node, slices: Sequence[ResourceSlice]) -> tuple[int | None, int | None]:
    labels = node.metadata.labels
    accelerator = _by_product().get(_plain(product(node, slices)))
    peak = accelerator.tdp_w if accelerator is not None else None
    idle = accelerator.idle_w if accelerator is not None else None
    said = labels.get(POWER_LABEL)
    if said is not None:
        try:
            watts = Decimal(said)
        except InvalidOperation:
            watts = Decimal(-1)
        if watts.is_finite() and 0 <= watts < _MOST:
            return round((idle or 0) * 1000), int(watts * 1000)
    return (None if idle is None else round(idle * 1000)), (None if peak is None else round(peak * 1000))


@cache
def _by_product() -> dict[str, Accelerator]:
    return {_plain(item.product_name): item for item in accelerators().values()}


def _plain(product: str) -> str:
    """A product's name without what drivers and labels write differently."""
    return product.lower().replace("-", " ").replace("_", " ").strip()
