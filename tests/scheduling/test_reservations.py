"""Room that was promised is kept for a bounded time, and used meanwhile by what will be gone in time."""

from datetime import timedelta

import pytest
from msgspec.structs import replace
from tests.scheduling.builders import NOW, claim, cluster, gpu_node, job, pod, queue, request, with_claim
from tests.scheduling.looking import evicted, nodes_of

from aliquot.model.core import Pod
from aliquot.model.meta import Condition
from aliquot.model.snapshot import Snapshot
from aliquot.model.verdicts import PLACED, Reason
from aliquot.scheduling.apply import apply
from aliquot.scheduling.decide import decide
from aliquot.scheduling.memory import Memory
from aliquot.scheduling.plan_checks import check_plan
from aliquot.scheduling.policy import Policy
from aliquot.workloads import labels

QUEUE = "kueue.x-k8s.io/queue-name"
POLICY = Policy()


def in_queue(name):
    return {"labels": {QUEUE: name}}


def running(name, node, devices, *, queue="a", **options):
    made = pod(name, generated=[f"{name}-gpu"], node_name=node, **in_queue(queue), **options)
    made = replace(made, status=replace(made.status, start_time=NOW - timedelta(hours=1)))
    held = claim(
        f"{name}-gpu",
        request(len(devices)),
        owner=made,
        node_name=node,
        devices=[f"gpu-{n}" for n in devices],
        consumers=[made],
    )
    return [made, held]


def expecting(pods, seconds):
    """The objects, their pods expected to run so long."""
    return [
        replace(
            item,
            metadata=replace(
                item.metadata,
                annotations={**item.metadata.annotations, labels.EXPECTED_SECONDS: str(seconds)},
            ),
        )
        if isinstance(item, Pod)
        else item
        for item in pods
    ]


class Cluster:
    """A cluster over time: victims take `grace` seconds to leave, conditions are written as decided."""

    def __init__(self, *objects, grace=120, policy=POLICY):
        self.now = NOW
        self.grace = grace
        self.policy = policy
        self.snapshot = cluster(*objects)
        self.memory = Memory()
        self.evicted: list[str] = []

    def add(self, *objects):
        known = [*self.snapshot.objects(), *objects]
        self.snapshot = Snapshot.of(known)

    def round(self, seconds=10):
        """Decide, enact, and let time pass."""
        plan = decide(self.snapshot, self.policy, self.now)
        assert check_plan(self.snapshot, plan, self.policy) == ()
        assert decide(self.snapshot, self.policy, self.now, memory=self.memory) == plan
        gone = set(evicted(plan))
        self.evicted += sorted(gone)
        reasons = {
            ref.name: decision.verdict.reason
            for decision in plan.decisions
            if decision.verdict is not None
            for ref in decision.pods
        }
        leaving = {item.key: item for item in self.snapshot.pods if item.name in gone}
        claims = {item.key: item for item in self.snapshot.resource_claims}
        after = apply(self.snapshot, plan, self.now)
        pods = []
        for item in (*after.pods, *leaving.values()):
            if item.key in leaving:
                end = self.now + timedelta(seconds=self.grace)
                item = replace(item, metadata=replace(item.metadata, deletion_timestamp=end))
            elif item.spec.node_name and item.status.start_time is None:
                item = replace(
                    item, status=replace(item.status, phase="Running", start_time=self.now, conditions=())
                )
            elif item.name in reasons:
                item = self._told(item, reasons[item.name])
            pods.append(item)
        held = {item.key: item for item in after.resource_claims}
        for item in claims.values():
            held.setdefault(item.key, item)
        self.now += timedelta(seconds=seconds)
        stay = [item for item in pods if not self._ended(item)]
        names = {item.metadata.uid for item in stay}
        kept = [
            item
            for item in held.values()
            if all(owner.uid in names for owner in item.metadata.owner_references)
        ]
        self.snapshot = replace(after, pods=tuple(stay), resource_claims=tuple(kept))
        return plan

    def _told(self, item, reason):
        before = next((found for found in item.status.conditions if found.type == PLACED), None)
        promised = Reason.ROOM_PROMISED
        turned = before is None or (before.reason == promised) != (reason == promised)
        since = self.now if turned else before.last_transition_time
        told = Condition(type=PLACED, status="False", reason=reason.value, last_transition_time=since)
        return replace(item, status=replace(item.status, conditions=(told,)))

    def _ended(self, item):
        if item.metadata.deletion_timestamp is not None and item.metadata.deletion_timestamp <= self.now:
            return True
        said = item.metadata.annotations.get(labels.EXPECTED_SECONDS)
        start = item.status.start_time
        return bool(said and start and start + timedelta(seconds=int(said)) <= self.now)

    def node_of(self, name):
        return {item.name: item.spec.node_name for item in self.snapshot.pods}.get(name)


