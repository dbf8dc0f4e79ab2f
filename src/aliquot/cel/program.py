"""Compiled expressions."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import TYPE_CHECKING, Any, Final

from aliquot.cel.admission import convert_namespace
from aliquot.cel.device import DeviceView
from aliquot.cel.errors import EvaluationError
from aliquot.cel.metering import CostLimitError, Meter
from aliquot.cel.typesystem import Type
from aliquot.cel.values import MAX_STEPS, WORK, type_name

if TYPE_CHECKING:
    from aliquot.cel.closures import Closure

__all__ = ["DEFAULT_COST_LIMIT", "Program", "Read"]

DEFAULT_COST_LIMIT: Final = 1_000_000
"""What one evaluation of a selector may cost (resource.k8s.io CELSelectorExpressionMaxCost)."""

Read = tuple[str, str, str]
"""("attributes" or "capacity", domain, name)."""


class Variables(dict[str, Any]):
    """The value of `variables` in one evaluation: each is computed when first read, errors included."""

    __slots__ = ("_meter", "_programs", "_values")

    def __init__(
        self, programs: Mapping[str, Program], values: Mapping[str, Any], meter: Meter | None
    ) -> None:
        super().__init__()
        self._programs = programs
        self._values = {**values, "variables": self}
        self._meter = meter

    def __missing__(self, name: str) -> Any:
        program = self._programs.get(name)
        if program is None:
            raise KeyError(name)
        try:
            value = program.run(self._values, self._meter)
        except CostLimitError:
            raise
        except EvaluationError as error:
            message = f'composited variable "{name}" fails to evaluate: {error.message}'
            raise EvaluationError(message, error.position) from None
        self[name] = value
        return value


class Program:
    """An expression that can be evaluated any number of times, from any thread.

    `output` is the type of the result. `cost` is Kubernetes' estimate of the worst-case cost over all inputs
    within its limits (2**64 - 1 if unbounded); `ceiling` is what no evaluation of such an input exceeds,
    variables of the policy included. `reads` are the attributes and capacities that decide the result
    together with the device's driver and allowMultipleAllocations; None if it may depend on others.
    """

    def __init__(
        self,
        text: str,
        *,
        output: Type,
        cost: int,
        ceiling: int,
        reads: frozenset[Read] | None,
        variables: tuple[str, ...],
        build: Callable[[bool], tuple[Closure, int]],
        list_attributes: bool = False,
        composites: Mapping[str, Program] | None = None,
        convert: Callable[[Any], Any] | None = None,
    ) -> None:
        self.text = text
        self.output = output
        self.cost = cost
        self.reads = reads
        self._ordered_reads = tuple(sorted(reads)) if reads is not None else ()
        self._variables = variables
        self._build = build
        self._list_attributes = list_attributes
        self._composites = composites or {}
        self._convert = convert
        self.ceiling: int = ceiling + sum(program.ceiling for program in self._composites.values())
        self._metered: tuple[Closure, int] | None = None
        self._plain: tuple[Closure, int] | None = None

    def __repr__(self) -> str:
        return f"Program({self.text!r})"

    def _closure(self, *, metered: bool) -> tuple[Closure, int]:
        if metered:
            if self._metered is None:
                self._metered = self._build(True)
            return self._metered
        if self._plain is None:
            self._plain = self._build(False)
        return self._plain

    def run(self, values: Mapping[str, Any], meter: Meter | None) -> Any:
        """The value for an input, as the expression language sees it, its cost added to `meter` if given."""
        closure, size = self._closure(metered=meter is not None)
        frame: list[Any] = [None] * size
        frame[0] = meter
        for slot, name in enumerate(self._variables, start=1):
            value = values.get(name)
            if isinstance(value, DeviceView):
                fault = value.fault_without(list_attributes=self._list_attributes)
                if fault:
                    raise EvaluationError(fault)
                value = value.fields
            elif name == "variables" and value is None:
                value = Variables(self._composites, values, meter)
            elif name == "namespaceObject":
                value = convert_namespace(value)
            frame[slot] = value
        try:
            return closure(frame)
        except RecursionError:
            raise EvaluationError("the input is nested too deeply") from None

    def evaluate(self, values: Mapping[str, Any], cost_limit: int = DEFAULT_COST_LIMIT) -> Any:
        """The value for an input; raise EvaluationError, also above `cost_limit`.

        Programs of admission policies give plain JSON values, others the values of `aliquot.cel.values`.
        """
        # Where no input can reach the limit, nothing needs counting.
        meter = None if self.ceiling <= cost_limit else Meter(cost_limit)
        WORK.left = MAX_STEPS
        return self._converted(self.run(values, meter))

    def measure(self, values: Mapping[str, Any], cost_limit: int = DEFAULT_COST_LIMIT) -> tuple[Any, int]:
        """The value for an input and what it cost to compute."""
        meter = Meter(cost_limit)
        WORK.left = MAX_STEPS
        return self._converted(self.run(values, meter)), meter.cost

    def _converted(self, value: Any) -> Any:
        if self._convert is None:
            return value
        try:
            return self._convert(value)
        except RecursionError:
            raise EvaluationError("the result is nested too deeply") from None

    def matches(self, view: DeviceView, cost_limit: int = DEFAULT_COST_LIMIT) -> bool:
        """Whether a device is selected; raise EvaluationError, also for a result that is no bool."""
        if view.fault or view.list_attribute or self.ceiling > cost_limit:
            result = self.evaluate({"device": view}, cost_limit)
        else:
            closure, size = self._plain or self._closure(metered=False)
            frame: list[Any] = [None] * size
            frame[1] = view.fields
            WORK.left = MAX_STEPS
            try:
                result = closure(frame)
            except RecursionError:
                raise EvaluationError(
                    "the expression is nested too deeply for the stack that is left"
                ) from None
        if result is True or result is False:
            return bool(result)
        raise EvaluationError(
            f"CEL result of type {type_name(result)} could not be converted to bool: "
            f"type conversion error from '{type_name(result)}' to 'bool'"
        )

    def fingerprint(self, view: DeviceView) -> Hashable | None:
        """A key such that devices with the same key give the same result; None if there is no such key."""
        if self.reads is None:
            return None
        return (
            view.fault_without(list_attributes=self._list_attributes),
            view.driver,
            view.fields["allowMultipleAllocations"],
            *(view.read(*read) for read in self._ordered_reads),
        )
