"""Where pods go so that the cluster keeps what others can be expected to ask for, beside best fit."""

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.scheduling.builders import NOW, cluster, gpu_node, pod, request, with_claim

from aliquot.catalog.fleet import parse_fleet
from aliquot.catalog.fleet_expansion import expand
from aliquot.model.kinds import decode
from aliquot.model.meta import ObjectMeta
from aliquot.model.snapshot import Snapshot
from aliquot.model.topology import Topology, TopologyLevel, TopologySpec
from aliquot.scheduling.apply import apply
from aliquot.scheduling.decide import decide
from aliquot.scheduling.memory import Memory
from aliquot.scheduling.policy import PLACEMENT, Goal, Objective, Policy

EXPECTED = Policy()
BEST_FIT = Policy(
    placement=tuple(
        Objective(goal=Goal.LEAST_FRAGMENTATION) if item.goal is Goal.EXPECTED_CAPACITY else item
        for item in PLACEMENT
    )
)


def nodes_of(snapshot: Snapshot, policy: Policy) -> dict[str, str]:
    """The node of every pod, once the policy has placed all that it can."""
    later = apply(snapshot, decide(snapshot, policy, NOW), NOW)
    return {item.name: item.spec.node_name for item in later.pods if item.spec.node_name}


def in_place(objects):  # type: ignore[no-untyped-def]
    """A cluster in which pods that a selector sends to a node are there already."""
    snapshot = cluster(objects)
    return apply(snapshot, decide(snapshot, EXPECTED, NOW), NOW)


def with_more(snapshot: Snapshot, *objects) -> Snapshot:  # type: ignore[no-untyped-def]
    flat = [part for item in objects for part in (item if isinstance(item, list) else [item])]
    return Snapshot.of([*snapshot.objects(), *flat])


def there(name: str) -> dict[str, str]:
    return {"kubernetes.io/hostname": name}


def test_shares_leave_room_for_those_that_come_often():
    """24Gi and 34Gi are left of two devices: a share of 12Gi on the fuller one costs a place for 20Gi."""
    before = in_place(
        [
            gpu_node("tight", 1, shareable=True),
            gpu_node("wide", 1, shareable=True),
            with_claim("old-1", request(memory="56Gi"), selector=there("tight")),
            with_claim("old-2", request(memory="46Gi"), selector=there("wide")),
        ]
    )
    often = [with_claim(f"often-{n}", request(memory="20Gi"), created=2) for n in range(8)]
    snapshot = with_more(before, with_claim("small", request(memory="12Gi"), created=1), *often)

    best_fit, expected = nodes_of(snapshot, BEST_FIT), nodes_of(snapshot, EXPECTED)

    assert best_fit["small"] == "tight"
    assert expected["small"] == "wide"
    assert len(expected) == len(best_fit) + 1


def test_cpu_stays_with_the_devices_whose_pods_will_need_it():
    """Best fit takes the node with one device left, and strands the two others beside 12 CPUs."""
    before = in_place(
        [
            gpu_node("much-cpu", 2, cpu=48),
            gpu_node("little-cpu", 2, cpu=12),
            with_claim("old", request(), cpu=8, selector=there("much-cpu")),
        ]
    )
    hungry = [with_claim(f"hungry-{n}", request(), cpu=32, created=2) for n in range(4)]
    snapshot = with_more(before, with_claim("modest", request(), cpu=4, created=1), *hungry)

    best_fit, expected = nodes_of(snapshot, BEST_FIT), nodes_of(snapshot, EXPECTED)

    assert best_fit["modest"] == "much-cpu"
    assert expected["modest"] == "little-cpu"
    assert len(expected) == len(best_fit) + 1


def test_pods_without_devices_leave_the_cpu_beside_idle_devices():
    before = in_place(
        [
            gpu_node("idle", 2, cpu=24),
            gpu_node("taken", 2, cpu=64),
            with_claim("old", request(2), cpu=8, selector=there("taken")),
        ]
    )
    snapshot = with_more(
        before,
        pod("cpu-only", cpu=20, created=1),
        *(with_claim(f"gpu-{n}", request(), cpu=8, created=2) for n in range(2)),
    )

    assert nodes_of(snapshot, EXPECTED) == {
        "old": "taken",
        "cpu-only": "taken",
        "gpu-0": "idle",
        "gpu-1": "idle",
    }


FLEET = """
apiVersion: aliquot.dev/v1alpha1
kind: Fleet
metadata: {name: mig}
nodes:
  - {count: 2, hardware: {accelerator: H100-SXM5-80GB}, name: board, mig: {dynamic: true}}
"""


def mig(name: str, profile: str, **options):  # type: ignore[no-untyped-def]
    expression = f"device.attributes['gpu.nvidia.com'].profile == '{profile}'"
    return with_claim(
        name, request(selector=expression, device_class_name="mig.nvidia.com"), cpu=1, **options
    )


