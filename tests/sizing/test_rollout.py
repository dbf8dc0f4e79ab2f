"""Recommendations applied by themselves, in virtual time."""

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.sizing.histories import profile, whole

from aliquot.catalog.accelerators import accelerators
from aliquot.model.meta import ObjectRef
from aliquot.sizing.choosing import Advice, Offer, recommend
from aliquot.sizing.judging import Level
from aliquot.sizing.policy import SizingPolicy
from aliquot.sizing.rollout import (
    Advance,
    Apply,
    Health,
    Key,
    Phase,
    Proposal,
    RollBack,
    Rollout,
    RolloutPolicy,
    advance,
)

HOUR = 3_600_000
DAY = 24 * HOUR
POLICY = RolloutPolicy(queues=("team",), at_once=2, per_day=3)


def proposal(name: str = "a", **more: object) -> Proposal:
    found = Proposal(
        workload=ObjectRef(kind="Deployment", namespace="team", name=name),
        queue="team",
        before="A100 exclusive whole",
        after="A100 mig 1g.10gb",
        advice=Advice.CHANGE,
        confidence=0.9,
        risk=Level.LOW,
    )
    return replace(found, **more)


def key(name: str) -> Key:
    return ("Deployment", "team", name)


def step(
    state: tuple[Rollout, ...], now: int, *proposals: Proposal, health: dict[Key, Health] | None = None
) -> Advance:
    return advance(state, proposals, health or {}, POLICY, now)


def test_nothing_is_applied_unless_a_policy_names_the_queue() -> None:
    found = advance((), [proposal()], {}, RolloutPolicy(), 0)
    assert found.actions == ()
    assert "is not among those of the policy" in found.held[0].why


def test_a_change_is_applied_watched_and_settled() -> None:
    first = step((), 0, proposal())
    assert first.actions == (Apply(workload=proposal().workload, part="A100 mig 1g.10gb"),)
    assert first.state[0].phase is Phase.WATCHING
    second = step(first.state, DAY - 1, proposal())
    assert second.state[0].phase is Phase.WATCHING
    assert second.held[0].why == "its last change is still watched"
    third = step(second.state, DAY)
    assert third.state[0].phase is Phase.SETTLED


def test_a_workload_that_runs_out_of_memory_gets_back_what_it_had() -> None:
    first = step((), 0, proposal())
    found = step(first.state, HOUR, health={key("a"): Health(out_of_memory=1)})
    assert found.actions == (
        RollBack(
            workload=proposal().workload, part="A100 exclusive whole", why="1 containers ran out of memory"
        ),
    )
    assert found.state[0].phase is Phase.ROLLED_BACK


def test_it_is_rolled_back_also_after_it_had_settled() -> None:
    settled = step(step((), 0, proposal()).state, DAY).state
    found = step(settled, 3 * DAY, health={key("a"): Health(slower_percent=40)})
    assert [type(action) for action in found.actions] == [RollBack]


def test_a_roll_back_happens_once() -> None:
    sick = {key("a"): Health(failed=2)}
    first = step(step((), 0, proposal()).state, HOUR, health=sick)
    assert step(first.state, 2 * HOUR, health=sick).actions == ()


def test_after_each_roll_back_it_is_left_alone_for_twice_as_long() -> None:
    state: tuple[Rollout, ...] = ()
    now, waits = 0, []
    for _ in range(3):
        applied = step(state, now, proposal())
        assert [type(action) for action in applied.actions] == [Apply]
        sick = step(applied.state, now + HOUR, health={key("a"): Health(out_of_memory=1)})
        state, start = sick.state, now + HOUR
        now = start
        while not step(state, now, proposal()).actions:
            now += HOUR
        waits.append((now - start) // DAY)
    assert waits == [14, 28, 56]


def test_only_so_many_are_watched_at_one_time_and_the_surest_go_first() -> None:
    names = [proposal(name, confidence=0.7 + number / 100) for number, name in enumerate("abcd")]
    found = step((), 0, *names)
    assert [action.workload.name for action in found.actions] == ["d", "c"]
    assert [held.why for held in found.held] == ["2 changes are watched, 2 may be"] * 2


def test_only_so_many_are_changed_in_a_day() -> None:
    policy = replace(POLICY, watch_seconds=3600, at_once=9)
    first = advance((), [proposal(name) for name in "abcde"], {}, policy, 0)
    assert len(first.actions) == 3
    later = advance(first.state, [proposal(name) for name in "abcde"], {}, policy, DAY)
    assert [action.workload.name for action in later.actions] == ["d", "e"]


def test_several_roll_backs_stop_everything_for_a_day() -> None:
    policy = replace(POLICY, at_once=9, per_day=99)
    first = advance((), [proposal(name) for name in "abc"], {}, policy, 0)
    sick = {key(name): Health(out_of_memory=1) for name in "abc"}
    second = advance(first.state, [proposal("x")], sick, policy, HOUR)
    assert len(second.actions) == 3
    assert second.held[0].why == "3 changes were rolled back within a day"
    assert [type(a) for a in advance(second.state, [proposal("x")], {}, policy, 2 * DAY).actions] == [Apply]


def test_what_is_unsure_or_risky_is_held_back_and_says_why() -> None:
    held = step((), 0, proposal("a", confidence=0.5), proposal("b", risk=Level.HIGH)).held
    assert {item.why for item in held} == {"confidence 0.50 is below 0.7", "risk high is above low"}


def test_a_recommendation_becomes_a_proposal_only_where_one_can_go_back() -> None:
    a100 = accelerators()["A100-SXM4-80GB"]
    known = recommend(profile([5.0] * 2880, [5.0] * 2880, had=whole()), [Offer(a100)], SizingPolicy())
    assert Proposal.of(known) is not None
    unknown = recommend(profile([5.0] * 2880, [5.0] * 2880), [Offer(a100)], SizingPolicy())
    assert Proposal.of(unknown) is None


MOMENTS = st.lists(
    st.tuples(
        st.integers(0, 3 * DAY),
        st.lists(st.sampled_from("abcde"), max_size=5, unique=True),
        st.lists(st.sampled_from("abcde"), max_size=2, unique=True),
    ),
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(MOMENTS)
def test_whatever_happens_the_bounds_hold(moments: list[tuple[int, list[str], list[str]]]) -> None:
    state: tuple[Rollout, ...] = ()
    now, had = 0, dict.fromkeys("abcde", "A100 exclusive whole")
    applied: list[int] = []
    for wait, wanted, sick in moments:
        now += wait
        health = {key(name): Health(out_of_memory=1) for name in sick}
        before = {item.workload.name: item for item in state}
        found = advance(state, [proposal(name) for name in wanted], health, POLICY, now)
        again = advance(found.state, [], {}, POLICY, now)
        assert again.actions == ()
        for action in found.actions:
            name = action.workload.name
            if isinstance(action, RollBack):
                assert had[name] != action.part == "A100 exclusive whole"
            else:
                assert had[name] != action.part
                applied.append(now)
                past = before.get(name)
                assert past is None or past.phase is not Phase.WATCHING or name in sick
            had[name] = action.part
        state = found.state
        assert sum(1 for item in state if item.phase is Phase.WATCHING) <= POLICY.at_once
        assert sum(1 for at in applied if at > now - DAY) <= POLICY.per_day
        for item in state:
            wanted_part = item.before if item.phase is Phase.ROLLED_BACK else item.after
            assert had[item.workload.name] == wanted_part
