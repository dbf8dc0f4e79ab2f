"""What recommendations would do to a cluster, found out by the simulator with the real decisions.

The claims of the workloads that should change are rewritten, their pods leave and come again, and everybody
else stays. What `decide` then cannot place has a reason, and what it can shows how much of the fleet is free.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction

import msgspec
from msgspec.structs import replace

from aliquot.model.index import Key
from aliquot.model.kinds import decode, encode
from aliquot.model.resource import ResourceClaim
from aliquot.model.snapshot import Snapshot
from aliquot.scheduling.claims import claim_keys
from aliquot.scheduling.policy import Policy
from aliquot.simulation.adoption import said
from aliquot.simulation.changes import Scenario, begin
from aliquot.simulation.objects import FormError
from aliquot.simulation.results import Outcome
from aliquot.simulation.settings import Settings
from aliquot.sizing.choosing import Advice, Recommendation
from aliquot.sizing.cluster import fleet_report
from aliquot.sizing.edits import EditError, applied, edits_of
from aliquot.sizing.parts import Part

SECONDS = 600
"""Virtual time after the change: enough for pods to leave, to be placed again and to start."""


@dataclass(frozen=True, slots=True)
class Stuck:
    """A workload that would wait after the change. reason: of its verdict."""

    namespace: str
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Effect:
    """changed: pods that get another part; stuck: workloads that wait after the change and did not before.
    idle, idle_before: accelerators that nobody holds anything of; allocated, allocated_before: what is held.
    left_out: workloads whose change cannot be written as a claim, and why."""

    changed: int
    stuck: tuple[Stuck, ...]
    idle_before: int
    idle: int
    allocated_before: Fraction
    allocated: Fraction
    left_out: tuple[tuple[str, str], ...]

    @property
    def works(self) -> bool:
        """Nobody loses a place by it."""
        return not self.stuck


def effect(
    snapshot: Snapshot,
    found: Sequence[Recommendation],
    now: datetime,
    policy: Policy | None = None,
    *,
    seconds: int = SECONDS,
) -> Effect:
    """Change all workloads that should change at once, and let virtual time pass. now: aware, UTC.

    Workloads that use a claim together with others, or extended resources of a device plugin, are left out.
    """
    parts, left_out = _parts(snapshot, found)
    claims, pods, refused = _rewritten(snapshot, parts)
    settings = Settings(start=now, until=seconds, sample_seconds=0, grace_seconds=1, usage_seconds=0)
    before = Scenario(snapshot=snapshot, policy=policy or Policy(), settings=settings)
    kept = tuple(claims.get(claim.key, claim) for claim in snapshot.resource_claims)
    after = replace(before, snapshot=replace(snapshot, resource_claims=kept), leaving=frozenset(pods))
    waits_before = {item.key for item in _run(before)[0]}
    waiting, later = _run(after)
    idle_before, allocated_before = _held(snapshot)
    idle, allocated = _held(later)
    return Effect(
        changed=len(pods),
        stuck=tuple(
            Stuck(item.namespace, item.name, item.reason) for item in waiting if item.key not in waits_before
        ),
        idle_before=idle_before,
        idle=idle,
        allocated_before=allocated_before,
        allocated=allocated,
        left_out=(*left_out, *refused),
    )


@dataclass(frozen=True, slots=True)
class _Waiting:
    namespace: str
    name: str
    reason: str

    @property
    def key(self) -> tuple[str, str]:
        return (self.namespace, self.name)


def _run(scenario: Scenario) -> tuple[tuple[_Waiting, ...], Snapshot]:
    try:
        simulation = begin(scenario, said)
    except FormError as error:
        return (_Waiting(*error.workload, error.problem),), scenario.snapshot
    result = simulation.run()
    waiting = tuple(
        _Waiting(item.namespace, item.name, item.reason)
        for item in result.workloads
        if item.outcome is Outcome.WAITING
    )
    return waiting, simulation.world.cluster.snapshot()


def _held(snapshot: Snapshot) -> tuple[int, Fraction]:
    """Accelerators of which nothing is held, and how much is held of all."""
    states = [item for item in fleet_report(snapshot).devices.devices if item.board.accelerator]
    return (
        sum(1 for item in states if not item.allocated and not item.problem),
        sum((item.allocated for item in states), Fraction(0)),
    )


def _parts(
    snapshot: Snapshot, found: Iterable[Recommendation]
) -> tuple[Mapping[Key, Part], tuple[tuple[str, str], ...]]:
    """The part that each pod should have, by (namespace, name)."""
    pods = {pod.key: pod for pod in snapshot.pods}
    parts: dict[Key, Part] = {}
    left_out: list[tuple[str, str]] = []
    users: dict[Key, int] = {}
    for pod in snapshot.pods:
        for key in claim_keys(pod):
            users[key] = users.get(key, 0) + 1
    for item in found:
        if item.advice not in (Advice.CHANGE, Advice.GROW) or item.part is None:
            continue
        keys = {
            (use.memory.owner.pod.namespace, use.memory.owner.pod.name)
            for use in item.profile.uses
            if use.memory.owner.pod is not None
        }
        own = [pods[key] for key in sorted(keys) if key in pods]
        claims = [key for pod in own for key in claim_keys(pod)]
        if not claims:
            left_out.append((item.profile.name, "its pods use no claims"))
        elif any(users[key] > 1 for key in claims):
            left_out.append((item.profile.name, "its claim is used by several pods"))
        else:
            parts.update({pod.key: item.part for pod in own})
    return parts, tuple(left_out)


def _rewritten(
    snapshot: Snapshot, parts: Mapping[Key, Part]
) -> tuple[dict[Key, ResourceClaim], tuple[Key, ...], tuple[tuple[str, str], ...]]:
    known = {claim.key: claim for claim in snapshot.resource_claims}
    claims: dict[Key, ResourceClaim] = {}
    pods: list[Key] = []
    refused: list[tuple[str, str]] = []
    for pod in snapshot.pods:
        part = parts.get(pod.key)
        if part is None:
            continue
        mine = [known[key] for key in claim_keys(pod) if key in known]
        try:
            made = [_asking(claim, part) for claim in mine]
        except EditError as error:
            refused.append((f"{pod.namespace}/{pod.name}", str(error)))
            continue
        claims.update({claim.key: claim for claim in made})
        pods.append(pod.key)
    return claims, tuple(pods), tuple(refused)


def _asking(claim: ResourceClaim, part: Part) -> ResourceClaim:
    """The claim with the spec that asks for the part; what it holds stays until its pod leaves."""
    document = msgspec.json.decode(msgspec.json.encode(encode(claim)))
    made = decode(applied(document, edits_of(document, part)))
    assert isinstance(made, ResourceClaim)
    return replace(claim, spec=made.spec)
