"""A proof that an allocation is valid, from the API's rules alone.

Nothing of the allocator takes part: selectors are evaluated anew, and what is in use is counted from the
claims. Only the reading of slices into pools is common to both.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from aliquot.cel.environment import Environment
from aliquot.cel.errors import CompileError, EvaluationError
from aliquot.dra.attributes import elements, is_list, lookup
from aliquot.dra.capacity import consumption
from aliquot.dra.clashes import Violation, check_cluster, claim_name, clashes
from aliquot.dra.fleet import Fleet
from aliquot.dra.nodeselection import selects
from aliquot.dra.pools import Pool
from aliquot.dra.selectors import view_of
from aliquot.dra.taints import untolerated
from aliquot.model.core import Node
from aliquot.model.resource import (
    AllocationResult,
    DeviceAllocationConfiguration,
    DeviceConstraint,
    DeviceRequest,
    DeviceRequestAllocationResult,
    DeviceSelector,
    DeviceSubRequest,
    ExactDeviceRequest,
    ResourceClaim,
    ResourceClaimStatus,
)

__all__ = ["Violation", "check", "check_cluster"]

MAX_RESULTS = 32

Wanted = ExactDeviceRequest | DeviceSubRequest


@dataclass(frozen=True, slots=True)
class Given:
    """One device result with what it refers to."""

    result: DeviceRequestAllocationResult
    request: str
    wanted: Wanted
    pool: Pool
    index: int


def check(
    allocation: AllocationResult,
    claim: ResourceClaim,
    fleet: Fleet,
    nodes: Sequence[Node],
    others: Iterable[ResourceClaim] = (),
) -> tuple[Violation, ...]:
    """Everything wrong with giving this allocation to the claim; empty if it is valid.

    nodes: those that exist; the allocation must be usable on each node that it says it is. others: the
    other claims, allocated or not; one with the claim's own name is left out.
    """
    return tuple(_Check(allocation, claim, fleet, nodes, others).violations())


class _Check:
    def __init__(
        self,
        allocation: AllocationResult,
        claim: ResourceClaim,
        fleet: Fleet,
        nodes: Sequence[Node],
        others: Iterable[ResourceClaim],
    ) -> None:
        self.allocation = allocation
        self.claim = claim
        self.fleet = fleet
        self.nodes = nodes
        self.others = [other for other in others if other.key != claim.key]
        self.environment = Environment.for_devices(
            fleet.kubernetes,
            consumable_capacity=fleet.features.consumable_capacity,
            list_attributes=fleet.features.list_attributes,
        )
        self.given: list[Given] = []

    def wrong(self, rule: str, subject: str = "", detail: str = "") -> Violation:
        return Violation(rule=rule, claims=(claim_name(self.claim),), subject=subject, detail=detail)

    def violations(self) -> Iterator[Violation]:
        results = self.allocation.devices.results
        if len(results) > MAX_RESULTS:
            yield self.wrong("TooManyResults", detail=str(len(results)))
        for result in results:
            yield from self._resolve(result)
        for given in self.given:
            yield from self._device(given)
        served: list[tuple[str, Wanted] | None] = []
        for request in self.claim.spec.devices.requests:
            found: list[tuple[str, Wanted]] = []
            yield from self._request(request, found)
            served.append(found[0] if found else None)
        for constraint in self.claim.spec.devices.constraints:
            yield from self._constraint(constraint)
        yield from self._repeated()
        yield from self._nodes()
        yield from self._config(served)
        held = ResourceClaim(
            metadata=self.claim.metadata, status=ResourceClaimStatus(allocation=self.allocation)
        )
        for violation in clashes(self.fleet, [held, *self.others]):
            if claim_name(self.claim) in violation.claims:
                yield violation

    def _resolve(self, result: DeviceRequestAllocationResult) -> Iterator[Violation]:
        subject = f"{result.driver}/{result.pool}/{result.device}"
        wanted = dict(_alternatives(self.claim.spec.devices.requests)).get(result.request)
        if wanted is None:
            yield self.wrong("UnknownRequest", result.request)
            return
        pool = self.fleet.pools.get((result.driver, result.pool))
        if pool is None or (not pool.problem and result.device not in pool.names):
            yield self.wrong("UnknownDevice", subject)
        elif pool.problem:
            yield self.wrong("UnusablePool", subject, pool.problem)
        else:
            request = result.request.partition("/")[0]
            self.given.append(Given(result, request, wanted, pool, pool.names[result.device]))

    def _device(self, given: Given) -> Iterator[Violation]:
        result, wanted, pool, index = given.result, given.wanted, given.pool, given.index
        features = self.fleet.features
        device = pool.devices[index]
        subject = f"{result.driver}/{result.pool}/{result.device}"
        problem = self._selected(wanted, pool, index)
        if problem:
            yield self.wrong("SelectorFails", subject, problem)
        admin = isinstance(wanted, ExactDeviceRequest) and bool(wanted.admin_access)
        if bool(result.admin_access) is not admin:
            yield self.wrong("AdminAccessDiffers", subject)
        if features.device_taints:
            taint = untolerated(self.fleet.taints.of(pool).get(index, ()), wanted.tolerations)
            if taint is not None:
                yield self.wrong("TaintNotTolerated", subject, f"{taint.key}={taint.value}:{taint.effect}")
        if result.tolerations != wanted.tolerations:
            yield self.wrong("TolerationsDiffer", subject)
        conditions = (device.binding_conditions or (), device.binding_failure_conditions or ())
        if not features.binding_conditions:
            if device.binding_conditions:
                yield self.wrong("BindingConditionsUnsupported", subject)
            conditions = ((), ())
        if (result.binding_conditions, result.binding_failure_conditions) != conditions:
            yield self.wrong("BindingConditionsDiffer", subject)
        requested = {} if wanted.capacity is None else wanted.capacity.requests
        taken = consumption(device, requested) if features.consumable_capacity else {}
        if taken is None:
            yield self.wrong("CapacityTooSmall", subject)
        # With admin access a share may be noted, but nothing is taken.
        shared = bool(pool.shareable >> index & 1) and not (admin and result.share_id is None)
        if (result.share_id is not None) is not shared:
            yield self.wrong("ShareIdDiffers", subject)
        if taken is not None and result.consumed_capacity != (taken if shared else {}):
            yield self.wrong("ConsumedCapacityDiffers", subject)

    def _selected(self, wanted: Wanted, pool: Pool, index: int) -> str:
        """Why the selectors of class and request do not select the device; "" if they do."""
        device_class = self.fleet.classes.get(wanted.device_class_name)
        if device_class is None:
            return f"device class {wanted.device_class_name} does not exist"
        selectors: tuple[DeviceSelector, ...] = (*device_class.spec.selectors, *wanted.selectors)
        view = view_of(pool.driver, pool.devices[index])
        for selector in selectors:
            text = "" if selector.cel is None else selector.cel.expression
            try:
                if not self.environment.compile(text).matches(view):
                    return text
            except (CompileError, EvaluationError) as error:
                return f"{text}: {error}"
        return ""

    def _request(self, request: DeviceRequest, served: list[tuple[str, Wanted]]) -> Iterator[Violation]:
        """Whether the request got what one of its alternatives asks for; which one is added to `served`."""
        named = [
            (name, wanted)
            for name, wanted in _alternatives([request])
            if any(given.result.request == name for given in self.given)
        ]
        if len(named) > 1:
            yield self.wrong("MixedAlternatives", request.name)
        if not named:
            for name, wanted in _alternatives([request]):
                if wanted.allocation_mode != "All" and wanted.count == 0:
                    served.append((name, wanted))
                    return
            yield self.wrong("RequestNotServed", request.name)
            return
        name, wanted = named[0]
        served.append((name, wanted))
        own = [given for given in self.given if given.result.request == name]
        devices = {(given.pool.key, given.index) for given in own}
        if len(devices) < len(own):
            yield self.wrong("DeviceRepeated", name)
        if wanted.allocation_mode == "All":
            yield from self._all(name, wanted, {(given.pool.key, given.index) for given in own})
        elif len(own) != (1 if wanted.count is None else wanted.count):
            yield self.wrong("CountDiffers", name, f"{len(own)} devices")

    def _all(self, name: str, wanted: Wanted, have: set[tuple[tuple[str, str], int]]) -> Iterator[Violation]:
        for node in self._usable_nodes()[:1]:
            for pool, devices in self.fleet.reach(node):
                if pool.problem:
                    yield self.wrong("UnusablePool", f"{pool.driver}/{pool.name}", pool.problem)
                for index in range(len(pool.devices)):
                    if (
                        devices >> index & 1
                        and (pool.key, index) not in have
                        and not self._selected(wanted, pool, index)
                        and self._could_be_part(wanted, pool, index)
                    ):
                        subject = f"{pool.driver}/{pool.name}/{pool.devices[index].name}"
                        yield self.wrong("DeviceMissing", subject, name)

    def _could_be_part(self, wanted: Wanted, pool: Pool, index: int) -> bool:
        """Whether a request for All has to include a device: not if its capacity does not suffice."""
        device = pool.devices[index]
        features = self.fleet.features
        if device.binding_conditions and not features.binding_conditions:
            return False
        if not features.consumable_capacity:
            return True
        taken = consumption(device, {} if wanted.capacity is None else wanted.capacity.requests)
        if taken is None or not pool.shareable >> index & 1:
            return taken is not None
        used = dict.fromkeys(taken, 0)
        for other in self.others:
            allocation = other.status.allocation
            for result in () if allocation is None else allocation.devices.results:
                if (result.driver, result.pool, result.device) == (pool.driver, pool.name, device.name):
                    for name, amount in result.consumed_capacity.items():
                        used[name] = used.get(name, 0) + amount.nano
        return all(
            used[name] + amount.nano <= device.capacity[name].value.nano for name, amount in taken.items()
        )

    def _constraint(self, constraint: DeviceConstraint) -> Iterator[Violation]:
        covered = [
            given
            for given in self.given
            if not constraint.requests
            or given.request in constraint.requests
            or given.result.request in constraint.requests
        ]
        name = constraint.match_attribute or constraint.distinct_attribute or ""
        values = [lookup(each.pool.devices[each.index], each.pool.driver, name) for each in covered]
        lists = self.fleet.features.list_attributes
        sets = []
        for value in values:
            if value is None or (is_list(value) and (not lists and len(values) > 1)):
                yield self.wrong("AttributeMissing", name)
                return
            kind, content = elements(value)
            sets.append(frozenset((kind, each) for each in content))
        if not sets:
            return
        if constraint.match_attribute is not None:
            if not frozenset.intersection(*sets):
                yield self.wrong("AttributesDiffer", name)
        elif len(frozenset().union(*sets)) < sum(map(len, sets)):
            yield self.wrong("AttributesRepeat", name)

    def _repeated(self) -> Iterator[Violation]:
        """A claim gets a device once, unless it gets shares of it for several requests."""
        seen: dict[tuple[tuple[str, str], int], list[Given]] = {}
        for given in self.given:
            seen.setdefault((given.pool.key, given.index), []).append(given)
        for (_, index), found in seen.items():
            if len(found) > 1 and any(given.result.share_id is None for given in found):
                yield self.wrong("DeviceRepeated", found[0].pool.devices[index].name)

    def _usable_nodes(self) -> list[Node]:
        """The nodes that the allocation says it can be used on."""
        selector = self.allocation.node_selector
        return [node for node in self.nodes if selector is None or selects(selector, node)]

    def _nodes(self) -> Iterator[Violation]:
        usable = self._usable_nodes()
        if self.nodes and not usable:
            yield self.wrong("NoNode")
        for node in usable:
            reach = {pool.key: devices for pool, devices in self.fleet.reach(node)}
            for given in self.given:
                if not reach.get(given.pool.key, 0) >> given.index & 1:
                    subject = f"{given.pool.driver}/{given.pool.name}/{given.result.device}"
                    yield self.wrong("DeviceElsewhere", subject, node.metadata.name)
        if len(usable) > 1:
            for given in self.given:
                if given.pool.devices[given.index].binds_to_node:
                    yield self.wrong("DeviceBindsToOneNode", given.result.device)

    def _config(self, served: Sequence[tuple[str, Wanted] | None]) -> Iterator[Violation]:
        chosen = [each for each in served if each is not None]
        everything = {name for name, _ in chosen}
        expected: list[DeviceAllocationConfiguration] = []
        for class_name in dict.fromkeys(wanted.device_class_name for _, wanted in chosen):
            device_class = self.fleet.classes.get(class_name)
            names = tuple(name for name, wanted in chosen if wanted.device_class_name == class_name)
            for entry in () if device_class is None else device_class.spec.config:
                expected.append(
                    DeviceAllocationConfiguration(source="FromClass", requests=names, opaque=entry.opaque)
                )
        known = everything | {name.partition("/")[0] for name, _ in chosen}
        for config in self.claim.spec.devices.config:
            if not config.requests or known & set(config.requests):
                expected.append(
                    DeviceAllocationConfiguration(
                        source="FromClaim", requests=config.requests, opaque=config.opaque
                    )
                )
        if _told(self.allocation.devices.config, everything) != _told(expected, everything):
            yield self.wrong("ConfigDiffers")


def _told(
    configs: Iterable[DeviceAllocationConfiguration], everything: set[str]
) -> list[DeviceAllocationConfiguration]:
    """What configs say, in one form: kube-scheduler repeats a config for every request that it is for (up to
    1.36) or leaves the requests out if those are all (from 1.37 on)."""
    told: list[DeviceAllocationConfiguration] = []
    for config in configs:
        named = set(config.requests)
        if all(name in named or name.partition("/")[0] in named for name in everything):
            config = DeviceAllocationConfiguration(source=config.source, opaque=config.opaque)
        if not told or told[-1] != config:
            told.append(config)
    return told


def _alternatives(requests: Iterable[DeviceRequest]) -> Iterator[tuple[str, Wanted]]:
    for request in requests:
        if request.exactly is not None:
            yield request.name, request.exactly
        for alternative in request.first_available:
            yield f"{request.name}/{alternative.name}", alternative
