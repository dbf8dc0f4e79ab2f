"""What a pod takes of a node's resources, by the formula of the Kubernetes scheduler.

Amounts are integers: CPU in thousandths of a core, everything else in whole units (bytes, devices), each
rounded up, as the scheduler compares them. Source: k8s.io/component-helpers/resource (PodRequests), KEP-753
(sidecar containers), KEP-2837 (pod-level resources), KEP-688 (overhead).
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache

from aliquot.cel.quantity import Quantity
from aliquot.model.core import Container, PodSpec, ResourceRequirements

CPU = "cpu"
MEMORY = "memory"
PODS = "pods"

_POD_LEVEL = (CPU, MEMORY)
_POD_LEVEL_PREFIX = "hugepages-"


def amount(resource: str, quantity: Quantity) -> int:
    """A quantity of a resource as the integer that the scheduler compares: 1500m cpu -> 1500, 1Ki -> 1024."""
    return quantity.milli() if resource == CPU else quantity.value()


def amounts(quantities: Mapping[str, Quantity]) -> dict[str, int]:
    return {resource: amount(resource, quantity) for resource, quantity in quantities.items()}


@lru_cache(maxsize=10_000)
def written(resource: str, number: int) -> str:
    """An amount as a Kubernetes quantity: 1500 of cpu -> "1500m", 1024 of memory -> "1Ki"."""
    if resource == CPU:
        return str(Quantity(number * 10**6))
    if (resource == MEMORY or resource == "ephemeral-storage" or resource.startswith("hugepages-")) and (
        number % 1024 == 0
    ):
        return _binary(number)
    return str(Quantity.of(number))


def _binary(number: int) -> str:
    suffixes = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
    step = 0
    while number and number % 1024 == 0 and step < len(suffixes) - 1:
        number //= 1024
        step += 1
    return f"{number}{suffixes[step]}"


def pod_requests(spec: PodSpec) -> dict[str, int]:
    """What the pod takes of its node, one of "pods" included.

    Containers add up; init containers run one after the other, each beside the sidecars started before it, so
    the largest such moment counts if it exceeds the running phase. Requests of the pod as a whole replace the
    sums for CPU, memory and huge pages. Overhead comes on top.

    >>> # app 1 cpu, sidecar 1 cpu, an init container of 3 cpu after the sidecar: max(1 + 1, 1 + 3) = 4
    """
    nano = _sum(_requests(container) for container in spec.containers)
    if spec.init_containers:
        nano = _with_init_containers(nano, spec.init_containers)
    if spec.resources is not None:
        for resource, quantity in _defaulted(spec.resources).items():
            if resource in _POD_LEVEL or resource.startswith(_POD_LEVEL_PREFIX):
                nano[resource] = quantity.nano
    for resource, quantity in spec.overhead.items():
        nano[resource] = nano.get(resource, 0) + quantity.nano
    found = {resource: _rounded(resource, total) for resource, total in nano.items() if total > 0}
    found[PODS] = 1
    return found


def _rounded(resource: str, nano: int) -> int:
    return -(-nano // 10**6) if resource == CPU else -(-nano // 10**9)


def _requests(container: Container) -> Mapping[str, Quantity]:
    return _defaulted(container.resources)


def _defaulted(resources: ResourceRequirements) -> Mapping[str, Quantity]:
    """Requests, with the limit for a resource that has no request: what the API server stores."""
    if not resources.limits:
        return resources.requests
    return {**resources.limits, **resources.requests}


def _sum(parts: Iterable[Mapping[str, Quantity]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in parts:
        for resource, quantity in part.items():
            total[resource] = total.get(resource, 0) + quantity.nano
    return total


def _with_init_containers(running: dict[str, int], init_containers: Iterable[Container]) -> dict[str, int]:
    sidecars: dict[str, int] = {}
    largest: dict[str, int] = {}
    for container in init_containers:
        own = {resource: quantity.nano for resource, quantity in _requests(container).items()}
        for resource, number in sidecars.items():
            own[resource] = own.get(resource, 0) + number
        if container.restart_policy == "Always":
            sidecars = own
        for resource, number in own.items():
            largest[resource] = max(largest.get(resource, 0), number)
    total = dict(running)
    for resource, number in sidecars.items():
        total[resource] = total.get(resource, 0) + number
    for resource, number in largest.items():
        total[resource] = max(total.get(resource, 0), number)
    return total
