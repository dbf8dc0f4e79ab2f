"""Changes for what-if, as files and as `NAME=VALUE` on the command line.

    apiVersion: aliquot.dev/v1alpha1
    kind: Change
    changes:
      - add: pool.yaml                                          # a fleet file
      - submit: job.yaml                                        # manifests
      - queue: {name: research, quota: 16, limit: 32, weight: 2}
      - drain: {rack: r1}                                       # or node: NAME, or labels: a=b
      - remove: {node: gpu-7}
      - share: {nodes: {labels: team=research}, mig: {dynamic: true}}
      - policy: kai                                             # or a file of policy settings

Paths are relative to the file. See docs/what-if.md.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from aliquot.catalog.drivers.publication import Json
from aliquot.catalog.fleet import FleetError, expand, parse_fleet
from aliquot.catalog.fleet_yaml import near
from aliquot.catalog.node_types import node_types
from aliquot.catalog.nodes import BLOCK_LABEL, RACK_LABEL
from aliquot.cel.quantity import Quantity, QuantityError
from aliquot.cli import manifests, submission
from aliquot.cli.filters import FilterError, Requirement, parse_selector
from aliquot.cli.manifests import Document, InputError
from aliquot.model.kinds import ObjectError, convert, decode, encode
from aliquot.model.meta import KubernetesObject
from aliquot.scheduling.policy import KAI, Policy
from aliquot.simulation import changes
from aliquot.simulation.changes import Change, ChangeError, Scenario
from aliquot.simulation.rates import INSTANCE_TYPE

API_VERSION = "aliquot.dev/v1alpha1"
KIND = "Change"
POLICIES: Mapping[str, Policy] = {"aliquot": Policy(), "kai": KAI}
"""Policies that have a name."""

NAMES = ("add", "submit", "queue", "drain", "remove", "share", "policy")
INLINE = (*NAMES, "quota", "limit", "weight", "priority")
_SELECTORS = {"rack": RACK_LABEL, "block": BLOCK_LABEL, "zone": "topology.kubernetes.io/zone"}
_SHARING = ("mig", "shares", "partitions", "legacy")
_STAND_IN = "aliquot-stand-in"
_NOTHING, _UNBOUNDED = Quantity.parse("0"), Quantity.parse(str(changes.UNBOUNDED))


class Reading:
    """Reads changes to one scenario, each on top of those before. Raises InputError and ChangeError."""

    def __init__(self, base: Scenario, now: datetime) -> None:
        self.scenario = base
        self.changes: list[Change] = []
        self.notes: list[str] = []
        self._now = now

    def argument(self, text: str) -> None:
        """What --change was given: a file, or NAME=VALUE."""
        name, found, value = text.partition("=")
        if found and name in INLINE and not Path(text).is_file():
            self._one(_inline(name, value, text), Path())
            return
        if not Path(text).is_file():
            likely = near(name, INLINE)
            fix = f"did you mean {likely[0]}=...?" if likely else f"write a file, or {', '.join(INLINE)}=..."
            raise InputError("--change", "", f"{text!r} is neither a file nor a change", fix)
        for document in manifests.read([text]):
            self._document(document, Path(text).parent)

    def submit(self, names: Sequence[str]) -> None:
        """Manifests that are not in the cluster yet."""
        found = submission.read(names, self.scenario.snapshot, self._now)
        self.notes += found.notes
        self._add(changes.AddObjects(found.objects, ", ".join(names)))

    def _add(self, change: Change) -> None:
        self.scenario = changes.changed(self.scenario, (change,))
        self.changes.append(change)

    def _document(self, document: Document, folder: Path) -> None:
        value = document.value
        if value.get("apiVersion") != API_VERSION or value.get("kind") != KIND:
            found = f"{value.get('apiVersion')} {value.get('kind')}"
            fix = f"write apiVersion: {API_VERSION} and kind: {KIND}; manifests go with submit=FILE"
            raise document.error("kind", f"{found} is no change", fix)
        entries = value.get("changes")
        if not isinstance(entries, list) or not entries:
            raise document.error("changes", "there are no changes", "write a list: `- drain: {rack: r1}`")
        for number, entry in enumerate(entries):
            path = f"changes[{number}]"
            if not isinstance(entry, dict) or len(entry) != 1:
                fix = "write one change for each dash: `- drain: {rack: r1}`"
                raise document.error(path, "is not one change", fix)
            ((name, inner),) = entry.items()
            if name not in NAMES:
                likely = near(str(name), NAMES)
                fix = f"did you mean {likely[0]!r}?" if likely else f"write one of {', '.join(NAMES)}"
                raise document.error(f"{path}.{name}", f"there is no change {name!r}", fix)
            self._one(_Entry(name, inner, document, f"{path}.{name}"), folder)

    def _one(self, entry: "_Entry", folder: Path) -> None:
        match entry.name:
            case "add":
                self._fleet(folder / entry.text())
            case "submit":
                self.submit([str(folder / entry.text())])
            case "queue":
                self._queue(entry)
            case "drain":
                self._add(changes.Drain(self._nodes(entry, entry.value)))
            case "remove":
                self._add(changes.Remove(self._nodes(entry, entry.value)))
            case "share":
                self._share(entry)
            case "policy":
                self._policy(entry, folder)

    def _fleet(self, path: Path) -> None:
        """Nodes of a fleet file; names that the cluster has already are counted on from."""
        (document,) = _documents(path)
        try:
            fleet = parse_fleet(document.text, str(path))
        except FleetError as error:
            raise _fleet_error(error, str(path)) from None
        taken = {node.name for node in self.scenario.snapshot.nodes}
        groups = []
        for group in fleet.groups:
            while taken.intersection(group.names()):
                group = replace(group, first=group.first + group.count)
            taken.update(group.names())
            groups.append(group)
        known = {item.name for item in self.scenario.snapshot.device_classes}
        found = [_object(item, str(path)) for item in expand(replace(fleet, groups=tuple(groups)))]
        kept = tuple(item for item in found if item.kind() != "DeviceClass" or item.name not in known)
        self._add(changes.AddObjects(kept, str(path)))

    def _queue(self, entry: "_Entry") -> None:
        fields = entry.mapping(("name", "resource", "quota", "limit", "weight", "priority"))
        name = fields.get("name")
        if not isinstance(name, str) or not name:
            raise entry.error("name", "is missing", "name the queue")
        try:
            self._add(
                changes.SetQueue(
                    queue=name,
                    resource=str(fields.get("resource", "gpu")),
                    quota=entry.quantity(fields, "quota"),
                    limit=entry.quantity(fields, "limit"),
                    weight=entry.number(fields, "weight"),
                    priority=entry.number(fields, "priority"),
                )
            )
        except ChangeError as error:
            raise entry.error("name", error.problem, error.fix) from None

    def _nodes(self, entry: "_Entry", value: object) -> frozenset[str]:
        """The nodes that are meant. Raises InputError when there are none."""
        snapshot = self.scenario.snapshot
        inner = _Entry(entry.name, value, entry.document, entry.path)
        fields = inner.mapping(("node", "labels", *_SELECTORS))
        if not fields:
            raise entry.error("", "names no nodes", "write node, rack, block, zone or labels")
        found = frozenset(node.name for node in snapshot.nodes)
        for name, text in fields.items():
            if name == "node":
                wanted = frozenset(str(item) for item in (text if isinstance(text, list) else [text]))
                missing = sorted(wanted - {node.name for node in snapshot.nodes})
                if missing:
                    known = [node.name for node in snapshot.nodes]
                    likely = near(missing[0], known)
                    fix = f"did you mean {likely[0]!r}?" if likely else "see `kubectl get nodes`"
                    raise entry.error("node", f"there is no node {missing[0]!r}", fix)
                found &= wanted
            elif name == "labels":
                found &= changes.select(snapshot, _labels_test(entry, text))
            else:
                requirement = Requirement(_SELECTORS[name], "in", frozenset({str(text)}))
                found &= changes.select(snapshot, requirement.holds)
        if not found:
            shown = ", ".join(f"{name} {text}" for name, text in fields.items())
            raise entry.error("", f"no node has {shown}", "see `kubectl get nodes --show-labels`")
        return found

    def _share(self, entry: "_Entry") -> None:
        fields = entry.mapping(("nodes", "type", *_SHARING))
        names = self._nodes(entry, fields.get("nodes", {}))
        ways = {name: fields[name] for name in _SHARING if name in fields}
        labels = {node.name: node.metadata.labels for node in self.scenario.snapshot.nodes}
        published: dict[str, tuple[KubernetesObject, ...]] = {}
        classes: dict[str, KubernetesObject] = {}
        by_type: dict[str, list[KubernetesObject]] = {}
        for name in sorted(names):
            kind = str(fields.get("type", "")) or _type_of(labels[name].get(INSTANCE_TYPE, ""))
            if not kind:
                told = f"what hardware node {name} is cannot be told from its labels"
                raise entry.error("type", told, "add `type: <node type of the catalogue>`")
            if kind not in by_type:
                by_type[kind] = self._published(entry, kind, ways)
            own = []
            for item in by_type[kind]:
                if item.kind() == "DeviceClass":
                    classes[item.name] = item
                else:
                    own.append(_renamed(item, f"{_STAND_IN}-0", name))
            published[name] = tuple(own)
        self._add(changes.Share(published, tuple(classes.values())))

    def _published(self, entry: "_Entry", kind: str, ways: Mapping[str, object]) -> list[KubernetesObject]:
        """One machine of a type as its driver would publish it."""
        node = {"type": kind, "name": _STAND_IN, **ways}
        text = json.dumps({"apiVersion": API_VERSION, "kind": "Fleet", "nodes": [node]})
        try:
            fleet = parse_fleet(text, entry.place())
        except FleetError as error:
            problem = f"{error.path.removeprefix('nodes[0]').lstrip('.')}: {error.problem}".removeprefix(": ")
            raise entry.error("", problem, error.fix) from None
        return [_object(item, entry.place()) for item in expand(fleet)]

    def _policy(self, entry: "_Entry", folder: Path) -> None:
        text = entry.text()
        if text in POLICIES:
            self._add(changes.SetPolicy(POLICIES[text], text))
            return
        path = folder / text
        if not path.is_file():
            names = ", ".join(POLICIES)
            raise entry.error("", f"there is no policy {text!r}", f"write one of {names}, or a file")
        (document,) = _documents(path)
        self._add(changes.SetPolicy(policy_of(document), path.stem))


class _Entry(msgspec.Struct, frozen=True):
    """One change as it was written. path: where in the document; document: None for the command line."""

    name: str
    value: object
    document: Document | None
    path: str

    def error(self, field: str, problem: str, fix: str) -> InputError:
        if self.document is None:
            return InputError(f"--change {self.path}", field, problem, fix)
        return self.document.error(f"{self.path}.{field}" if field else self.path, problem, fix)

    def place(self) -> str:
        return "--change" if self.document is None else self.document.place(self.path)

    def text(self) -> str:
        if not isinstance(self.value, str) or not self.value:
            raise self.error("", "is no text", f"write `{self.name}: ...`")
        return self.value

    def mapping(self, known: Iterable[str]) -> dict[str, Any]:
        if not isinstance(self.value, dict):
            raise self.error("", "is no mapping", f"write `{self.name}: {{...}}`")
        for name in self.value:
            if name not in known:
                likely = near(str(name), tuple(known))
                fix = f"did you mean {likely[0]!r}?" if likely else f"write one of {', '.join(known)}"
                raise self.error(str(name), f"unknown field {name!r}", fix)
        return self.value

    def quantity(self, fields: Mapping[str, object], name: str) -> Quantity | None:
        """An amount; `none` for no bound."""
        if name not in fields:
            return None
        value = fields[name]
        if value in ("none", None):
            return _UNBOUNDED
        try:
            if isinstance(value, (str, int, float)) and not isinstance(value, bool):
                found = Quantity.parse(str(value))
                if found >= _NOTHING or found == _UNBOUNDED:
                    return found
        except QuantityError:
            pass
        raise self.error(name, f"{value!r} is no amount", "write a number, or `none` for no bound")

    def number(self, fields: Mapping[str, object], name: str) -> int | None:
        value = fields.get(name)
        if value is None:
            return None
        if isinstance(value, str) and value.lstrip("-").isdigit() and len(value) < 10:
            return int(value)
        if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 10**9:
            raise self.error(name, f"{value!r} is no whole number", "write one")
        return value


def _inline(name: str, value: str, text: str) -> _Entry:
    """`drain=rack/r1`, `quota=research=16`, `limit=research/cpu=64`, `share=rack/r1:mig=dynamic` ..."""
    if not value:
        raise InputError(f"--change {text}", "", "has no value", f"write {name}=...")
    if name in ("quota", "limit", "weight", "priority"):
        queue, found, amount = value.partition("=")
        if not found or not queue or not amount:
            raise InputError(f"--change {text}", "", "names no queue and amount", f"write {name}=QUEUE=16")
        queue, _, resource = queue.partition("/")
        return _Entry("queue", {"name": queue, "resource": resource or "gpu", name: amount}, None, text)
    if name in ("drain", "remove"):
        return _Entry(name, _named_nodes(value), None, text)
    if name == "share":
        nodes, found, way = value.rpartition(":")
        kind, equal, how = way.partition("=")
        if not (found and equal) or kind not in _SHARING:
            fix = "write share=rack/r1:mig=dynamic, share=node/gpu-7:shares=4 ..."
            raise InputError(f"--change {text}", "", "says no way of sharing", fix)
        return _Entry(name, {"nodes": _named_nodes(nodes), kind: _way(kind, how)}, None, text)
    if name == "queue":
        fix = "write quota=QUEUE=16, limit=QUEUE=32, weight=QUEUE=2 or priority=QUEUE=200"
        raise InputError(f"--change {text}", "", "is written by its field here", fix)
    return _Entry(name, value, None, text)


def _named_nodes(text: str) -> dict[str, object]:
    kind, found, name = text.partition("/")
    if found and kind == "node":
        return {"node": name.split(",")}
    if found and kind in _SELECTORS:
        return {kind: name}
    if "=" in text:
        return {"labels": text}
    return {"node": text.split(",")}


def _way(kind: str, text: str) -> object:
    if kind == "mig":
        return {"dynamic": True} if text == "dynamic" else {"layout": text.split(",")}
    if kind == "legacy":
        return {"replicas": int(text)} if text.isdigit() and len(text) < 6 else text == "true"
    return int(text) if text.isdigit() and len(text) < 6 else text


def _labels_test(entry: _Entry, text: object) -> Callable[[Mapping[str, str]], bool]:
    try:
        requirements = parse_selector(str(text))
    except FilterError as error:
        raise entry.error("labels", str(error), "write labels as a=b,c!=d") from None
    return lambda labels: all(item.holds(labels) for item in requirements)


def _type_of(label: str) -> str:
    """The node type that a node's instance type stands for; "" if the catalogue has none."""
    if label in node_types():
        return label
    return next((item.id for item in node_types().values() if label and item.instance_type == label), "")


