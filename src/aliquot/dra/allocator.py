"""Allocation of claims on one node, all or nothing."""

from collections.abc import Sequence
from typing import Literal

from aliquot.dra.constraints import Together
from aliquot.dra.explanation import shortfall
from aliquot.dra.fleet import Fleet
from aliquot.dra.objective import DEFAULT, Objective
from aliquot.dra.outcome import Allocated, BudgetExceeded, Invalid, Outcome, Unallocatable
from aliquot.dra.requests import Blueprint, blueprint
from aliquot.dra.results import ShareId, allocation, share_id
from aliquot.dra.search import BudgetError, Observer, Search
from aliquot.dra.strict.search import allocate_strictly
from aliquot.dra.usage import Usage
from aliquot.dra.view import View
from aliquot.model.core import Node
from aliquot.model.resource import ResourceClaim

Mode = Literal["best", "strict"]

BUDGET = 100_000
"""Steps that a search may take before it gives up: devices tried, and the work of listing many of them."""


def allocate(
    fleet: Fleet,
    usage: Usage,
    node: Node,
    claims: Sequence[ResourceClaim],
    *,
    mode: Mode = "best",
    budget: int = BUDGET,
    objective: Objective = DEFAULT,
    new_share_id: ShareId = share_id,
    observer: Observer | None = None,
    explain: bool = True,
    together: Sequence[Together] = (),
) -> Outcome:
    """Devices on one node for all of the claims, or why not.

    The claims' own status is ignored; `usage` says what is taken and is not changed. mode: `best` finds a
    solution whenever there is one within the budget, and a good one by the objective; `strict` gives what
    kube-scheduler's allocator gives, without scores, explanation or observer. budget: in steps. explain: fill
    in what fell where if there is no solution. together: what devices of several claims have to share beside
    what each claim says, in mode `best`.
    """
    if mode == "strict":
        return allocate_strictly(fleet, usage, node, claims, budget=budget, new_share_id=new_share_id)
    blueprints = []
    for claim in claims:
        ready = blueprint(fleet, claim)
        refusal = _refusal(claim, ready)
        if refusal is not None:
            return refusal
        blueprints.append(ready)
    reach = fleet.reach(node)
    views = []
    for pool, devices in reach:
        if devices and not pool.problem:
            views.append(View(pool, devices, usage.of_pool(pool), fleet.appraisal(pool, objective)))
    search = Search(fleet, views, blueprints, budget, reach, observer, together)
    try:
        found = search.run()
    except BudgetError:
        return BudgetExceeded(steps=search.steps)
    if not found:
        if not explain:
            return Unallocatable(steps=search.steps)
        return shortfall(fleet, usage, reach, claims, blueprints, search.steps)
    results = tuple(
        allocation(
            claim,
            state.blueprint,
            state.served,
            state.picks,
            node.metadata.name,
            binding_conditions=fleet.features.binding_conditions,
            new_share_id=new_share_id,
        )
        for claim, state in zip(claims, search.claims, strict=True)
    )
    return Allocated(results=results, score=-search.cost, steps=search.steps)


def _refusal(claim: ResourceClaim, ready: Blueprint) -> Invalid | None:
    """Why a claim can be allocated nowhere, if that is so."""
    name = f"{claim.metadata.namespace}/{claim.metadata.name}"
    if ready.problem is not None:
        return Invalid(problem=ready.problem.problem, claim=name, path=ready.problem.path)
    for request in ready.requests:
        for alternative in request.alternatives:
            fault = alternative.demand.matcher.fault
            if fault is None:
                continue
            if fault.of_class:
                owner = alternative.device_class.metadata.name
                return Invalid(
                    problem=f"selector {fault.number} of device class {owner}: {fault.message}",
                    claim=name,
                    path=f"{alternative.path}.deviceClassName",
                )
            return Invalid(
                problem=fault.message, claim=name, path=f"{alternative.path}.selectors[{fault.number}]"
            )
    return None
