"""What an allocation attempt ends in. All of it is data; nothing here is an error to be raised."""

from typing import TypeAlias

import msgspec

from aliquot.model.resource import AllocationResult


class Allocated(msgspec.Struct, frozen=True, kw_only=True, tag=True, rename="camel"):
    """One result per claim, in order. score: higher is better, by the objective; 0 is best.

    steps: what the search took, in the measure of the budget; in mode strict, as many as kube-scheduler's
    allocator calls itself.
    """

    results: tuple[AllocationResult, ...]
    score: float = 0.0
    steps: int = 0


class Fall(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How many of a node's devices fell at one test of one request.

    test: pool (of an unusable pool), selector, selectorError, binding, taint, capacity, inUse, counters or
    constraint. subject: "claim/request" or "claim/request/alternative". detail: the pool's or selector's
    problem, the constraint's attribute, else "".
    """

    test: str
    subject: str
    count: int
    detail: str = ""


class Need(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A request's need on the node: `wanted` devices, of which `free` are there; of All, `wanted` is all."""

    subject: str
    wanted: int
    free: int


class Unallocatable(msgspec.Struct, frozen=True, kw_only=True, tag=True, rename="camel"):
    """The node cannot serve the claims. A device falls at the first test that it fails, in Fall's order.

    When every request could be served alone, the last Fall names the constraint, or "combination" when
    requests want the same devices.
    """

    falls: tuple[Fall, ...] = ()
    needs: tuple[Need, ...] = ()
    steps: int = 0


class Invalid(msgspec.Struct, frozen=True, kw_only=True, tag=True, rename="camel"):
    """The claims (or what they refer to) are wrong in themselves.

    problem: what is wrong. claim: "namespace/name". path: of the field, such as
    spec.devices.requests[0].exactly.deviceClassName. node_only: another node may still serve the claims.
    """

    problem: str
    claim: str = ""
    path: str = ""
    node_only: bool = False


class BudgetExceeded(msgspec.Struct, frozen=True, kw_only=True, tag=True, rename="camel"):
    """The search stopped after this many steps, undecided."""

    steps: int


Outcome: TypeAlias = Allocated | Unallocatable | Invalid | BudgetExceeded
