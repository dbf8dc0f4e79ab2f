"""What requests count for in queues, and which devices running pods share."""

from dataclasses import replace
from fractions import Fraction

import pytest
from msgspec import structs
from tests.fractions.objects import asking, node, pod

from aliquot.fractions.charges import device_charge, pending_charge, smallest_memory
from aliquot.fractions.devices import NodeDevices
from aliquot.fractions.groups import groups_annotation, places, reserves, told_to_hami
from aliquot.fractions.ledger import DeviceLedger
from aliquot.fractions.parts import Part
from aliquot.fractions.requests import WHOLE, Author, GpuRequest, Kind
from aliquot.fractions.resources import extended_devices
from aliquot.model.core import Pod

GPU = "nvidia.com/gpu"
A100 = NodeDevices(GPU, 8, memory_mib=40_000)
A30 = NodeDevices("", 0, slices=4)
HALF = GpuRequest(Kind.PART, 1, part=WHOLE // 2, author=Author.KAI)
MEMORY = GpuRequest(Kind.MEMORY, 2, memory_mib=5_000)
MIG = GpuRequest(Kind.MIG, profiles=(("nvidia.com/mig-1g.10gb", 2), ("nvidia.com/mig-3g.40gb", 1)))


@pytest.mark.parametrize(
    ("request_", "devices", "charge"),
    [
        (GpuRequest(Kind.WHOLE, 3), None, 3 * WHOLE),
        (GpuRequest(Kind.PART, 2, part=WHOLE // 3), None, 2 * (WHOLE // 3)),
        (GpuRequest(Kind.PART, 1, part=WHOLE // 10, cores=30), None, 3 * WHOLE // 10),
        (MEMORY, None, 0),
        (MEMORY, A100, 26 * WHOLE // 100),
        (GpuRequest(Kind.MEMORY, 1, memory_mib=5_000, cores=50), A100, WHOLE // 2),
        (MEMORY, NodeDevices(GPU, 8), 0),
        (MIG, A100, Fraction(5 * WHOLE, 7)),
        (GpuRequest(Kind.MIG, profiles=(("nvidia.com/mig-1g.6gb", 2),)), A30, WHOLE // 2),
        (
            GpuRequest(Kind.MIG, 1, profiles=(("nvidia.com/mig-7g.80gb", 1),)),
            A100,
            2 * WHOLE,
        ),
    ],
)
def test_a_request_counts_for_the_devices_and_parts_it_takes(
    request_: GpuRequest, devices: NodeDevices | None, charge: int | Fraction
) -> None:
    assert device_charge(request_, devices) == charge


def test_mig_instances_can_count_a_device_for_each_slice() -> None:
    assert device_charge(MIG, A100, slices_as_devices=True) == 5 * WHOLE


def test_memory_that_waits_counts_as_its_exact_part_of_the_smallest_device() -> None:
    cluster = (A100, NodeDevices(GPU, 1, memory_mib=15_000), NodeDevices(GPU, 0, memory_mib=100), A30)
    assert smallest_memory(cluster) == 15_000
    assert pending_charge(MEMORY, 15_000) == Fraction(2 * WHOLE, 3)
    assert pending_charge(MEMORY, smallest_memory([A30])) == 0
    assert pending_charge(HALF, 15_000) == WHOLE // 2


@pytest.mark.parametrize(
    ("requests", "labels", "devices"),
    [
        ({GPU: 2, "cpu": 4000}, {}, 2),
        ({"nvidia.com/mig-3g.20gb": 2}, {}, Fraction(6, 7)),
        ({"nvidia.com/mig-2g.12gb": 2}, {"nvidia.com/gpu.product": "NVIDIA-A30"}, 1),
        ({"nvidia.com/gpu.shared": 1}, {"nvidia.com/gpu.replicas": "4"}, Fraction(1, 4)),
        ({"nvidia.com/gpu.shared": 1}, {"nvidia.com/gpu.replicas": "many"}, 1),
        ({"example.com/fpga": 1, "nvidia.com/mig-odd": 1}, {}, 0),
    ],
)
def test_extended_resources_stand_for_devices_and_exact_parts_of_them(
    requests: dict[str, int], labels: dict[str, str], devices: int | Fraction
) -> None:
    assert extended_devices(requests, node({}, labels)) == devices


def running(
    annotations: dict[str, str] | None = None, labels: dict[str, str] | None = None, namespace: str = "team"
) -> Pod:
    found = pod(asking({}), annotations=annotations, labels=labels, namespace=namespace)
    return structs.replace(found, spec=structs.replace(found.spec, node_name="n1"))


PART = Part(WHOLE // 2 * 40_000)


@pytest.mark.parametrize(
    ("annotations", "labels", "devices", "groups"),
    [
        ({}, {}, 1, ("",)),
        ({}, {}, 2, ("", "")),
        ({}, {"runai-gpu-group": "g"}, 1, ("g",)),
        ({}, {"runai-gpu-group": "g"}, 2, ("g", "")),
        ({}, {"runai-gpu-group/b": "b", "runai-gpu-group/a": "a"}, 2, ("a", "b")),
        ({}, {"runai-gpu-group": "a", "runai-gpu-group/b": "b"}, 2, ("a", "b")),
        ({"aliquot.dev/gpu-groups": "x, y"}, {"runai-gpu-group": "g"}, 2, ("x", "y")),
        ({"aliquot.dev/gpu-groups": "x,x,,"}, {}, 1, ("x",)),
        ({"aliquot.dev/gpu-groups": "x" * 20_000}, {}, 1, ("",)),
    ],
)
def test_running_pods_share_the_devices_their_labels_and_annotations_name(
    annotations: dict[str, str], labels: dict[str, str], devices: int, groups: tuple[str, ...]
) -> None:
    request = GpuRequest(Kind.PART, devices, part=WHOLE // 2)
    found = places(running(annotations, labels), request, A100)
    assert found == tuple((name, PART) for name in groups)


def test_pods_with_whole_devices_or_mig_instances_share_nothing() -> None:
    labels = {"runai-gpu-group": "g"}
    assert places(running(labels=labels), GpuRequest(Kind.WHOLE, 1), A100) == ()
    assert places(running(labels=labels), MIG, A100) == ()
    assert places(running(labels=labels), None, A100) == ()


HAMI_NODE = NodeDevices(GPU, 2, memory_mib=40_000, sharers=10, enforcer="HAMi")
ASKED = GpuRequest(Kind.MEMORY, 1, memory_mib=3_000, cores=30, resource=GPU, author=Author.HAMI)


def test_what_hami_gave_is_what_a_pod_has() -> None:
    given = {
        "hami.io/vgpu-devices-allocated": "GPU-a,NVIDIA,3000,30:GPU-b,NVIDIA,3000,30:;GPU-a,NVIDIA,1000,20:;"
    }
    found = places(running(given), ASKED, HAMI_NODE)
    assert found == (("GPU-a", Part(4_000 * WHOLE, 50)), ("GPU-b", Part(3_000 * WHOLE, 30)))
    assert places(running(given), ASKED, A100) == (("", Part(3_000 * WHOLE, 30)),)


def test_before_hami_has_bound_a_pod_its_record_is_anybodys() -> None:
    mark = {"aliquot.dev/gpu-groups": "GPU-b", "hami.io/vgpu-devices-allocated": "GPU-a,NVIDIA,1,0:;"}
    waiting = pod(asking({}), annotations=mark)
    assert places(waiting, ASKED, HAMI_NODE) == (("GPU-b", Part(3_000 * WHOLE, 30)),)


@pytest.mark.parametrize(
    ("groups", "own", "told"),
    [
        (("GPU-a",), {}, {"nvidia.com/use-gpuuuid": "GPU-a"}),
        (("GPU-a", "GPU-b"), {}, {"nvidia.com/use-gpuuuid": "GPU-a,GPU-b"}),
        (("GPU-a", "shared-1"), {}, {}),
        (("GPU-a",), {"nvidia.com/nouse-gputype": "A10"}, {}),
        ((), {}, {}),
    ],
)
def test_hami_is_told_which_devices_were_chosen_unless_the_pod_says_itself(
    groups: tuple[str, ...], own: dict[str, str], told: dict[str, str]
) -> None:
    devices = replace(HAMI_NODE, ids=("GPU-a", "GPU-b"))
    assert told_to_hami(pod(asking({}), annotations=own), groups, devices) == told
    assert told_to_hami(pod(asking({}), annotations=own), groups, NodeDevices(GPU, 2, enforcer="ours")) == {}


def test_a_pod_that_hami_gave_all_memory_of_a_device_has_it_whole() -> None:
    given = {"hami.io/vgpu-devices-allocated": "GPU-a,NVIDIA,40000,0:;"}
    assert places(running(given), GpuRequest(Kind.WHOLE, 1, resource=GPU), HAMI_NODE) == ()
    part = {"hami.io/vgpu-devices-allocated": "GPU-a,NVIDIA,10000,0:;"}
    found = places(running(part), GpuRequest(Kind.WHOLE, 1, resource=GPU), HAMI_NODE)
    assert found == (("GPU-a", Part(10_000 * WHOLE)),)


@pytest.mark.parametrize("text", [":;", "GPU-a", "GPU-a,NVIDIA,x,y:;", ",,,:", "GPU-a,NVIDIA,1,2:" * 5_000])
def test_an_unreadable_record_of_hami_takes_at_least_the_device(text: str) -> None:
    found = places(running({"hami.io/vgpu-devices-allocated": text}), ASKED, HAMI_NODE)
    assert len(found) == 1
    assert found[0][1].memory > 0


def test_what_a_placement_writes_down_is_read_back_as_the_same_groups() -> None:
    ledger = DeviceLedger([A100])
    request = GpuRequest(Kind.PART, 2, part=WHOLE // 2)
    ledger.occupy(0, ("team", "other"), [("", PART)])
    choice = ledger.options(0, request, 7, 7, later=False)
    assert choice is not None
    holding, _ = ledger.take(0, choice, ("team", "job"))
    assert holding.groups == ("team/other#0", "shared-1")
    assert places(running(groups_annotation(holding)), request, A100) == holding.places


def test_a_reservation_pod_names_the_group_whose_device_it_keeps() -> None:
    labels = {"app": "kai-resource-reservation", "runai-gpu-group": "g"}
    assert reserves(running(labels=labels, namespace="kai-resource-reservation")) == "g"
    assert reserves(running(labels=labels)) is None
    assert reserves(running(labels={"runai-gpu-group": "g"}, namespace="kai-resource-reservation")) is None
