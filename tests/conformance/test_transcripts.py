"""Requests of every kind are answered as Kubernetes answers them."""

import pytest
from tests.conformance import transcripts
from tests.conformance.resources import Space

CASES = [
    pytest.param(topic, name, id=f"{topic}: {name}")
    for topic in transcripts.topics()
    for name in transcripts.requests(topic)
]


@pytest.mark.parametrize(("topic", "name"), CASES)
def test_answered_as_kubernetes_does(space: Space, topic: str, name: str) -> None:
    steps = transcripts.requests(topic)[name]
    expected = transcripts.answers(topic)[name]
    assert len(expected) == len(steps), "the answers to this case are not recorded"
    exactly = space.api.version[1] == transcripts.MINOR
    wrong = []
    for step, wanted, found in zip(steps, expected, transcripts.run(space, steps), strict=True):
        if not exactly:
            wanted, found = transcripts.outline(wanted), transcripts.outline(found)
        lines = list(transcripts.differences(wanted, found))
        if lines:
            wrong.append("\n  ".join([step["do"], *lines]))
    assert not wrong, "\n" + "\n".join(wrong)
