"""Pod groups: Kubernetes' Workload and PodGroup, other schedulers' groups, and annotations alone."""

import json
from typing import Any

import pytest
from tests.workloads.builders import (
    NOON,
    at,
    constraints,
    gangs_of,
    obj,
    only,
    owner,
    pod,
    priority_class,
    shown,
)

from aliquot.model.core import Pod
from aliquot.model.meta import KubernetesObject


def in_group(name: str, group: str = "g", **fields: Any) -> Pod:
    return pod(name, spec={"schedulingGroup": {"podGroupName": group}}, **fields)


def pod_group(
    policy: dict[str, Any], version: str = "scheduling.k8s.io/v1alpha2", **spec: Any
) -> KubernetesObject:
    return obj("PodGroup", version, "g", spec={"schedulingPolicy": policy, **spec}, created=-5)


@pytest.mark.parametrize("version", ["scheduling.k8s.io/v1alpha2", "scheduling.k8s.io/v1beta1"])
def test_a_pod_group_of_kubernetes(version: str) -> None:
    group = pod_group(
        {"gang": {"minCount": 3}},
        version,
        schedulingConstraints={"topology": [{"key": "rack"}]},
        priorityClassName="high",
    )
    members = [in_group("a", phase="Succeeded"), *(in_group(name) for name in "bcd")]
    gang = only([group, priority_class("high", 70), *members])
    assert (gang.minimum, gang.priority, str(gang.ref)) == (2, 70, "podgroup/team/g")
    assert constraints(gang.root) == {"": ("", "rack", "")}
    assert (gang.created - NOON).total_seconds() == -300


def test_a_pod_group_without_gang_places_each_pod_on_its_own() -> None:
    assert len(gangs_of([pod_group({"basic": {}}), in_group("a"), in_group("b")])) == 2


def test_a_pod_group_that_is_not_there_is_a_problem() -> None:
    gang = only([in_group("a"), in_group("b")])
    assert gang.problem is not None
    assert (gang.problem.test, gang.problem.subject) == ("owner", "podgroup/team/g")


def test_a_workload_of_the_first_alpha_is_a_gang_per_replica() -> None:
    spec = {
        "podGroups": [
            {"name": "pg", "policy": {"gang": {"minCount": 2}}},
            {"name": "x", "policy": {"basic": {}}},
        ]
    }
    workload = obj("Workload", "scheduling.k8s.io/v1alpha1", "w", spec=spec)

    def member(name: str, group: str, replica: str) -> Pod:
        reference = {"name": "w", "podGroup": group, "podGroupReplicaKey": replica}
        return pod(name, spec={"workloadRef": reference})

    found = gangs_of(
        [workload, *(member(f"{r}{i}", "pg", r) for r in "ab" for i in range(2)), member("z", "x", "")]
    )
    assert {name: gang.minimum for name, gang in found.items()} == {
        "workload/team/w/pg/a": 2,
        "workload/team/w/pg/b": 2,
        "pod/team/z": 1,
    }


def kai_pod(name: str, subgroup: str = "", **fields: Any) -> Pod:
    labels = {"kai.scheduler/subgroup-name": subgroup} if subgroup else {}
    return pod(name, labels, {"pod-group-name": "pg"}, **fields)


def kai_group(annotations: dict[str, str] | None = None, **spec: Any) -> KubernetesObject:
    return obj("PodGroup", "scheduling.run.ai/v2alpha2", "pg", spec=spec, annotations=annotations or {})


def test_a_pod_group_of_kai_scheduler() -> None:
    group = kai_group(
        {
            "kai.scheduler/last-start-timestamp": at(-30),
            "kai.scheduler/stale-podgroup-timestamp": at(-1),
        },
        minMember=2,
        queue="research",
        priorityClassName="build",
        preemptibility="preemptible",
        stalenessGracePeriod="2m",
        preemptionDelay="30s",
        topologyConstraint={
            "topology": "dc",
            "requiredTopologyLevel": "zone",
            "preferredTopologyLevel": "rack",
        },
    )
    objects = [group, priority_class("build", 100), *(kai_pod(name, node="n") for name in "abc")]
    gang = only(objects, preemptible_below=100)
    assert (gang.minimum, gang.queue, gang.priority, gang.preemptible) == (2, "research", 100, True)
    assert constraints(gang.root) == {"": ("dc", "zone", "rack")}
    assert gang.started is not None
    assert (gang.started - NOON).total_seconds() == -1800
    assert gang.stale_since is not None
    assert (gang.stale_since - NOON).total_seconds() == -60
    assert (gang.staleness_grace_seconds, gang.preemption_delay_seconds) == (120, 30)


