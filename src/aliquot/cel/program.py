"""Compiled expressions."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import TYPE_CHECKING, Any, Final

from aliquot.cel.device import DeviceView
from aliquot.cel.errors import EvaluationError
from aliquot.cel.metering import Meter
from aliquot.cel.typesystem import Type
from aliquot.cel.values import type_name

if TYPE_CHECKING:
    from aliquot.cel.compiler import Closure

__all__ = ["DEFAULT_COST_LIMIT", "Program", "Read"]

DEFAULT_COST_LIMIT: Final = 1_000_000
"""What one evaluation of a selector may cost (resource.k8s.io CELSelectorExpressionMaxCost)."""

Read = tuple[str, str, str]
"""("attributes" or "capacity", domain, name)."""


class Program:
    """An expression that can be evaluated any number of times, from any thread.

    `cost` is the worst-case cost over all inputs within Kubernetes' limits (2**64 - 1 if unbounded).
    `reads` are the attributes and capacities that decide the result together with the device's driver and
    allowMultipleAllocations; None if it may depend on others.
    """

    def __init__(
        self,
        text: str,
        *,
        output: Type,
        cost: int,
        reads: frozenset[Read] | None,
        variables: tuple[str, ...],
        build: Callable[[bool], tuple[Closure, int]],
        list_attributes: bool,
    ) -> None:
        self.text = text
        self.output = output
        self.cost = cost
        self.reads = reads
        self._ordered_reads = tuple(sorted(reads)) if reads is not None else ()
        self._variables = variables
        self._build = build
        self._list_attributes = list_attributes
        self._metered: tuple[Closure, int] | None = None
        self._plain: tuple[Closure, int] | None = None

    def __repr__(self) -> str:
        return f"Program({self.text!r})"

    def _metered_closure(self) -> tuple[Closure, int]:
        if self._metered is None:
            self._metered = self._build(True)
        return self._metered

    def _plain_closure(self) -> tuple[Closure, int]:
        if self._plain is None:
            self._plain = self._build(False)
        return self._plain

    def _bound(self, values: Mapping[str, Any]) -> list[Any]:
        bound = []
        for name in self._variables:
            value = values.get(name)
            if isinstance(value, DeviceView):
                fault = value.fault_without(list_attributes=self._list_attributes)
                if fault:
                    raise EvaluationError(fault)
                value = value.fields
            bound.append(value)
        return bound

    def evaluate(self, values: Mapping[str, Any], cost_limit: int = DEFAULT_COST_LIMIT) -> Any:
        """The value for an input; raise EvaluationError, also above `cost_limit`."""
        bound = self._bound(values)
        if self.cost <= cost_limit:
            # No input can reach the limit, so nothing needs counting.
            run, size = self._plain_closure()
            return run([None, *bound, *[None] * (size - len(bound) - 1)])
        return self._run_metered(bound, Meter(cost_limit))

    def measure(self, values: Mapping[str, Any], cost_limit: int = DEFAULT_COST_LIMIT) -> tuple[Any, int]:
        """The value for an input and what it cost to compute."""
        meter = Meter(cost_limit)
        return self._run_metered(self._bound(values), meter), meter.cost

    def evaluate_metered(self, values: Mapping[str, Any], meter: Meter) -> Any:
        """The value for an input, its cost added to that of other programs under one budget."""
        return self._run_metered(self._bound(values), meter)

    def _run_metered(self, bound: list[Any], meter: Meter) -> Any:
        run, size = self._metered_closure()
        return run([meter, *bound, *[None] * (size - len(bound) - 1)])

    def matches(self, view: DeviceView, cost_limit: int = DEFAULT_COST_LIMIT) -> bool:
        """Whether a device is selected; raise EvaluationError, also for a result that is no bool."""
        if view.fault or view.list_attribute:
            fault = view.fault_without(list_attributes=self._list_attributes)
            if fault:
                raise EvaluationError(fault)
        if self.cost <= cost_limit:
            run, size = self._plain or self._plain_closure()
            frame: list[Any] = [None] * size
            frame[1] = view.fields
            result = run(frame)
        else:
            result = self._run_metered([view.fields], Meter(cost_limit))
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