def contended(**options):
    """Queue a holds two of four GPUs and is entitled to none of them; a gang of b wants all four. Pods of c
    come meanwhile; it is as far below its share as b is."""
    return Cluster(
        gpu_node("n1", 4),
        queue("a", quota={"gpu": "0"}),
        queue("b", quota={"gpu": "4"}),
        queue("c", quota={"gpu": "4"}),
        running("a0", "n1", [0]),
        running("a1", "n1", [1]),
        job("big", 2),
        [with_claim(f"big{n}", request(2), job="big", created=30, **in_queue("b")) for n in range(2)],
        **options,
    )


def small(name, **options):
    return with_claim(name, request(1), created=1, **in_queue("c"), **options)


def test_smaller_work_of_others_does_not_take_room_that_was_promised():
    world = contended()
    world.round()
    assert world.evicted == ["a0", "a1"]
    for number in range(12):
        world.add(*small(f"s{number}"))
        world.round()
    world.round()

    assert world.node_of("big0") == world.node_of("big1") == "n1"
    assert world.evicted == ["a0", "a1"]


def test_without_reservations_it_would_take_it():
    world = contended(policy=Policy(reservation_seconds=0))
    world.round()
    world.add(*small("s0"))
    plan = world.round()

    assert nodes_of(plan) == {"s0": "n1"}


def test_a_reservation_ends():
    world = contended(grace=10_000, policy=Policy(reservation_seconds=60))
    world.round()
    world.add(*small("s0"))
    for _ in range(5):
        assert nodes_of(world.round()) == {}
    assert nodes_of(world.round()) == {"s0": "n1"}


def test_work_that_is_gone_before_the_last_victim_uses_the_room():
    world = contended(grace=120)
    world.round()
    world.add(*expecting(small("short"), 60), *expecting(small("long"), 600))
    plan = world.round()
    assert nodes_of(plan) == {"short": "n1"}
    for _ in range(12):
        world.round()

    assert world.node_of("big0") == world.node_of("big1") == "n1"
    assert world.evicted == ["a0", "a1"]


def test_work_that_ends_in_time_is_not_evicted_for_the_gang_that_waits():
    world = contended(grace=120)
    world.round()
    world.add(*expecting(small("short"), 60))
    for _ in range(4):
        world.round()
        waiting = [item for item in world.snapshot.pods if item.name.startswith("big")]
        assert all(item.status.conditions[0].reason == "RoomPromised" for item in waiting)

    assert world.evicted == ["a0", "a1"]


def test_deadlines_of_pods_and_jobs_tell_when_they_are_gone():
    for where in ("pod", "job"):
        world = contended(grace=120)
        world.round()
        owner = job("quick", 1)
        if where == "job":
            owner = replace(owner, spec=replace(owner.spec, active_deadline_seconds=60))
        made = small("short", job="quick")
        if where == "pod":
            made[0] = replace(made[0], spec=replace(made[0].spec, active_deadline_seconds=60))
        world.add(owner, *made)

        assert nodes_of(world.round()) == {"short": "n1"}


def test_a_job_may_say_otherwise_while_its_pods_run():
    world = contended(grace=120)
    world.round()
    owner = job("quick", 1)
    bounded = replace(owner, spec=replace(owner.spec, active_deadline_seconds=60))
    world.add(bounded, *small("short", job="quick"))
    assert nodes_of(world.round()) == {"short": "n1"}
    assert promised(world.round()) == ["big0", "big1"]

    jobs = tuple(owner if item.name == "quick" else item for item in world.snapshot.jobs)
    world.snapshot = replace(world.snapshot, jobs=jobs)
    assert promised(world.round()) == []


