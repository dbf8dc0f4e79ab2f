"""Why others have to leave for work, and why reclaim does not help work that waits for room."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.scheduling.builders import NOW, claim, cluster, gpu_node, pod, queue, request, with_claim
from tests.scheduling.looking import decided, decision_on, verdict_on

from aliquot.model.verdicts import Reason
from aliquot.queues.amounts import Amount, shown
from aliquot.queues.reclaim import Ground, Reclaimer
from aliquot.scheduling.decide import opened
from aliquot.scheduling.entitlement import Entitlement
from aliquot.scheduling.gang_state import Crew
from aliquot.scheduling.plan import Evict
from aliquot.scheduling.policy import Policy, Step
from aliquot.scheduling.session import Session
from aliquot.scheduling.tallies import accelerators
from aliquot.scheduling.wording import decision_sentence, fix_sentence, paragraph, sentence

IN = "aliquot.dev/queue"
QUEUES = [queue("top"), *(queue(name, "top", quota={"gpu": "4"}) for name in "ab")]


def running(name, queue_name, count, first=0, *, on="n1", **notes):
    """A pod with its own claim of devices from `first` on."""
    annotations = {f"aliquot.dev/{key.replace('_', '-')}": value for key, value in notes.items()}
    held = pod(name, generated=[f"{name}-c"], node_name=on, labels={IN: queue_name}, annotations=annotations)
    devices = [f"gpu-{number}" for number in range(first, first + count)]
    made = claim(f"{name}-c", request(count), owner=held, node_name=on, devices=devices, consumers=[held])
    return [held, made]


def wanting(count, queue_name="b", **options):
    return with_claim("w", request(count), labels={IN: queue_name}, **options)


def victim_verdicts(plan):
    return {action.pod.name: action.verdict for action in plan.actions if isinstance(action, Evict)}


def test_a_victim_of_reclaim_is_told_for_whom_and_what_both_queues_held():
    plan = decided(cluster(gpu_node("n1"), QUEUES, running("h", "a", 8), wanting(4)))

    waits = decision_on(plan, "w")
    assert waits.verdict.reason is Reason.ROOM_PROMISED
    assert waits.position == 1
    assert sentence(waits.verdict) == ("1 pod has its place on n1 when 1 pod that must leave for it is gone")
    assert "pod/team/h must leave" in decision_sentence(waits)
    verdict = victim_verdicts(plan)["h"]
    assert verdict.reason is Reason.RECLAIMED
    assert sentence(verdict) == (
        "has to leave for pod/team/w: queue b held 0 gpu with a fair share of 4, "
        "queue a held 8 gpu with a fair share of 4"
    )


def test_a_victim_of_preemption_is_told_the_priorities():
    plan = decided(cluster(gpu_node("n1"), QUEUES, running("h", "a", 8), wanting(4, "a", priority=5)))

    verdict = victim_verdicts(plan)["h"]
    assert verdict.reason is Reason.PREEMPTED
    assert sentence(verdict) == (
        "has to leave for pod/team/w, which has priority 5 in the same queue; its own is 0"
    )


@pytest.mark.parametrize(
    ("objects", "wanted", "text"),
    [
        (
            running("h", "a", 8),
            6,
            "Reclaim does not help: with this, queue b would hold 6 gpu of its fair share of 4.",
        ),
        (
            running("h", "a", 8, preemptible="false"),
            4,
            "Its queue is entitled to 4 gpu more, but of what others hold 8 are held by work that cannot be "
            "preempted (1 workload).",
        ),
    ],
)
def test_why_reclaim_does_not_help_work_that_waits_for_room(objects, wanted, text):
    verdict = verdict_on(decided(cluster(gpu_node("n1"), QUEUES, objects, wanting(wanted))), "w")

    assert verdict.reason is Reason.DEVICES_IN_USE
    assert text in paragraph(verdict)


def test_work_that_others_were_served_before_is_told_that_the_next_decision_goes_on():
    held = [item for n in range(8) for item in running(f"h{n}", "a", 1, n)]
    wanted = [wanting(1), with_claim("late", request(1), labels={IN: "b"})]
    plan = decided(cluster(gpu_node("n1"), QUEUES, held, wanted), Policy(beneficiaries=1))

    (promised,) = [spot.pod.name for item in plan.decisions for spot in item.promised]
    verdict = verdict_on(plan, {"w": "late", "late": "w"}[promised])
    assert (
        "Its queue is entitled to 1 gpu more, but of what others hold 7 could be taken, which the next "
        "decision looks at: this one takes for others first." in paragraph(verdict)
    )
    assert verdict.fix.change == "wait"


def test_of_two_that_want_the_same_who_had_its_turn_in_vain_is_not_told_to_wait_for_the_next_decision():
    # No node has two devices that could be taken, and one of the two that could is taken for `w`.
    held = [
        item
        for on in ("n1", "n2")
        for item in (
            gpu_node(on),
            running(f"f-{on}", "a", 7, on=on, preemptible="false"),
            running(f"h-{on}", "a", 1, 7, on=on),
        )
    ]
    alike = [
        with_claim(name, request(2), labels={IN: "b"}, priority=priority)
        for name, priority in (("tried", 9), ("later", 0))
    ]
    plan = decided(cluster(QUEUES, held, wanting(1, priority=5), alike), Policy(beneficiaries=1))

    assert len(victim_verdicts(plan)) == 1
    told = {name: paragraph(verdict_on(plan, name)) for name in ("tried", "later")}
    assert "1 could be taken, but not so that this fits" in told["tried"]
    assert "1 could be taken, which the next decision looks at" in told["later"]
    changes = {name: verdict_on(plan, name).fix.change for name in told}
    assert changes == {"tried": "freeDevices", "later": "wait"}


def test_work_in_its_minimum_run_time_is_worth_waiting_for():
    queues = [replace(item, spec=replace(item.spec, reclaim_min_runtime="2h")) for item in QUEUES]
    held = running("h", "a", 8)
    held[0] = replace(held[0], status=replace(held[0].status, start_time=NOW - timedelta(minutes=30)))
    verdict = verdict_on(decided(cluster(gpu_node("n1"), queues, held, wanting(4))), "w")

    assert "8 are held by work in its minimum run time" in paragraph(verdict)
    assert verdict.fix.change == "waitUntil"
    assert fix_sentence(verdict.fix).startswith("wait until 2026-06-01T13:")


def test_where_queues_do_not_reclaim_nothing_is_said_of_it():
    policy = Policy(steps=(Step.ALLOCATE,))
    plan = decided(cluster(gpu_node("n1"), QUEUES, running("h", "a", 8), wanting(4)), policy)

    assert "reclaim" not in paragraph(verdict_on(plan, "w")).lower()


def test_work_that_cannot_be_preempted_waits_for_quota():
    objects = with_claim("w", request(6), labels={IN: "b"}, annotations={"aliquot.dev/preemptible": "false"})
    verdict = verdict_on(decided(cluster(gpu_node("n1"), QUEUES, objects)), "w")

    assert verdict.reason is Reason.OVER_QUOTA
    assert sentence(verdict) == (
        "work that cannot be preempted would exceed the quota of queue b, 4 gpu: "
        "0 held by such work, 6 wanted"
    )
    assert fix_sentence(verdict.fix) == (
        "raise the quota of queue b by 2 gpu, or let the work be preemptible"
    )


@pytest.mark.parametrize(("delay", "leaves"), [("30m", True), ("2h", False)])
def test_nobody_leaves_for_work_that_wants_to_wait_longer_first(delay, leaves):
    waits = wanting(4, annotations={"aliquot.dev/preemption-delay": delay})
    plan = decided(cluster(gpu_node("n1"), QUEUES, running("h", "a", 8), waits))

    assert bool(victim_verdicts(plan)) is leaves


def test_work_that_came_at_the_end_of_time_waits_until_then():
    waits = wanting(4, annotations={"aliquot.dev/preemption-delay": "2h"})
    late = datetime(9999, 12, 31, 23, 30, tzinfo=UTC)
    waits[0] = replace(waits[0], metadata=replace(waits[0].metadata, creation_timestamp=late))
    plan = decided(cluster(gpu_node("n1"), QUEUES, running("h", "a", 8), waits))

    assert verdict_on(plan, "w").fix.amount == "9999-12-31T23:59:59Z"


def test_work_that_wants_to_wait_longer_first_is_told_so_and_what_is_like_it_without_that_is_not():
    held = [gpu_node("n1"), running("h", "a", 8)]
    waits = [
        with_claim(f"w{number}", request(4), labels={IN: "b"}, annotations=notes, priority=number)
        for number, notes in enumerate(
            ({"aliquot.dev/preemption-delay": "2h"}, {"aliquot.dev/preemption-delay": "3h"}, {})
        )
    ]
    plan = decided(cluster(QUEUES, held, waits), Policy(victim_search=0))
    verdicts = [verdict_on(plan, f"w{number}") for number in range(3)]

    assert "8 could be taken, but not before 2026-06-01T13:00:00Z (preemption-delay)" in paragraph(
        verdicts[0]
    )
    assert fix_sentence(verdicts[0].fix) == "wait until 2026-06-01T13:00:00Z, as its preemption-delay says"
    assert verdicts[1].fix.amount == "2026-06-01T14:00:00Z"
    assert "8 could be taken, but not so that this fits" in paragraph(verdicts[2])
    assert verdicts[2].fix.change == "freeDevices"


TREE = {"left": "", "right": "", "l1": "left", "l2": "left", "r1": "right", "r2": "right", "r11": "r1"}


@given(st.data())
def test_what_others_hold_is_counted_as_if_every_queue_were_compared_with_every_other(data: Any) -> None:
    quotas = {name: data.draw(st.integers(0, 6)) for name in TREE}
    queues = [queue(name, above, quota={"gpu": str(quotas[name])}) for name, above in TREE.items()]
    objects = []
    for number, name in enumerate(TREE):
        objects.append(gpu_node(f"n{number}"))
        count = data.draw(st.integers(0, 8))
        if count:
            notes = {} if data.draw(st.booleans()) else {"preemptible": "false"}
            held, made = running(f"h-{name}", name, count, **notes)
            selector = replace(made.status.allocation, node_selector=None)
            devices = [replace(item, pool=f"n{number}") for item in selector.devices.results]
            given = replace(selector, devices=replace(selector.devices, results=tuple(devices)))
            objects.append(replace(held, spec=replace(held.spec, node_name=f"n{number}")))
            objects.append(replace(made, status=replace(made.status, allocation=given)))
        wanted = data.draw(st.integers(1, 4))
        objects.append(with_claim(f"w-{name}", request(wanted), labels={IN: name}))
    session = opened(cluster(queues, objects), Policy(), NOW)
    entitlement = Entitlement(session)
    for crew in session.crews.waiting.values():
        told = {fact.subject: (fact.count, fact.available) for fact in entitlement.told(crew).facts}
        assert told == one_by_one(session, crew)


def one_by_one(session: Session, crew: Crew) -> dict[str, tuple[int, str]]:
    """By ground: workloads and accelerators of all other queues."""
    ledger, tree = session.state.queues, session.tree
    name, preemptible = crew.gang.queue, crew.gang.preemptible
    reclaimer = Reclaimer(session.shares, ledger, name, session.next_charge(crew), preemptible)
    refusal = reclaimer.may_try()
    if refusal is not None:
        resource = "gpu"
        most = (
            session.shares.share(name, resource)
            if refusal.ground is Ground.OVER_FAIR_SHARE
            else tree.quota(name, resource)
        )
        return {f"{refusal.ground.value} {name}": (0, shown(most or 0, resource))}
    parts: dict[str, tuple[int, Amount]] = {}
    for victim in session.crews.running():
        amount = accelerators(victim)
        if not amount or victim.gang.queue == name:
            continue
        sides = tree.sides(tree.numbers[name], tree.numbers[victim.gang.queue])
        ground = "victimWithinShare"
        if reclaimer.may_take_from(*sides):
            ground = "takeable" if victim.gang.preemptible else "notPreemptible"
        count, held = parts.get(ground, (0, 0))
        parts[ground] = (count + 1, held + amount)
    return {ground: (count, shown(held, "gpu")) for ground, (count, held) in parts.items()} or {
        "nothing": (0, "")
    }
