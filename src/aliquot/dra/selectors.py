"""Which devices a list of CEL selectors matches, remembered per pool and per shape of device.

A compiled selector tells which attributes and capacities it reads. Devices of one driver that agree in
those give the same result, so that a selector over 40,000 alike devices is evaluated a few times.
"""

from collections.abc import Hashable
from functools import lru_cache
from typing import Any, NamedTuple

from aliquot.cel.device import DeviceView, VersionText
from aliquot.cel.environment import Environment
from aliquot.cel.errors import CompileError, EvaluationError
from aliquot.cel.program import Program, Read
from aliquot.cel.semver import Semver, SemverError
from aliquot.dra.attributes import value_of
from aliquot.dra.features import Features, KubernetesVersion
from aliquot.dra.pools import Devices, Pool
from aliquot.model.resource import Device, DeviceAttribute

MAX_REMEMBERED = 100_000
"""Shapes remembered for all lists of selectors together before the memory is emptied."""

MAX_MATCHERS = 1_000
"""Lists of selectors remembered before the memory is emptied."""

MAX_RESULTS = 1_000_000
"""Results per list of selectors and pool remembered before the memory is emptied."""

Expressions = tuple[str, ...]


class SelectorFault(NamedTuple):
    """A selector that cannot be evaluated.

    of_class: the device class's selector rather than the request's; number: which of them, from 0.
    compile: whether it fails for every device. message: of the CEL implementation.
    """

    of_class: bool
    number: int
    compile: bool
    message: str


class Match(NamedTuple):
    """The devices of a pool that match, and those on which a selector cannot be evaluated."""

    matched: Devices
    failed: Devices
    faults: dict[int, SelectorFault]


class ShapeMemory:
    """Results by shape of all lists of selectors, bounded as a whole."""

    def __init__(self) -> None:
        self.count = 0
        self._in_use: list[dict[Hashable, bool | SelectorFault]] = []

    def remember(
        self,
        results: dict[Hashable, bool | SelectorFault],
        shape: Hashable,
        result: bool | SelectorFault,
    ) -> None:
        """Add to the results of one list of selectors; at the bound, empty those of all lists before."""
        if self.count >= MAX_REMEMBERED:
            for each in self._in_use:
                each.clear()
            self._in_use.clear()
            self.count = 0
        if not results:
            self._in_use.append(results)
        results[shape] = result
        self.count += 1


class Matcher:
    """Class selectors and then request selectors, ANDed with short-circuit."""

    def __init__(
        self,
        environment: Environment,
        of_class: Expressions,
        of_request: Expressions,
        memory: ShapeMemory,
    ) -> None:
        self._memory = memory
        self.fault: SelectorFault | None = None
        """The first selector that does not compile."""
        self._programs: list[tuple[Program | SelectorFault, bool, int]] = []
        reads: set[Read] | None = set()
        for group, expressions in ((True, of_class), (False, of_request)):
            for number, text in enumerate(expressions):
                program: Program | SelectorFault
                try:
                    program = environment.compile(text)
                except CompileError as error:
                    program = SelectorFault(group, number, True, str(error))
                    self.fault = self.fault or program
                else:
                    if program.reads is None:
                        reads = None
                    elif reads is not None:
                        reads |= program.reads
                self._programs.append((program, group, number))
        self._reads: tuple[tuple[bool, str, str, str], ...] | None = None
        if reads is not None:
            self._reads = tuple(
                (kind == "attributes", domain, f"{domain}/{name}", name)
                for kind, domain, name in sorted(reads)
            )
        self._by_shape: dict[Hashable, bool | SelectorFault] = {}
        self._by_pool: dict[Pool, Match] = {}

    def match(self, pool: Pool) -> Match:
        """What matches in a pool; computed once."""
        known = self._by_pool.get(pool)
        if known is None:
            known = self._by_pool[pool] = self._evaluate(pool)
        return known

    @property
    def remembered(self) -> int:
        """The number of pools whose result is remembered."""
        return len(self._by_pool)

    def forget(self, pool: Pool) -> None:
        """The pool is gone for good."""
        self._by_pool.pop(pool, None)

    def _evaluate(self, pool: Pool) -> Match:
        everything = (1 << len(pool.devices)) - 1
        if not self._programs:
            return Match(everything, 0, {})
        matched = failed = 0
        faults: dict[int, SelectorFault] = {}
        by_shape = self._by_shape
        driver = pool.driver
        for index, device in enumerate(pool.devices):
            shape = self._shape(driver, device)
            result = None if shape is None else by_shape.get(shape)
            if result is None:
                result = self._test(driver, device)
                if shape is not None:
                    self._memory.remember(by_shape, shape, result)
            if result is True:
                matched |= 1 << index
            elif result is not False:
                failed |= 1 << index
                faults[index] = result
        return Match(matched, failed, faults)

    def _shape(self, driver: str, device: Device) -> Hashable | None:
        """What the result can depend on, or None if that cannot be told."""
        if self._reads is None or any(map(_may_fail, device.attributes.values())):
            return None
        shape: list[Hashable] = [driver, device.allow_multiple_allocations]
        for is_attribute, domain, qualified, bare in self._reads:
            entries: dict[str, Any] = device.attributes if is_attribute else device.capacity
            value = entries.get(qualified)
            if value is None and domain == driver:
                value = entries.get(bare)
            if value is None:
                shape.append(None)
            elif is_attribute:
                shape.append((value.string, value.int_, value.bool_, value.version))
            else:
                shape.append(value.value.nano)
        return tuple(shape)

    def _test(self, driver: str, device: Device) -> bool | SelectorFault:
        view = view_of(driver, device)
        for program, of_class, number in self._programs:
            if isinstance(program, SelectorFault):
                return program
            try:
                if not program.matches(view):
                    return False
            except EvaluationError as error:
                return SelectorFault(of_class, number, False, str(error))
        return True


