"""Workloads show how far they have come; queues show what they use, exactly as `decide` counts it."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cli.world import ROOT
from tests.inventory.world import NOW, QUEUES, claim, pod, world

from aliquot.cli import cluster_input
from aliquot.inventory import amounts
from aliquot.inventory.decisions import told
from aliquot.inventory.report import Report
from aliquot.inventory.workloads import Status, WorkloadState
from aliquot.model.verdicts import Reason
from aliquot.queues.tree import GPU as GPU_RESOURCE
from aliquot.queues.tree import UNIT
from aliquot.scheduling.decide import decide
from aliquot.scheduling.policy import Policy
from aliquot.scheduling.standings import standings

GPU = "deviceClassName: gpu.nvidia.com"

JOB = """
---
apiVersion: resource.k8s.io/v1
kind: ResourceClaimTemplate
metadata: {name: %(name)s, namespace: %(namespace)s}
spec: {spec: {devices: {requests: [{name: r, exactly: {deviceClassName: gpu.nvidia.com, count: %(gpus)d}}]}}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: %(name)s, namespace: %(namespace)s}
spec:
  parallelism: %(pods)d
  completions: %(pods)d
  template:
    spec:
      containers: [{name: main, image: x, resources: {claims: [{name: c}]}}]
      resourceClaims: [{name: c, resourceClaimTemplateName: %(name)s}]
"""


def job(name: str, namespace: str, pods: int, gpus: int) -> str:
    return JOB % {"name": name, "namespace": namespace, "pods": pods, "gpus": gpus}


def workload(states: tuple[WorkloadState, ...], name: str) -> WorkloadState:
    (found,) = [state for state in states if state.ref.name == name]
    return found


def test_a_gang_is_one_workload_with_its_pods_devices_and_nodes() -> None:
    states = world(QUEUES + job("train", "blue", 3, 4)).report().workloads.workloads

    (state,) = states
    assert (state.ref.kind, state.queue, state.status) == ("Job", "blue", Status.RUNNING)
    assert (state.ready, state.total, state.devices) == (3, 3, 12)
    assert len(state.pods) == 3
    assert len(state.claims) == 3
    assert set(state.nodes) <= {"plain-0", "split-0", "shared-0"}


def test_what_waits_has_a_position_in_its_queue_and_a_verdict() -> None:
    scene = world(QUEUES + job("first", "red", 2, 4) + job("second", "red", 1, 1) + job("third", "red", 1, 2))
    states = scene.report().workloads.workloads

    assert workload(states, "first").status is Status.RUNNING
    second, third = workload(states, "second"), workload(states, "third")
    assert (second.status, second.position) == (Status.WAITING, 1)
    assert (third.status, third.position) == (Status.WAITING, 2)
    assert second.verdict is not None
    assert second.verdict.reason == "OverLimit"
    assert [state.ref.name for state in states] == ["second", "third", "first"]


def test_a_placed_workload_is_not_yet_a_running_one() -> None:
    scene = world(QUEUES + job("train", "blue", 2, 1))

    (state,) = Report.of(scene.before, scene.plan, Policy()).workloads.workloads

    assert state.status is Status.PLACED
    assert (state.ready, state.total) == (0, 2)
    assert len(state.nodes) >= 1


def test_a_queue_counts_what_is_below_it() -> None:
    scene = world(QUEUES + job("a", "red", 1, 3) + job("b", "blue", 2, 2) + job("c", "red", 1, 8))
    queues = {queue.name: queue for queue in scene.report().queues.queues}

    def used(name: str) -> Fraction:
        return Fraction(queues[name].resource(GPU_RESOURCE).used) / UNIT

    assert [queue.name for queue in scene.report().queues.queues] == ["top", "red", "blue"]
    assert (used("top"), used("red"), used("blue")) == (7, 3, 4)
    assert queues["red"].depth == 1
    assert (queues["red"].running, queues["red"].waiting) == (1, 1)
    assert (queues["top"].running, queues["top"].waiting) == (2, 1)
    assert queues["red"].resource(GPU_RESOURCE).limit == 8 * UNIT


def test_pods_that_have_to_leave_and_pods_that_wait_for_it() -> None:
    """Research holds all eight devices of a node, half of which are serving's; serving wants four."""
    state = cluster_input.load([str(ROOT / "examples/saved/two-teams.yaml")], NOW).snapshot
    policy = Policy(every_pod=True)
    shares = standings(state, policy, NOW)
    report = Report.of(state, decide(state, policy, NOW), policy, standings=shares)

    loser = workload(report.workloads.workloads, "sweep-2")
    assert loser.status is Status.RUNNING
    assert [item.verdict.reason for item in loser.leaving] == [Reason.RECLAIMED]
    winner = workload(report.workloads.workloads, "model")
    assert (winner.status, winner.position, winner.lacking) == (Status.WAITING, 1, 1)
    assert winner.verdict is not None
    assert winner.verdict.reason is Reason.ROOM_PROMISED
    assert winner.nodes == ()
    (leaves,) = report.evictions(NOW + timedelta(minutes=5))
    assert (leaves.pod.name, leaves.node, leaves.queue, leaves.devices) == ("sweep-2", "gpu-0", "research", 4)
    assert leaves.lost_seconds == 3900
    gpus = {queue.name: queue.resource(GPU_RESOURCE) for queue in report.queues.queues}
    assert [(gpus[name].share, gpus[name].balance) for name in ("research", "serving")] == [
        (4 * UNIT, 4 * UNIT),
        (4 * UNIT, -4 * UNIT),
    ]
    assert told(report.plan.decisions[0]) == ("Promised", "1 pod on gpu-0 once pod research/sweep-2 has left")


