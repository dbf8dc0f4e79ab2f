"""Sizes that are changed without anybody asking, as a policy says (`sizing.rollout` decides, this enacts).

A Deployment or StatefulSet whose pods have a claim template gets another template; its own controller rolls
that out, as slowly as its update strategy says. What was done is noted on the workload in the same patch that
does it, so that another leader goes on watching where this one ended.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from aliquot.controller.live import Live
from aliquot.controller.unasked import NotServedError, Unasked
from aliquot.inventory.report import Report
from aliquot.kube.credentials import CredentialError
from aliquot.kube.errors import ApiError, TransportError
from aliquot.kube.resources import PODS, Resource
from aliquot.model.index import SnapshotIndex
from aliquot.model.kinds import API_VERSIONS
from aliquot.model.meta import KubernetesObject, ObjectRef
from aliquot.model.owners import Deployment, StatefulSet
from aliquot.model.snapshot import FIELDS, Snapshot
from aliquot.scheduling.policy import Policy
from aliquot.sizing.choosing import Recommendation, recommend
from aliquot.sizing.cluster import SERVERS, fleet_of, fleet_report, profiles_of
from aliquot.sizing.edits import EditError
from aliquot.sizing.effect import effect
from aliquot.sizing.parts import part_named
from aliquot.sizing.pod_health import health_of
from aliquot.sizing.policy import SizingPolicy
from aliquot.sizing.rollout import (
    Advance,
    Apply,
    Health,
    Held,
    Key,
    Phase,
    Proposal,
    RollBack,
    Rollout,
    RolloutPolicy,
    advance,
)
from aliquot.sizing.template_change import Note, Operation, change_of, claims_of, noted, restored
from aliquot.store.usage import UsageHistory
from aliquot.store.usage_schema import HistoryError
from aliquot.usage.metrics import BUSY, Metric
from aliquot.usage.series import Series
from aliquot.workloads.lookup import Lookup

_log = logging.getLogger(__name__)

EVERY_S = 120.0
RECOMMEND_EVERY_S = 3600.0
WINDOW_MS = 14 * 86_400_000
BEFORE_MS = 86_400_000
"""So much of a model server's throughput before a change is compared with."""

COARSE_MS = 600_000

KINDS: tuple[type[KubernetesObject], ...] = (Deployment, StatefulSet)
TEMPLATES = Resource("resource.k8s.io", "v1", "resourceclaimtemplates", "ResourceClaimTemplate", True)

_SIZES = (
    Metric.MEMORY_USED,
    *BUSY,
    Metric.DRAM_BUSY,
    Metric.NVLINK_RECEIVED,
    Metric.NVLINK_SENT,
    *SERVERS,
)
_SIGNS = (Metric.MEMORY_USED, Metric.GENERATION_TOKENS, Metric.REQUESTS_WAITING)


@dataclass(frozen=True, slots=True)
class Sizes:
    """What is right, and how far sizes may be changed. prices: gives micro-units per device and hour, by
    model."""

    sizing: SizingPolicy
    rollout: RolloutPolicy
    prices: Callable[[Report], Mapping[str, int]]


