"""What expressions may use, by the version of Kubernetes that evaluates them.

Source of the versions: k8s.io/apiserver/pkg/cel/environment (base options) and
k8s.io/dynamic-resource-allocation/cel.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final

from aliquot.cel import device as dra
from aliquot.cel.checker import Declarations, check
from aliquot.cel.compiler import Closure, Compiler
from aliquot.cel.cost import SizeOf, static_cost
from aliquot.cel.declarations import Library, merge
from aliquot.cel.errors import CompileError, Issue
from aliquot.cel.libraries.kubernetes import QUANTITY, REGEX, SEMVER
from aliquot.cel.libraries.optionals import OPTIONALS
from aliquot.cel.libraries.standard import STANDARD
from aliquot.cel.literals import check_literals
from aliquot.cel.parser import parse
from aliquot.cel.program import Program
from aliquot.cel.reads import device_reads
from aliquot.cel.typesystem import Type

__all__ = ["SUPPORTED", "Environment"]

SUPPORTED: Final = ((1, 34), (1, 35), (1, 36), (1, 37))
"""Versions of Kubernetes whose environments are known."""


class Environment:
    """Compiles expressions. Environments are immutable; make them with the `for_...` methods."""

    def __init__(
        self,
        libraries: tuple[Library, ...],
        *,
        variables: dict[str, Type],
        fields: dict[str, dict[str, Type]],
        size_of: SizeOf,
        constructible: Callable[[str], bool] = lambda _: False,
        list_attributes: bool = False,
        accept: Callable[[Type], str] = lambda _: "",
    ) -> None:
        functions, types = merge(libraries)
        self._declarations = Declarations(variables, functions, types, fields, constructible)
        self._size_of = size_of
        self._list_attributes = list_attributes
        self._accept = accept
        self._cache: Callable[[str], Program] = lru_cache(maxsize=4096)(self._compile)

    @staticmethod
    @lru_cache(maxsize=64)
    def for_devices(
        kubernetes: tuple[int, int] = (1, 36),
        *,
        consumable_capacity: bool = True,
        list_attributes: bool = False,
        stored: bool = True,
    ) -> Environment:
        """The environment of device selectors.

        `stored` is what evaluates expressions that are already in the cluster: it knows the fields and
        functions of features that are off. Without it, the environment is that of validation on create.
        """
        _require(kubernetes)
        fields = dra.device_fields(
            consumable_capacity=consumable_capacity or stored, list_attributes=list_attributes
        )
        libraries = base_libraries(kubernetes)
        if kubernetes >= (1, 36) and (list_attributes or stored):
            libraries = (*libraries, dra.INCLUDES)
        return Environment(
            libraries,
            variables={"device": dra.DEVICE},
            fields={dra.DEVICE.name: fields},
            size_of=_device_sizes(),
            list_attributes=list_attributes,
            accept=_selector_result,
        )

    def compile(self, text: str) -> Program:
        """Compile an expression, or give the program it was compiled to before; raise CompileError."""
        return self._cache(text)

    def _compile(self, text: str) -> Program:
        root, source = parse(text)
        output = check(root, source, self._declarations)
        check_literals(root, source)
        refusal = self._accept(output)
        if refusal:
            raise CompileError((Issue(1, 1, refusal),), refusal)
        names = tuple(self._declarations.variables)

        def build(metered: bool) -> tuple[Closure, int]:
            compiler = Compiler(source, names, self._declarations.functions, metered=metered)
            closure = compiler.compile(root)
            return closure, compiler.frame_size

        return Program(
            text,
            output=output,
            cost=static_cost(root, self._size_of),
            reads=device_reads(root) if "device" in names else None,
            variables=names,
            build=build,
            list_attributes=self._list_attributes,
        )


def _require(kubernetes: tuple[int, int]) -> None:
    if kubernetes not in SUPPORTED:
        known = ", ".join(f"{major}.{minor}" for major, minor in SUPPORTED)
        raise ValueError(f"no environment for Kubernetes {kubernetes[0]}.{kubernetes[1]}; known are {known}")


@lru_cache(maxsize=8)
def base_libraries(kubernetes: tuple[int, int]) -> tuple[Library, ...]:
    """The libraries of every environment of a version. `math` and base64 are not among them."""
    return (STANDARD, OPTIONALS, QUANTITY, SEMVER, REGEX)


def _selector_result(output: Type) -> str:
    if output.kind in ("bool", "dyn", "any"):
        return ""
    return f"must evaluate to bool or the unknown type, not {output}"


def _device_sizes() -> SizeOf:
    """Upper bounds of sizes by path, from the limits of resource.k8s.io."""
    values = max(dra.MAX_STRING_LENGTH, dra.MAX_LIST_VALUES)

    def size_of(path: tuple[str, ...]) -> int | None:
        if not path or path[0] != "device":
            return None
        rest = path[1:]
        if not rest:
            return 0
        if rest == ("driver",):
            return dra.MAX_DRIVER_LENGTH
        if rest == ("allowMultipleAllocations",):
            return 1
        if rest[0] not in ("attributes", "capacity"):
            return None
        if len(rest) == 1:
            return dra.MAX_ATTRIBUTES
        if rest[1] == "@keys":
            return dra.MAX_DOMAIN_LENGTH if len(rest) == 2 else None
        if rest[1] != "@values":
            return None
        if len(rest) == 2:
            return dra.MAX_ATTRIBUTES
        if len(rest) > 3:
            return None
        if rest[2] == "@keys":
            return dra.MAX_ID_LENGTH
        if rest[0] == "attributes":
            return values
        return 0 if rest[2] == "@values" else None

    return size_of
