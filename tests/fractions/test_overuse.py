"""Devices that are given out beyond what they have are found by what pods say that they have."""

import pytest
from msgspec.structs import replace
from tests.fractions.objects import asking, node, pod

from aliquot.fractions.overuse import overuse
from aliquot.model.core import Pod

GPU = "nvidia.com/gpu"
OURS = {"aliquot.dev/fractions": "ours", "nvidia.com/gpu.memory": "10000"}
REGISTER = {"hami.io/node-nvidia-register": "GPU-a,2,10000,100,A10,0,true:GPU-b,2,10000,100,A10,0,true:"}


def part(fraction: str, groups: str, number: str = "1") -> Pod:
    notes = {"gpu-fraction": fraction, "gpu-fraction-num-devices": number, "aliquot.dev/gpu-groups": groups}
    return pod(annotations=notes)


def whole(number: int) -> Pod:
    return pod(asking({GPU: number}))


def hami(device: str, cores: int = 0) -> Pod:
    given = {"hami.io/vgpu-devices-allocated": f"{device},NVIDIA,2000,{cores}:;"}
    made = pod(asking({GPU: 1, "nvidia.com/gpumem": 2000, "nvidia.com/gpucores": cores}), annotations=given)
    return replace(made, spec=replace(made.spec, node_name="n1"))


@pytest.mark.parametrize(
    ("pods", "told"),
    [
        ([part("0.5", "x"), part("0.5", "x"), whole(1)], []),
        ([part("0.5", "x"), part("0.6", "x")], ["device x: 110% of its memory"]),
        ([part("0.5", "x"), part("0.5", "y"), whole(1)], ["3 devices of 2"]),
        ([part("0.5", "x,y", "2"), part("0.6", "y")], ["device y: 110% of its memory"]),
        ([part("0.5", ""), part("0.5", "")], []),
        ([whole(3)], ["3 devices of 2"]),
    ],
)
def test_parts_and_whole_devices_are_counted_together(pods: list[Pod], told: list[str]) -> None:
    named = [replace(item, metadata=replace(item.metadata, name=f"p{n}")) for n, item in enumerate(pods)]
    assert list(overuse(node({GPU: 2}, OURS), named)) == told


@pytest.mark.parametrize(
    ("pods", "told"),
    [
        ([hami("GPU-a", 50), hami("GPU-a", 50), hami("GPU-b")], []),
        ([hami("GPU-a", 60), hami("GPU-a", 50)], ["device GPU-a: 110% of its compute"]),
        ([hami("GPU-a"), hami("GPU-a"), hami("GPU-a")], ["device GPU-a: 3 pods of 2 at most"]),
    ],
)
def test_hamis_records_are_counted_with_compute_and_sharers(pods: list[Pod], told: list[str]) -> None:
    assert list(overuse(node({GPU: 4}, annotations=REGISTER), pods)) == told
