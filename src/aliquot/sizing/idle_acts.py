"""What is done to an idle workload, what is noted on it, and how it comes back."""

import enum
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeAlias

import msgspec

from aliquot.model.meta import ObjectRef

REPLICAS = "aliquot.dev/idle-replicas"
"""On a workload that was scaled to 0: how many replicas it had."""

MARK = "aliquot.dev/idle-step"
"""On a workload: the last step that was taken because it was idle (`Mark`, as JSON)."""

RESUME = "aliquot.dev/idle-resume"
"""Whoever puts this on a workload that was suspended for idleness has it started again."""

NOTEBOOK_STOPPED = "kubeflow-resource-stopped"
"""On a Kubeflow Notebook: its controller scales it to 0 while this annotation is there."""

MOST_MARK = 1_000
"""A mark that is longer was not written by Aliquot."""


class Step(enum.StrEnum):
    """What may be done, from the mildest."""

    NOTIFY = "notify"
    SHRINK = "shrink"
    """Pods beyond the gang's minimum leave."""
    SUSPEND = "suspend"
    """It stops until somebody starts it again: Jobs and alike by spec.suspend, others by 0 replicas."""
    RECLAIM = "reclaim"
    """Its pods are evicted; their owner makes new ones, which wait in the queue."""


class Notify(msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="action", tag="Notify"):
    """Write an event on the workload."""

    workload: ObjectRef
    message: str


class Patch(msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="action", tag="Patch"):
    """Merge this into the workload (JSON Merge Patch, RFC 7386), with its uid as a precondition."""

    workload: ObjectRef
    merge: dict[str, Any]


class EvictPods(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="action", tag="EvictPods"
):
    """Evict these pods, each with its uid as a precondition."""

    workload: ObjectRef
    pods: tuple[ObjectRef, ...]


Act: TypeAlias = Notify | Patch | EvictPods


class Mark(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The value of the annotation `MARK`: which step was taken, when, and since when the workload was idle
    then. Times are aware, UTC."""

    step: Step
    at: datetime
    idle_since: datetime

    @property
    def text(self) -> str:
        """The annotation's value."""
        return msgspec.json.encode(self).decode()

    @staticmethod
    def of(annotations: Mapping[str, str]) -> "Mark | None":
        """The mark in a workload's annotations; None if there is none, or nobody can read it."""
        text = annotations.get(MARK, "")
        if not text or len(text) > MOST_MARK:
            return None
        try:
            found = msgspec.json.decode(text, type=Mark)
        except msgspec.DecodeError:
            return None
        return found if found.at.tzinfo is not None and found.idle_since.tzinfo is not None else None


_SUSPENDED = frozenset({"Job", "JobSet", "TrainJob", "RayJob"})
"""Kinds with spec.suspend (batch/v1; jobset.x-k8s.io; trainer.kubeflow.org; ray.io)."""

_RUN_POLICY = frozenset({"MPIJob", "PyTorchJob", "TFJob", "XGBoostJob", "PaddleJob", "JAXJob"})
"""Kinds with spec.runPolicy.suspend (kubeflow.org/v1)."""

_SCALED = frozenset({"Deployment", "StatefulSet", "ReplicaSet", "LeaderWorkerSet"})

SUSPENDABLE = frozenset({*_SUSPENDED, *_RUN_POLICY, *_SCALED, "Notebook"})
"""Kinds that can be stopped so that they come back as they were."""


def suspension(ref: ObjectRef, replicas: int | None, now_ms: int) -> Patch | None:
    """What stops a workload until somebody starts it again; None for a kind that has no way to be stopped."""
    if ref.kind in _SUSPENDED:
        return Patch(workload=ref, merge={"spec": {"suspend": True}})
    if ref.kind in _RUN_POLICY:
        return Patch(workload=ref, merge={"spec": {"runPolicy": {"suspend": True}}})
    if ref.kind in _SCALED and replicas:
        remembered = {"metadata": {"annotations": {REPLICAS: str(replicas)}}}
        return Patch(workload=ref, merge={**remembered, "spec": {"replicas": 0}})
    if ref.kind == "Notebook":
        stopped = datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return Patch(workload=ref, merge={"metadata": {"annotations": {NOTEBOOK_STOPPED: stopped}}})
    return None


def woken(workload: ObjectRef, said: Mapping[str, str]) -> Patch | None:
    """What starts a workload again that was suspended for idleness; None for one that was not.

    said: its own annotations. What was noted for its suspension goes with it.
    """
    gone: dict[str, None] = {MARK: None, RESUME: None}
    if workload.kind in _SCALED:
        text = said.get(REPLICAS, "")
        if text.isascii() and text.isdigit() and 0 < int(text) <= 100_000:
            merge = {"metadata": {"annotations": {REPLICAS: None, **gone}}, "spec": {"replicas": int(text)}}
            return Patch(workload=workload, merge=merge)
        return None
    if workload.kind == "Notebook":
        if NOTEBOOK_STOPPED not in said:
            return None
        return Patch(workload=workload, merge={"metadata": {"annotations": {NOTEBOOK_STOPPED: None, **gone}}})
    mark = Mark.of(said)
    if mark is None or mark.step is not Step.SUSPEND:
        return None
    if workload.kind in _SUSPENDED:
        spec: dict[str, Any] = {"suspend": False}
    elif workload.kind in _RUN_POLICY:
        spec = {"runPolicy": {"suspend": False}}
    else:
        return None
    return Patch(workload=workload, merge={"metadata": {"annotations": dict(gone)}, "spec": spec})


def way_back(workload: ObjectRef) -> str:
    """What people type to have a suspended workload start again."""
    name = f"{workload.kind.lower()}/{workload.name}"
    annotation = f"{NOTEBOOK_STOPPED}-" if workload.kind == "Notebook" else f"{RESUME}=true"
    return f"kubectl annotate -n {workload.namespace} {name} {annotation}"