def test_subgroups_of_kai_scheduler_make_a_tree() -> None:
    limit = {"topology": "dc", "requiredTopologyLevel": "rack"}
    group = kai_group(
        minSubGroup=1,
        subGroups=[
            {"name": "prefill", "minSubGroup": 1},
            {"name": "leader", "parent": "prefill", "minMember": 1},
            {"name": "spare", "parent": "prefill", "minMember": 2, "topologyConstraint": limit},
            {"name": "decode", "minMember": 3},
        ],
    )
    gang = only([group, kai_pod("a", "leader"), kai_pod("b", "decode"), kai_pod("c", "nowhere")])
    assert shown(gang.root) == {"prefill/1": {"leader": 1, "spare": 2}, "decode": 3, "nowhere": 0}
    assert constraints(gang.root) == {"spare": ("dc", "rack", "")}
    assert gang.leaf_of[("team", "c")] == "nowhere"


@pytest.mark.parametrize(
    "subgroups",
    [
        [{"name": "a", "parent": "b", "minMember": 1}],
        [{"name": "a", "parent": "b"}, {"name": "b", "parent": "a"}],
        [{"name": "c", "minMember": 1}, {"name": "a", "parent": "b"}, {"name": "b", "parent": "a"}],
        [{"name": "a", "minMember": 1}, {"name": "a", "minMember": 1}],
        [{"name": f"l{i}", **({"parent": f"l{i - 1}"} if i else {})} for i in range(20)],
    ],
)
def test_broken_trees_of_kai_scheduler_are_a_problem(subgroups: list[dict[str, Any]]) -> None:
    gang = only([kai_group(subGroups=subgroups), kai_pod("a", "a")])
    assert gang.problem is not None
    assert gang.problem.test == "subgroups"


def test_the_mark_of_kais_pod_grouper_means_nothing_without_its_group() -> None:
    assert sorted(gangs_of([kai_pod("a"), kai_pod("b")])) == ["pod/team/a", "pod/team/b"]


def test_a_pod_group_of_volcano() -> None:
    def member(name: str, task: str) -> Pod:
        return pod(name, None, {"scheduling.k8s.io/group-name": "vg", "volcano.sh/task-spec": task})

    version = "scheduling.volcano.sh/v1beta1"
    plain = obj("PodGroup", version, "vg", spec={"minMember": 3, "queue": "research"})
    gang = only([plain, member("a", "ps"), member("b", "worker")])
    assert (gang.minimum, gang.queue, shown(gang.root)) == (3, "research", 3)
    tasks = obj("PodGroup", version, "vg", spec={"minMember": 3, "minTaskMember": {"ps": 1, "worker": 2}})
    gang = only([tasks, member("a", "ps"), member("b", "worker")])
    assert shown(gang.root) == {"ps": 1, "worker": 2}


def test_a_pod_group_of_the_scheduler_plugins() -> None:
    group = obj("PodGroup", "scheduling.x-k8s.io/v1alpha1", "cg", spec={"minMember": 2})
    labels = {"scheduling.x-k8s.io/pod-group": "cg"}
    assert only([group, pod("a", labels), pod("b", labels)]).minimum == 2
    assert len(gangs_of([pod("a", labels), pod("b", labels)])) == 2


@pytest.mark.parametrize(
    ("marks", "minimum", "problem"),
    [
        ({"total-count": "3"}, 3, False),
        ({"total-count": "3", "fast-admission": "true"}, 1, False),
        ({"total-count": "three"}, 1, True),
        ({}, 1, False),
    ],
)
def test_a_plain_pod_group_of_kueue(marks: dict[str, str], minimum: int, problem: bool) -> None:
    marks = {f"kueue.x-k8s.io/pod-group-{name}": value for name, value in marks.items()}
    labels = {"kueue.x-k8s.io/pod-group-name": "kg", "kueue.x-k8s.io/queue-name": "research"}
    gang = only([pod("a", labels, marks), pod("b", labels, marks)])
    assert (gang.minimum, gang.queue, gang.problem is not None) == (minimum, "research", problem)


