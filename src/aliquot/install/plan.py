"""What applying an installation would change, and applying it: a plan first, then server-side apply."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from aliquot import manifests
from aliquot.install.cluster import Cluster, NotServedError, subject
from aliquot.install.objects import Options, wanted
from aliquot.kube.errors import ApiError

Json = dict[str, Any]

OPTIONAL = ("NetworkPolicy", "ServiceMonitor", "PodDisruptionBudget", "PrometheusRule")
"""Kinds that a cluster may do without."""

_VOLATILE = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink")
ESTABLISHED_POLLS, ESTABLISHED_PAUSE = 60, 0.5


class Action(StrEnum):
    """create: there is none yet. change: some of its fields differ. keep: nothing differs. skip: the cluster
    does not serve its kind, and it is not needed."""

    CREATE = "create"
    CHANGE = "change"
    KEEP = "keep"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Change:
    """One field with what it is and what it will be, as short text; "" for nothing."""

    path: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Step:
    """One object: what becomes of it, why it is skipped, and what would change in it."""

    document: Json
    action: Action
    changes: tuple[Change, ...] = ()
    why: str = ""

    @property
    def subject(self) -> str:
        return subject(self.document)


OWN_BUSINESS = (manifests.DRIVERS, "aliquot-policy")
"""ConfigMaps that a cluster fills in itself: an installation makes them and leaves their contents alone."""


async def documents(cluster: Cluster, options: Options) -> tuple[Json, ...]:
    """What to apply. The list of drivers and the policy file stay as a cluster has them, where it has them;
    the list changes only if drivers were asked for.
    """
    found = []
    for document in wanted(options):
        name = document["metadata"]["name"]
        keeps = document["kind"] == "ConfigMap" and name in OWN_BUSINESS
        if keeps and (name != manifests.DRIVERS or options.drivers is None):
            stored = await cluster.stored(document)
            if stored is not None:
                # Left out, server-side apply would take the fields away that an installation wrote before.
                document = {**document, "data": stored.get("data") or {}}
        found.append(document)
    return tuple(found)


async def plan(cluster: Cluster, objects: Sequence[Json]) -> tuple[Step, ...]:
    """What applying these objects would do. Raises NotServedError for a kind that must be served, and the
    client's errors.
    """
    return tuple(await asyncio.gather(*(_step(cluster, document) for document in objects)))


async def _step(cluster: Cluster, document: Json) -> Step:
    api_version, kind = document["apiVersion"], document["kind"]
    if not await cluster.serves(api_version, kind):
        if kind in OPTIONAL:
            return Step(document, Action.SKIP, why=f"the cluster does not serve {kind}")
        raise NotServedError(api_version, kind)
    stored = await cluster.stored(document)
    if stored is None:
        return Step(document, Action.CREATE)
    changes = tuple(differences(stored, await cluster.apply(document, dry_run=True)))
    return Step(document, Action.CHANGE if changes else Action.KEEP, changes)


async def carry_out(
    cluster: Cluster,
    steps: Sequence[Step],
    tell: Callable[[Step], None],
    pause: Callable[[float], Awaitable[None]],
) -> None:
    """Apply what is to be created or changed, in order. tell: is called after each.

    Raises the client's errors; what was applied before stays, and the same plan can be carried out again.
    """
    for step in steps:
        if step.action in (Action.CREATE, Action.CHANGE):
            await cluster.apply(step.document)
            if step.document["kind"] == "CustomResourceDefinition":
                await _established(cluster, step.document, pause)
        tell(step)
    cluster.forget()


async def _established(cluster: Cluster, document: Json, pause: Callable[[float], Awaitable[None]]) -> None:
    """Wait until the server serves a custom resource."""
    for _ in range(ESTABLISHED_POLLS):
        stored = await cluster.stored(document) or {}
        conditions = (stored.get("status") or {}).get("conditions") or ()
        if any(one["type"] == "Established" and one["status"] == "True" for one in conditions):
            return
        await pause(ESTABLISHED_PAUSE)
    raise ApiError(504, "Timeout", "the custom resource is not established", request=subject(document))


def differences(before: Json, after: Json) -> Iterator[Change]:
    """Fields in which two versions of an object differ, without what every write changes."""
    yield from _differences(_plain(before), _plain(after), "")


def _plain(document: Json) -> Json:
    metadata = {key: value for key, value in document["metadata"].items() if key not in _VOLATILE}
    rest = {key: value for key, value in document.items() if key not in ("status", "apiVersion", "kind")}
    return {**rest, "metadata": metadata}


def _differences(before: object, after: object, path: str) -> Iterator[Change]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted({*before, *after}):
            deeper = f"{path}.{key}" if path else key
            yield from _differences(before.get(key), after.get(key), deeper)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _differences(one, other, f"{path}[{index}]")
    elif before != after:
        yield Change(path, _short(before), _short(after))


def _short(value: object) -> str:
    if value is None:
        return ""
    text = " ".join(str(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
