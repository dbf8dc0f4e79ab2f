"""Runaway agents are stopped by what they do, and only by that."""

import random
from itertools import count

import msgspec
import pytest

from aliquot.agents.guards import MINUTE_US, AgentCall, Guards, Limit, Limits

SECOND = 1_000_000
T0 = 1_800_000_000 * SECOND
_requests = count()


def call(**changes: object) -> AgentCall:
    fields: dict[str, object] = {"request": f"r{next(_requests)}", "agent": "bot", "task": "t"}
    return AgentCall(**{**fields, **changes})


def made(guards: Guards, now_us: int, *, cost: int = 0, tokens: int = 0, **changes: object) -> Limit | None:
    """A call that is asked for and settled at once; what refused it."""
    asked = call(**changes)
    stop = guards.ask(asked, now_us)
    if stop is not None:
        return stop.limit
    guards.settle(asked.agent, asked.request, cost=cost, tokens=tokens, now_us=now_us)
    return None


def test_calls_per_minute_slide() -> None:
    guards = Guards(default=Limits(calls_per_minute=3))

    assert [made(guards, T0 + n * SECOND) for n in range(4)] == [None, None, None, Limit.CALLS]
    stop = guards.ask(call(), T0 + 4 * SECOND)
    assert stop is not None
    assert stop.retry_us == T0 + MINUTE_US
    assert made(guards, stop.retry_us - 1) is Limit.CALLS
    assert made(guards, stop.retry_us) is None
    assert made(guards, stop.retry_us) is Limit.CALLS


def test_rounds_of_tools_end_a_task_for_good_and_another_task_goes_on() -> None:
    guards = Guards(default=Limits(rounds_per_task=2))

    assert [made(guards, T0, tool_results=True) for _ in range(3)] == [None, None, Limit.TASK_ROUNDS]
    assert made(guards, T0) is None
    assert made(guards, T0, task="other", tool_results=True) is None


@pytest.mark.parametrize(("depth", "limit"), [(0, None), (2, None), (3, Limit.DEPTH)])
def test_agents_that_call_agents_are_bounded_in_depth(depth: int, limit: Limit | None) -> None:
    assert made(Guards(default=Limits(depth=2)), T0, depth=depth) is limit


def test_the_same_call_again_and_again_is_refused_until_the_window_has_passed() -> None:
    guards = Guards(default=Limits(repeats=2, repeat_window_us=10 * SECOND))

    assert [made(guards, T0 + n, identical="x") for n in range(3)] == [None, None, Limit.REPEATS]
    assert made(guards, T0, identical="y") is None
    assert made(guards, T0, identical="x", task="other") is None
    assert made(guards, T0 + 10 * SECOND, identical="x") is None
    assert made(guards, T0 + 10 * SECOND, identical="x") is Limit.REPEATS


def test_what_is_held_counts_as_spent_until_it_is_settled() -> None:
    guards = Guards(default=Limits(spend_per_minute=100))
    first = call(worst_cost=80)

    assert guards.ask(first, T0) is None
    assert made(guards, T0, worst_cost=30) is Limit.SPEND
    guards.settle("bot", first.request, cost=10, tokens=0, now_us=T0 + SECOND)
    assert made(guards, T0 + SECOND, worst_cost=90, cost=90) is None
    stop = guards.ask(call(worst_cost=10), T0 + 2 * SECOND)
    assert stop is not None
    assert (stop.limit, stop.retry_us) == (Limit.SPEND, T0 + SECOND + MINUTE_US)
    assert made(guards, T0 + SECOND + MINUTE_US, worst_cost=10) is None


def test_spend_of_a_task_does_not_slide() -> None:
    guards = Guards(default=Limits(spend_per_task=100))

    assert made(guards, T0, worst_cost=100, cost=60) is None
    assert made(guards, T0 + 30 * MINUTE_US, worst_cost=41) is Limit.TASK_SPEND
    assert made(guards, T0 + 30 * MINUTE_US, worst_cost=40, cost=40) is None


