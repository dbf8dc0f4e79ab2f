"""Minimum run times: inherited, and by the queues on both sides."""

from datetime import timedelta
from fractions import Fraction

import pytest
from tests.queues.builders import START, queue

from aliquot.queues.rules import ShareRules
from aliquot.queues.runtimes import DurationError, MinRuntimes, protected, seconds
from aliquot.queues.tree import QueueTree

TREE = QueueTree.of(
    [
        queue("org", reclaim="1m"),
        queue("a", "org", preempt="30s", reclaim="2m"),
        queue("a1", "a", reclaim="3m"),
        queue("a2", "a", preempt="0s"),
        queue("b", "org"),
        queue("b1", "b"),
        queue("other"),
    ]
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5m", 300),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("250ms", Fraction(1, 4)),
        ("0s", 0),
        ("0", 0),
        ("-5m", 0),
    ],
)
def test_durations_are_exact(text, expected):
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "5", "five minutes", "5 m"])
def test_what_is_no_duration_says_so(text):
    with pytest.raises(DurationError, match="is no duration; write one such as"):
        seconds(text)


@pytest.mark.parametrize(("victim", "expected"), [("a1", 30), ("a2", 0), ("b1", 7), ("gone", 7)])
def test_preemption_asks_the_nearest_queue_that_says(victim, expected):
    assert MinRuntimes(TREE, ShareRules(preempt_min_runtime=7)).preempt(victim) == expected


@pytest.mark.parametrize(
    ("reclaimer", "victim", "lca", "own"),
    [
        ("b1", "a1", 120, 180),
        ("a2", "a1", 180, 180),
        ("other", "a1", 60, 180),
        ("a1", "b1", 60, 60),
        ("a1", "other", 7, 7),
        ("a1", "a", 120, 120),
        ("a1", "a1", 180, 180),
        ("a1", "gone", 7, 7),
    ],
)
def test_reclaim_asks_below_the_lowest_queue_in_common_or_the_victims_own(reclaimer, victim, lca, own):
    by_lca = MinRuntimes(TREE, ShareRules(reclaim_min_runtime=7))
    by_queue = MinRuntimes(TREE, ShareRules(reclaim_min_runtime=7, runtime_method="queue"))

    assert by_lca.reclaim(reclaimer, victim) == lca
    assert by_queue.reclaim(reclaimer, victim) == own
    assert by_lca.reclaim(reclaimer, victim) == lca


def test_work_is_left_alone_until_the_time_is_over_and_not_a_moment_longer():
    assert protected(START, 60, START + timedelta(seconds=60) - timedelta(microseconds=1))
    assert not protected(START, 60, START + timedelta(seconds=60))
    assert not protected(START, 0, START)
    assert not protected(None, 60, START)
