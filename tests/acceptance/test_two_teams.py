"""The two teams of examples/teams, through kubectl: who gets room, who leaves for whom, and what is said."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.cluster import ROOT, Cluster, kubectl_path, start, stop, until

TEAMS = ROOT / "examples" / "teams"
PLACED = "aliquot.dev/Placed"


@pytest.fixture
def racks(tmp_path: Path) -> Iterator[Cluster]:
    """`aliquot up` on eight nodes in four racks."""
    kubectl_path()
    running = start(tmp_path / "state", ROOT / "fleets" / "racks.yaml")
    yield running
    assert stop(running) == 0


def pods(cluster: Cluster, namespace: str, prefix: str) -> list[dict[str, Any]]:
    found = cluster.objects("pods", "-n", namespace)
    return [pod for pod in found if pod["metadata"]["name"].startswith(f"{prefix}-")]


def bound(found: list[dict[str, Any]]) -> dict[str, str]:
    """Node by pod name of the pods that are on one."""
    return {pod["metadata"]["name"]: pod["spec"]["nodeName"] for pod in found if pod["spec"].get("nodeName")}


def uids(found: list[dict[str, Any]]) -> set[str]:
    return {pod["metadata"]["uid"] for pod in found}


def condition(pod: dict[str, Any], kind: str) -> dict[str, Any]:
    return next((one for one in pod["status"].get("conditions", ()) if one["type"] == kind), {})


def apply(cluster: Cluster, name: str) -> None:
    cluster.kubectl("apply", "-f", str(TEAMS / name))


def ready(cluster: Cluster, namespace: str, job: str, count: int) -> None:
    cluster.wait("job", job, f"jsonpath={{.status.ready}}={count}", namespace)


def owner_events(cluster: Cluster, namespace: str, reason: str) -> list[dict[str, Any]]:
    found = cluster.objects("events", "-n", namespace, "--field-selector", f"reason={reason}")
    return [event for event in found if event["involvedObject"]["kind"] != "Pod"]


def used(cluster: Cluster) -> dict[str, str]:
    """GPUs used by queue, as the queues' status tells."""
    return {
        queue["metadata"]["name"]: one["quantity"]
        for queue in cluster.objects("queues")
        for one in queue.get("status", {}).get("used", ())
        if one["name"] == "gpu"
    }


