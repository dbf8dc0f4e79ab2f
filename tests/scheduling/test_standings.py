"""What queues are entitled to, as told to people: by the same session that a decision begins with."""

from tests.scheduling.builders import NOW, claim, cluster, gpu_node, pod, queue, request, with_claim

from aliquot.queues.amounts import GPU, UNIT
from aliquot.queues.held import Ground
from aliquot.scheduling.decide import opened
from aliquot.scheduling.policy import Policy
from aliquot.scheduling.standings import Standings, rights, standings

IN = "aliquot.dev/queue"


def holding(name, node_name, count, queue_name):
    held = pod(name, claims=[f"{name}-c"], node_name=node_name, labels={IN: queue_name})
    devices = [f"gpu-{number}" for number in range(count)]
    return [
        held,
        claim(f"{name}-c", request(count), node_name=node_name, devices=devices, consumers=[held]),
    ]


def two_teams():
    """Eight devices for two queues with a quota of four each; a holds all of them, b waits for six."""
    queues = [queue("top"), queue("a", "top", quota={"gpu": "4"}), queue("b", "top", quota={"gpu": "4"})]
    return cluster(
        gpu_node("n1"), queues, holding("h", "n1", 8, "a"), with_claim("w", request(6), labels={IN: "b"})
    )


def test_fair_shares_are_told_term_by_term_for_every_queue():
    found = standings(two_teams(), Policy(), NOW)

    for name, held, waits in (("a", 8, 0), ("b", 0, 6)):
        terms = found.share(name, GPU)
        assert (terms.total, terms.quota) == (8 * UNIT, 4 * UNIT)
        assert (terms.allocated, terms.pending) == (held * UNIT, waits * UNIT)
        assert (terms.guaranteed, terms.share) == (4 * UNIT, 4 * UNIT)
        assert terms.guaranteed + sum(item.given for item in terms.surplus) == terms.share
    assert found.share("top", GPU).share == 8 * UNIT
    assert found.share("nobody", GPU) is None


def test_who_may_take_from_whom():
    session = opened(two_teams(), Policy(), NOW)

    below, above = rights(session, "b"), rights(session, "a")
    assert [item.queue for item in below.takes] == ["a"]
    assert below.refusal is None
    assert below.gives == ()
    assert above.refusal.ground is Ground.OVER_FAIR_SHARE
    assert above.takes == ()
    assert [(item.queue, item.wanted) for item in above.gives] == [("b", 6 * UNIT)]
    assert rights(session, "top").takes == ()


def test_a_cluster_in_which_nothing_waits_has_standings_too():
    snapshot = cluster(gpu_node("n1"), queue("a", quota={"gpu": "4"}), holding("h", "n1", 2, "a"))

    terms = Standings.of(opened(snapshot, Policy(), NOW)).share("a", GPU)
    assert (terms.allocated, terms.share, terms.allocatable) == (2 * UNIT, 2 * UNIT, 4 * UNIT)
