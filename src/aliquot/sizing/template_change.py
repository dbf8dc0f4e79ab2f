"""Another size for a workload that runs: new claim templates, and references to them in its pod template.

A claim's spec never changes, nor does a template's (Kubernetes API, resource.k8s.io/v1: both are immutable).
So the workload gets templates of its own beside those it had, and only the references to them change, which
its owner then rolls out as it rolls out any change. To go back the references are put back; the templates it
had are still there.
"""

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from aliquot.model.meta import ObjectRef
from aliquot.sizing.edits import EditError, applied, edits_of, pointer_of, template_path
from aliquot.sizing.parts import Part
from aliquot.sizing.rollout import Phase, Rollout

NOTE = "aliquot.dev/size-change"
"""On a workload whose size was changed: what was done (`Note`, as JSON)."""

SIZED_FROM = "aliquot.dev/sized-from"
"""On a claim template that was made for another size: the template that it was made from."""

MOST_NOTE = 8_000
MOST_NAME = 200

Json = Mapping[str, Any]
Operation = dict[str, Any]


class Note(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What is noted on a workload. templates: by the name of the pod's claim the template it had before the
    change, and the one it was given. The rest is as in `rollout.Rollout`."""

    queue: str
    before: str
    after: str
    phase: Phase
    applied_ms: int
    since_ms: int
    templates: dict[str, tuple[str, str]]
    undone: int = 0
    why: str = ""

    @staticmethod
    def of(annotations: Mapping[str, str]) -> "Note | None":
        """The note in a workload's annotations; None if there is none, or nobody can read it."""
        text = annotations.get(NOTE, "")
        if not text or len(text) > MOST_NOTE:
            return None
        try:
            return msgspec.json.decode(text, type=Note)
        except msgspec.DecodeError:
            return None

    @staticmethod
    def about(rollout: Rollout, templates: Mapping[str, tuple[str, str]]) -> "Note":
        """The note of a change."""
        return Note(
            queue=rollout.queue,
            before=rollout.before,
            after=rollout.after,
            phase=rollout.phase,
            applied_ms=rollout.applied_ms,
            since_ms=rollout.since_ms,
            templates=dict(templates),
            undone=rollout.undone,
            why=rollout.why[:200],
        )

    def rollout(self, workload: ObjectRef) -> Rollout:
        """As the state machine takes it."""
        return Rollout(
            workload=workload,
            queue=self.queue,
            before=self.before,
            after=self.after,
            phase=self.phase,
            applied_ms=self.applied_ms,
            since_ms=self.since_ms,
            undone=self.undone,
            why=self.why,
        )

    @property
    def text(self) -> str:
        """The annotation's value."""
        return msgspec.json.encode(self).decode()


@dataclass(frozen=True, slots=True)
class TemplateChange:
    """templates: ResourceClaimTemplates to be made first. operations: a JSON Patch for the workload. names:
    by the name of the pod's claim the template it had, and the one it gets."""

    templates: tuple[Json, ...]
    operations: tuple[Operation, ...]
    names: Mapping[str, tuple[str, str]]


def claims_of(document: Json) -> dict[str, str]:
    """The templates that the pods of a workload use, by the name of the pod's claim. Raises EditError for
    claims that are not made for each pod."""
    found = {}
    for _, claim in _claims(document):
        name, template = claim.get("name"), claim.get("resourceClaimTemplateName")
        if not isinstance(template, str) or not isinstance(name, str):
            raise EditError("its pods share a claim, which cannot change", "give it a claim template")
        found[name] = template
    return found


def change_of(document: Json, templates: Mapping[str, Json], part: Part) -> TemplateChange:
    """What gives the pods of a workload this part.

    document: a Deployment or StatefulSet. templates: the ResourceClaimTemplates it uses, by name. Raises
    EditError where nothing can be changed, or nothing has to be.
    """
    made: list[Json] = []
    operations: list[Operation] = []
    names: dict[str, tuple[str, str]] = {}
    problem: EditError | None = None
    used = claims_of(document)
    for path, claim in _claims(document):
        name, old = str(claim["name"]), used[str(claim["name"])]
        template = templates.get(old)
        if template is None:
            raise EditError(f"its claim template {old} is not there", "make it")
        try:
            edits = edits_of(template, part)
        except EditError as error:
            # A claim of another kind of device, such as a NIC, stays as it is.
            problem = error
            continue
        if not edits:
            continue
        new = _made(applied(template, edits), document, old)
        made.append(new)
        names[name] = (old, new["metadata"]["name"])
        operations += _moved(path, old, new["metadata"]["name"])
    if not names:
        raise problem or EditError("it asks for this part already", "wait until its pods have it")
    return TemplateChange(tuple(made), tuple(operations), names)


def restored(document: Json, names: Mapping[str, tuple[str, str]]) -> tuple[Operation, ...]:
    """A JSON Patch that gives a workload the templates back that it had; nothing where somebody has given it
    others since."""
    operations: list[Operation] = []
    for path, claim in _claims(document):
        old, new = names.get(str(claim.get("name")), ("", ""))
        if old and claim.get("resourceClaimTemplateName") == new:
            operations += _moved(path, new, old)
    return tuple(operations)


def noted(document: Json, note: Note) -> tuple[Operation, ...]:
    """A JSON Patch that writes a note, on nothing but this version of the document."""
    metadata = document["metadata"]
    known = metadata.get("annotations")
    path = "/metadata/annotations"
    value: Any = {NOTE: note.text}
    if isinstance(known, dict):
        path, value = pointer_of(("metadata", "annotations", NOTE)), note.text
    version = {"op": "test", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]}
    return (version, {"op": "add", "path": path, "value": value})


def _claims(document: Json) -> list[tuple[tuple[str | int, ...], dict[str, Any]]]:
    """The pods' claims with their paths."""
    template = template_path(str(document.get("kind")))
    if template is None:
        return []
    path = (*template, "spec", "resourceClaims")
    found: Any = document
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    if not isinstance(found, list):
        return []
    return [((*path, number), claim) for number, claim in enumerate(found) if isinstance(claim, dict)]


def _moved(path: tuple[str | int, ...], old: str, new: str) -> list[Operation]:
    pointer = pointer_of((*path, "resourceClaimTemplateName"))
    return [
        {"op": "test", "path": pointer, "value": old},
        {"op": "replace", "path": pointer, "value": new},
    ]


def _made(template: dict[str, Any], owner: Json, old: str) -> dict[str, Any]:
    """A template of another name, which goes away with the workload it was made for. Its name follows from
    what it holds, so that making it twice makes it once."""
    metadata = template["metadata"]
    annotations = metadata.get("annotations") or {}
    source = annotations.get(SIZED_FROM, old)
    meta = owner["metadata"]
    spec = copy.deepcopy(template["spec"])
    digest = hashlib.blake2b(
        msgspec.json.encode((source, meta["uid"], spec), order="deterministic"), digest_size=4
    ).hexdigest()
    return {
        "apiVersion": template.get("apiVersion") or "resource.k8s.io/v1",
        "kind": "ResourceClaimTemplate",
        "metadata": {
            "name": f"{source[:MOST_NAME]}-{digest}",
            "namespace": meta["namespace"],
            "labels": dict(metadata.get("labels") or {}),
            "annotations": {SIZED_FROM: source},
            "ownerReferences": [
                {
                    "apiVersion": owner["apiVersion"],
                    "kind": owner["kind"],
                    "name": meta["name"],
                    "uid": meta["uid"],
                }
            ],
        },
        "spec": spec,
    }
