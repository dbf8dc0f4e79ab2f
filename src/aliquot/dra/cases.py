"""Cases: recorded inputs of the structured allocator and of device selectors, in their JSON format.

An allocation case has `name`, `features` (switches: adminAccess, consumableCapacity,
deviceBindingAndStatus, deviceTaints, listTypeAttributes, partitionableDevices, prioritizedList), `node`,
`claimsToAllocate`, `deviceClasses`, `resourceSlices` and `allocatedState`. A selector case has `name`,
`features`, `envType`, `device` and `expression`.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from aliquot.cel.device import DeviceView
from aliquot.cel.environment import Environment
from aliquot.cel.errors import CompileError, EvaluationError
from aliquot.dra.allocator import Mode, allocate
from aliquot.dra.features import Features, KubernetesVersion
from aliquot.dra.fleet import Fleet
from aliquot.dra.outcome import Allocated, Invalid, Outcome, Unallocatable
from aliquot.dra.selectors import view_of
from aliquot.dra.usage import Usage
from aliquot.model.core import Node
from aliquot.model.kinds import convert, plain
from aliquot.model.resource import (
    Device,
    DeviceClass,
    DeviceSubRequest,
    ExactDeviceRequest,
    ResourceClaim,
    ResourceSlice,
)

Json = Mapping[str, Any]

Wanted = TypeVar("Wanted", ExactDeviceRequest, DeviceSubRequest)

SWITCHES = {
    "adminAccess": "admin_access",
    "consumableCapacity": "consumable_capacity",
    "deviceBindingAndStatus": "binding_conditions",
    "deviceTaints": "device_taints",
    "listTypeAttributes": "list_attributes",
    "partitionableDevices": "partitionable_devices",
    "prioritizedList": "prioritized_list",
}
"""The name of each switch in a case, and of the field of Features that it sets."""

_AGGREGATED = "aggregated"
"""Stands for the share id of shares of which only the sum is given."""


class CaseError(Exception):
    """A case that cannot be read. path: the field; problem: what is wrong with it."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path = path
        self.problem = problem


class AllocationCase(msgspec.Struct, frozen=True):
    """Claims to allocate on a node, and what is in use."""

    name: str
    fleet: Fleet
    usage: Usage
    node: Node
    claims: tuple[ResourceClaim, ...]

    @staticmethod
    def of(document: Json, kubernetes: KubernetesVersion = (1, 36)) -> "AllocationCase":
        """Raises CaseError. Switches that are not given are off; without `features` the version's count."""
        fleet = Fleet.of(
            _list(document, "resourceSlices", ResourceSlice),
            _list(document, "deviceClasses", DeviceClass),
            kubernetes=kubernetes,
            features=features_of(document, kubernetes),
        )
        state = document.get("allocatedState") or {}
        if not isinstance(state, Mapping):
            raise CaseError("allocatedState", "is not an object")
        return AllocationCase(
            _name(document),
            fleet,
            Usage.of(fleet, _holders(state)),
            _value(document.get("node"), "node", Node),
            tuple(_exact(claim) for claim in _list(document, "claimsToAllocate", ResourceClaim)),
        )

    def outcome(self, mode: Mode) -> Outcome:
        return allocate(self.fleet, self.usage, self.node, self.claims, mode=mode)

    def result(self, mode: Mode) -> dict[str, Any]:
        """The outcome in the form in which outcomes are recorded."""
        return recorded(self.name, self.outcome(mode))


def recorded(name: str, outcome: Outcome) -> dict[str, Any]:
    """An outcome as `name`, `outcome` (allocated, unallocatable, error), `results`, `error`."""
    match outcome:
        case Allocated(results=results):
            return {"name": name, "outcome": "allocated", "results": plain(results)}
        case Unallocatable():
            return {"name": name, "outcome": "unallocatable"}
        case Invalid(problem=problem, path=path):
            return {"name": name, "outcome": "error", "error": f"{path}: {problem}" if path else problem}
    return {"name": name, "outcome": "error", "error": f"the search stopped after {outcome.steps} steps"}


def is_allocation_case(document: Json) -> bool:
    return "claimsToAllocate" in document and "kind" not in document


def is_selector_case(document: Json) -> bool:
    return "expression" in document and "device" in document and "kind" not in document