def test_a_mig_partition_goes_where_no_larger_one_fits_any_more():
    """On one board four memory slices are left, room for one 3g.40gb; on the other a 1g.10gb has broken up
    half of the board. A second 1g.10gb belongs beside the first, though that board is the emptier one."""
    fleet = [decode(item) for item in expand(parse_fleet(FLEET, "fleet.yaml"))]
    names = sorted(item.name for item in cluster(fleet).nodes)
    before = in_place(
        [
            fleet,
            mig("large", "3g.40gb", selector=there(names[0])),
            mig("small-1", "1g.10gb", selector=there(names[1])),
        ]
    )
    often = [mig(f"often-{n}", "3g.40gb", created=2) for n in range(8)]
    snapshot = with_more(before, mig("small-2", "1g.10gb", created=1), *often)

    best_fit, expected = nodes_of(snapshot, BEST_FIT), nodes_of(snapshot, EXPECTED)

    assert best_fit["small-2"] == names[0]
    assert expected["small-2"] == names[1]
    assert len(expected) == len(best_fit) + 1


def test_pods_that_run_do_not_tell_which_nodes_suit_those_that_wait():
    before = in_place(
        [gpu_node("a", 1), gpu_node("b", 1), with_claim("old", request(), selector={"zone": "x"})]
    )
    assert not any(item.spec.node_name for item in before.pods), "no node has that label"
    before = in_place([gpu_node("a", 1), gpu_node("b", 1), with_claim("old", request())])
    (first,) = (item.spec.node_name for item in before.pods)

    later = nodes_of(with_more(before, with_claim("new", request())), EXPECTED)

    assert {later["old"], later["new"]} == {"a", "b"}
    assert later["old"] == first


def test_what_pins_a_pod_to_its_node_is_not_taken_for_its_wish():
    """Whether the pods that run were pinned by host name or not, the next ones are placed alike."""
    wide = [gpu_node(f"n{n}", 4, cpu=24 + 8 * n) for n in range(4)]
    pods = [with_claim(f"old-{n}", request(), cpu=8, created=1) for n in range(6)]
    plain = in_place([wide, pods])
    pinned = replace(
        plain,
        pods=tuple(
            replace(item, spec=replace(item.spec, node_selector=there(item.spec.node_name)))
            for item in plain.pods
        ),
    )
    new = [with_claim(f"new-{n}", request(1 + n % 2), cpu=4 + 4 * n, created=2) for n in range(5)]

    assert nodes_of(with_more(pinned, *new), EXPECTED) == nodes_of(with_more(plain, *new), EXPECTED)


def test_a_decision_with_a_memory_is_the_one_made_afresh_as_the_mix_changes():
    memory = Memory()
    snapshot = cluster([[gpu_node(f"n{n}", 4, shareable=True, cpu=16 + 8 * n) for n in range(6)]])
    for step in range(12):
        kind = request(1 + step % 3) if step < 6 else request(memory=f"{5 * step}Gi")
        new = [with_claim(f"p{step}-{n}", kind, cpu=1 + step % 5, created=step) for n in range(1 + step % 4)]
        snapshot = with_more(snapshot, *new)
        plan = decide(snapshot, EXPECTED, NOW, memory=memory)
        assert plan == decide(snapshot, EXPECTED, NOW)
        snapshot = apply(snapshot, plan, NOW)
        gone = f"p{step - 3}-0"
        left = tuple(item for item in snapshot.pods if item.name != gone)
        claims = tuple(item for item in snapshot.resource_claims if item.name != f"{gone}-gpu")
        snapshot = replace(snapshot, pods=left, resource_claims=claims)


def test_a_preferred_domain_counts_before_what_can_be_expected():
    """A pair fits the last devices of two nodes in two racks, and leaves two whole nodes to others. One that
    prefers to stay in one rack does so all the same."""
    levels = (TopologyLevel(name="rack", node_label="r"),)
    topology = Topology(metadata=ObjectMeta(name="dc"), spec=TopologySpec(levels=levels))
    before = in_place(
        [
            topology,
            [gpu_node(f"n{number}", labels={"r": f"r{number // 2}"}) for number in range(4)],
            [with_claim(f"old-{n}", request(7), selector=there(f"n{n}")) for n in (0, 2)],
        ]
    )
    whole = [with_claim(f"whole-{n}", request(8), created=2) for n in range(2)]

    def racks_of_a_pair(**wish: str) -> set[str]:
        notes = {"aliquot.dev/gang": "pair", "aliquot.dev/gang-size": "2", **wish}
        pair = [with_claim(f"pair-{n}", request(), created=1, annotations=notes) for n in range(2)]
        found = nodes_of(with_more(before, *pair, *whole), EXPECTED)
        return {f"r{int(found[f'pair-{n}'][1:]) // 2}" for n in range(2)}

    together = {"aliquot.dev/topology": "dc", "aliquot.dev/topology-preferred": "rack"}
    assert len(racks_of_a_pair()) == 2
    assert len(racks_of_a_pair(**together)) == 1


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from([1, 2, 4]), st.sampled_from([1, 6]), st.integers(1, 5)),
        min_size=4,
        max_size=9,
    )
)
def test_what_was_learnt_of_a_kind_of_pod_is_learnt_anew_as_the_mix_changes(steps):
    memory = Memory()
    snapshot = cluster([[gpu_node(f"n{n}", 4, cpu=8 + 6 * n) for n in range(6)]])
    for step, (devices, cpu, count) in enumerate(steps):
        new = [with_claim(f"p{step}-{n}", request(devices), cpu=cpu, created=step) for n in range(count)]
        snapshot = with_more(snapshot, *new)
        plan = decide(snapshot, EXPECTED, NOW, memory=memory)
        assert plan == decide(snapshot, EXPECTED, NOW)
        snapshot = apply(snapshot, plan, NOW)