def test_each_team_gets_what_it_is_entitled_to_and_everybody_is_told_why(racks: Cluster) -> None:
    rack_of = {
        node["metadata"]["name"]: node["metadata"]["labels"]["aliquot.dev/rack"]
        for node in racks.objects("nodes")
    }
    apply(racks, "00-teams.yaml")
    apply(racks, "10-notebook.yaml")
    racks.wait("deployment", "notebook", "condition=Available", "language")

    # A rack-local training job: the notebook's rack has no room for it, so another one is taken whole.
    apply(racks, "20-training.yaml")
    ready(racks, "vision", "training", 4)
    training = pods(racks, "vision", "training")
    assert len({rack_of[node] for node in bound(training).values()}) == 1

    # A greedy gang: it borrows all that is free.
    apply(racks, "30-sweep.yaml")
    ready(racks, "vision", "sweep", 11)
    before = pods(racks, "vision", "sweep")

    # A gang that reclaims what its team is entitled to: seven pods of the elastic gang go, nobody else.
    apply(racks, "40-pretraining.yaml")
    seen: list[int] = []
    promised: dict[str, str] = {}

    def started() -> bool:
        found = pods(racks, "language", "pretraining")
        seen.append(len([pod for pod in found if not pod["spec"].get("schedulingGates")]))
        for pod in found:
            told = condition(pod, PLACED)
            if told.get("reason") == "RoomPromised":
                promised[pod["metadata"]["name"]] = told["message"]
        leaving = [pod for pod in pods(racks, "vision", "sweep") if pod["metadata"].get("deletionTimestamp")]
        for pod in leaving:
            told = condition(pod, "DisruptionTarget")
            assert told["status"] == "True"
            assert told["reason"] in ("Reclaimed", "EvictionByEvictionAPI")
        return len(bound(found)) == 7

    until(started)
    ready(racks, "language", "pretraining", 7)
    gang = bound(pods(racks, "language", "pretraining"))
    assert promised, "nobody was told that room had been promised"
    for name, message in promised.items():
        assert "sweep-" in message
        assert gang[name] in message, "the room that was made for it went to somebody else"

    after = pods(racks, "vision", "sweep")
    kept = uids(before) & uids(after)
    assert len(bound(after)) == len(kept) == 4
    assert uids(pods(racks, "vision", "training")) == uids(training)
    assert len(uids(pods(racks, "language", "notebook"))) == 1
    until(lambda: bool(owner_events(racks, "vision", "Reclaimed")))
    (told,) = owner_events(racks, "vision", "Reclaimed")
    assert told["involvedObject"]["kind"] == "Job"
    assert told["involvedObject"]["name"] == "sweep"
    assert "job/language/pretraining" in told["message"]

    # Their owner makes them anew, and they wait with a reason; the Job has not failed.
    until(lambda: len(pods(racks, "vision", "sweep")) == 11)
    waiting = [pod for pod in pods(racks, "vision", "sweep") if not pod["spec"].get("nodeName")]
    assert len(waiting) == 7
    until(
        lambda: all(
            condition(pod, PLACED).get("reason")
            for pod in pods(racks, "vision", "sweep")
            if not pod["spec"].get("nodeName")
        )
    )
    (sweep,) = (job for job in racks.objects("jobs", "-n", "vision") if job["metadata"]["name"] == "sweep")
    assert not sweep["status"].get("failed")

    # A notebook gives way to work of higher priority of its own team.
    (notebook,) = pods(racks, "language", "notebook")
    apply(racks, "50-evaluation.yaml")
    ready(racks, "language", "evaluation", 1)
    evaluation = pods(racks, "language", "evaluation")
    told_all = racks.kubectl("get", "events", "-A", "--field-selector", "type=Warning")
    assert list(bound(evaluation).values()) == [notebook["spec"]["nodeName"]], told_all
    until(lambda: bool(owner_events(racks, "language", "Preempted")))
    (told,) = owner_events(racks, "language", "Preempted")
    assert (told["involvedObject"]["kind"], told["involvedObject"]["name"]) == ("Deployment", "notebook")
    until(lambda: len(pods(racks, "language", "notebook")) == 1)
    (again,) = pods(racks, "language", "notebook")
    assert again["metadata"]["uid"] != notebook["metadata"]["uid"]
    until(lambda: bool(condition(pods(racks, "language", "notebook")[0], PLACED).get("reason")))
    explained = racks.aliquot("explain", f"pod/{again['metadata']['name']}", "-n", "language", check=False)
    assert "waits" in explained.stdout
    assert bound(pods(racks, "language", "pretraining")) == gang
    assert uids(pods(racks, "vision", "sweep")) >= kept

    until(lambda: used(racks) == {"research-lab": "64", "vision": "32", "language": "32"})
    devices = racks.held_devices()
    assert len(devices) == len(set(devices)) == 64

    # What is free goes round again.
    racks.kubectl("delete", "job", "pretraining", "evaluation", "-n", "language", "--wait=true")
    racks.wait("deployment", "notebook", "condition=Available", "language")
    ready(racks, "vision", "sweep", 11)
    racks.kubectl("delete", "-f", str(TEAMS), "--ignore-not-found", "--wait=false")
    until(lambda: racks.held_devices() == [])


@pytest.mark.prove
def test_the_script_that_a_person_follows_runs_to_its_end(racks: Cluster) -> None:
    done = racks.run("bash", str(TEAMS / "follow.sh"), stdin="", timeout=180)

    assert "has to leave for job/language/pretraining" in done.stdout
    assert "has to leave for job/language/evaluation" in done.stdout
    assert "has a place on node" in done.stdout
    assert json.loads(racks.kubectl("get", "queues", "-o", "json"))["items"] == []
