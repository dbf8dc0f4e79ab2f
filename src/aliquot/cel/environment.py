"""What expressions may use, by the version of Kubernetes that evaluates them.

Source of the versions: k8s.io/apiserver/pkg/cel/environment (base options) and
k8s.io/dynamic-resource-allocation/cel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

from aliquot.cel import device as dra
from aliquot.cel.admission import (
    ADMISSION_FIELDS,
    COMPOSITION,
    JSON_PATCH,
    apply_configuration,
    is_constructible,
)
from aliquot.cel.checker import Declarations, check
from aliquot.cel.closures import Closure
from aliquot.cel.compiler import Compiler
from aliquot.cel.constants import CONVERSIONS
from aliquot.cel.cost import static_cost
from aliquot.cel.declarations import Library, merge
from aliquot.cel.errors import CompileError, EvaluationError, Issue, Position
from aliquot.cel.libraries.authorization import AUTHORIZATION, Authorizer, ResourceCheck
from aliquot.cel.libraries.kubernetes import QUANTITY, REGEX, SEMVER
from aliquot.cel.libraries.lists import INCLUDES, LISTS, LISTS_OF_GO, SETS
from aliquot.cel.libraries.named_formats import FORMATS
from aliquot.cel.libraries.network import NETWORK, URLS
from aliquot.cel.libraries.optionals import OPTIONALS
from aliquot.cel.libraries.standard import STANDARD
from aliquot.cel.libraries.strings import STRINGS
from aliquot.cel.literals import check_literals
from aliquot.cel.parser import parse
from aliquot.cel.patterns import compile_pattern
from aliquot.cel.program import Program
from aliquot.cel.reads import device_reads
from aliquot.cel.sizes import SizeOf
from aliquot.cel.syntax import Call, Literal, Node, walk
from aliquot.cel.typesystem import DYN, Type, parse_type, struct
from aliquot.cel.values import ObjectValue, to_json

__all__ = ["SUPPORTED", "Environment"]

SUPPORTED: Final = ((1, 34), (1, 35), (1, 36), (1, 37))
"""Versions of Kubernetes whose environments are known."""

_SHORT: Final = 1024
"""Characters of what counts as a short expression."""


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
        composites: Mapping[str, Program] | None = None,
        convert: Callable[[Any], Any] | None = None,
    ) -> None:
        functions, types = merge(libraries)
        self._declarations = Declarations(variables, functions, types, fields, constructible)
        self._size_of = size_of
        self._list_attributes = list_attributes
        self._accept = accept
        self._composites = composites
        self._convert = convert
        # Programs of long texts are big: few are kept, so that no flood of them can fill the memory.
        self._short: Callable[[str], Program] = lru_cache(maxsize=1024)(self._compile)
        self._long: Callable[[str], Program] = lru_cache(maxsize=32)(self._compile)

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
        # From 1.37 on lists are readable whatever the feature says; it only guards new expressions.
        readable_lists = list_attributes or kubernetes >= (1, 37)
        fields = dra.device_fields(
            consumable_capacity=consumable_capacity or stored,
            list_attributes=list_attributes or (stored and readable_lists),
        )
        libraries = base_libraries(kubernetes)
        if kubernetes == (1, 36) and (list_attributes or stored):
            libraries = (*libraries, dra.INCLUDES)
        return Environment(
            libraries,
            variables={"device": dra.DEVICE},
            fields={dra.DEVICE.name: fields},
            size_of=_device_sizes(),
            list_attributes=readable_lists,
            accept=_selector_result(fields["attributes"].parameters[1].parameters[1]),
        )

    @staticmethod
    def for_admission(
        kubernetes: tuple[int, int] = (1, 36),
        *,
        params: bool = True,
        authorizer: bool = True,
        mutation: bool = False,
        variables: Mapping[str, str] | None = None,
    ) -> Environment:
        """The environment of admission policies and their match conditions.

        Expressions may read `object`, `oldObject` and `params` (JSON of any form), `request`,
        `namespaceObject`, `authorizer` (an `Authorizer`) and `variables`, whose expressions are given here
        in order, each seeing the ones before it, and are evaluated when read. With `mutation` they may
        build `Object{...}` and `JSONPatch{...}`. Raises CompileError for a variable that does not compile.
        """
        _require(kubernetes)
        return _admission(kubernetes, params, authorizer, mutation, tuple((variables or {}).items()))

    def compile(self, text: str, *, expect: tuple[str, ...] = ()) -> Program:
        """Compile an expression, or give the program it was compiled to before; raise CompileError.

        `expect` names the types that its result may have, such as `bool`, `string`, `Object` or
        `list<JSONPatch>`; empty: any.
        """
        program = self._short(text) if len(text) <= _SHORT else self._long(text)
        if expect and program.output not in map(parse_type, expect):
            wanted = [str(parse_type(name)) for name in expect]
            shown = wanted[0] if len(wanted) == 1 else f"one of [{' '.join(wanted)}]"
            refusal = f"must evaluate to {shown} but got {program.output}"
            raise CompileError((Issue(1, 1, refusal),), refusal)
        return program

    def _compile(self, text: str) -> Program:
        try:
            root, source = parse(text)
            output = check(root, source, self._declarations)
        except RecursionError:
            message = "expression is nested too deeply for the stack that is left"
            raise CompileError((Issue(1, 1, message),), message) from None
        check_literals(root, source)
        refusal = self._accept(output)
        if refusal:
            raise CompileError((Issue(1, 1, refusal),), refusal)
        names = tuple(self._declarations.variables)

        def build(metered: bool) -> tuple[Closure, int]:
            compiler = Compiler(source, names, self._declarations.functions, metered=metered)
            closure = compiler.compile(root)
            return closure, compiler.frame_size

        try:
            if _foreseen(root):
                build(False)
        except EvaluationError as error:
            message = f"program instantiation failed: {error.message}"
            place = error.position or Position(1, 1)
            raise CompileError((Issue(place.line, place.column, message),), message) from None
        return Program(
            text,
            output=output,
            cost=static_cost(root, self._size_of),
            ceiling=static_cost(root, self._size_of, strict=True),
            reads=device_reads(root) if "device" in names else None,
            variables=names,
            build=build,
            list_attributes=self._list_attributes,
            composites=self._composites,
            convert=self._convert,
        )


@lru_cache(maxsize=64)
def _admission(
    kubernetes: tuple[int, int],
    params: bool,
    authorizer: bool,
    mutation: bool,
    composites: tuple[tuple[str, str], ...],
) -> Environment:
    variables = {
        "object": DYN,
        "oldObject": DYN,
        "namespaceObject": struct("kubernetes.Namespace"),
        "request": struct("kubernetes.AdmissionRequest"),
        "variables": struct(COMPOSITION),
    }
    libraries = base_libraries(kubernetes)
    if params:
        variables["params"] = DYN
    if authorizer:
        variables["authorizer"] = struct(Authorizer.cel_name)
        variables["authorizer.requestResource"] = struct(ResourceCheck.cel_name)
    if mutation:
        libraries = (*libraries, JSON_PATCH)
    fields = {**ADMISSION_FIELDS, COMPOSITION: {}}
    programs: dict[str, Program] = {}

    def environment() -> Environment:
        return Environment(
            libraries,
            variables=variables,
            fields=dict(fields),
            size_of=lambda _: None,
            constructible=is_constructible if mutation else lambda _: False,
            composites=dict(programs),
            convert=_plain,
        )

    for name, text in composites:
        try:
            program = environment().compile(text)
        except CompileError as error:
            raise CompileError(error.issues, f"variable {name!r}: {error}") from None
        programs[name] = program
        fields[COMPOSITION] = {**fields[COMPOSITION], name: program.output}
    return environment()


def _foreseen(root: Node) -> bool:
    """Whether anything that may fail is computed before an evaluation: a conversion of a constant.

    Raises EvaluationError for a literal pattern to search for that is none.
    """
    found = False
    for node in walk(root):
        if not isinstance(node, Call):
            continue
        found = found or node.function in CONVERSIONS
        if node.function in ("find", "findAll") and node.args:
            pattern = node.args[0]
            if isinstance(pattern, Literal) and isinstance(pattern.value, str):
                compile_pattern(pattern.value)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, ObjectValue) and value.type_name != "JSONPatch":
        return apply_configuration(value)
    try:
        return to_json(value)
    except ValueError as error:
        raise EvaluationError(str(error)) from None


def _require(kubernetes: tuple[int, int]) -> None:
    if kubernetes not in SUPPORTED:
        known = ", ".join(f"{major}.{minor}" for major, minor in SUPPORTED)
        raise ValueError(f"no environment for Kubernetes {kubernetes[0]}.{kubernetes[1]}; known are {known}")


@lru_cache(maxsize=8)
def base_libraries(kubernetes: tuple[int, int]) -> tuple[Library, ...]:
    """The libraries of every environment of a version. `math` and base64 are not among them."""
    libraries = (
        *(STANDARD, OPTIONALS, QUANTITY, SEMVER, REGEX, STRINGS, LISTS, LISTS_OF_GO, SETS),
        *(NETWORK, URLS, FORMATS, AUTHORIZATION),
    )
    return (*libraries, INCLUDES) if kubernetes >= (1, 37) else libraries


def _selector_result(attribute: Type) -> Callable[[Type], str]:
    """Why the type of a selector's result is refused: it must be bool or that of an attribute's value."""

    def refusal(output: Type) -> str:
        if output.kind in ("bool", attribute.kind):
            return ""
        return f"must evaluate to bool or the unknown type, not {output}"

    return refusal


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
