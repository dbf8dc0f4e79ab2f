"""Devices of a gang's pods on one node are chosen together where choosing one by one would strand a pod."""

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.scheduling.builders import (
    CLASS,
    DRIVER,
    claim,
    cluster,
    job,
    node,
    pod,
    queue,
    request,
    with_claim,
)
from tests.scheduling.looking import decided, devices_of, nodes_of, verdict_on

from aliquot.model.meta import ObjectMeta
from aliquot.model.resource import (
    CELDeviceSelector,
    Device,
    DeviceAttribute,
    DeviceClass,
    DeviceClassSpec,
    DeviceRequest,
    DeviceSelector,
    DeviceSubRequest,
    ExactDeviceRequest,
    ResourcePool,
    ResourceSlice,
    ResourceSliceSpec,
)
from aliquot.scheduling.policy import Policy
from aliquot.workloads import labels

ROOT = "resource.kubernetes.io/pcieRoot"
NUMA = "resource.kubernetes.io/numaNode"
OWN_ROOT = f"{DRIVER}/root"


def devices(node_name, roots, driver=DRIVER, *, numa=None, models=None, attribute=ROOT):
    """A slice with one device for each root named."""
    made = tuple(
        Device(
            name=f"d{number}",
            attributes={
                **({attribute: DeviceAttribute(string=f"pci{root}")} if root is not None else {}),
                **({NUMA: DeviceAttribute(int_=numa[number])} if numa else {}),
                "model": DeviceAttribute(string=(models or "a" * len(roots))[number]),
            },
        )
        for number, root in enumerate(roots)
    )
    return ResourceSlice(
        metadata=ObjectMeta(name=f"{node_name}-{driver}"),
        spec=ResourceSliceSpec(
            driver=driver,
            node_name=node_name,
            pool=ResourcePool(name=node_name, generation=1, resource_slice_count=1),
            devices=made,
        ),
    )


def class_of(name, driver):
    selector = DeviceSelector(cel=CELDeviceSelector(expression=f'device.driver == "{driver}"'))
    return DeviceClass(metadata=ObjectMeta(name=name), spec=DeviceClassSpec(selectors=(selector,)))


def gang(*wants, match=ROOT, **options):
    """A Job with a pod for each number of devices wanted, all on one root."""
    pods = [
        with_claim(f"p{number}", request(count), match=match, job="train", created=number, **options)
        for number, count in enumerate(wants)
    ]
    return [job("train", len(wants)), *pods]


def chosen(plan, name):
    return {device.rpartition("/")[2] for device in devices_of(plan)[f"{name}-gpu"]}


def test_a_pair_taken_from_the_root_that_another_member_needs_whole_is_chosen_again():
    # The first pair fits the root of three best. The second goes to the other root, of four, and three on one
    # root are left nowhere, though both pairs and the three would fit.
    for roots in ("aaaabbb", "bbbaaaa"):
        plan = decided(cluster(node("n1"), devices("n1", roots), gang(2, 2, 3)), Policy(largest_first=False))
        assert set(nodes_of(plan)) == {"p0", "p1", "p2"}


def test_a_device_that_only_a_later_member_can_use_is_given_back_to_it():
    first = with_claim("p0", request(1), job="train")
    second = with_claim(
        "p1", request(1, selector=f'device.attributes["{DRIVER}"].model == "b"'), job="train", created=1
    )
    for models in ("ab", "ba"):
        plan = decided(
            cluster(node("n1"), devices("n1", "aa", models=models), job("train", 2), first, second),
            Policy(largest_first=False),
        )
        assert set(nodes_of(plan)) == {"p0", "p1"}
        assert chosen(plan, "p1") == {f"d{models.index('b')}"}


def test_first_alternatives_are_given_up_where_only_second_ones_leave_room_for_all():
    def alternatives():
        def one(name, model):
            selector = DeviceSelector(
                cel=CELDeviceSelector(expression=f'device.attributes["{DRIVER}"].model == "{model}"')
            )
            return DeviceSubRequest(name=name, device_class_name=CLASS, count=1, selectors=(selector,))

        return DeviceRequest(name="gpu", first_available=(one("good", "b"), one("plain", "a")))

    first = with_claim("p0", alternatives(), job="train")
    second = with_claim(
        "p1", request(1, selector=f'device.attributes["{DRIVER}"].model == "b"'), job="train", created=1
    )
    plan = decided(
        cluster(node("n1"), devices("n1", "aa", models="ab"), job("train", 2), first, second),
        Policy(largest_first=False),
    )

    assert chosen(plan, "p0") == {"d0"}
    assert chosen(plan, "p1") == {"d1"}


