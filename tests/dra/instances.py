"""Small random allocation problems, and an oracle that tries every assignment of devices.

A problem is plain data, so that the oracle reads none of the product's own structures.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations, product
from typing import Any

from hypothesis import strategies as st
from tests.dra.build import DRIVER, allocated, claim, node, slice_of

from aliquot.model.core import Node
from aliquot.model.resource import ResourceClaim, ResourceSlice

TAINT = {"key": "sick", "value": "yes", "effect": "NoSchedule"}
TOLERATION = {"key": "sick", "operator": "Exists"}


@dataclass
class Dev:
    """kind and group: attributes, group may be missing. draws: of the counters by name. capacity: if set the
    device is shareable. used: whole by another claim; consumed: by shares of other claims."""

    name: str
    kind: str
    group: int | None
    draws: dict[str, int]
    capacity: int | None
    step: int
    tainted: bool
    used: bool
    consumed: int


@dataclass
class Ask:
    """One alternative. count None is All; amount: capacity asked for."""

    kind: str | None
    count: int | None
    admin: bool
    tolerates: bool
    amount: int | None


@dataclass
class Problem:
    devices: list[Dev]
    counters: dict[str, int]
    # One list of requests per claim, each a list of alternatives.
    claims: list[list[list[Ask]]]
    # (claim, distinct, names of requests; empty for all)
    constraints: list[tuple[int, bool, list[str]]] = field(default_factory=list)

    def node(self) -> Node:
        return node("node-1")

    def slices(self) -> list[ResourceSlice]:
        devices = [_device(each) for each in self.devices]
        if not self.counters:
            return [slice_of(devices)]
        sets = [{"name": name, "counters": {"units": {"value": str(n)}}} for name, n in self.counters.items()]
        return [
            slice_of(devices, count=2, name="devices"),
            slice_of([], count=2, name="counters", sharedCounters=sets),
        ]

    def holders(self) -> list[ResourceClaim]:
        held = [allocated(f"holder-{each.name}", each.name) for each in self.devices if each.used]
        for each in self.devices:
            if each.consumed and not each.used:
                share = {
                    "device": each.name,
                    "shareID": "s",
                    "consumedCapacity": {"size": str(each.consumed)},
                }
                held.append(allocated(f"sharer-{each.name}", share))
        return held

    def wanted(self) -> list[ResourceClaim]:
        claims = []
        for number, requests in enumerate(self.claims):
            written = [_request(f"r{position}", asks) for position, asks in enumerate(requests)]
            constraints = [
                {
                    "requests": names,
                    "distinctAttribute" if distinct else "matchAttribute": f"{DRIVER}/group",
                }
                for owner, distinct, names in self.constraints
                if owner == number
            ]
            claims.append(claim(*written, name=f"claim-{number}", constraints=constraints))
        return claims


def _device(each: Dev) -> dict[str, Any]:
    document: dict[str, Any] = {"name": each.name, "attributes": {"kind": {"string": each.kind}}}
    if each.group is not None:
        document["attributes"]["group"] = {"int": each.group}
    if each.draws:
        document["consumesCounters"] = [
            {"counterSet": name, "counters": {"units": {"value": str(amount)}}}
            for name, amount in each.draws.items()
        ]
    if each.capacity is not None:
        document["allowMultipleAllocations"] = True
        policy = {"default": "1", "validRange": {"min": "1", "step": str(each.step)}}
        document["capacity"] = {"size": {"value": str(each.capacity), "requestPolicy": policy}}
    if each.tainted:
        document["taints"] = [TAINT]
    return document


def _request(name: str, asks: list[Ask]) -> dict[str, Any]:
    if len(asks) == 1:
        return {"name": name, "exactly": _ask(asks[0])}
    return {
        "name": name,
        "firstAvailable": [{"name": f"a{number}", **_ask(ask)} for number, ask in enumerate(asks)],
    }


def _ask(ask: Ask) -> dict[str, Any]:
    document: dict[str, Any] = {"deviceClassName": "gpu"}
    if ask.kind is not None:
        expression = f'device.attributes["{DRIVER}"].kind == "{ask.kind}"'
        document["selectors"] = [{"cel": {"expression": expression}}]
    if ask.count is None:
        document["allocationMode"] = "All"
    else:
        document["count"] = ask.count
    if ask.admin:
        document["adminAccess"] = True
    if ask.tolerates:
        document["tolerations"] = [TOLERATION]
    if ask.amount is not None:
        document["capacity"] = {"requests": {"size": str(ask.amount)}}
    return document


def takes(device: Dev, ask: Ask) -> int | None:
    """What a request takes of a shareable device; None if the device cannot serve it."""
    if device.capacity is None:
        return 0 if ask.amount is None else None
    amount = 1 if ask.amount is None else ask.amount
    if ask.amount is not None:
        steps = max(0, -((1 - amount) // device.step))
        amount = 1 + steps * device.step
    return amount if amount <= device.capacity else None


def solvable(problem: Problem) -> bool:
    """Whether any assignment serves all claims."""
    flat = [
        (number, position, asks)
        for number, requests in enumerate(problem.claims)
        for position, asks in enumerate(requests)
    ]
    choices = [list(_choices(problem, asks)) for _, _, asks in flat]
    return any(_valid(problem, flat, chosen) for chosen in product(*choices))


def _choices(problem: Problem, asks: list[Ask]) -> Iterator[tuple[int, Ask, tuple[Dev, ...]]]:
    for number, ask in enumerate(asks):
        matching = [
            each for each in problem.devices if ask.kind in (None, each.kind) and takes(each, ask) is not None
        ]
        if ask.count is None:
            everything = [
                each
                for each in matching
                if ask.admin or each.capacity is None or each.consumed + takes(each, ask) <= each.capacity
            ]
            if everything:
                yield number, ask, tuple(everything)
        else:
            for devices in combinations(matching, ask.count):
                yield number, ask, devices


def _valid(problem: Problem, flat: list, chosen: tuple) -> bool:
    used = {each.name for each in problem.devices if each.used}
    shared = {each.name: each.consumed for each in problem.devices if each.consumed and not each.used}
    in_claim: dict[tuple[int, str], list[bool]] = {}
    groups: dict[tuple[int, str], list[int | None]] = {}
    for (number, position, asks), (alternative, ask, devices) in zip(flat, chosen, strict=True):
        name = f"r{position}" if len(asks) == 1 else f"r{position}/a{alternative}"
        for each in devices:
            if each.tainted and not ask.tolerates:
                return False
            is_share = each.capacity is not None and not ask.admin
            in_claim.setdefault((number, each.name), []).append(is_share)
            groups.setdefault((number, name), []).append(each.group)
            if ask.admin:
                continue
            if each.name in used:
                return False
            if is_share:
                shared[each.name] = shared.get(each.name, 0) + takes(each, ask)
                if shared[each.name] > each.capacity:
                    return False
            else:
                used.add(each.name)
    if any(len(shares) > 1 and not all(shares) for shares in in_claim.values()):
        return False
    drawn = dict.fromkeys(problem.counters, 0)
    before = dict.fromkeys(problem.counters, 0)
    fresh = dict.fromkeys(problem.counters, False)
    for each in problem.devices:
        for counter, amount in each.draws.items():
            if each.used or each.consumed:
                before[counter] += amount
            if each.name in used or each.name in shared:
                drawn[counter] += amount
                fresh[counter] |= not (each.used or each.consumed)
    if any(fresh[name] and drawn[name] > limit for name, limit in problem.counters.items()):
        return False
    for owner, distinct, names in problem.constraints:
        values = [
            value
            for (number, name), found in groups.items()
            if number == owner and (not names or name in names or name.partition("/")[0] in names)
            for value in found
        ]
        if None in values:
            return False
        if distinct and len(set(values)) < len(values):
            return False
        if not distinct and len(set(values)) > 1:
            return False
    return True


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Up to six devices, two claims, three requests."""
    sets = draw(st.integers(0, 2))
    counters = {f"set-{number}": draw(st.integers(1, 4)) for number in range(sets)}
    devices = []
    for number in range(draw(st.integers(0, 6))):
        draws = {}
        if counters and draw(st.booleans()):
            for name in draw(st.sets(st.sampled_from(sorted(counters)), min_size=1)):
                draws[name] = draw(st.integers(1, 3))
        capacity = draw(st.one_of(st.none(), st.none(), st.integers(1, 4)))
        used = draw(st.integers(0, 5)) == 0
        consumed = draw(st.integers(0, capacity)) if capacity is not None and not used else 0
        devices.append(
            Dev(
                name=f"device-{number}",
                kind=draw(st.sampled_from("ab")),
                group=draw(st.sampled_from([0, 0, 1, 2, None])),
                draws=draws,
                capacity=capacity,
                step=draw(st.integers(1, 2)),
                tainted=draw(st.integers(0, 5)) == 0,
                used=used,
                consumed=consumed,
            )
        )
    shape = draw(st.sampled_from([[1], [2], [1, 1], [3], [2, 1]]))
    claims = [[draw(_requests()) for _ in range(requests)] for requests in shape]
    constraints = []
    for owner in range(len(claims)):
        if draw(st.integers(0, 2)) == 0:
            names = draw(st.sampled_from([[], ["r0"], ["r0", "r1"], ["r0", "r2"], ["r0/a0"]]))
            constraints.append((owner, draw(st.booleans()), names))
    return Problem(devices, counters, claims, constraints)


