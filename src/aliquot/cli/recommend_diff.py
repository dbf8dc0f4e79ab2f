"""Recommendations as changes of manifests: a unified diff for a folder, and patches for a cluster."""

import difflib
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
import yaml

from aliquot.cli.failures import Failure
from aliquot.cli.output import note
from aliquot.model.kinds import encode
from aliquot.model.meta import KubernetesObject
from aliquot.model.snapshot import FIELDS, Snapshot
from aliquot.sizing.choosing import Advice, Recommendation
from aliquot.sizing.edits import Edit, EditError, claim_templates, edits_of
from aliquot.sizing.manifest_text import MOST_BYTES, TextError, documents, edited
from aliquot.sizing.parts import Part

MOST_FILES = 20_000
SUFFIXES = (".yaml", ".yml", ".json")

Key = tuple[str, str, str]
"""(kind, namespace, name)."""

_CLAIMS = ("ResourceClaimTemplate", "ResourceClaim")


def wanted_parts(found: Sequence[Recommendation]) -> dict[Key, Part]:
    """The part of each workload that should change."""
    return {
        (item.profile.workload.kind, item.profile.workload.namespace, item.profile.workload.name): item.part
        for item in found
        if item.advice in (Advice.CHANGE, Advice.GROW) and item.part is not None
    }


def show(folder: Path, found: Sequence[Recommendation]) -> int:
    """Print a diff, as `git apply` takes it, for the manifests of a folder; 1 if there is one."""
    files = {path: _read(path) for path in _files(folder)}
    parsed = {path: _parse(path, text) for path, text in files.items()}
    plan = _plan([(path, number, item) for path, items in parsed.items() for number, item in items], found)
    changed = False
    for path, text in files.items():
        new = text
        for number, edits in sorted(plan.get(path, {}).items()):
            try:
                new = edited(new, number, edits)
            except TextError as error:
                note(f"{path}: document {number + 1}: {error}")
        if new != text:
            changed = True
            name = path.relative_to(folder).as_posix()
            lines = difflib.unified_diff(
                text.splitlines(keepends=True), new.splitlines(keepends=True), f"a/{name}", f"b/{name}"
            )
            for line in lines:
                click.echo(line, nl=line.endswith("\n") is False)
                if not line.endswith("\n"):
                    click.echo("\\ No newline at end of file")
    if not changed:
        note("nothing in these manifests has to change")
    return 1 if changed else 0


def patches(found: Sequence[Recommendation], snapshot: Snapshot) -> int:
    """Print JSON Patches for objects of the cluster, one to a line of JSON with the object it is for."""
    objects = [(None, number, item) for number, item in enumerate(_objects(snapshot))]
    plan = _plan(objects, found)
    printed = immutable = False
    for _, number, item in objects:
        edits = plan.get(None, {}).get(number, ())
        if edits:
            printed = True
            immutable = immutable or item["kind"] in _CLAIMS
            metadata = item["metadata"]
            target = {
                "apiVersion": item.get("apiVersion"),
                "kind": item["kind"],
                "namespace": metadata.get("namespace", ""),
                "name": metadata["name"],
            }
            operations = [operation for edit in edits for operation in edit.patch()]
            click.echo(json.dumps({"target": target, "patch": operations}))
    if immutable:
        note(
            "note: a cluster lets nobody change the spec of a claim or of a claim template: make another one "
            "and have workloads name that (`aliquot controller --automation` does), or replace both"
        )
    return 1 if printed else 0


def _objects(snapshot: Snapshot) -> Iterable[dict[str, Any]]:
    kinds: tuple[type[KubernetesObject], ...] = tuple(FIELDS)
    for kind in kinds:
        if kind.kind() in (*_CLAIMS, "Pod", "Job", "Deployment", "StatefulSet", "ReplicaSet"):
            for item in getattr(snapshot, FIELDS[kind]):
                yield msgspec.json.decode(msgspec.json.encode(encode(item)))


def _plan(
    items: Iterable[tuple[Any, int, Any]], found: Sequence[Recommendation]
) -> dict[Any, dict[int, list[Edit]]]:
    """The edits by place and number of document. A template that several workloads use is changed when all
    of these should have the same part."""
    wanted = wanted_parts(found)
    kept = {
        (item.profile.workload.kind, item.profile.workload.namespace, item.profile.workload.name)
        for item in found
    } - set(wanted)
    plan: dict[Any, dict[int, list[Edit]]] = defaultdict(dict)
    documents_ = [(place, number, item) for place, number, item in items if isinstance(item, dict)]
    templates: dict[tuple[str, str], dict[str, Part | None]] = defaultdict(dict)
    for place, number, item in documents_:
        key = _key(item)
        part = _of(wanted, key)
        names = claim_templates(item)
        if part is None and not names:
            continue
        for name in names:
            if part is not None or _among(kept, key):
                templates[key[1], name]["/".join(key)] = part
        if part is not None and key[0] not in _CLAIMS:
            _add(plan, place, number, item, part, key)
    for place, number, item in documents_:
        key = _key(item)
        if key[0] not in _CLAIMS:
            continue
        users = templates.get((key[1], key[2]), {})
        parts = {part.label if part is not None else "" for part in users.values()}
        if len(parts) > 1:
            note(
                f"{key[0]} {key[2]} is used by workloads that need different parts "
                f"({', '.join(sorted(users))}); give each its own"
            )
            continue
        part = next(iter(users.values()), None)
        if part is not None:
            _add(plan, place, number, item, part, key)
    return plan


def _add(
    plan: dict[Any, dict[int, list[Edit]]], place: Any, number: int, item: Any, part: Part, key: Key
) -> None:
    try:
        edits = list(edits_of(item, part))
    except EditError as error:
        note(f"{key[0]} {key[2]}: {error}")
        return
    if edits:
        plan[place][number] = edits


def _key(item: dict[str, Any]) -> Key:
    metadata = item.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    return (str(item.get("kind")), str(metadata.get("namespace") or ""), str(metadata.get("name") or ""))


ANY_KIND = "Workload"
"""The kind of a workload that a table names without one."""


def _of(wanted: dict[Key, Part], key: Key) -> Part | None:
    """The part of a workload; a manifest without a namespace is meant for any one."""
    found = [part for other, part in wanted.items() if _same(other, key)]
    return found[0] if len(found) == 1 else None


def _among(known: set[Key], key: Key) -> bool:
    return any(_same(other, key) for other in known)


def _same(workload: Key, manifest: Key) -> bool:
    kinds = manifest[0] == workload[0] or (workload[0] == ANY_KIND and manifest[0] not in _CLAIMS)
    return kinds and manifest[1] in ("", workload[1]) and manifest[2] == workload[2]


def _files(folder: Path) -> list[Path]:
    found = []
    for path in sorted(folder.rglob("*")):
        if path.suffix in SUFFIXES and path.is_file() and not path.is_symlink():
            found.append(path)
            if len(found) > MOST_FILES:
                raise Failure(f"{folder}: has more than {MOST_FILES} manifests; name a folder below it")
    return found


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise Failure(f"{path}: is larger than {MOST_BYTES >> 20} MiB")
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"{path}: cannot be read: {error}") from None


def _parse(path: Path, text: str) -> list[tuple[int, Any]]:
    try:
        return list(enumerate(documents(text)))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        note(f"{path}: is passed over: {str(error).splitlines()[0]}")
        return []