def test_devices_chosen_again_count_within_the_limit_of_the_queue():
    objects = [node("n1"), devices("n1", "aabbb"), *gang(2, 3, labels={"kueue.x-k8s.io/queue-name": "q"})]
    within = decided(cluster(*objects, queue("q", limits={"gpu": "5"})), Policy(largest_first=False))
    beyond = decided(cluster(*objects, queue("q", limits={"gpu": "4"})), Policy(largest_first=False))

    assert len(nodes_of(within)) == 2
    assert nodes_of(beyond) == {}


def fits_together(roots, models, wants):
    """Whether disjoint sets of devices, each on one root and of the model wanted, serve all of the wants."""
    options = []
    for count, model in wants:
        usable = [n for n in range(len(roots)) if not model or models[n] == model]
        options.append(
            [set(pick) for pick in combinations(usable, count) if len({roots[n] for n in pick}) == 1]
        )
    return _disjoint(options, set())


def _disjoint(options, used):
    if not options:
        return True
    return any(not pick & used and _disjoint(options[1:], used | pick) for pick in options[0])


@st.composite
def cases(draw):
    size = draw(st.integers(2, 8))
    roots = draw(st.text("ab", min_size=size, max_size=size))
    models = draw(st.text("xy", min_size=size, max_size=size))
    want = st.tuples(st.integers(1, 3), st.sampled_from(("", "", "x", "y")))
    return roots, models, draw(st.lists(want, min_size=2, max_size=4))


@given(case=cases(), largest_first=st.booleans())
@settings(max_examples=150, deadline=None)
def test_a_gang_on_one_node_is_placed_exactly_if_devices_for_all_of_it_exist(case, largest_first):
    roots, models, wants = case
    pods = [
        with_claim(
            f"p{number}",
            request(count, selector=f'device.attributes["{DRIVER}"].model == "{model}"' if model else ""),
            match=ROOT,
            job="train",
            created=number,
        )
        for number, (count, model) in enumerate(wants)
    ]
    plan = decided(
        cluster(node("n1"), devices("n1", roots, models=models), job("train", len(wants)), pods),
        Policy(largest_first=largest_first),
    )
    placed = nodes_of(plan)

    assert bool(placed) == fits_together(roots, models, wants)
    assert len(placed) in (0, len(wants))
    used = [chosen(plan, name) for name in sorted(placed)]
    assert sum(len(each) for each in used) == len(set().union(*used)) if used else True
    for each in used:
        assert len({roots[int(name[1:])] for name in each}) == 1


def confined(level, *wants, **options):
    annotations = {labels.TOPOLOGY_REQUIRED: level}
    return gang(*wants, match="", annotations=annotations, **options)


def test_a_gang_that_must_share_a_pcie_root_gets_all_its_devices_on_one():
    plan = decided(cluster(node("n1"), devices("n1", "abbba"), confined("pcieRoot", 1, 2)))

    assert chosen(plan, "p0") | chosen(plan, "p1") == {"d1", "d2", "d3"}


def test_a_gang_that_finds_no_root_with_room_for_all_of_it_waits():
    plan = decided(cluster(node("n1"), devices("n1", "abab"), confined("pcieRoot", 1, 2)))

    assert nodes_of(plan) == {}
    assert verdict_on(plan, "p0") is not None


def test_the_node_where_the_root_has_room_is_found():
    plan = decided(
        cluster(
            *(node(f"n{n}") for n in range(3)),
            devices("n0", "abcd"),
            devices("n1", "aabb"),
            devices("n2", "abbb"),
            confined("pcieRoot", 2, 1),
        )
    )

    assert set(nodes_of(plan).values()) == {"n2"}


def test_a_preferred_root_is_given_up_where_it_cannot_be_had():
    wanted = gang(2, 1, match="", annotations={labels.TOPOLOGY_PREFERRED: "pcieRoot"})
    together = decided(cluster(node("n1"), devices("n1", "abbb"), wanted))
    apart = decided(cluster(node("n1"), devices("n1", "abab"), wanted))

    assert chosen(together, "p0") | chosen(together, "p1") == {"d1", "d2", "d3"}
    assert len(nodes_of(apart)) == 2


def test_what_is_written_is_the_allocation_of_the_claim_as_it_is():
    plan = decided(cluster(node("n1"), devices("n1", "aab"), confined("pcieRoot", 2)))
    (made,) = [action for action in plan.actions if hasattr(action, "allocation")]

    assert {result.request for result in made.allocation.devices.results} == {"gpu"}
    assert made.allocation.devices.config == ()