def test_work_outside_queues_is_counted_apart() -> None:
    manifests = (
        """
apiVersion: v1
kind: Namespace
metadata: {name: free}
"""
        + claim("one", "free", GPU)
        + pod("p", "free", "one")
    )
    report = world(QUEUES + "---\n" + manifests).report()

    assert report.queues.outside.resource(GPU_RESOURCE).used == UNIT
    assert report.queues.queues[0].resource(GPU_RESOURCE).used == 0
    assert report.queues.outside.running == 1


def test_a_broken_queue_says_why() -> None:
    broken = """
apiVersion: aliquot.dev/v1alpha1
kind: Queue
metadata: {name: a}
spec: {parent: nowhere}
"""
    (queue,) = world(broken).report().queues.queues

    assert queue.problem == "parentMissing nowhere"


def test_a_decision_is_told_in_one_word_and_one_sentence() -> None:
    scene = world(QUEUES + job("a", "red", 2, 2) + job("b", "red", 1, 8))
    outcomes = {decision.workload.name: told(decision) for decision in scene.plan.decisions}

    assert outcomes["a"][0] == "Placed"
    assert outcomes["a"][1].startswith("2 pods on ")
    assert outcomes["a"][1].endswith("; 4 devices")
    assert outcomes["b"][0] == "Waiting"
    assert "limit" in outcomes["b"][1]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("3", "3"),
        ("1/2", "0.5"),
        ("1/8", "1/8"),
        ("1/7", "1/7"),
        ("17/7", "2+3/7"),
        ("65/8", "8.125"),
        ("0", "0"),
        ("5/4", "1.25"),
    ],
)
def test_fractions_as_text(value: str, text: str) -> None:
    assert amounts.fraction(Fraction(value)) == text


@given(st.fractions(min_value=0, max_value=100, max_denominator=100))
def test_readable_fractions_as_text_lose_nothing(value: Fraction) -> None:
    assert sum(Fraction(piece) for piece in amounts.fraction(value).split("+")) == value


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 8, "0%"),
        (1, 1000, "<1%"),
        (999, 1000, ">99%"),
        (1, 1, "100%"),
        (1, 3, "33%"),
        (3, 0, "0%"),
        (3, 2, "150%"),
    ],
)
def test_percentages_never_hide_a_rest(part: int, whole: int, text: str) -> None:
    assert amounts.percent(part, whole) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (119, "119s"),
        (200, "3m20s"),
        (1200, "20m"),
        (10_700, "178m"),
        (12_000, "3h20m"),
        (90_000, "25h"),
        (200_000, "2d7h"),
        (10_000_000, "115d"),
        (-5, "0s"),
    ],
)
def test_ages_as_kubectl_shows_them(seconds: int, text: str) -> None:
    assert amounts.age(NOW - timedelta(seconds=seconds), NOW) == text


def test_an_unknown_age_is_none() -> None:
    assert amounts.age(datetime(1970, 1, 1, tzinfo=UTC), NOW) == "<none>"
    assert amounts.age(None, NOW) == "<none>"
