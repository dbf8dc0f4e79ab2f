"""What manifests tell Aliquot by annotations and labels that is not understood.

An API server takes any annotation, and nothing of what workloads may say is refused by it. So a letter too
many ("gpu-fracton"), or a value in the wrong form ("preemptible: maybe"), would change what happens to a
workload without anybody being told.
"""

import difflib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from aliquot.cli.manifests import Document, InputError
from aliquot.fractions import requests
from aliquot.model.core import QUEUE_LABELS
from aliquot.sizing.culling import EXEMPT
from aliquot.workloads import labels, settings

PREFIX = "aliquot.dev/"
ALIKE = 0.85
"""From which likeness on (difflib's ratio) an unknown name is taken for a misspelt one: others have names
of their own under the prefix, such as those that a Topology knows its levels by."""

MOST_DEPTH = 12
"""Manifests hold pod templates within pod templates at most this deep (a JobSet: 7)."""

_OTHERS = (
    *(
        "model",
        "tenant",
        "agent",
        "team",
        "isolation",
        "runtime-class",
        "managed",
        "models",
        "gated",
        "marked",
    ),
    *("run-seconds", "stop-seconds", "exit-code", "gpu-groups", "sized-from", "size-change"),
    *("idle-step", "idle-resume", "idle-replicas"),
)
KNOWN = frozenset(
    {
        *(value for value in vars(labels).values() if isinstance(value, str) and value.startswith(PREFIX)),
        *(f"{PREFIX}{name}" for name in _OTHERS),
        *(
            name
            for names in (
                requests.FRACTION_ANNOTATIONS,
                requests.MEMORY_ANNOTATIONS,
                requests.DEVICES_ANNOTATIONS,
                QUEUE_LABELS,
            )
            for name in names
            if name.startswith(PREFIX)
        ),
        EXEMPT,
    }
)
"""What may be said on pods and what owns them."""


def _duration(text: str) -> bool:
    return settings.seconds(text) is not None


_FORMS: Mapping[str, tuple[Callable[[str], bool], str]] = {
    labels.PREEMPTIBLE: (lambda text: text.lower() in ("true", "false"), "write true or false"),
    labels.LAST_CHECKPOINT: (
        lambda text: settings.moment(text) is not None,
        "write a time such as 2026-01-31T12:00:00Z",
    ),
    **dict.fromkeys(
        (
            labels.CHECKPOINT_INTERVAL,
            labels.STARTUP_SECONDS,
            labels.EXPECTED_SECONDS,
            labels.STALENESS_GRACE,
            labels.PREEMPTION_DELAY,
        ),
        (_duration, "write seconds, or a duration such as 10m"),
    ),
}
"""Settings whose value is left out of account where it cannot be read. Of a gang's size and parts of devices
it is told why the workload waits."""


def doubts(document: Document) -> Iterator[InputError]:
    """What of a manifest's annotations and labels is not understood, with place and fix."""
    yield from _within(document, document.value, "", MOST_DEPTH)


def _within(document: Document, value: Any, path: str, depth: int) -> Iterator[InputError]:
    if depth == 0:
        return
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from _within(document, item, f"{path}[{number}]", depth - 1)
    elif isinstance(value, dict):
        for key, inner in value.items():
            place = f"{path}.{key}" if path else str(key)
            if key == "metadata" and isinstance(inner, dict):
                for kind in ("annotations", "labels"):
                    yield from _said(document, inner.get(kind), f"{place}.{kind}")
            elif isinstance(inner, (dict, list)):
                yield from _within(document, inner, place, depth - 1)


def _said(document: Document, said: Any, path: str) -> Iterator[InputError]:
    if not isinstance(said, dict):
        return
    for name, value in said.items():
        if not str(name).startswith(PREFIX) or not isinstance(value, str):
            continue
        place = f"{path}.{name}"
        if name not in KNOWN:
            near = difflib.get_close_matches(name.removeprefix(PREFIX), _BARE, n=1, cutoff=ALIKE)
            if near:
                fix = f"did you mean {PREFIX}{near[0]}?"
                yield InputError(document.place(place), path, f"nothing reads {name!r}", fix)
        elif name in _FORMS and not _FORMS[name][0](value):
            yield document.error(place, f"{value[:40]!r} is left out of account", _FORMS[name][1])


_BARE = sorted(name.removeprefix(PREFIX) for name in KNOWN)