@st.composite
def _requests(draw: st.DrawFn) -> list[Ask]:
    alternatives = draw(st.sampled_from([1, 1, 1, 2]))
    return [
        Ask(
            kind=draw(st.sampled_from([None, "a", "b"])),
            count=draw(st.sampled_from([1, 1, 2, 2, 3, None])),
            admin=alternatives == 1 and draw(st.integers(0, 5)) == 0,
            tolerates=draw(st.booleans()),
            amount=draw(st.sampled_from([None, None, None, 1, 2])),
        )
        for _ in range(alternatives)
    ]


@st.composite
def symmetric_problems(draw: st.DrawFn) -> Problem:
    """Physical devices that look almost the same: where leaving out what looks the same could go wrong."""
    size = draw(st.integers(2, 4))
    widths = draw(st.lists(st.integers(1, size), min_size=1, max_size=3))
    devices = []
    counters = {}
    for number in range(draw(st.integers(2, 3))):
        name = f"set-{number}"
        counters[name] = size
        for part, width in enumerate(widths):
            group = draw(st.sampled_from([number, number, 0]))
            used = draw(st.integers(0, 5)) == 0
            if draw(st.integers(0, 3)) == 0:
                continue
            devices.append(_partition(f"{name}-{part}", "ab"[part % 2], group, {name: width}, used=used))
    if draw(st.booleans()):
        devices.append(_partition("both", "a", None, {"set-0": 1, "set-1": 1}, used=False))
    shape = draw(st.sampled_from([[1], [2], [1, 1], [3], [1, 2], [1, 1, 1]]))
    claims = [
        [
            [
                Ask(
                    kind=draw(st.sampled_from([None, "a", "b"])),
                    count=draw(st.integers(1, 3)),
                    admin=draw(st.integers(0, 9)) == 0,
                    tolerates=False,
                    amount=None,
                )
            ]
            for _ in range(requests)
        ]
        for requests in shape
    ]
    constraints = [
        (owner, draw(st.booleans()), draw(st.sampled_from([[], ["r0"], ["r0", "r1"], ["r0", "r2"]])))
        for owner in range(len(shape))
        if draw(st.integers(0, 2)) == 0
    ]
    return Problem(devices, counters, claims, constraints)


def _partition(name: str, kind: str, group: int | None, draws: dict[str, int], *, used: bool) -> Dev:
    return Dev(
        name=name,
        kind=kind,
        group=group,
        draws=draws,
        capacity=None,
        step=1,
        tainted=False,
        used=used,
        consumed=0,
    )