class Matchers:
    """All lists of selectors that were asked for, compiled."""

    def __init__(self, features: Features, kubernetes: KubernetesVersion) -> None:
        self._environment = Environment.for_devices(
            kubernetes,
            consumable_capacity=features.consumable_capacity,
            list_attributes=features.list_attributes,
        )
        self._known: dict[tuple[Expressions, Expressions], Matcher] = {}
        self.shapes = ShapeMemory()

    def of(self, of_class: Expressions, of_request: Expressions) -> Matcher:
        matcher = self._known.get((of_class, of_request))
        if matcher is None:
            results = sum(matcher.remembered for matcher in self._known.values())
            if len(self._known) >= MAX_MATCHERS or results > MAX_RESULTS:
                self._known.clear()
            matcher = self._known[of_class, of_request] = Matcher(
                self._environment, of_class, of_request, self.shapes
            )
        return matcher

    def forget(self, pool: Pool) -> None:
        """Drop what is remembered about a pool that is gone."""
        for matcher in self._known.values():
            matcher.forget(pool)


def view_of(driver: str, device: Device) -> DeviceView:
    """The device as CEL sees it. An attribute of no known type makes every selector fail on it."""
    view = DeviceView(
        driver,
        {name: _cel_value(attribute) for name, attribute in device.attributes.items()},
        {name: capacity.value for name, capacity in device.capacity.items()},
        device.allow_multiple_allocations,
    )
    for name, attribute in device.attributes.items():
        if value_of(attribute) is None:
            view.fault = view.fault or f"attribute {name}: unsupported attribute value"
    return view


def _cel_value(attribute: DeviceAttribute) -> Any:
    if attribute.string is not None:
        return attribute.string
    if attribute.int_ is not None:
        return attribute.int_
    if attribute.bool_ is not None:
        return attribute.bool_
    if attribute.version is not None:
        return VersionText(attribute.version)
    if attribute.versions is not None:
        return tuple(VersionText(each) for each in attribute.versions)
    for values in (attribute.ints, attribute.bools, attribute.strings):
        if values is not None:
            return values
    return None


def _may_fail(attribute: DeviceAttribute) -> bool:
    """Whether the attribute can make every selector fail, or is a list."""
    if attribute.string is not None or attribute.int_ is not None or attribute.bool_ is not None:
        return False
    return attribute.version is None or not _is_version(attribute.version)


@lru_cache(maxsize=4096)
def _is_version(text: str) -> bool:
    try:
        Semver.parse(text)
    except SemverError:
        return False
    return True
