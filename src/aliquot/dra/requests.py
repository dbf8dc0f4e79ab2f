"""Claims made ready for allocation: requests, alternatives and constraints, checked for validity.

Claims with equal specs share one Blueprint, however many there are.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from aliquot.dra.demand import Demand
from aliquot.dra.fleet import Fleet
from aliquot.model.kinds import encode_json
from aliquot.model.resource import (
    DeviceAllocationConfiguration,
    DeviceClaim,
    DeviceClass,
    DeviceRequest,
    DeviceSelector,
    DeviceSubRequest,
    ExactDeviceRequest,
    ResourceClaim,
)

MAX_RESULTS = 32
"""A claim gets at most this many devices (resource.k8s.io AllocationResultsMaxSize)."""

MAX_BLUEPRINTS = 10_000
"""Distinct specs remembered before the memory is emptied."""


MAX_JUDGEMENTS = 1_000_000
"""Pools judged for demands that are remembered before the memory is emptied."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A claim that can never be allocated as it is. path: the field; problem: what is wrong with it."""

    path: str
    problem: str


@dataclass(frozen=True, slots=True, eq=False)
class Alternative:
    """One way to serve a request. name: "request" or "request/alternative". count: None stands for All."""

    name: str
    demand: Demand
    count: int | None
    device_class: DeviceClass
    path: str


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """alternatives: in order of preference; a plain request has exactly one."""

    name: str
    alternatives: tuple[Alternative, ...]


@dataclass(frozen=True, slots=True)
class Constraint:
    """attribute: fully qualified. requests: the names it applies to; empty means all."""

    attribute: str
    distinct: bool
    requests: frozenset[str]

    def covers(self, request: str, alternative: str) -> bool:
        """Whether it applies to devices of a request when it is served by that alternative."""
        return not self.requests or request in self.requests or alternative in self.requests


@dataclass(frozen=True, slots=True, eq=False)
class Blueprint:
    """A claim spec made ready. problem: the first thing wrong with it; then the rest may be incomplete.

    configs: remembered by `results`, by style and the alternative that serves each request.
    """

    spec: DeviceClaim
    requests: tuple[Request, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    problem: Problem | None = None
    configs: dict[tuple[str, tuple[Alternative, ...]], tuple[DeviceAllocationConfiguration, ...]] = field(
        default_factory=dict
    )

    @property
    def least(self) -> int:
        """How many devices the claim needs at least; requests for All are counted as none."""
        return sum(min(each.count or 0 for each in request.alternatives) for request in self.requests)


class RefusedError(Exception):
    """Ends the preparation of a spec at its first problem."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path = path
        self.problem = problem


def blueprint(fleet: Fleet, claim: ResourceClaim) -> Blueprint:
    """The claim's spec made ready for the fleet's classes; remembered per spec."""
    spec = claim.spec.devices
    key = encode_json(spec)
    known = fleet.blueprints.get(key)
    if known is None:
        # Every demand remembers something about every pool, so the larger the fleet the fewer are kept.
        if len(fleet.blueprints) >= MAX_BLUEPRINTS or len(fleet.demands) * len(fleet.pools) > MAX_JUDGEMENTS:
            fleet.blueprints.clear()
            fleet.demands.clear()
        known = fleet.blueprints[key] = _prepare(fleet, spec)
    return known


def _prepare(fleet: Fleet, spec: DeviceClaim) -> Blueprint:
    try:
        requests = tuple(_request(fleet, request, number) for number, request in enumerate(spec.requests))
        constraints = tuple(_constraints(spec))
        ready = Blueprint(spec, requests, constraints)
        if ready.least > MAX_RESULTS:
            raise RefusedError(
                "spec.devices.requests", f"asks for {ready.least} devices; a claim gets {MAX_RESULTS} at most"
            )
    except RefusedError as refused:
        return Blueprint(spec, problem=Problem(refused.path, refused.problem))
    return ready


def _request(fleet: Fleet, request: DeviceRequest, number: int) -> Request:
    path = f"spec.devices.requests[{number}]"
    if request.first_available:
        if not fleet.features.prioritized_list:
            raise RefusedError(f"{path}.firstAvailable", "needs the feature DRAPrioritizedList, which is off")
        return Request(
            request.name,
            tuple(
                _alternative(fleet, each, f"{request.name}/{each.name}", f"{path}.firstAvailable[{position}]")
                for position, each in enumerate(request.first_available)
            ),
        )
    if request.exactly is None:
        raise RefusedError(path, "must say either exactly or firstAvailable")
    return Request(request.name, (_alternative(fleet, request.exactly, request.name, f"{path}.exactly"),))


def _alternative(
    fleet: Fleet, wanted: ExactDeviceRequest | DeviceSubRequest, name: str, path: str
) -> Alternative:
    if not wanted.device_class_name:
        raise RefusedError(f"{path}.deviceClassName", "must name a device class")
    device_class = fleet.classes.get(wanted.device_class_name)
    if device_class is None:
        raise RefusedError(
            f"{path}.deviceClassName", f"device class {wanted.device_class_name} does not exist"
        )
    admin = None if isinstance(wanted, DeviceSubRequest) else wanted.admin_access
    if admin is not None and not fleet.features.admin_access:
        raise RefusedError(f"{path}.adminAccess", "needs the feature DRAAdminAccess, which is off")
    if wanted.capacity is not None and not fleet.features.consumable_capacity:
        raise RefusedError(f"{path}.capacity", "needs the feature DRAConsumableCapacity, which is off")
    if wanted.allocation_mode not in ("", "ExactCount", "All"):
        raise RefusedError(f"{path}.allocationMode", f"unknown mode {wanted.allocation_mode}")
    count = None
    if wanted.allocation_mode != "All":
        count = 1 if wanted.count is None else wanted.count
        if count < 0:
            raise RefusedError(f"{path}.count", "must not be negative")
    of_class = _expressions(device_class.spec.selectors, f"device class {wanted.device_class_name}: ", path)
    of_request = _expressions(wanted.selectors, "", path)
    demand = Demand.of(
        fleet,
        fleet.matchers.of(of_class, of_request),
        wanted.tolerations,
        {} if wanted.capacity is None else wanted.capacity.requests,
        admin=bool(admin),
    )
    return Alternative(name, demand, count, device_class, path)


def _expressions(selectors: tuple[DeviceSelector, ...], place: str, path: str) -> tuple[str, ...]:
    for number, selector in enumerate(selectors):
        if selector.cel is None:
            raise RefusedError(f"{path}.selectors[{number}]", f"{place}is no CEL selector")
    return tuple(selector.cel.expression for selector in selectors if selector.cel is not None)


def _constraints(spec: DeviceClaim) -> Iterator[Constraint]:
    for number, constraint in enumerate(spec.constraints):
        names = frozenset(constraint.requests)
        if constraint.match_attribute is not None:
            yield Constraint(constraint.match_attribute, False, names)
        elif constraint.distinct_attribute is not None:
            yield Constraint(constraint.distinct_attribute, True, names)
        else:
            raise RefusedError(
                f"spec.devices.constraints[{number}]", "must say matchAttribute or distinctAttribute"
            )
