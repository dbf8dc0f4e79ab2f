"""What a pod asks of a node besides devices, in exact integers of 10^-9 units.

Source: Kubernetes documentation, "Resource Management for Pods and Containers", "Init containers" and
"Sidecar containers": init containers run one after the other, each beside the sidecars started before it;
then all containers and sidecars run together.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from aliquot.cel.quantity import Quantity, QuantityError
from aliquot.embedded.hooks import Object

Amounts = dict[str, int]

NANO = 1_000_000_000


@lru_cache(maxsize=16_384)
def nano(text: str) -> int:
    """A quantity as an integer of 10^-9 units; text that is no quantity counts as 0."""
    try:
        return Quantity.parse(text).nano
    except QuantityError:
        return 0


def amounts(listed: Mapping[str, Any] | None) -> Amounts:
    return {name: nano(str(value)) for name, value in (listed or {}).items()}


def _container(container: Object) -> Amounts:
    resources = container.get("resources") or {}
    return amounts(resources.get("limits")) | amounts(resources.get("requests")) if resources else {}


def _add(total: Amounts, more: Amounts) -> None:
    for name, value in more.items():
        total[name] = total.get(name, 0) + value


def _at_least(total: Amounts, least: Amounts) -> None:
    for name, value in least.items():
        if value > total.get(name, 0):
            total[name] = value


def pod_requests(pod: Object) -> Amounts:
    """Requests by resource name, and ``pods``: 1.

    >>> pod_requests({"spec": {"containers": [{"resources": {"requests": {"cpu": "500m"}}}]}})
    {'cpu': 500000000, 'pods': 1000000000}
    """
    spec = pod.get("spec") or {}
    together: Amounts = {}
    for container in spec.get("containers") or ():
        _add(together, _container(container))
    sidecars: Amounts = {}
    most: Amounts = {}
    for container in spec.get("initContainers") or ():
        own = _container(container)
        if container.get("restartPolicy") == "Always":
            _add(sidecars, own)
            _at_least(most, sidecars)
        else:
            beside = dict(sidecars)
            _add(beside, own)
            _at_least(most, beside)
    _add(together, sidecars)
    _at_least(together, most)
    pod_level = spec.get("resources") or {}
    together |= amounts(pod_level.get("requests"))
    _add(together, amounts(spec.get("overhead")))
    together["pods"] = NANO
    return together
