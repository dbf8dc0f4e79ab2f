"""What `aliquot explain` tells of those that have to leave and of those that wait for them."""

from datetime import UTC, datetime

from tests.cli.world import ROOT

from aliquot.cli import cluster_input, story
from aliquot.inventory.report import Report
from aliquot.model.meta import ObjectRef
from aliquot.scheduling.decide import decide
from aliquot.scheduling.policy import Policy, Step

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def told(namespace: str, name: str) -> story.Story:
    """Research holds all eight devices of a node, half of which are serving's; serving wants four."""
    state = cluster_input.load([str(ROOT / "examples/saved/two-teams.yaml")], NOW).snapshot
    policy = Policy(every_pod=True)
    report = Report.of(state, decide(state, policy, NOW), policy)
    ref = next(
        item.ref
        for item in report.workloads.workloads
        if (item.ref.namespace, item.ref.name) == (namespace, name)
    )
    return story.story(report, ref, (), ())


def test_a_workload_that_has_to_leave_is_told_for_whom_and_why() -> None:
    found = told("research", "sweep-2")
    lines = list(story.lines(found, NOW))
    document = story.document(found)

    assert lines[:5] == [
        "pod/sweep-2 in namespace research runs on gpu-0 and has to leave: Reclaimed.",
        "",
        "  sweep-2: Has to leave for pod/serving/model: queue serving held 0 gpu with a",
        "    fair share of 4, queue research held 8 gpu with a fair share of 4.",
        "",
    ]
    assert max(map(len, lines)) <= 80
    (leaves,) = document["leaving"]
    assert (leaves["pod"], leaves["verdict"]["reason"]) == ("sweep-2", "Reclaimed")
    assert document["reason"] == ""


def test_a_workload_that_was_promised_a_place_waits_and_says_where() -> None:
    found = told("serving", "model")

    lines = list(story.lines(found, NOW))
    assert lines[0] == "pod/model in namespace serving waits: RoomPromised."
    assert lines[2] == "  1 pod has its place on gpu-0 when 1 pod that must leave for it is gone."
    assert "  position  1 of 1 in its queue" in lines
    assert story.document(found)["reason"] == "RoomPromised"


def test_one_that_nobody_asks_to_leave_is_left_out_of_it() -> None:
    found = told("research", "sweep-1")

    assert found.ref == ObjectRef(kind="Pod", namespace="research", name="sweep-1", uid=found.ref.uid)
    assert next(iter(story.lines(found, NOW))) == "pod/sweep-1 in namespace research runs on gpu-0."
    assert story.document(found)["leaving"] == []


def test_why_taking_from_others_does_not_help_is_told_in_words_and_as_facts() -> None:
    state = cluster_input.load([str(ROOT / "examples/saved/two-teams.yaml")], NOW).snapshot
    # Nothing is reclaimed.
    policy = Policy(every_pod=True, steps=(Step.ALLOCATE, Step.PREEMPT))
    plan = decide(state, policy, NOW)
    report = Report.of(state, plan, policy)
    ref = next(item.ref for item in report.workloads.workloads if item.ref.name == "model")
    listener = story.Listener(ref)
    assert decide(state, policy, NOW, observer=listener) == plan
    found = story.story(report, ref, listener.facts, (), taking=listener.taking)

    text = " ".join(" ".join(story.lines(found, NOW)).split())
    assert "Preemption does not help: nothing that runs in its queue has a lower priority." in text
    assert "Consolidation is off by policy." in text
    assert [(fact["test"], fact["subject"]) for fact in story.document(found)["taking"]] == [
        ("preemption", "noneLower"),
        ("consolidation", "off"),
    ]
