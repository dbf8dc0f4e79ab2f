"""Consumable shares of the NVIDIA DRA driver (gate ConsumableShares): several claims on one device.

Source: kubernetes-sigs/dra-driver-nvidia-gpu cmd/gpu-kubelet-plugin/consumable_shares.go; KEP-5075 for the
policy.
"""

from aliquot.catalog.drivers.publication import Json, binary_quantity
from aliquot.cel.quantity import Quantity

STEP = 1 << 20


def make_shareable(device: Json, mode: str) -> None:
    """Let several claims share a device, in place.

    mode `memory`: a claim takes the memory it asks for, all of it by default. `unlimited`: memory is 0 by
    default, so that any number of claims fit. A number N: at most N claims of one share each, memory as in
    `unlimited`. The memory is rounded down to whole MiB, because the policy's maximum must be a multiple of
    its step.
    """
    device["allowMultipleAllocations"] = True
    amount = Quantity.parse(device["capacity"]["memory"]["value"]).value() // STEP * STEP
    full = binary_quantity(amount)
    lowest, default = ("1Mi", full) if mode == "memory" else ("0", "0")
    device["capacity"]["memory"] = {
        "value": full,
        "requestPolicy": {
            "default": default,
            "validRange": {"min": lowest, "max": full, "step": "1Mi"},
        },
    }
    if mode.isdigit():
        device["capacity"]["shares"] = {
            "value": mode,
            "requestPolicy": {"default": "1", "validRange": {"min": "1", "max": mode, "step": "1"}},
        }
