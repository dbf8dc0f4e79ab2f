"""Other claim templates for a workload that runs, and what its pods say of it afterwards."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.sizing.histories import GIB, MINUTE, START, series

from aliquot.embedded.jsonpatch import apply
from aliquot.model.meta import ObjectRef
from aliquot.sizing.edits import EditError
from aliquot.sizing.parts import Part, part_named
from aliquot.sizing.pod_health import LEAST_BEFORE_MS, health_of, memory_percent, pod_health, slower_percent
from aliquot.sizing.rollout import Phase, Rollout
from aliquot.sizing.template_change import NOTE, SIZED_FROM, Note, change_of, claims_of, noted, restored
from aliquot.usage.metrics import Metric


def part(name: str) -> Part:
    found = part_named(f"H100-SXM5-80GB {name}")
    assert found is not None
    return found


SMALL, HALF, WHOLE = part("mig 1g.10gb"), part("mig 3g.40gb"), part("exclusive whole")


def template(name: str, device_class: str = "gpu.nvidia.com") -> dict[str, Any]:
    exactly = {"deviceClassName": device_class, "count": 2}
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaimTemplate",
        "metadata": {"name": name, "namespace": "team", "labels": {"app": "chat"}},
        "spec": {"spec": {"devices": {"requests": [{"name": "gpu", "exactly": exactly}]}}},
    }


def deployment(**claims: str) -> dict[str, Any]:
    used = [{"name": name, "resourceClaimTemplateName": made} for name, made in claims.items()]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "chat", "namespace": "team", "uid": "u", "resourceVersion": "7"},
        "spec": {"template": {"spec": {"resourceClaims": used}}},
    }


TEMPLATES = {"one": template("one"), "nic": template("nic", "nic.example")}


def test_a_workload_gets_a_template_of_its_own_and_goes_back_to_the_one_it_had() -> None:
    document = deployment(gpu="one", net="nic")
    change = change_of(document, TEMPLATES, SMALL)
    (made,) = change.templates
    name = made["metadata"]["name"]
    assert made["metadata"]["annotations"] == {SIZED_FROM: "one"}
    assert made["metadata"]["ownerReferences"][0]["uid"] == "u"
    exactly = made["spec"]["spec"]["devices"]["requests"][0]["exactly"]
    assert (exactly["deviceClassName"], exactly["count"]) == ("mig.nvidia.com", 2)
    assert TEMPLATES["one"]["spec"]["spec"]["devices"]["requests"][0]["exactly"]["deviceClassName"] == (
        "gpu.nvidia.com"
    )
    changed = apply(document, list(change.operations))
    assert claims_of(changed) == {"gpu": name, "net": "nic"}
    back = apply(changed, list(restored(changed, change.names)))
    assert back == document


def test_a_second_change_is_named_after_the_first_template_and_differs_from_it() -> None:
    first = change_of(deployment(gpu="one"), TEMPLATES, SMALL)
    name = first.templates[0]["metadata"]["name"]
    known = {**TEMPLATES, name: dict(first.templates[0])}
    second = change_of(deployment(gpu=name), known, HALF)
    other = second.templates[0]["metadata"]
    assert other["annotations"] == {SIZED_FROM: "one"}
    assert other["name"].startswith("one-")
    assert other["name"] != name
    again = change_of(deployment(gpu="one"), TEMPLATES, SMALL)
    assert again.templates == first.templates


def test_what_somebody_changed_since_is_not_put_back() -> None:
    change = change_of(deployment(gpu="one"), TEMPLATES, SMALL)
    assert restored(deployment(gpu="other"), change.names) == ()


@pytest.mark.parametrize(
    ("document", "wanted", "problem"),
    [
        (deployment(gpu="one"), WHOLE, "asks for this part already"),
        (deployment(gpu="gone"), SMALL, "gone is not there"),
        (deployment(net="nic"), SMALL, "none of its requests"),
        (deployment(), SMALL, "asks for this part already"),
        ({"kind": "Foo", "metadata": {}}, SMALL, "asks for this part already"),
    ],
)
def test_what_cannot_be_changed_says_why(document: dict[str, Any], wanted: Part, problem: str) -> None:
    with pytest.raises(EditError, match=problem):
        change_of(document, TEMPLATES, wanted)


def test_a_claim_that_pods_share_is_left_alone() -> None:
    document = deployment()
    claims = document["spec"]["template"]["spec"]["resourceClaims"]
    claims.append({"name": "gpu", "resourceClaimName": "shared"})
    with pytest.raises(EditError, match="share a claim"):
        change_of(document, TEMPLATES, SMALL)


@pytest.mark.parametrize("annotations", [None, {}, {"a": "b"}])
def test_a_note_is_written_on_this_version_alone_and_read_again(annotations: dict[str, str] | None) -> None:
    document = deployment(gpu="one")
    if annotations is not None:
        document["metadata"]["annotations"] = annotations
    rollout = Rollout(
        workload=ObjectRef(kind="Deployment", namespace="team", name="chat", uid="u"),
        queue="q",
        before=WHOLE.label,
        after=SMALL.label,
        phase=Phase.WATCHING,
        applied_ms=1,
        since_ms=2,
        undone=1,
        why="because",
    )
    note = Note.about(rollout, {"gpu": ("one", "one-1")})
    operations = noted(document, note)
    stored = apply(document, list(operations))["metadata"]["annotations"]
    assert {**stored, NOTE: ""} == {**(annotations or {}), NOTE: ""}
    read = Note.of(stored)
    assert read == note
    assert read.rollout(rollout.workload) == rollout
    assert operations[0] == {"op": "test", "path": "/metadata/resourceVersion", "value": "7"}


@pytest.mark.parametrize("text", ["", "{}", "{", "[1]", "x" * 9000])
def test_a_note_that_nobody_can_read_is_none(text: str) -> None:
    assert Note.of({NOTE: text}) is None


CHANGE = datetime(2026, 3, 1, 12, tzinfo=UTC)


def pod(name: str = "a", *, minutes: float = 1, phase: str = "Running", **container: Any) -> dict[str, Any]:
    created = (CHANGE + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")
    status: dict[str, Any] = {"phase": phase}
    if container:
        status["containerStatuses"] = [container]
    return {"metadata": {"name": name, "creationTimestamp": created}, "status": status}


def ended(reason: str, code: int, minutes: float = 5) -> dict[str, Any]:
    moment = (CHANGE + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"terminated": {"reason": reason, "exitCode": code, "finishedAt": moment}}


@pytest.mark.parametrize(
    ("given", "minutes", "expected"),
    [
        ([pod()], 60, (0, 0)),
        ([pod(phase="Pending")], 10, (0, 0)),
        ([pod(phase="Pending")], 20, (0, 1)),
        ([pod(phase="Failed")], 10, (0, 1)),
        ([pod(lastState=ended("OOMKilled", 137))], 10, (1, 0)),
        ([pod(lastState=ended("Error", 1))], 10, (0, 1)),
        ([pod(lastState=ended("Completed", 0))], 10, (0, 0)),
        ([pod(state={"waiting": {"reason": "CrashLoopBackOff"}})], 10, (0, 1)),
        ([pod(state={"waiting": {"reason": "ImagePullBackOff"}})], 10, (0, 0)),
        ([pod(minutes=-60, lastState=ended("OOMKilled", 137))], 10, (0, 0)),
        ([pod(lastState=ended("OOMKilled", 137, minutes=-5))], 10, (0, 0)),
    ],
)
def test_pods_of_after_the_change_tell_how_it_goes(
    given: list[dict[str, Any]], minutes: int, expected: tuple[int, int]
) -> None:
    assert pod_health(given, CHANGE, CHANGE + timedelta(minutes=minutes)) == expected


def test_memory_of_new_pods_is_compared_with_their_part() -> None:
    high = series(Metric.MEMORY_USED, [9 * GIB, 5 * GIB], pod="old")
    low = series(Metric.MEMORY_USED, [4 * GIB, 8 * GIB], pod="new")
    assert memory_percent([high, low], frozenset({"new"}), START, 10 * GIB) == 80
    assert memory_percent([high], frozenset({"new"}), START, 10 * GIB) is None


def throughput(before: int, after: int, waiting: int, minutes: int = 90) -> list[Any]:
    tokens = [before] * minutes + [after] * minutes
    return [
        series(Metric.GENERATION_TOKENS, tokens),
        series(Metric.REQUESTS_WAITING, [0] * minutes + [waiting] * minutes),
    ]


@pytest.mark.parametrize(
    ("before", "after", "waiting", "expected"),
    [(600, 300, 4, 50), (600, 700, 4, 0), (600, 300, 0, None), (0, 300, 4, None)],
    ids=["half as fast while others wait", "faster", "fewer asked", "nothing before"],
)
def test_it_is_slower_only_while_requests_wait(
    before: int, after: int, waiting: int, expected: int | None
) -> None:
    change = START + 90 * MINUTE
    assert slower_percent(throughput(before, after, waiting), change) == expected
    assert slower_percent(throughput(before, after, waiting, 30), START + 30 * MINUTE) is None
    assert LEAST_BEFORE_MS == 60 * MINUTE


def test_all_signs_together_are_a_health() -> None:
    since = datetime.fromtimestamp(START / 1000, UTC)
    name = pod("p-0")
    name["metadata"]["creationTimestamp"] = since.strftime("%Y-%m-%dT%H:%M:%SZ")
    used = series(Metric.MEMORY_USED, [9 * GIB])
    found = health_of([name], [used], [], 10 * GIB, since + timedelta(milliseconds=400), since)
    assert (found.memory_percent, found.failed, found.slower_percent) == (90, 0, None)