class SelectorCase(msgspec.Struct, frozen=True):
    """A selector and one device."""

    name: str
    environment: Environment
    expression: str
    driver: str
    device: Device

    @staticmethod
    def of(document: Json, kubernetes: KubernetesVersion = (1, 36)) -> "SelectorCase":
        """Raises CaseError."""
        features = features_of(document, kubernetes)
        expression = document.get("expression")
        if not isinstance(expression, str):
            raise CaseError("expression", "is not text")
        device = document.get("device")
        if not isinstance(device, Mapping):
            raise CaseError("device", "is not an object")
        return SelectorCase(
            _name(document),
            Environment.for_devices(
                kubernetes,
                consumable_capacity=features.consumable_capacity,
                list_attributes=features.list_attributes,
                stored=document.get("envType", "StoredExpressions") == "StoredExpressions",
            ),
            expression,
            str(device.get("driver", "")),
            _value({key: value for key, value in device.items() if key != "driver"}, "device", Device),
        )

    def result(self) -> dict[str, Any]:
        """`name`, `outcome` (match, no-match, match-error, compile-error), `error`, costs."""
        try:
            program = self.environment.compile(self.expression)
        except CompileError as error:
            return {"name": self.name, "outcome": "compile-error", "error": str(error)}
        told = {"name": self.name, "outcome": "match-error", "maxCost": program.cost}
        view: DeviceView = view_of(self.driver, self.device)
        try:
            matched = program.matches(view)
            _, cost = program.measure({"device": view})
        except EvaluationError as error:
            return {**told, "error": str(error)}
        return {**told, "outcome": "match" if matched else "no-match", "actualCost": cost}


def features_of(document: Json, kubernetes: KubernetesVersion) -> Features:
    """The switches of a case. Raises CaseError."""
    switches = document.get("features")
    if switches is None:
        return Features.of(kubernetes)
    if not isinstance(switches, Mapping):
        raise CaseError("features", "is not an object")
    for name, value in switches.items():
        if name not in SWITCHES:
            raise CaseError(f"features.{name}", "is not a switch of the allocator")
        if not isinstance(value, bool):
            raise CaseError(f"features.{name}", "is neither true nor false")
    return Features(**{SWITCHES[name]: value for name, value in switches.items()})


def _holders(state: Json) -> list[ResourceClaim]:
    """Claims that hold what the allocated state says."""
    found = []
    for field in ("allocatedDevices", "allocatedSharedDeviceIDs", "aggregatedCapacity"):
        entries = state.get(field) or ()
        if not isinstance(entries, list | tuple):
            raise CaseError(f"allocatedState.{field}", "is not a list")
        for number, entry in enumerate(entries):
            path = f"allocatedState.{field}[{number}]"
            if not isinstance(entry, Mapping):
                raise CaseError(path, "is not an object")
            share = {"shareID": _AGGREGATED} if field == "aggregatedCapacity" else {}
            result = {"request": "held", **entry, **share}
            claim = {
                "kind": "ResourceClaim",
                "metadata": {"name": f"{field}-{number}"},
                "status": {"allocation": {"devices": {"results": [result]}}},
            }
            found.append(_value(claim, path, ResourceClaim))
    return found


def _exact(claim: ResourceClaim) -> ResourceClaim:
    """The claim as recorded: the API server fills in neither mode nor count of a case.

    A count that is left out is 0 there, as 0 is left out where claims are written; a mode that is left out
    is none that an allocator knows.
    """

    def exact(wanted: Wanted) -> Wanted:
        mode = wanted.allocation_mode or '""'
        return replace(wanted, allocation_mode=mode, count=wanted.count or 0)

    requests = tuple(
        replace(
            request,
            exactly=None if request.exactly is None else exact(request.exactly),
            first_available=tuple(map(exact, request.first_available)),
        )
        for request in claim.spec.devices.requests
    )
    devices = replace(claim.spec.devices, requests=requests)
    return replace(claim, spec=replace(claim.spec, devices=devices))


def _name(document: Json) -> str:
    name = document.get("name", "")
    if not isinstance(name, str):
        raise CaseError("name", "is not text")
    return name


def _list(document: Json, field: str, kind: type[Any]) -> tuple[Any, ...]:
    values = document.get(field) or ()
    if not isinstance(values, list | tuple):
        raise CaseError(field, "is not a list")
    return tuple(_value(value, f"{field}[{number}]", kind) for number, value in enumerate(values))


def _value(value: object, path: str, kind: type[Any]) -> Any:
    if not isinstance(value, Mapping):
        raise CaseError(path, "is missing" if value is None else "is not an object")
    if "kind" not in value and kind is not Device:
        value = {"kind": kind.__name__, **value}
    try:
        return convert(value, kind)
    except msgspec.ValidationError as error:
        problem, _, inner = str(error).partition(" - at `$")
        raise CaseError(f"{path}{inner.strip('`')}", problem) from None
