"""Which waiting work is shown to cluster autoscalers: what the scheduler by itself would find no room for."""

from tests.scheduling.builders import NOW, claim, cluster, gpu_node, job, pod, queue, with_claim
from tests.scheduling.looking import after, decided, devices_of, verdict_on

from aliquot.model.verdicts import Reason
from aliquot.scheduling.plan import Plan, Show
from aliquot.scheduling.policy import Policy

POLICY = Policy(scale_up_seconds=30)


def shown(plan: Plan) -> list[str]:
    return [ref.name for action in plan.actions if isinstance(action, Show) for ref in action.pods]


def full(*objects):
    """A node of one device, which is in use."""
    holder = pod("holder", claims=["held"], node_name="n1")
    held = claim("held", node_name="n1", devices=["gpu-0"], consumers=[holder])
    return cluster(gpu_node("n1", 1), holder, held, *objects)


def test_nothing_is_shown_unless_the_policy_says_so():
    assert shown(decided(full(with_claim("a")))) == []


def test_a_pod_that_no_node_has_room_for_is_shown_and_still_told_why_it_waits():
    plan = decided(full(with_claim("a")), POLICY)
    assert shown(plan) == ["a"]
    assert verdict_on(plan, "a").reason is Reason.DEVICES_IN_USE


def test_it_is_shown_once_and_placed_when_room_comes():
    snapshot = full(with_claim("a"))
    let_go = after(snapshot, decided(snapshot, POLICY))
    assert shown(decided(let_go, POLICY)) == []
    more = cluster(*let_go.objects(), gpu_node("n2", 1))
    assert devices_of(decided(more, POLICY)) == {"a-gpu": ["n2/gpu-0"]}


def test_a_gang_is_shown_whole():
    members = [with_claim(f"m{n}", job="gang") for n in range(2)]
    assert shown(decided(full(job("gang", 2), *members), POLICY)) == ["m0", "m1"]


def test_a_gang_of_which_the_scheduler_would_find_room_for_a_pod_is_not_shown():
    members = [with_claim(f"m{n}", job="gang") for n in range(2)]
    plan = decided(cluster(gpu_node("n1", 1), job("gang", 2), *members), POLICY)
    assert verdict_on(plan, "m0").reason is Reason.GANG_DOES_NOT_FIT
    assert shown(plan) == []


def test_what_waits_for_its_queue_is_not_shown():
    limits = queue("default", limits={"gpu": "0"})
    assert shown(decided(full(limits, with_claim("a")), POLICY)) == []


def test_what_is_shown_stays_within_the_limit_of_its_queue():
    limits = queue("default", limits={"gpu": "1"})
    objects = (limits, with_claim("a", created=1), with_claim("b", created=2))
    empty = cluster(gpu_node("n1", 0), *objects)
    plan = decided(empty, POLICY)
    assert shown(plan) == ["a"]
    assert shown(decided(after(empty, plan), POLICY)) == []


def test_it_is_not_shown_before_its_time():
    fresh = Policy(scale_up_seconds=10**9)
    assert shown(decided(full(with_claim("a")), fresh)) == []
    assert pod("a").metadata.creation_timestamp < NOW


def test_pods_of_a_device_plugin_are_never_shown():
    wants = pod("a", **{"nvidia.com/gpu": 1})
    assert shown(decided(full(wants), POLICY)) == []


def test_a_pod_that_another_gate_holds_is_not_shown():
    assert shown(decided(full(with_claim("a", gates=["kueue.x-k8s.io/admission"])), POLICY)) == []