def test_new_tasks_are_no_way_around_the_limits_of_a_task() -> None:
    guards = Guards(default=Limits(tasks=3, calls_per_task=1, task_idle_us=MINUTE_US))

    assert [made(guards, T0, task=f"t{n}") for n in range(4)] == [None, None, None, Limit.TASKS]
    assert made(guards, T0, task="t0") is Limit.TASK_CALLS
    assert made(guards, T0 + MINUTE_US, task="t9") is None


def test_the_stop_switch_refuses_at_once_names_what_is_under_way_and_touches_nobody_else() -> None:
    guards = Guards()
    running = call()
    assert guards.ask(running, T0) is None

    assert guards.stop("bot", by="ann", reason="loops", now_us=T0) == (running.request,)
    stop = guards.ask(call(), T0)
    assert stop is not None
    assert (stop.limit, stop.by, stop.reason, stop.retry_us) == (Limit.STOPPED, "ann", "loops", None)
    assert made(guards, T0, agent="other") is None
    assert guards.resume("bot")
    assert made(guards, T0) is None


def test_a_refused_call_leaves_no_trace() -> None:
    guards = Guards(default=Limits(open_calls=1, calls_per_task=5))
    guards.ask(call(), T0)
    before = msgspec.json.encode(guards.state())

    for _ in range(10):
        assert made(guards, T0) is Limit.OPEN
    assert msgspec.json.encode(guards.state()) == before


def test_guards_go_on_from_their_state() -> None:
    one, two = (Guards(default=Limits(calls_per_minute=5, calls_per_task=7, repeats=2)) for _ in range(2))
    for n in range(4):
        made(one, T0 + n, identical=str(n % 2), cost=3)
    one.stop("mad", by="ann", reason="", now_us=T0)

    two.restore(msgspec.json.decode(msgspec.json.encode(one.state()), type=type(one.state())))
    for n in range(6):
        asked = call(identical=str(n))
        assert one.ask(asked, T0 + 10) == two.ask(asked, T0 + 10)
    assert made(two, T0, agent="mad") is Limit.STOPPED


def test_what_is_over_is_forgotten() -> None:
    guards = Guards(default=Limits(task_idle_us=MINUTE_US))
    for n in range(50):
        made(guards, T0, agent=f"a{n}")

    guards.forget(T0 + 2 * MINUTE_US)

    assert guards.agents() == ()


@pytest.mark.parametrize("seed", range(20))
def test_limits_hold_over_every_window_of_random_calls(seed: int) -> None:
    """A brute-force look at each window of 60 s: never more calls, money or tokens than allowed."""
    random_ = random.Random(seed)
    limits = Limits(calls_per_minute=8, spend_per_minute=200, tokens_per_minute=150, open_calls=4)
    guards = Guards(default=limits)
    now, let, open_calls = T0, [], []
    for _ in range(400):
        now += random_.randrange(0, 8 * SECOND)
        if open_calls and random_.random() < 0.5:
            asked, began = open_calls.pop(random_.randrange(len(open_calls)))
            cost, tokens = random_.randint(0, asked.worst_cost), random_.randint(0, asked.worst_tokens)
            guards.settle("bot", asked.request, cost=cost, tokens=tokens, now_us=now)
            let.append((began, now, cost, tokens))
        asked = call(worst_cost=random_.randrange(90), worst_tokens=random_.randrange(60))
        if guards.ask(asked, now) is None:
            open_calls.append((asked, now))
        starts = [began for began, *_ in let] + [began for _, began in open_calls]
        assert sum(1 for began in starts if began > now - MINUTE_US) <= 8
        settled = [(cost, tokens) for _, ended, cost, tokens in let if ended > now - MINUTE_US]
        assert sum(cost for cost, _ in settled) + sum(held.worst_cost for held, _ in open_calls) <= 200
        assert sum(tokens for _, tokens in settled) + sum(held.worst_tokens for held, _ in open_calls) <= 150
        assert len(open_calls) <= 4