class Resizer:
    """Changes sizes, watches what was changed, and takes it back."""

    def __init__(
        self, unasked: Unasked, live: Live, history: UsageHistory, sizes: Sizes, policy: Policy
    ) -> None:
        self._unasked = unasked
        self._live = live
        self._history = history
        self._sizes = sizes
        self._policy = policy
        self._found: tuple[float, tuple[Recommendation, ...]] | None = None
        self._tried: set[tuple[Key, str]] = set()

    async def run(self) -> None:
        """Until cancelled; trouble is told and does not end it."""
        await self._live.wait(0)
        while True:
            try:
                await self.look()
            except (ApiError, TransportError, CredentialError, HistoryError) as error:
                _log.warning("sizes: %s", error)
            await asyncio.sleep(EVERY_S)

    async def look(self) -> Advance:
        """Do what is due now. Raises HistoryError, ApiError and TransportError."""
        snapshot = self._live.snapshot
        now = self._unasked.now()
        now_ms = round(now.timestamp() * 1000)
        notes = dict(_notes(snapshot))
        state = [note.rollout(ref) for ref, note in notes.items()]
        watched = [item for item in state if item.phase is not Phase.ROLLED_BACK]
        health = await self._health(watched, snapshot, now) if watched else {}
        found = await self._recommended(snapshot, now_ms)
        free = frozenset(_changeable(snapshot))
        proposals = [item for item in map(Proposal.of, found) if item is not None and item.key in free]
        rules = self._sizes.rollout
        refused: list[Held] = []
        while True:
            step = advance(state, proposals, health, rules, now_ms)
            stuck = await self._impossible(step, found, snapshot, now)
            if not stuck:
                break
            refused += stuck
            keys = {_key(item.workload) for item in stuck}
            proposals = [item for item in proposals if item.key not in keys]
        before = {_key(item.workload): item for item in state}
        after = {_key(item.workload): item for item in step.state}
        for action in step.actions:
            rollout = after.pop(_key(action.workload))
            if isinstance(action, RollBack):
                await self._roll_back(action, rollout, notes)
            elif rules.dry_run:
                await self._try(action, rollout)
            else:
                await self._apply(action, rollout)
        for key, rollout in after.items():
            if rollout != before[key]:
                await self._note(rollout, notes)
        return msgspec.structs.replace(step, held=(*step.held, *refused))

    # What is known

    async def _recommended(self, snapshot: Snapshot, now_ms: int) -> tuple[Recommendation, ...]:
        """Recommendations for what the policy is about; they change within hours, not minutes."""
        if not self._sizes.rollout.queues:
            return ()
        if self._found is None or time.monotonic() - self._found[0] > RECOMMEND_EVERY_S:
            made = await asyncio.to_thread(self._recommend, snapshot, now_ms)
            if not made:
                # Nothing is known of use yet: it is asked for again with the next look.
                return ()
            self._found = (time.monotonic(), made)
        return self._found[1]

    def _recommend(self, snapshot: Snapshot, now_ms: int) -> tuple[Recommendation, ...]:
        series = self._history.read(now_ms - WINDOW_MS, now_ms, metrics=_SIZES, devices=False)
        held = [item for item in series if item.metric not in SERVERS]
        servers = [item for item in series if item.metric in SERVERS]
        report = fleet_report(snapshot, self._policy)
        fleet = fleet_of(report, self._sizes.prices(report))
        profiles = profiles_of(snapshot, fleet, report, held, self._sizes.sizing, servers)
        wanted = [item for item in profiles if self._sizes.rollout.covers(item.queue)]
        return tuple(recommend(item, fleet.offers, self._sizes.sizing) for item in wanted)

    async def _health(
        self, watched: Sequence[Rollout], snapshot: Snapshot, now: datetime
    ) -> dict[Key, Health]:
        start = min(item.applied_ms for item in watched) - BEFORE_MS
        until = round(now.timestamp() * 1000)
        series = await asyncio.to_thread(
            self._history.read, start, until, metrics=_SIGNS, devices=False, finest=COARSE_MS
        )
        own = _pods_of(snapshot)
        lists: dict[str, list[dict[str, Any]]] = {}
        found = {}
        for item in watched:
            space, key = item.workload.namespace, _key(item.workload)
            if space not in lists:
                lists[space] = await self._pods(space)
            names = own.get(key, frozenset())
            pods = [pod for pod in lists[space] if pod["metadata"]["name"] in names]
            mine = [one for one in series if one.owner.namespace == space and _is_of(one, names, key)]
            part = part_named(item.after)
            since = datetime.fromtimestamp(item.applied_ms / 1000, UTC)
            seen = health_of(pods, mine, mine, part.memory if part is not None else 0, since, now)
            # What fails long after a change does not fail because of it.
            settled = item.phase is Phase.SETTLED
            found[key] = msgspec.structs.replace(seen, failed=0) if settled else seen
        return found

    async def _pods(self, namespace: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        async for page in self._unasked.client.pages(PODS, namespace):
            found += msgspec.json.decode(page).get("items") or ()
        return found

    async def _impossible(
        self, step: Advance, found: Iterable[Recommendation], snapshot: Snapshot, now: datetime
    ) -> list[Held]:
        """Changes after which somebody would wait, or that cannot be tried out beforehand."""
        known = {_key(item.profile.workload): item for item in found}
        held = []
        for action in step.actions:
            if not isinstance(action, Apply):
                continue
            later = now + timedelta(seconds=1)
            recommendation = known[_key(action.workload)]
            seen = await asyncio.to_thread(effect, snapshot, [recommendation], later, self._policy)
            why = ""
            if seen.left_out or not seen.changed:
                why = "; ".join(text for _, text in seen.left_out) or "none of its pods would change"
            elif seen.stuck:
                first = seen.stuck[0]
                why = f"{first.namespace}/{first.name} would wait afterwards ({first.reason})"
            if why:
                held.append(Held(workload=action.workload, why=why))
        return held

    # What is done

    async def _apply(self, action: Apply, rollout: Rollout) -> None:
        ref, part = action.workload, part_named(action.part)
        version = _version(ref)

        async def made(document: dict[str, Any]) -> list[Operation]:
            templates = await self._templates(ref.namespace, claims_of(document).values())
            assert part is not None
            change = change_of(document, templates, part)
            for template in change.templates:
                await self._make(template)
            return [*noted(document, Note.about(rollout, change.names)), *change.operations]

        try:
            if part is None or not await self._unasked.rewrite(version, ref, made):
                return
        except (EditError, ApiError, TransportError, NotServedError) as error:
            await self._failed(ref, version, rollout, f"{action.part}: {error}")
            return
        text = f"it gets {rollout.after} instead of {rollout.before}, which its use speaks for"
        self._unasked.record(ref, "size-apply", text, queue=rollout.queue)
        await self._unasked.tell(version, ref, "SizeChanged", text)

    async def _roll_back(self, action: RollBack, rollout: Rollout, notes: Mapping[ObjectRef, Note]) -> None:
        ref, version = action.workload, _version(action.workload)
        note = Note.about(rollout, notes[ref].templates)
        operations: tuple[Operation, ...] = ()

        async def made(document: dict[str, Any]) -> list[Operation]:
            nonlocal operations
            operations = restored(document, note.templates)
            return [*noted(document, note), *operations]

        try:
            if not await self._unasked.rewrite(version, ref, made):
                return
        except (ApiError, TransportError, NotServedError) as error:
            await self._failed(ref, version, rollout, f"back to {action.part}: {error}")
            return
        text = f"{rollout.before} comes back instead of {rollout.after}: {action.why}"
        if not operations:
            text = f"{action.why}; somebody has given it another size since, which stays"
        self._unasked.record(ref, "size-rollback", text, queue=rollout.queue)
        await self._unasked.tell(version, ref, "SizeRolledBack", text, warning=True)

    async def _note(self, rollout: Rollout, notes: Mapping[ObjectRef, Note]) -> None:
        """Nothing but the phase changes."""
        ref, version = rollout.workload, _version(rollout.workload)
        note = Note.about(rollout, notes[ref].templates)

        async def made(document: dict[str, Any]) -> tuple[Operation, ...]:
            return noted(document, note)

        try:
            if not await self._unasked.rewrite(version, ref, made):
                return
        except (ApiError, TransportError, NotServedError) as error:
            await self._failed(ref, version, rollout, str(error))
            return
        self._unasked.record(ref, "size-settled", rollout.after, queue=rollout.queue)

    async def _try(self, action: Apply, rollout: Rollout) -> None:
        key = (_key(action.workload), action.part)
        if key not in self._tried:
            self._tried.add(key)
            text = f"dry run: it would get {rollout.after} instead of {rollout.before}"
            await self._unasked.tell(_version(action.workload), action.workload, "SizeChangeDryRun", text)

    async def _failed(self, ref: ObjectRef, version: str, rollout: Rollout, text: str) -> None:
        self._unasked.record(ref, "size-change", text, queue=rollout.queue, failed=True)
        await self._unasked.tell(version, ref, "SizeChangeFailed", text, warning=True)

    async def _templates(self, namespace: str, names: Iterable[str]) -> dict[str, dict[str, Any]]:
        found = {}
        for name in names:
            try:
                found[name] = msgspec.json.decode(await self._unasked.client.get(TEMPLATES, name, namespace))
            except ApiError as error:
                if not error.not_found:
                    raise
        return found

    async def _make(self, template: Mapping[str, Any]) -> None:
        try:
            await self._unasked.client.create(TEMPLATES, template, template["metadata"]["namespace"])
        except ApiError as error:
            # Its name follows from what it holds: one that is there already is this one.
            if not error.conflict:
                raise


def _changeable(snapshot: Snapshot) -> Iterator[Key]:
    """Workloads of kinds that roll out another pod template, and over which nothing else decides."""
    for kind in KINDS:
        for item in getattr(snapshot, FIELDS[kind]):
            if item.metadata.controller is None:
                yield _key(item.ref)


def _notes(snapshot: Snapshot) -> Iterable[tuple[ObjectRef, Note]]:
    for kind in KINDS:
        for item in getattr(snapshot, FIELDS[kind]):
            note = Note.of(item.metadata.annotations)
            if note is not None:
                yield item.ref, note


def _pods_of(snapshot: Snapshot) -> dict[Key, frozenset[str]]:
    """The names of pods by the workload on top of them."""
    lookup = Lookup(SnapshotIndex.of(snapshot))
    found: dict[Key, set[str]] = {}
    for pod in snapshot.pods:
        chain = lookup.chain(pod).objects
        if chain:
            found.setdefault(_key(chain[-1].ref), set()).add(pod.metadata.name)
    return {key: frozenset(names) for key, names in found.items()}


def _is_of(series: Series, pods: frozenset[str], workload: Key) -> bool:
    """Also those of pods that are gone."""
    pod, owner = series.owner.pod, series.owner.workload
    return (pod is not None and pod.name in pods) or (owner is not None and _key(owner) == workload)


def _version(ref: ObjectRef) -> str:
    return next(API_VERSIONS[kind][0] for kind in KINDS if kind.kind() == ref.kind)


def _key(ref: ObjectRef) -> Key:
    return (ref.kind, ref.namespace, ref.name)