def test_a_job_of_which_all_pods_are_gone_is_not_waited_for():
    world = contended(grace=120)
    world.round()
    bounded = job("quick", 1)
    bounded = replace(bounded, spec=replace(bounded.spec, active_deadline_seconds=60))
    world.add(bounded, *small("short", job="quick"))
    world.round()
    world.round()
    left = tuple(item for item in world.snapshot.pods if item.name != "short")
    claims = tuple(item for item in world.snapshot.resource_claims if item.name != "short-gpu")
    world.snapshot = replace(world.snapshot, pods=left, resource_claims=claims)

    assert promised(world.round()) == ["big0", "big1"]


def promised(plan):
    return sorted(spot.pod.name for decision in plan.decisions for spot in decision.promised)


@pytest.mark.parametrize("said", ["-5", "soon", "99999999999999999", ""])
def test_an_expectation_that_makes_no_sense_is_none(said):
    world = contended()
    world.round()
    world.add(*expecting(small("odd"), said))

    assert nodes_of(decide_only(world)) == {}


def decide_only(world):
    return decide(world.snapshot, world.policy, world.now)


def test_what_is_free_beside_the_promise_goes_to_whoever_has_a_turn():
    world = contended()
    world.add(*gpu_node("n2", 1))
    world.round()
    world.add(*small("s0"), *small("s1"))
    world.round()

    assert [world.node_of("s0"), world.node_of("s1")] == ["n2", ""]


def test_who_came_back_meanwhile_does_not_cost_others_their_place():
    # Room was promised when six had to leave. Three have left, and wait again; nobody has asked the others.
    since = NOW - timedelta(seconds=5)
    told = Condition(
        type=PLACED, status="False", reason=Reason.ROOM_PROMISED.value, last_transition_time=since
    )
    gang = [
        item
        for n in range(6)
        for item in with_claim(f"big{n}", request(), job="big", created=30, **in_queue("b"))
    ]
    first = next(item for item in gang if isinstance(item, Pod))
    promised = replace(first, status=replace(first.status, conditions=(told,)))
    snapshot = cluster(
        *(gpu_node(f"n{n}", 4) for n in range(3)),
        queue("a", quota={"gpu": "6"}),
        queue("b", quota={"gpu": "6"}),
        *(running(f"a{n}", f"n{n // 4}", [n % 4]) for n in range(9)),
        *(with_claim(f"again{n}", request(), created=40, **in_queue("a")) for n in range(3)),
        job("big", 6),
        [promised if item is first else item for item in gang],
    )

    plan = decide(snapshot, POLICY, NOW)

    assert check_plan(snapshot, plan, POLICY) == ()
    assert len(evicted(plan)) == 3
    assert nodes_of(plan) == {}


def test_nobody_else_leaves_while_the_claim_of_one_that_left_is_on_its_way_back():
    """Kubernetes takes a claim back a moment after its pod is gone."""
    _, left_behind = running("old", "n1", [0])
    other = running("other", "n2", [0])
    urgent = with_claim("urgent", request(1), priority=10, **in_queue("a"))
    snapshot = cluster(queue("a"), gpu_node("n1", 1), gpu_node("n2", 1), left_behind, *other, *urgent)
    plan = decide(snapshot, POLICY, NOW)

    assert check_plan(snapshot, plan, POLICY) == ()
    assert evicted(plan) == []
    promised = [spot for decision in plan.decisions for spot in decision.promised]
    assert [(spot.pod.name, spot.node) for spot in promised] == [("urgent", "n1")]


def test_a_claim_of_a_pod_that_is_there_is_not_on_its_way_back():
    old, kept = running("old", "n1", [0])
    other = running("other", "n2", [0], priority=5)
    urgent = with_claim("urgent", request(1), priority=10, **in_queue("a"))
    snapshot = cluster(queue("a"), gpu_node("n1", 1), gpu_node("n2", 1), old, kept, *other, *urgent)

    assert evicted(decide(snapshot, POLICY, NOW)) == ["old"]
