"""Workloads as people name them: `job/train`, `lws/serve`, `pod/train-0`, or just `train`."""

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from aliquot.catalog.fleet_yaml import near
from aliquot.inventory.report import Report
from aliquot.inventory.workloads import Status, WorkloadState
from aliquot.model.index import SnapshotIndex
from aliquot.model.owners import OWNERS
from aliquot.workloads.lookup import Lookup
from aliquot.workloads.membership import SOURCES

_SHORT = {
    "po": "Pod",
    "deploy": "Deployment",
    "rs": "ReplicaSet",
    "sts": "StatefulSet",
    "lws": "LeaderWorkerSet",
    "isvc": "InferenceService",
    "sdep": "SeldonDeployment",
    "sparkapp": "SparkApplication",
    "pg": "PodGroup",
    "vcpodgroup": "VolcanoPodGroup",
}
"""Short names, as the CustomResourceDefinitions of these kinds have them."""


def _kinds() -> Mapping[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    names = [*SOURCES, *(kind.__name__ for kind in OWNERS)]
    for name in names:
        for written in (name.lower(), f"{name.lower()}s"):
            found.setdefault(written, set()).add(name)
    for written, name in _SHORT.items():
        found.setdefault(written, set()).add(name)
    # Several API groups have a kind of that name; whoever has one of them writes it without the group.
    groups = {name for name in SOURCES if name.endswith("PodGroup")}
    for written in ("podgroup", "podgroups", "pg"):
        found[written] |= groups
    return MappingProxyType({written: frozenset(kinds) for written, kinds in found.items()})


KINDS = _kinds()
"""The kinds of workloads and of what owns them, by every way to write them, in lower case."""


class KindError(Exception):
    """A kind that nothing is known of. kind: as written; fix: text."""

    def __init__(self, kind: str, fix: str) -> None:
        super().__init__(kind, fix)
        self.kind = kind
        self.fix = fix


class Named(msgspec.Struct, frozen=True, kw_only=True):
    """What a person wrote. kinds: those that it may be, empty for any."""

    kinds: frozenset[str]
    name: str

    @property
    def kind(self) -> str:
        """The one kind, "" where there are several."""
        return next(iter(self.kinds)) if len(self.kinds) == 1 else ""


def parse(text: str) -> Named:
    """Read `KIND/NAME` or `NAME`; names may have a slash of their own (`lws/serve/0`). Raises KindError."""
    kind, slash, name = text.partition("/")
    if not slash:
        return Named(kinds=frozenset(), name=text)
    kinds = KINDS.get(kind.lower())
    if kinds is None:
        likely = [one for one in near(kind.lower(), tuple(KINDS)) if one[:1] == kind[:1].lower()]
        known = "pod, job, jobset, podgroup, workload, lws, raycluster, pytorchjob, deployment ..."
        raise KindError(kind, f"did you mean {likely[0]!r}?" if likely else f"write one of {known}")
    return Named(kinds=kinds, name=name)


def workloads_named(report: Report, wanted: Named, namespace: str) -> tuple[WorkloadState, ...]:
    """The workloads that are meant: that of this name, else that of the pod, else those that it owns.

    Those that wait come first. A LeaderWorkerSet has a workload for each of its groups, and a Deployment one
    for each of its pods unless they are a gang.
    """
    states = [state for state in report.workloads.workloads if state.ref.namespace == namespace]
    for state in states:
        if state.ref.name == wanted.name and (not wanted.kinds or state.ref.kind in wanted.kinds):
            return (state,)
    if not wanted.kinds or "Pod" in wanted.kinds:
        for state in states:
            if any(pod.name == wanted.name for pod in state.pods):
                return (state,)
    lookup = Lookup(SnapshotIndex.of(report.snapshot))
    pods = {pod.key: pod for pod in report.snapshot.pods}
    found = []
    for state in states:
        of_group = state.ref.name.partition("/")[0] == wanted.name and state.ref.kind in wanted.kinds
        members = (pods.get((pod.namespace, pod.name)) for pod in state.pods)
        owners = (owner for pod in members if pod is not None for owner in lookup.chain(pod).objects)
        if of_group or any(
            owner.name == wanted.name and (not wanted.kinds or type(owner).__name__ in wanted.kinds)
            for owner in owners
        ):
            found.append(state)
    return tuple(sorted(found, key=lambda state: state.status is not Status.WAITING))
