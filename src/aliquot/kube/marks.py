"""Which notes on a pod are Aliquot's own.

Aliquot writes down on pods what decisions build on (`MARKS`). Anybody who may change a pod can write such an
annotation; what shields them is the label `MARKED`: beside it the API server lets nobody but Aliquot change
them, and nobody but Aliquot put it on or take it off (policies pod-marks and gate-guard). A label, since a
policy's object selector costs an API server nothing where it does not match.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from aliquot.fractions.groups import GROUPS_ANNOTATION
from aliquot.model.core import Pod
from aliquot.workloads.labels import ADMITTED_AT, SHOWN_AT, STALE_SINCE

MARKED = "aliquot.dev/marked"
"""The label of pods whose marks are Aliquot's."""

GATED = "aliquot.dev/gated"
"""The label of pods that the policy gate.aliquot.dev put the gate on; taken off with the gate."""

MARKS = frozenset({ADMITTED_AT, GROUPS_ANNOTATION, SHOWN_AT, STALE_SINCE})
"""Annotations that nobody but Aliquot writes on pods with the label."""


def trusted(pod: Pod) -> Pod:
    """The pod without marks that somebody else wrote: those of a pod that lacks the label."""
    meta = pod.metadata
    if MARKED in meta.labels or MARKS.isdisjoint(meta.annotations):
        return pod
    annotations = {name: text for name, text in meta.annotations.items() if name not in MARKS}
    return msgspec.structs.replace(pod, metadata=msgspec.structs.replace(meta, annotations=annotations))


def marking(pod: Pod, marks: Mapping[str, str | None]) -> dict[str, Any]:
    """What a patch of the pod's metadata says to give it these marks (None: take that one off).

    With the label the other marks would be believed that somebody may have written before, so the patch that
    puts it on takes them off. Guard it with the pod's resourceVersion.
    """
    if MARKED in pod.metadata.labels:
        return {"annotations": dict(marks)}
    return {"labels": {MARKED: "true"}, "annotations": dict.fromkeys(sorted(MARKS)) | dict(marks)}