def _renamed(item: KubernetesObject, old: str, new: str) -> KubernetesObject:
    """An object of a stand-in machine as one of another machine: its name wherever it stands."""

    def walk(value: object) -> object:
        if isinstance(value, str):
            return value.replace(old, new)
        if isinstance(value, dict):
            return {key: walk(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [walk(inner) for inner in value]
        return value

    renamed = walk(encode(item))
    assert isinstance(renamed, dict)
    return decode(renamed)


def _documents(path: Path) -> list[Document]:
    found = manifests.read([str(path)])
    if len(found) != 1:
        raise InputError(str(path), "", f"holds {len(found)} documents", "give a file with one")
    return found


def _object(item: Json, place: str) -> KubernetesObject:
    try:
        return decode(item)
    except ObjectError as error:
        raise InputError(place, error.path, error.problem, "correct it") from None


def _fleet_error(error: FleetError, place: str) -> InputError:
    where = place if error.line is None else f"{place}:{error.line}"
    return InputError(where, error.path, error.problem, error.fix)


def policy_of(document: Document) -> Policy:
    """The settings of a policy, by the names that the journal and saved snapshots have. Raises InputError."""
    value = {name: item for name, item in document.value.items() if name not in ("apiVersion", "kind")}
    known = [field.encode_name for field in msgspec.structs.fields(Policy)]
    for name in value:
        if name not in known:
            likely = near(str(name), known)
            fix = f"did you mean {likely[0]!r}?" if likely else "see docs/what-if.md"
            raise document.error(str(name), f"a policy has no setting {name!r}", fix)
    try:
        found: Policy = convert(value, Policy)
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at `$")
        raise document.error(path.strip("`."), problem, "write a value of the right type") from None
    return found
