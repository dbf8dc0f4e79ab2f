"""Why a node cannot serve claims: how many devices fell at which test."""

from collections.abc import Iterator, Sequence

from aliquot.dra.fleet import Fleet, Reach
from aliquot.dra.outcome import Fall, Need, Unallocatable
from aliquot.dra.pools import Devices, Pool, members
from aliquot.dra.requests import Alternative, Blueprint
from aliquot.dra.usage import Usage
from aliquot.model.resource import ResourceClaim


def shortfall(
    fleet: Fleet,
    usage: Usage,
    reach: Reach,
    claims: Sequence[ResourceClaim],
    blueprints: Sequence[Blueprint],
    steps: int = 0,
) -> Unallocatable:
    """What fell where on a node that is known not to serve the claims."""
    falls = [
        Fall(test="pool", subject="", count=0, detail=f"{p.driver}/{p.name}: {p.problem}")
        for p, _ in reach
        if p.problem
    ]
    needs: list[Need] = []
    short = False
    for claim, ready in zip(claims, blueprints, strict=True):
        for request in ready.requests:
            served = False
            for alternative in request.alternatives:
                subject = f"{claim.metadata.name}/{alternative.name}"
                found, need = _outlook(usage, reach, alternative, subject)
                falls += found
                needs.append(need)
                served |= 0 < need.wanted <= need.free or (need.wanted == 0 and alternative.count == 0)
            short |= not served
    if not short:
        falls += _disagreements(usage, reach, claims, blueprints) or [
            Fall(test="combination", subject="", count=0)
        ]
    return Unallocatable(falls=tuple(falls), needs=tuple(needs), steps=steps)


def _outlook(usage: Usage, reach: Reach, alternative: Alternative, subject: str) -> tuple[list[Fall], Need]:
    """What one alternative finds on the node if nothing else is asked for."""
    counts: dict[tuple[str, str], int] = {}
    everything = free_count = 0
    demand = alternative.demand
    for pool, devices in reach:
        if pool.problem or not devices:
            continue
        taken = usage.of_pool(pool)
        found = demand.eligible(pool)
        match = demand.matcher.match(pool)
        left = devices
        tests: list[tuple[str, Devices]] = [
            ("binding", found.conditional),
            ("capacity", found.undersized),
            ("taint", found.tainted),
        ]
        if not demand.admin:
            dedicated = ~pool.shareable
            tests += [
                ("inUse", taken.taken | (taken.shared & dedicated)),
                ("counters", taken.blocked & ~taken.shared),
                ("capacity", ~demand.free(pool, taken)),
            ]
        failed = match.failed & devices
        for index in members(failed):
            message = match.faults[index].message
            counts["selectorError", message] = counts.get(("selectorError", message), 0) + 1
        unmatched = devices & ~match.matched & ~failed
        if unmatched:
            counts["selector", ""] = counts.get(("selector", ""), 0) + unmatched.bit_count()
        left &= match.matched
        everything += (left & ~(found.undersized | found.conditional)).bit_count()
        for test, fallen in tests:
            if left & fallen:
                counts[test, ""] = counts.get((test, ""), 0) + (left & fallen).bit_count()
                left &= ~fallen
        free_count += left.bit_count()
    falls = [
        Fall(test=test, subject=subject, count=count, detail=detail)
        for (test, detail), count in counts.items()
    ]
    wanted = everything if alternative.count is None else alternative.count
    return falls, Need(subject=subject, wanted=wanted, free=free_count)


def _disagreements(
    usage: Usage, reach: Reach, claims: Sequence[ResourceClaim], blueprints: Sequence[Blueprint]
) -> list[Fall]:
    """Constraints that no sufficient group of free devices satisfies, seen request by request."""
    return [
        fall
        for claim, ready in zip(claims, blueprints, strict=True)
        for fall in _disagreements_of(usage, reach, claim, ready)
    ]


def _disagreements_of(usage: Usage, reach: Reach, claim: ResourceClaim, ready: Blueprint) -> Iterator[Fall]:
    for constraint in ready.constraints:
        for request in ready.requests:
            for alternative in request.alternatives:
                if not constraint.covers(request.name, alternative.name) or not alternative.count:
                    continue
                groups: dict[object, int] = {}
                free_count = 0
                for pool, free in _free(usage, reach, alternative):
                    values = pool.attribute(constraint.attribute)
                    for index in members(free):
                        free_count += 1
                        if values[index] is not None:
                            groups[values[index]] = groups.get(values[index], 0) + 1
                best = len(groups) if constraint.distinct else max(groups.values(), default=0)
                if best < alternative.count:
                    yield Fall(
                        test="constraint",
                        subject=f"{claim.metadata.name}/{alternative.name}",
                        count=free_count - best,
                        detail=constraint.attribute,
                    )


def _free(usage: Usage, reach: Reach, alternative: Alternative) -> Iterator[tuple[Pool, Devices]]:
    for pool, devices in reach:
        if devices and not pool.problem:
            yield pool, alternative.demand.free(pool, usage.of_pool(pool)) & devices