NIC, CPUS = "dra.net", "dra.cpu"


def wired(name, level, attribute, *, one_claim, **options):
    """A pod with a GPU, a NIC and a CPU set, in one claim with a constraint or in three."""
    wants = [
        DeviceRequest(name="gpu", exactly=ExactDeviceRequest(device_class_name=CLASS, count=1)),
        DeviceRequest(name="nic", exactly=ExactDeviceRequest(device_class_name="nic", count=1)),
        DeviceRequest(name="cpu", exactly=ExactDeviceRequest(device_class_name="cpus", count=1)),
    ]
    if one_claim:
        return with_claim(name, *wants, match=attribute, **options)
    names = [f"{name}-{want.name}" for want in wants]
    made = pod(name, generated=names, annotations={labels.TOPOLOGY_REQUIRED: level}, **options)
    return [made, *(claim(n, want, owner=made) for n, want in zip(names, wants, strict=True))]


@pytest.mark.parametrize(("level", "attribute"), [("pcieRoot", ROOT), ("numaNode", NUMA)])
@pytest.mark.parametrize("one_claim", [True, False])
def test_gpu_nic_and_cpus_of_every_pod_come_from_one_place(level, attribute, one_claim):
    roots, numa = "aabb", [0, 0, 1, 1]
    pods = [
        wired(f"p{n}", level, attribute, one_claim=one_claim, job="train" if one_claim else "", created=n)
        for n in range(4)
    ]
    plan = decided(
        cluster(
            node("n1"),
            class_of("nic", NIC),
            class_of("cpus", CPUS),
            devices("n1", roots, numa=numa),
            devices("n1", "baba", NIC, numa=[1, 0, 1, 0]),
            devices("n1", "abba", CPUS, numa=[0, 1, 1, 0]),
            job("train", 4) if one_claim else [],
            pods,
        )
    )

    assert len(nodes_of(plan)) == 4
    place = {DRIVER: "aabb", NIC: "baba", CPUS: "abba"}
    of_pod = {}
    for action in plan.actions:
        if hasattr(action, "allocation"):
            for result in action.allocation.devices.results:
                root = place[result.driver][int(result.device[1:])]
                of_pod.setdefault(action.claim.name.split("-")[0], []).append(root)
    assert all(len(found) == 3 and len(set(found)) == 1 for found in of_pod.values())


def test_devices_without_the_attribute_take_no_part():
    channel = devices("n1", [None], "compute-domain.nvidia.com")
    wants = [
        request(2),
        DeviceRequest(name="ch", exactly=ExactDeviceRequest(device_class_name="channel", count=1)),
    ]
    made = with_claim("p0", *wants, annotations={labels.TOPOLOGY_REQUIRED: "pcieRoot"})
    plan = decided(
        cluster(
            node("n1"), class_of("channel", "compute-domain.nvidia.com"), channel, devices("n1", "aba"), made
        )
    )

    assert set(nodes_of(plan)) == {"p0"}


def test_a_replaced_member_joins_the_root_where_the_others_run():
    running = pod("r0", generated=["r0-gpu"], job="train", node_name="n1")
    held = claim("r0-gpu", request(1), owner=running, node_name="n1", devices=["d1"], consumers=[running])
    annotations = {labels.TOPOLOGY_REQUIRED: "pcieRoot"}
    running = replace(running, metadata=replace(running.metadata, annotations=annotations))
    fresh = with_claim("p1", request(1), job="train", annotations=annotations)
    plan = decided(cluster(node("n1"), devices("n1", "aaabb"[::-1]), job("train", 2), running, held, fresh))

    assert chosen(plan, "p1") == {"d0"}


def test_vendors_names_of_the_numa_node_are_as_good_as_the_standard_one():
    plan = decided(
        cluster(
            node("n1"),
            devices("n1", "xyyy", "gpu.amd.com", attribute="gpu.amd.com/numaNode"),
            class_of("amd", "gpu.amd.com"),
            gang_of_class("amd"),
        )
    )

    assert chosen(plan, "p0") | chosen(plan, "p1") == {"d1", "d2", "d3"}


def gang_of_class(name):
    annotations = {labels.TOPOLOGY_REQUIRED: "numaNode"}
    pods = [
        with_claim(
            f"p{n}", request(count, device_class_name=name), job="train", created=n, annotations=annotations
        )
        for n, count in enumerate((1, 2))
    ]
    return [job("train", 2), *pods]
