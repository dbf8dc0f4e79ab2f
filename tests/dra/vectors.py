"""Recorded cases of the structured allocator as inputs of `allocate`, and their results in the same form."""

from typing import Any

from aliquot.dra.allocator import Mode
from aliquot.dra.cases import AllocationCase
from aliquot.dra.fleet import Fleet
from aliquot.dra.usage import Usage
from aliquot.model.core import Node
from aliquot.model.resource import ResourceClaim


def inputs(case: dict[str, Any]) -> tuple[Fleet, Usage, Node, tuple[ResourceClaim, ...]]:
    read = AllocationCase.of(case)
    return read.fleet, read.usage, read.node, read.claims


def run(case: dict[str, Any], mode: Mode) -> dict[str, Any]:
    return AllocationCase.of(case).result(mode)
