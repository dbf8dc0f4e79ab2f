"""What labels and annotations of a node tell of its devices, and which requests it refuses."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fractions.objects import node

from aliquot.fractions.devices import Mig, NodeDevices, device_memory, enforced_by, node_devices
from aliquot.fractions.ledger import DeviceLedger
from aliquot.fractions.refusals import KAI_RULES, Ground, NodeRules, Refusal, refusal
from aliquot.fractions.requests import WHOLE, Author, GpuRequest, Kind

GPU = "nvidia.com/gpu"
STRICT = NodeRules()
HALF = GpuRequest(Kind.PART, 1, part=WHOLE // 2, author=Author.KAI)
ONE = GpuRequest(Kind.WHOLE, 1, resource=GPU)
SLICE = GpuRequest(Kind.MIG, profiles=(("nvidia.com/mig-1g.10gb", 1),))
HAMI_JSON = (
    '[{"id":"GPU-a","count":10,"devmem":32768,"devcore":100,"type":"V100","numa":1,"mode":"hami-core","health":true},'
    '{"id":"GPU-b","count":8,"devmem":32000,"devcore":100,"type":"V100","health":true},'
    '{"id":"GPU-c","count":10,"devmem":32768,"devcore":100,"type":"V100"}]'
)
HAMI_LINES = "GPU-a,10,24576,100,NVIDIA-A10,0,true:GPU-b,10,24576,100,NVIDIA-A10,0,false:"


@pytest.mark.parametrize(
    ("text", "mebibytes"),
    [
        ("81559", 81500),
        ("40960", 40900),
        ("100", 100),
        ("99", None),
        ("0", None),
        ("", None),
        ("80GB", None),
        ("-5", None),
        (str(81559 * 2**20), 81500),
        ("9" * 40, None),
    ],
)
def test_memory_of_devices_is_rounded_down_to_hundreds_and_read_from_bytes_too(
    text: str, mebibytes: int | None
) -> None:
    assert device_memory(text) == mebibytes


def test_devices_of_a_node_come_from_its_allocatable_resources_and_labels() -> None:
    found = node_devices(node({"cpu": 8, GPU: 8}, {"nvidia.com/gpu.memory": "81559"}))
    assert found == NodeDevices(GPU, 8, memory_mib=81500)
    assert node_devices(node({"cpu": 8})) == NodeDevices()
    amd = node_devices(node({"amd.com/gpu": 4}, {"amd.com/gpu.vram": "64G"}))
    assert amd == NodeDevices("amd.com/gpu", 4, memory_mib=65_500)


@pytest.mark.parametrize(
    ("register", "count", "memory", "sharers"), [(HAMI_JSON, 2, 32_000, 8), (HAMI_LINES, 1, 24_576, 10)]
)
def test_hami_registers_devices_where_the_plugin_advertises_slots(
    register: str, count: int, memory: int, sharers: int
) -> None:
    found = node_devices(node({GPU: 30}, annotations={"hami.io/node-nvidia-register": register}))
    assert (found.count, found.memory_mib, found.sharers, found.enforcer) == (count, memory, sharers, "HAMi")
    assert found.units == 1


@pytest.mark.parametrize(("register", "ids"), [(HAMI_JSON, ("GPU-a", "GPU-b")), (HAMI_LINES, ("GPU-a",))])
def test_devices_are_known_by_the_ids_under_which_hami_registered_them(
    register: str, ids: tuple[str, ...]
) -> None:
    found = node_devices(node({GPU: 30}, annotations={"hami.io/node-nvidia-register": register}))
    assert found.ids == ids
    twice = "GPU-a,10,24576,100,NVIDIA-A10,0,true:GPU-a,10,24576,100,NVIDIA-A10,0,true:"
    assert node_devices(node({GPU: 30}, annotations={"hami.io/node-nvidia-register": twice})).ids == ()


@pytest.mark.parametrize("register", ["[", "[1, null]", "a,b,c", "[]", '[{"devmem": true}]', "[" * 70_000])
def test_an_unreadable_register_is_as_none(register: str) -> None:
    found = node_devices(node({GPU: 4}, annotations={"hami.io/node-nvidia-register": register}))
    assert found == NodeDevices(GPU, 4)


def test_a_register_of_a_plugin_that_is_gone_is_as_none() -> None:
    gone = {
        "hami.io/node-nvidia-register": HAMI_JSON,
        "hami.io/node-handshake": "Deleted_2026-01-01 00:00:00",
    }
    assert enforced_by(node({GPU: 30}, annotations=gone)) is None
    there = {**gone, "hami.io/node-handshake": "Requesting_2026-01-01 00:00:00"}
    assert enforced_by(node({GPU: 30}, annotations=there)) == "HAMi"


@given(st.text(max_size=200))
def test_any_register_and_any_memory_is_read_without_error(text: str) -> None:
    found = node_devices(
        node({GPU: 4}, {"nvidia.com/gpu.memory": text}, {"hami.io/node-nvidia-register": text})
    )
    assert found.count > 0


@pytest.mark.parametrize(
    ("labels", "name"),
    [
        ({}, None),
        ({"nvidia.com/gpu.sharing-strategy": "none", "nvidia.com/mps.capable": "true"}, None),
        ({"nvidia.com/gpu.sharing-strategy": "time-slicing", "nvidia.com/gpu.replicas": "4"}, None),
        ({"nvidia.com/gpu.sharing-strategy": "mps", "nvidia.com/gpu.replicas": "4"}, "MPS"),
        ({"aliquot.dev/fractions": "hami-core"}, "hami-core"),
        (
            {"aliquot.dev/fractions": "ours", "nvidia.com/gpu.sharing-strategy": "mps"},
            "ours",
        ),
        ({"aliquot.dev/fractions": "MPS", "nvidia.com/gpu.sharing-strategy": "mps"}, "MPS"),
    ],
)
def test_what_keeps_parts_apart_is_named_and_time_slicing_is_nothing(
    labels: dict[str, str], name: str | None
) -> None:
    assert enforced_by(node({GPU: 8}, labels)) == name


def test_replicas_of_a_device_are_units_of_it() -> None:
    labels = {"nvidia.com/gpu.sharing-strategy": "mps", "nvidia.com/gpu.replicas": "4"}
    found = node_devices(node({GPU: 8}, labels))
    assert (found.count, found.units, found.limit, found.sharers) == (2, 4, WHOLE // 4, 4)


def test_under_mps_every_pod_has_a_replicas_part_and_no_more_pods_fit_than_there_are_replicas() -> None:
    labels = {
        "aliquot.dev/fractions": "mps",
        "nvidia.com/gpu.sharing-strategy": "mps",
        "nvidia.com/gpu.replicas": "3",
        "nvidia.com/gpu.memory": "24000",
    }
    devices = node_devices(node({GPU: 3}, labels))
    small = GpuRequest(Kind.PART, 1, part=WHOLE // 10, author=Author.KAI)
    assert refusal(small, devices, STRICT) is None
    ledger = DeviceLedger([devices])
    idle = 1
    for name in "abc":
        choice = ledger.options(0, small, idle, idle, later=False)
        assert choice is not None
        idle += ledger.take(0, choice, ("team", name))[1].now
    assert ledger.options(0, small, idle, idle, later=False) is None
    assert refusal(HALF, devices, STRICT) == Refusal(Ground.PART_TOO_LARGE, "50%", "33.33%")


@pytest.mark.parametrize(
    ("allocatable", "labels", "mig"),
    [
        ({GPU: 8}, {}, Mig.NONE),
        ({GPU: 8}, {"nvidia.com/mig.strategy": "single"}, Mig.NONE),
        (
            {GPU: 8},
            {"nvidia.com/mig.strategy": "single", "nvidia.com/gpu.product": "A100-SXM4-40GB-MIG-1g.5gb"},
            Mig.SINGLE,
        ),
        (
            {GPU: 8},
            {"nvidia.com/mig.strategy": "single", "node-role.kubernetes.io/mig-enabled": "true"},
            Mig.SINGLE,
        ),
        ({"nvidia.com/mig-1g.5gb": 7}, {}, Mig.MIXED),
        ({"nvidia.com/mig-1g.5gb": 7}, {"nvidia.com/mig.strategy": "mixed"}, Mig.MIXED),
        (
            {"nvidia.com/mig-1g.5gb": 7},
            {"nvidia.com/mig.strategy": "mixed", "node-role.kubernetes.io/mig-enabled": "false"},
            Mig.NONE,
        ),
        (
            {},
            {"nvidia.com/mig.strategy": "mixed", "node-role.kubernetes.io/mig-enabled": "true"},
            Mig.MIXED,
        ),
    ],
)
def test_the_strategy_of_mig_counts_where_mig_is_on(
    allocatable: dict[str, int], labels: dict[str, str], mig: Mig
) -> None:
    assert node_devices(node(allocatable, labels)).mig is mig


PLAIN = NodeDevices(GPU, 2, memory_mib=40_000)
SINGLE = NodeDevices(GPU, 7, memory_mib=5_000, mig=Mig.SINGLE)
MIXED = NodeDevices("", 0, mig=Mig.MIXED)
PARTLY = NodeDevices(GPU, 2, memory_mib=40_000, mig=Mig.MIXED)
HAMI_NODE = NodeDevices(GPU, 2, memory_mib=40_000, sharers=10, enforcer="HAMi")
REPLICAS = NodeDevices(GPU, 2, 2, memory_mib=40_000, sharers=2, enforcer="MPS", limit=WHOLE // 2)
NAMED = NodeDevices(GPU, 2, memory_mib=40_000, enforcer="ours")
SLICED = NodeDevices(GPU, 2, 4, memory_mib=40_000, time_sliced=True)
IN_HAMIS_WORDS = GpuRequest(Kind.MEMORY, 1, memory_mib=5_000, resource=GPU, author=Author.HAMI)


@pytest.mark.parametrize(
    ("request_", "devices", "rules", "found"),
    [
        (ONE, PLAIN, STRICT, None),
        (ONE, NodeDevices(), STRICT, Refusal(Ground.NO_DEVICES)),
        (GpuRequest(Kind.WHOLE, 3, resource=GPU), PLAIN, STRICT, Refusal(Ground.TOO_MANY_DEVICES, "3", "2")),
        (GpuRequest(Kind.WHOLE, 8, resource=GPU), SLICED, STRICT, None),
        (HALF, PLAIN, STRICT, Refusal(Ground.NOT_ENFORCED)),
        (HALF, SLICED, STRICT, Refusal(Ground.TIME_SLICED)),
        (HALF, PLAIN, KAI_RULES, None),
        (HALF, NAMED, STRICT, None),
        (IN_HAMIS_WORDS, HAMI_NODE, STRICT, None),
        (HALF, HAMI_NODE, STRICT, Refusal(Ground.ONLY_IN_HAMIS_WORDS)),
        (HALF, replace(HAMI_NODE, by_annotation=True), STRICT, None),
        (HALF, REPLICAS, STRICT, Refusal(Ground.ONLY_REPLICAS)),
        (HALF, replace(REPLICAS, by_annotation=True), STRICT, None),
        (IN_HAMIS_WORDS, NAMED, STRICT, Refusal(Ground.ONLY_BY_HAMI)),
        (
            IN_HAMIS_WORDS,
            NodeDevices("amd.com/gpu", 2, memory_mib=40_000),
            KAI_RULES,
            Refusal(Ground.OTHER_DEVICES),
        ),
        (
            GpuRequest(Kind.MEMORY, 1, memory_mib=50_000),
            NAMED,
            STRICT,
            Refusal(Ground.TOO_LARGE, "50000Mi", "40000Mi"),
        ),
        (
            GpuRequest(Kind.MEMORY, 1, memory_mib=50_000),
            NodeDevices(GPU, 2),
            KAI_RULES,
            Refusal(Ground.MEMORY_UNKNOWN, "50000Mi"),
        ),
        (HALF, SINGLE, KAI_RULES, Refusal(Ground.ONLY_WHOLE)),
        (ONE, SINGLE, KAI_RULES, None),
        (SLICE, SINGLE, KAI_RULES, Refusal(Ground.ONLY_WHOLE)),
        (SLICE, MIXED, KAI_RULES, None),
        (SLICE, PLAIN, KAI_RULES, Refusal(Ground.NO_MIG)),
        (ONE, MIXED, STRICT, Refusal(Ground.ONLY_MIG)),
        (ONE, PARTLY, STRICT, None),
        (ONE, PARTLY, KAI_RULES, Refusal(Ground.ONLY_MIG)),
        (HALF, PARTLY, KAI_RULES, Refusal(Ground.ONLY_MIG)),
        (GpuRequest(Kind.LEGACY_MIG), MIXED, KAI_RULES, Refusal(Ground.LEGACY_MIG)),
    ],
)
def test_a_node_refuses_what_it_can_never_give(
    request_: GpuRequest, devices: NodeDevices, rules: NodeRules, found: Refusal | None
) -> None:
    assert refusal(request_, devices, rules) == found


def test_mig_instances_are_not_handed_out_beside_those_by_annotation() -> None:
    assert refusal(SLICE, MIXED, KAI_RULES, legacy_mig=True) == Refusal(Ground.BESIDE_LEGACY_MIG)
