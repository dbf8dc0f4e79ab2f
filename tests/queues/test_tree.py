"""The numbers of queues, and what a Queue may say."""

import pytest
from hypothesis import given
from tests.queues.builders import queue, trees

from aliquot.model.kinds import ObjectError, decode
from aliquot.model.queue import Queue
from aliquot.queues.tree import TOP, QueueTree


@given(trees())
def test_every_queue_has_a_number_after_the_one_above_it(tree):
    assert sorted(tree.numbers.values()) == list(range(len(tree.names)))
    for name, number in tree.numbers.items():
        assert tree.names[number] == name
        assert tuple(tree.names[step] for step in tree.ways[number]) == tree.path(name)
        above = tree.parents[number]
        assert above < number
        assert number in tree.below[above]
        assert tree.is_leaf(name) == (not tree.children(name))


def test_ages_go_by_creation_then_by_name():
    tree = QueueTree.of([queue("b", created=5), queue("c", created=1), queue("a", created=5)])

    assert sorted(tree.names, key=lambda name: tree.ages[tree.numbers[name]]) == ["c", "a", "b"]


def test_queues_that_cannot_be_used_have_no_number():
    tree = QueueTree.of([queue("top"), queue("lost", "gone"), queue("round", "round")])

    assert tree.names == ("top",)
    assert tree.below == {TOP: (0,), 0: ()}
    assert not tree.is_leaf("lost")


def document(**spec: object) -> dict:
    return {"apiVersion": "aliquot.dev/v1alpha1", "kind": "Queue", "metadata": {"name": "red"}, "spec": spec}


def test_a_queue_tells_its_minimum_run_times_and_past_use():
    found = decode(
        document(preemptMinRuntime="5m", reclaimMinRuntime="1h30m")
        | {
            "status": {
                "usage": [{"name": "gpu", "value": "1500m", "capacity": 8, "asOf": "2026-11-01T00:00:00Z"}]
            }
        }
    )

    assert isinstance(found, Queue)
    assert (found.spec.preempt_min_runtime, found.spec.reclaim_min_runtime) == ("5m", "1h30m")
    assert str(found.status.usage[0].value) == "1500m"


@pytest.mark.parametrize("text", ["5 minutes", "-5m", "5", "m", "1d", "5m" * 40])
def test_a_duration_that_is_none_is_refused_with_its_place(text):
    with pytest.raises(ObjectError, match="preemptMinRuntime"):
        decode(document(preemptMinRuntime=text))