def marked(name: str, subgroup: str = "", **marks: str) -> Pod:
    annotations = {f"aliquot.dev/{key.replace('_', '-')}": value for key, value in marks.items()}
    annotations["aliquot.dev/gang"] = "ring"
    if subgroup:
        annotations["aliquot.dev/subgroup"] = subgroup
    return pod(name, None, annotations)


@pytest.mark.parametrize(
    ("marks", "minimum", "maximum"),
    [
        ({"gang_size": "3"}, 3, None),
        ({"gang_size": "3", "gang_min": "2"}, 2, None),
        ({"gang_min": "2", "gang_max": "4"}, 2, 4),
        ({"gang_size": "3", "gang_max": "1"}, 3, 3),
    ],
)
def test_annotations_alone_make_a_gang(marks: dict[str, str], minimum: int, maximum: int | None) -> None:
    gang = only([marked(name, "", **marks) for name in "abc"])
    assert (gang.minimum, gang.maximum, gang.problem) == (minimum, maximum, None)


@pytest.mark.parametrize(
    "marks",
    [{}, {"gang_size": "0"}, {"gang_size": "x"}, {"gang_min": "-1"}, {"gang_size": "2", "gang_max": "x"}],
)
def test_sizes_that_are_none_are_a_problem(marks: dict[str, str]) -> None:
    gang = only([marked("a", "", **marks)])
    assert gang.problem is not None
    assert gang.problem.test == "gangSize"


def test_subgroups_count_once_their_pods_say_how_many() -> None:
    named = [marked("a", "x", gang_size="2"), marked("b", "y", gang_size="2")]
    assert shown(only(named).root) == 2
    sized = [
        marked("a", "x", gang_size="2", subgroup_min="1"),
        marked("b", "y", gang_size="2", subgroup_min="2", subgroup_topology_required="rack"),
        marked("c", "", gang_size="2"),
    ]
    gang = only(sized)
    assert shown(gang.root) == {"rest": 0, "x": 1, "y": 2}
    assert constraints(gang.root) == {"y": ("", "rack", "")}
    assert gang.leaf_of == {("team", "a"): "x", ("team", "b"): "y", ("team", "c"): "rest"}


def test_a_tree_may_be_spelt_out() -> None:
    prefill = [{"name": "p0", "minimum": 2}, {"name": "p1", "minimum": 2}]
    tree = {
        "topology": {"topology": "dc", "required": "zone"},
        "children": [
            {"name": "prefill", "minimum": 1, "children": prefill},
            {"name": "decode", "minimum": 3, "topology": {"topology": "dc", "preferred": "rack"}},
        ],
    }
    text = json.dumps(tree)
    gang = only([marked("a", "p0", subgroups=text), marked("b", "decode", subgroups=text)])
    assert shown(gang.root) == {"prefill/1": {"p0": 2, "p1": 2}, "decode": 3}
    assert (gang.minimum, gang.problem) == (5, None)
    assert constraints(gang.root) == {"": ("dc", "zone", ""), "decode": ("dc", "", "rack")}
    broken = only([marked("a", "p0", subgroups="{")])
    assert broken.problem is not None
    assert broken.problem.subject == "aliquot.dev/subgroups"


def test_members_that_succeeded_have_played_their_part_in_their_subgroup() -> None:
    tree = json.dumps({"children": [{"name": "x", "minimum": 2}, {"name": "y", "minimum": 1}]})
    done = {"aliquot.dev/gang": "ring", "aliquot.dev/subgroup": "x", "aliquot.dev/subgroups": tree}
    gang = only([pod("a", None, done, phase="Succeeded"), marked("b", "x"), marked("c", "y")])
    assert shown(gang.root) == {"x": 1, "y": 1}


def test_a_gang_size_replaces_what_an_owner_says() -> None:
    job = obj("Job", "batch/v1", "j", spec={"parallelism": 8, "completions": 8})
    above = owner("Job", "batch/v1", "j")
    each = only([job, *(pod(f"j-{i}", None, {"aliquot.dev/gang-size": "1"}, owner=above) for i in range(8))])
    assert each.minimum == 1
