"""A grouping that follows a cluster equals one made afresh, at the cost of what changed."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.workloads.builders import NO_QUEUES, index_of, obj, owner, pod, priority_class

from aliquot.model.core import Namespace
from aliquot.model.index import SnapshotIndex
from aliquot.model.meta import KubernetesObject, ObjectMeta
from aliquot.model.queue import Queue
from aliquot.model.snapshot import Snapshot
from aliquot.queues.tree import QueueTree
from aliquot.workloads.gang import GangRules
from aliquot.workloads.gangs import gangs, group_key
from aliquot.workloads.grouping import Grouping, difference
from aliquot.workloads.membership import SOURCES


def job(name: str, parallelism: int, **fields: Any) -> KubernetesObject:
    return obj("Job", "batch/v1", name, spec={"parallelism": parallelism}, **fields)


def _job(draw: Callable[..., Any]) -> KubernetesObject:
    above = owner("JobSet", "jobset.x-k8s.io/v1alpha2", "js")
    fields = {"owner": above} if draw(st.booleans()) else {}
    return job(draw(st.sampled_from(["j1", "j2"])), draw(st.integers(1, 4)), **fields)


def _owner_of_any_kind(draw: Callable[..., Any]) -> KubernetesObject:
    kind = draw(st.sampled_from(["job", "jobset", "ray", "group", "kai", "deployment", "replicas"]))
    count = draw(st.integers(0, 3))
    if kind == "job":
        return _job(draw)
    if kind == "jobset":
        roles = [{"name": "w", "replicas": count}, {"name": "v", "dependsOn": [{"name": "w"}] * (count % 2)}]
        return obj("JobSet", "jobset.x-k8s.io/v1alpha2", "js", spec={"replicatedJobs": roles})
    if kind == "ray":
        groups = [{"groupName": "w", "replicas": count}]
        return obj("RayCluster", "ray.io/v1", "ray", spec={"workerGroupSpecs": groups})
    if kind == "group":
        policy = {"gang": {"minCount": count}} if count else {"basic": {}}
        return obj("PodGroup", "scheduling.k8s.io/v1alpha2", "g", spec={"schedulingPolicy": policy})
    if kind == "kai":
        spec = {"minMember": count, "priorityClassName": "high", "queue": f"q{count}"}
        return obj("PodGroup", "scheduling.run.ai/v2alpha2", "kg", spec=spec)
    if kind == "deployment":
        marks = {"aliquot.dev/gang-size": str(count)} if count else {}
        return obj("Deployment", "apps/v1", "web", annotations=marks)
    return obj("ReplicaSet", "apps/v1", "web-1", owner=owner("Deployment", "apps/v1", "web"))


def _pod(draw: Callable[..., Any]) -> KubernetesObject:
    name = f"p{draw(st.integers(0, 7))}"
    fields: dict[str, Any] = {
        "phase": draw(st.sampled_from(["", "Succeeded", "Failed"])),
        "node": draw(st.sampled_from(["", "n"])),
        "created": draw(st.integers(0, 3)),
    }
    kind = draw(st.sampled_from(["alone", "j1", "j2", "web", "js", "ray", "group", "kai", "ring"]))
    if kind in ("j1", "j2"):
        return pod(name, owner=owner("Job", "batch/v1", kind), **fields)
    if kind == "web":
        return pod(name, owner=owner("ReplicaSet", "apps/v1", "web-1"), **fields)
    if kind == "js":
        labels = {
            "jobset.sigs.k8s.io/jobset-name": "js",
            "jobset.sigs.k8s.io/replicatedjob-name": draw(st.sampled_from(["v", "w"])),
        }
        return pod(name, labels, owner=owner("Job", "batch/v1", "j1"), **fields)
    if kind == "ray":
        role = draw(st.sampled_from(["head", "worker"]))
        return pod(name, {"ray.io/cluster": "ray", "ray.io/node-type": role, "ray.io/group": "w"}, **fields)
    if kind == "group":
        return pod(name, spec={"schedulingGroup": {"podGroupName": "g"}}, **fields)
    if kind == "kai":
        return pod(name, None, {"pod-group-name": "kg"}, **fields)
    if kind == "ring":
        marks = {"aliquot.dev/gang": "ring", "aliquot.dev/gang-size": draw(st.sampled_from(["1", "3", "x"]))}
        return pod(name, None, marks, **fields)
    return pod(name, **fields)


def _other(draw: Callable[..., Any]) -> KubernetesObject:
    if draw(st.booleans()):
        return priority_class("high", draw(st.integers(0, 2)))
    labels = {"aliquot.dev/managed": draw(st.sampled_from(["true", "false"]))}
    return Namespace(metadata=ObjectMeta(name="team", labels=labels))


@st.composite
def changes(draw: Callable[..., Any]) -> list[tuple[KubernetesObject, bool]]:
    """Objects that are put, or (False) taken away."""
    makers = (_pod, _pod, _owner_of_any_kind, _other)
    found = []
    for _ in range(draw(st.integers(0, 5))):
        made = draw(st.sampled_from(makers))(draw)
        found.append((made, draw(st.sampled_from([True, True, False]))))
    return found


RULES = st.builds(
    GangRules,
    default_queue=st.sampled_from(["", "spare"]),
    preemptible_below=st.sampled_from([None, 1]),
)
TREES = st.sampled_from([NO_QUEUES, QueueTree.of((Queue(metadata=ObjectMeta(name="spare")),))])


@settings(max_examples=250, deadline=None)
@given(st.lists(st.tuples(changes(), RULES, TREES), min_size=2, max_size=6))
def test_following_equals_starting_afresh(
    steps: list[tuple[list[tuple[KubernetesObject, bool]], GangRules, QueueTree]],
) -> None:
    followed = Grouping()
    there: dict[tuple[object, ...], KubernetesObject] = {}
    index: SnapshotIndex | None = None
    known: dict[Any, Any] = {}
    for made, rules, tree in steps:
        for item, kept in made:
            place = (type(item), *item.key)
            if kept:
                there[place] = item
            else:
                there.pop(place, None)
        snapshot = Snapshot.of(there.values())
        if index is not None:
            # The mirror hands out the same tuple for a kind of which nothing changed.
            same = {
                name: getattr(index.snapshot, name)
                for name in snapshot.__struct_fields__
                if getattr(index.snapshot, name) == getattr(snapshot, name)
            }
            snapshot = msgspec.structs.replace(snapshot, **same)
        index = SnapshotIndex.of(snapshot, index)
        changed = followed.update(index, tree, rules).dirty
        fresh = Grouping.of(index, tree, rules)
        assert followed.keys == fresh.keys
        assert set(followed.on_nodes()) == set(fresh.on_nodes())
        found = {key: followed.gang(key) for key in followed.groups()}
        assert found == {key: fresh.gang(key) for key in fresh.groups()}
        assert {key for key in known.keys() | found.keys() if known.get(key) != found.get(key)} <= changed
        known = found


@given(st.lists(changes(), min_size=1, max_size=3))
def test_gangs_one_by_one_equal_the_grouping(steps: list[list[tuple[KubernetesObject, bool]]]) -> None:
    index = index_of([item for made in steps for item, _ in made if not isinstance(item, Namespace)])
    by_key: dict[Any, list[Any]] = {}
    for item in index.snapshot.pods:
        by_key.setdefault(group_key(item, index), []).append(item)
    grouping = Grouping.of(index, NO_QUEUES, GangRules())
    assert gangs(index, NO_QUEUES, by_key, "") == [grouping.gang(key) for key in by_key]
    for gang in map(grouping.gang, by_key):
        assert set(gang.leaf_of) == {item.key for item in gang.members}
        assert gang.minimum == max(1, gang.root.least)


def test_only_what_changed_is_derived_anew() -> None:
    jobs = [job(f"j{number}", 2) for number in range(3)]
    pods = [
        pod(f"j{number}-{i}", owner=owner("Job", "batch/v1", f"j{number}"))
        for number in range(3)
        for i in (0, 1)
    ]
    index = index_of([*jobs, *pods])
    grouping = Grouping.of(index, NO_QUEUES, GangRules())
    before = {key: grouping.gang(key) for key in grouping.groups()}
    larger = msgspec.structs.replace(jobs[1], spec=job("j1", 5).spec)  # type: ignore[attr-defined]
    snapshot = msgspec.structs.replace(index.snapshot, jobs=(jobs[0], larger, jobs[2]))
    changed = grouping.update(SnapshotIndex.of(snapshot, index), NO_QUEUES, GangRules())
    assert changed.dirty == {("Job", "team", "j1")}
    assert grouping.gang(("Job", "team", "j1")).minimum == 5
    assert grouping.gang(("Job", "team", "j0")) is before[("Job", "team", "j0")]


def test_what_was_looked_for_is_forgotten_with_its_pods() -> None:
    grouping = Grouping()
    index: SnapshotIndex | None = None
    for number in range(300):
        pods = [pod(f"p{number}-{i}", owner=owner("Job", "batch/v1", f"gone-{number}")) for i in range(50)]
        index = SnapshotIndex.of(Snapshot.of(pods), index)
        grouping.update(index, NO_QUEUES, GangRules())
    assert len(grouping._users) < 260


@given(st.lists(st.integers(0, 20), unique=True), st.lists(st.integers(0, 20), unique=True), st.data())
def test_difference_finds_what_went_and_what_came(before: list[int], after: list[int], data: Any) -> None:
    known = {number: pod(f"p{number:02}") for number in before}
    made = {}
    for number in after:
        keep = number in known and data.draw(st.booleans())
        made[number] = known[number] if keep else pod(f"p{number:02}")
    old = tuple(known[number] for number in sorted(before))
    new = tuple(made[number] for number in sorted(after))
    went, came = difference(old, new)
    assert [id(item) for item in went] == [id(item) for item in old if not any(item is x for x in new)]
    assert [id(item) for item in came] == [id(item) for item in new if not any(item is x for x in old)]


def test_a_group_without_pods_has_no_gang() -> None:
    with pytest.raises(KeyError):
        Grouping.of(index_of([]), NO_QUEUES, GangRules()).gang(("Pod", "team", "a"))


def test_every_source_has_its_own_first_part_of_a_key() -> None:
    assert all(kind == source.kind for kind, source in SOURCES.items())
