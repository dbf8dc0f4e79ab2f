"""What else is told of a gang: order of members, preemptibility, closeness, cost, times, queue."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.workloads.builders import (
    NO_QUEUES,
    NOON,
    Shown,
    at,
    constraints,
    index_of,
    obj,
    only,
    owner,
    pod,
    shown,
)

from aliquot.model.core import Pod
from aliquot.workloads.gang import GangRules
from aliquot.workloads.grouping import Grouping
from aliquot.workloads.settings import RestartCost, moment, seconds


def member(name: str, labels: dict[str, str] | None = None, **fields: Any) -> Pod:
    annotations = {"aliquot.dev/gang": "g", "aliquot.dev/gang-size": "1", **fields.pop("annotations", {})}
    return pod(name, labels, annotations, **fields)


def priority(text: str) -> dict[str, str]:
    return {"kai.scheduler/task-priority": text}


def test_members_go_by_priority_then_index_then_age_then_name() -> None:
    pods = [
        member("a", created=2),
        member("b", created=1),
        member("c", created=1),
        member("d", {"batch.kubernetes.io/job-completion-index": "7"}, created=0),
        member("e", priority("1"), created=9),
        member("f", priority("-3"), created=9),
        member("g", priority("20"), created=9),
        member("h", priority("high"), created=0),
    ]
    names = [item.name for item in only(pods).members]
    assert "".join(names) == "gefhbcad"
    names = [item.name for item in only(pods, by_member_priority=False).members]
    assert "".join(names) == "hbcaefgd"


def test_leaders_go_first_unless_that_is_switched_off() -> None:
    labels = {"ray.io/cluster": "ray", "ray.io/node-type": "head"}
    head = pod("z", labels, created=5)
    workers = [pod(name, {**labels, "ray.io/node-type": "worker", "ray.io/group": "w"}) for name in "ab"]
    assert [item.name for item in only([head, *workers]).members] == ["z", "a", "b"]
    assert [item.name for item in only([head, *workers], leaders_first=False).members] == ["a", "b", "z"]


@pytest.mark.parametrize(
    ("labels", "annotations", "number", "below", "expected"),
    [
        ({}, {}, 1000, None, True),
        ({}, {}, 100, 100, False),
        ({}, {}, 99, 100, True),
        ({"kai.scheduler/preemptibility": "preemptible"}, {}, 100, 100, True),
        ({"kai.scheduler/preemptibility": "non-preemptible"}, {}, 1, None, False),
        ({"kai.scheduler/preemptibility": "perhaps"}, {}, 1, 100, True),
        ({"aliquot.dev/preemptible": "false"}, {}, 1, None, False),
        ({}, {"aliquot.dev/preemptible": "true"}, 100, 100, True),
        ({}, {"aliquot.dev/preemptible": "False"}, 1, None, False),
        ({}, {"aliquot.dev/preemptible": "TRUE"}, 100, 100, True),
        ({"aliquot.dev/preemptible": "yes"}, {}, 100, 100, False),
    ],
)
def test_preemptible_is_what_says_so_else_what_is_of_low_priority(
    labels: dict[str, str], annotations: dict[str, str], number: int, below: int | None, expected: bool
) -> None:
    item = pod("a", labels, annotations, spec={"priority": number})
    assert only([item], preemptible_below=below).preemptible is expected


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        ({"aliquot.dev/topology-required": "rack"}, ("", "rack", "")),
        ({"aliquot.dev/topology": "dc", "aliquot.dev/topology-preferred": "rack"}, ("dc", "", "rack")),
        (
            {"kai.scheduler/topology": "dc", "kai.scheduler/topology-required-placement": "zone"},
            ("dc", "zone", ""),
        ),
        ({"kueue.x-k8s.io/podset-required-topology": "cloud/rack"}, ("", "cloud/rack", "")),
        ({"kueue.x-k8s.io/podset-preferred-topology": "cloud/rack"}, ("", "", "cloud/rack")),
        (
            {"aliquot.dev/topology-required": "a", "kueue.x-k8s.io/podset-required-topology": "b"},
            ("", "a", ""),
        ),
        ({"aliquot.dev/topology": "dc"}, None),
    ],
)
def test_closeness_is_read_from_the_annotations_that_people_have(
    annotations: dict[str, str], expected: tuple[str, str, str] | None
) -> None:
    wanted = {"": expected} if expected else {}
    assert constraints(only([member("a", annotations=annotations)]).root) == wanted
    job = obj("Job", "batch/v1", "j", spec={"parallelism": 1, "completions": 1}, annotations=annotations)
    if not any(name.startswith("kueue") for name in annotations):
        assert constraints(only([job, pod("j-0", owner=owner("Job", "batch/v1", "j"))]).root) == wanted


def test_kueues_closeness_holds_for_each_podset() -> None:
    labels = {"ray.io/cluster": "ray", "ray.io/group": "w"}
    marks = {"kueue.x-k8s.io/podset-required-topology": "rack"}
    head = pod("h", {**labels, "ray.io/node-type": "head"})
    worker = pod("w", {**labels, "ray.io/node-type": "worker"}, marks)
    assert constraints(only([head, worker]).root) == {"w": ("", "rack", "")}


@pytest.mark.parametrize(
    ("cost", "running", "expected"),
    [
        (RestartCost(), 100, 100),
        (RestartCost(startup_seconds=60), 100, 160),
        (RestartCost(startup_seconds=60), 10, 20),
        (RestartCost(checkpoint_seconds=600), 1500, 300),
        (RestartCost(checkpoint_seconds=600, startup_seconds=100), 1500, 300),
        (RestartCost(last_checkpoint=NOON + timedelta(seconds=900)), 1000, 100),
        (RestartCost(last_checkpoint=NOON - timedelta(seconds=900)), 1000, 1000),
        (RestartCost(last_checkpoint=NOON + timedelta(seconds=2000)), 1000, 0),
    ],
)
def test_what_is_lost_when_a_gang_starts_again(cost: RestartCost, running: int, expected: int) -> None:
    assert cost.lost_seconds(NOON, NOON + timedelta(seconds=running)) == expected


@given(
    st.builds(
        RestartCost,
        checkpoint_seconds=st.none() | st.integers(1, 10_000),
        last_checkpoint=st.none() | st.integers(-9999, 9999).map(lambda s: NOON + timedelta(seconds=s)),
        startup_seconds=st.integers(0, 5000),
    ),
    st.integers(-100, 10_000),
)
def test_no_more_is_lost_than_was_done_and_a_start(cost: RestartCost, running: int) -> None:
    lost = cost.lost_seconds(NOON, NOON + timedelta(seconds=running))
    assert 0 <= lost <= max(0, running) + cost.startup_seconds
    assert cost.lost_seconds(None, NOON) == 0


def test_cost_and_bounds_come_from_annotations() -> None:
    marks = {
        "aliquot.dev/checkpoint-interval": "10m",
        "aliquot.dev/last-checkpoint": at(3),
        "aliquot.dev/startup-seconds": "45",
        "aliquot.dev/stale-since": at(1),
        "aliquot.dev/staleness-grace": "-1s",
        "aliquot.dev/preemption-delay": "1m30s",
    }
    gang = only([member("a", annotations=marks)])
    assert gang.cost == RestartCost(600, NOON + timedelta(minutes=3), 45)
    assert gang.stale_since == NOON + timedelta(minutes=1)
    assert (gang.staleness_grace_seconds, gang.preemption_delay_seconds) == (-1, 90)
    broken = only([member("a", annotations=dict.fromkeys(marks, "soon"))])
    assert (broken.cost, broken.stale_since, broken.staleness_grace_seconds) == (RestartCost(), None, None)


@given(st.text(max_size=80))
def test_any_text_is_a_duration_or_none_and_a_moment_or_none(text: str) -> None:
    found = seconds(text)
    assert found is None or abs(found) <= 10**9
    at_last = moment(text)
    assert at_last is None or at_last.tzinfo is not None


@pytest.mark.parametrize(
    ("size", "starts", "expected"),
    [("2", [], None), ("2", [5], 5), ("2", [0, 5, 60], 5), ("1", [7, 3], 3), ("3", [0, 5], 5)],
)
def test_a_gang_runs_since_it_had_its_minimum(size: str, starts: list[float], expected: float | None) -> None:
    marks = {"aliquot.dev/gang-size": size}
    pods = [member(f"p{i}", annotations=marks, node="n", started=start) for i, start in enumerate(starts)]
    gang = only([*pods, member("waiting", annotations=marks)])
    assert gang.started == (None if expected is None else NOON + timedelta(minutes=expected))


def test_the_queue_is_named_by_pod_owner_or_namespace() -> None:
    job = obj("Job", "batch/v1", "j", labels={"aliquot.dev/queue": "owners"})
    mine = pod("j-0", owner=owner("Job", "batch/v1", "j"))
    labelled = pod("j-0", {"kueue.x-k8s.io/queue-name": "pods"}, owner=owner("Job", "batch/v1", "j"))
    for objects, expected in [
        ([job, labelled], "pods"),
        ([job, mine], "owners"),
        ([mine], "namespaces"),
    ]:
        index = index_of(objects, **{"kai.scheduler/queue": "namespaces"})
        found = Grouping.of(index, NO_QUEUES, GangRules())
        assert found.gang_of_pod(index.snapshot.pods[0]).queue == expected


KUEUE_SLICES = {
    "kueue.x-k8s.io/podset-slice-size": "4",
    "kueue.x-k8s.io/podset-slice-required-topology": "block",
}
KAI_SEGMENTS = {
    "kai.scheduler/segment-size": "4",
    "kai.scheduler/segment-topology-preferred-placement": "rack",
    "kai.scheduler/topology": "dc",
}


@pytest.mark.parametrize(
    ("marks", "size", "there", "tree", "limit"),
    [
        (KUEUE_SLICES, 8, range(8), {"segment-0": 4, "segment-1": 4}, ("", "block", "")),
        (KUEUE_SLICES, 6, range(6), {"segment-0": 4, "segment-1": 2}, ("", "block", "")),
        (KAI_SEGMENTS, 8, (0, 1, 6), {"segment-0": 4, "segment-1": 4}, ("dc", "", "rack")),
        (KAI_SEGMENTS, 4, range(4), 4, None),
        ({**KUEUE_SLICES, "kueue.x-k8s.io/podset-slice-size": "x"}, 8, range(8), 8, None),
    ],
)
def test_segments_are_runs_of_indexes_close_to_each_other(
    marks: dict[str, str], size: int, there: Sequence[int], tree: Shown, limit: tuple[str, str, str] | None
) -> None:
    above = owner("Job", "batch/v1", "j")
    index = "batch.kubernetes.io/job-completion-index"
    pods = [pod(f"j-{number}", {index: str(number)}, marks, owner=above) for number in there]
    job = obj("Job", "batch/v1", "j", spec={"parallelism": size, "completions": size})
    gang = only([job, *pods])
    assert (shown(gang.root), gang.minimum) == (tree, size)
    if limit is None:
        assert constraints(gang.root) == {}
        return
    assert constraints(gang.root) == {"segment-0": limit, "segment-1": limit}
    assert gang.leaf_of == {("team", f"j-{n}"): f"segment-{n // 4}" for n in there}


def test_segments_of_a_job_set_run_over_its_jobs_in_turn() -> None:
    pods = []
    for number in range(4):
        for place in range(2):
            labels = {
                "jobset.sigs.k8s.io/jobset-name": "js",
                "jobset.sigs.k8s.io/replicatedjob-name": "w",
                "jobset.sigs.k8s.io/job-index": str(number),
                "batch.kubernetes.io/job-completion-index": str(place),
            }
            pods.append(pod(f"js-w-{number}-{place}", labels, KUEUE_SLICES))
    template = {"spec": {"parallelism": 2, "completions": 2}}
    spec = {"replicatedJobs": [{"name": "w", "replicas": 4, "template": template}]}
    gang = only([obj("JobSet", "jobset.x-k8s.io/v1alpha2", "js", spec=spec), *pods])
    assert shown(gang.root) == {"w": {"w-0": 4, "w-1": 4}}
    assert {name: leaf for (_, name), leaf in gang.leaf_of.items() if name.endswith("-0")} == {
        "js-w-0-0": "w-0",
        "js-w-1-0": "w-0",
        "js-w-2-0": "w-1",
        "js-w-3-0": "w-1",
    }
