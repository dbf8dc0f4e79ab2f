"""Extended resources that device classes stand for (KEP-5004): what a pod asks for by count, as a claim.

The scheduler makes that claim by itself, allocates it on the node that it picks and deletes it when binding
fails. Nothing of it is written here: the claim is only imagined, to find a node and to count it in queues.
On a node whose device plugin offers a resource of that name the plugin serves it, without any claim.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from msgspec.structs import replace

from aliquot.model.core import Container, Pod, PodSpec, ResourceRequirements
from aliquot.model.meta import ObjectMeta
from aliquot.model.resource import (
    DeviceClaim,
    DeviceClass,
    DeviceRequest,
    ExactDeviceRequest,
    ResourceClaim,
    ResourceClaimSpec,
)

IMPLICIT = "deviceclass.resource.kubernetes.io/"
"""Every class stands for the extended resource of this prefix and its own name."""

SINCE = (1, 36)
"""The Kubernetes version from which on the scheduler does this by default (DRAExtendedResource, beta)."""

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)

Mapped = tuple[str, str, str]
"""Container, resource and request of the claim: an entry of status.extendedResourceClaimStatus."""


def backing_classes(classes: Iterable[DeviceClass]) -> dict[str, str]:
    """The class behind each extended resource. Of several for one name the newest counts, then the first by
    name.
    """
    found: dict[str, DeviceClass] = {}
    for item in sorted(classes, key=lambda item: item.metadata.name):
        found[f"{IMPLICIT}{item.metadata.name}"] = item
        name = item.spec.extended_resource_name
        if name and (name not in found or _created(item) > _created(found[name])):
            found[name] = item
    return {name: item.metadata.name for name, item in found.items()}


def _created(item: DeviceClass) -> datetime:
    return item.metadata.creation_timestamp or _LONG_AGO


def imagined_claim(pod: Pod, classes: Mapping[str, str]) -> ResourceClaim:
    """The claim that the scheduler would make for these resources of the pod (resource to class)."""
    meta = pod.metadata
    requests, _ = device_requests(pod.spec, classes)
    return ResourceClaim(
        metadata=ObjectMeta(name=f"{meta.name}-extended-resources", namespace=meta.namespace),
        spec=ResourceClaimSpec(devices=DeviceClaim(requests=requests)),
    )


def device_requests(
    spec: PodSpec, classes: Mapping[str, str]
) -> tuple[tuple[DeviceRequest, ...], tuple[Mapped, ...]]:
    """A request for each container and resource, and which container uses which request.

    Init containers that end use what the containers after them have, and need more only beyond that; as they
    run one after the other, the largest such need serves all of them.

    >>> # init: 3, then containers of 1 and 1: requests of 1, 1 and, for the init container, 1 more
    """
    containers = (*spec.init_containers, *spec.containers)
    requests: list[DeviceRequest] = []
    mapped: list[Mapped] = []
    for resource in sorted(classes):
        device_class = classes[resource]
        lasting: dict[int, tuple[str, int]] = {}
        passing: list[int] = []
        for index, container in enumerate(containers):
            count = _amount(container, resource)
            if not count:
                continue
            if index < len(spec.init_containers) and container.restart_policy != "Always":
                passing.append(index)
                continue
            name = _request_name(index, container, resource)
            lasting[index] = (name, count)
            requests.append(_request(name, device_class, count))
            mapped.append((container.name, resource, name))
        more: dict[int, int] = {}
        used: dict[int, list[str]] = {}
        for index in passing:
            missing = _amount(containers[index], resource)
            used[index] = []
            for other in sorted(lasting):
                if other >= index and missing > 0:
                    name, count = lasting[other]
                    used[index].append(name)
                    missing -= count
            if missing > 0:
                more[index] = missing
        extra = ""
        if more:
            largest = max(more, key=lambda index: (more[index], -index))
            extra = _request_name(largest, containers[largest], resource)
            requests.append(_request(extra, device_class, more[largest]))
        for index in passing:
            names = [*used[index], *([extra] if index in more else [])]
            mapped += [(containers[index].name, resource, name) for name in names]
    return tuple(sorted(requests, key=lambda request: request.name)), tuple(mapped)


def _request(name: str, device_class: str, count: int) -> DeviceRequest:
    exactly = ExactDeviceRequest(device_class_name=device_class, allocation_mode="ExactCount", count=count)
    return DeviceRequest(name=name, exactly=exactly)


def _request_name(index: int, container: Container, resource: str) -> str:
    """`container-<number>-request-<number of the resource among all that the container requests>`."""
    names = sorted({**container.resources.limits, **container.resources.requests})
    return f"container-{index}-request-{names.index(resource)}"


def _amount(container: Container, resource: str) -> int:
    found = container.resources.requests.get(resource) or container.resources.limits.get(resource)
    return found.value() if found is not None else 0


def without(pod: Pod, names: Iterable[str]) -> Pod:
    """The pod as it would be if it did not ask for these resources."""
    dropped = frozenset(names)
    spec = pod.spec
    return replace(
        pod,
        spec=replace(
            spec,
            containers=tuple(_container(item, dropped) for item in spec.containers),
            init_containers=tuple(_container(item, dropped) for item in spec.init_containers),
        ),
    )


def _container(container: Container, dropped: frozenset[str]) -> Container:
    resources = container.resources
    kept = ResourceRequirements(
        requests={name: value for name, value in resources.requests.items() if name not in dropped},
        limits={name: value for name, value in resources.limits.items() if name not in dropped},
        claims=resources.claims,
    )
    return replace(container, resources=kept)
