"""The objects of a fleet: valid for the API, always the same, and what the driver publishes for full GPUs."""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aliquot.catalog.dra_drivers import dra_drivers
from aliquot.catalog.drivers.publication import binary_quantity, decimal_quantity, version
from aliquot.catalog.fleet import expand, parse_fleet
from aliquot.catalog.node_types import node_types
from aliquot.cel.quantity import Quantity

Json = dict[str, Any]
Rules = Callable[..., None]

FLEETS = Path(__file__).resolve().parents[2] / "fleets"
VERSIONS = [(1, 34), (1, 35), (1, 36), (1, 37)]


def objects(*entries: str, kubernetes: tuple[int, int] = (1, 36)) -> list[Json]:
    text = "apiVersion: aliquot.dev/v1alpha1\nkind: Fleet\nnodes:\n" + "".join(f"  - {e}\n" for e in entries)
    return list(expand(parse_fleet(text, "f.yaml"), kubernetes))


def of_kind(made: list[Json], kind: str) -> list[Json]:
    return [item for item in made if item["kind"] == kind]


def devices(made: list[Json]) -> list[Json]:
    return [device for item in of_kind(made, "ResourceSlice") for device in item["spec"].get("devices", ())]


@pytest.mark.parametrize("kubernetes", VERSIONS, ids=lambda pair: f"1.{pair[1]}")
@pytest.mark.parametrize("name", ["demo.yaml", "h100-a100.yaml", "vendors.yaml"])
def test_the_example_fleets_expand_to_valid_objects(
    name: str, kubernetes: tuple[int, int], api_rules: Rules
) -> None:
    api_rules(expand(parse_fleet((FLEETS / name).read_text(), name), kubernetes), kubernetes)


@pytest.mark.parametrize("kind", [kind for kind in node_types() if not kind.startswith("tpu7x")])
def test_every_node_type_expands_to_valid_objects_with_all_its_devices(kind: str, api_rules: Rules) -> None:
    nics = node_types()[kind].nics
    made = objects(
        f"{{type: {kind}, count: 2, nics: {str(nics is not None).lower()}, computeDomains: false}}"
    )

    api_rules(made)
    expected = 2 * (len(node_types()[kind].gpus) + len(nics.devices if nics else ()))
    assert len(devices(made)) == expected


def test_the_large_fleet_expands_to_valid_objects_within_seconds(api_rules: Rules) -> None:
    found = parse_fleet((FLEETS / "large.yaml").read_text(), "large.yaml")
    started = time.process_time()
    made = list(expand(found))
    spent = time.process_time() - started

    assert Counter(item["kind"] for item in made)["Node"] == 5000
    assert spent < 20
    api_rules(made[:4000])


def test_expansion_is_the_same_every_time() -> None:
    found = parse_fleet((FLEETS / "vendors.yaml").read_text(), "vendors.yaml")

    assert list(expand(found)) == list(expand(found))


def test_no_two_objects_share_a_part_that_a_caller_might_change() -> None:
    seen: set[int] = set()
    made = list(expand(parse_fleet((FLEETS / "vendors.yaml").read_text(), "vendors.yaml")))
    waiting: list[Any] = list(made)
    while waiting:
        part = waiting.pop()
        assert id(part) not in seen, part
        seen.add(id(part))
        inner = part.values() if isinstance(part, dict) else part
        waiting += [item for item in inner if isinstance(item, (dict, list))]


def test_no_two_devices_of_a_fleet_have_the_same_uuid() -> None:
    made = objects("{type: dgx-h100, count: 3}", "{type: dgx-h100, mig: {layout: [1g.10gb, 1g.10gb]}}")
    uuids = [device["attributes"]["uuid"]["string"] for device in devices(made)]

    assert len(uuids) == 3 * 8 + 16
    assert len(set(uuids)) == len(uuids)


def test_a_dgx_h100_is_published_as_the_nvidia_driver_does() -> None:
    made = objects("{type: dgx-h100}")

    (published,) = of_kind(made, "ResourceSlice")
    assert published["metadata"]["name"].startswith("dgx-h100-0-gpu.nvidia.com-")
    assert published["spec"]["pool"] == {"name": "dgx-h100-0", "generation": 1, "resourceSliceCount": 1}
    assert [device["name"] for device in devices(made)] == [f"gpu-{index}" for index in range(8)]
    first = devices(made)[0]
    uuid = first["attributes"].pop("uuid")["string"]
    assert uuid.startswith("GPU-")
    assert first == {
        "name": "gpu-0",
        "attributes": {
            "type": {"string": "gpu"},
            "productName": {"string": "NVIDIA H100 80GB HBM3"},
            "brand": {"string": "Nvidia"},
            "architecture": {"string": "Hopper"},
            "cudaComputeCapability": {"version": "9.0.0"},
            "driverVersion": {"version": "580.126.20"},
            "cudaDriverVersion": {"version": "13.0.0"},
            "addressingMode": {"string": "HMM"},
            "resource.kubernetes.io/pciBusID": {"string": "0000:1b:00.0"},
            "resource.kubernetes.io/pcieRoot": {"string": "pci0000:17"},
            "resource.kubernetes.io/numaNode": {"int": 0},
        },
        "capacity": {"memory": {"value": "81559Mi"}},
    }


def test_the_nvidia_classes_are_those_of_its_chart() -> None:
    made = of_kind(objects("{type: dgx-h100}"), "DeviceClass")

    assert [item["metadata"]["name"] for item in made] == [
        "gpu.nvidia.com",
        "mig.nvidia.com",
        "vfio.gpu.nvidia.com",
    ]
    assert made[0]["spec"] == {
        "selectors": [
            {
                "cel": {
                    "expression": "device.driver == 'gpu.nvidia.com' && "
                    "device.attributes['gpu.nvidia.com'].type == 'gpu'"
                }
            }
        ],
        "extendedResourceName": "nvidia.com/gpu",
    }


def test_classes_are_given_once_and_first() -> None:
    made = objects("{type: dgx-h100}", "{type: dgx-a100}", "{type: mi300x-8way}")
    kinds = [item["kind"] for item in made]

    assert kinds == ["DeviceClass"] * 4 + ["Node", "ResourceSlice"] * 3


def test_every_published_attribute_is_one_that_the_driver_is_known_for() -> None:
    everything = [
        "{type: dgx-h100, nics: true}",
        "{type: dgx-h100, mig: {dynamic: true}}",
        "{type: dgx-h100, mig: {layout: [3g.40gb]}}",
        "{type: nvl72-gb200}",
        "{type: mi300x-8way, partitions: dynamic}",
        "{type: mi300x-8way, partitions: cpx_nps4}",
        "{type: max1550-8}",
        "{type: gaudi3-hls3}",
        "{type: tpu-v6e-4}",
    ]
    for item in of_kind(objects(*everything), "ResourceSlice"):
        known = {name for fact in dra_drivers()[item["spec"]["driver"]].published() for name in fact.names()}
        for device in item["spec"].get("devices", ()):
            names = {*device["attributes"], *device.get("capacity", ())}
            slices = {name for name in names if name.startswith("memorySlice")}
            assert names - slices - {"pciBusID", "pcieRoot"} <= known | {
                f"resource.kubernetes.io/{name}" for name in ("pciBusID", "pcieRoot", "numaNode")
            }, item["spec"]["driver"]


def test_racks_and_blocks_are_numbered_along_the_nodes() -> None:
    nodes = of_kind(
        objects("{type: dgx-h100, count: 10, rack: r, nodesPerRack: 2, block: b, racksPerBlock: 2}"), "Node"
    )

    places = [
        (node["metadata"]["labels"]["aliquot.dev/block"], node["metadata"]["labels"]["aliquot.dev/rack"])
        for node in nodes
    ]

    assert places == [
        *[("b-0", "r-0")] * 2,
        *[("b-0", "r-1")] * 2,
        *[("b-1", "r-2")] * 2,
        *[("b-1", "r-3")] * 2,
        *[("b-2", "r-4")] * 2,
    ]


def test_a_node_has_capacity_conditions_and_the_labels_of_operators() -> None:
    (node,) = of_kind(
        objects("{type: dgx-h100, zone: eu-west-1a, rack: r, nodesPerRack: 2, block: b, labels: {team: x}}"),
        "Node",
    )

    assert (
        node["metadata"]["labels"].items()
        >= {
            "kubernetes.io/arch": "amd64",
            "kubernetes.io/hostname": "dgx-h100-0",
            "kubernetes.io/os": "linux",
            "node.kubernetes.io/instance-type": "dgx-h100",
            "topology.kubernetes.io/zone": "eu-west-1a",
            "topology.kubernetes.io/region": "eu-west-1",
            "aliquot.dev/rack": "r-0",
            "aliquot.dev/block": "b",
            "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3",
            "nvidia.com/gpu.count": "8",
            "nvidia.com/gpu.memory": "81559",
            "nvidia.com/gpu.family": "hopper",
            "nvidia.com/mig.capable": "true",
            "nvidia.com/gpu.machine": "DGXH100",
            "team": "x",
        }.items()
    )
    assert node["status"]["capacity"]["cpu"] == "224"
    assert node["status"]["capacity"]["memory"] == "2Ti"
    assert node["status"]["allocatable"]["memory"] == "2097052Mi"
    assert node["status"]["allocatable"]["pods"] == "110"
    assert "nvidia.com/gpu" not in node["status"]["capacity"]


def test_labels_and_taints_of_the_file_win() -> None:
    (node,) = of_kind(
        objects(
            "{type: dgx-h100, labels: {nvidia.com/gpu.present: false}, annotations: {a: b}, "
            "taints: [{key: gpu, effect: NoSchedule}]}"
        ),
        "Node",
    )

    assert node["metadata"]["labels"]["nvidia.com/gpu.present"] == "false"
    assert node["metadata"]["annotations"] == {"a": "b"}
    assert node["spec"]["taints"] == [{"key": "gpu", "value": "", "effect": "NoSchedule"}]


@pytest.mark.parametrize(
    ("kind", "family"),
    [
        ("v100-sxm2-8", "volta"),
        ("t4-pcie-1", "turing"),
        ("dgx-a100", "ampere"),
        ("a40-pcie-4", "ampere"),
        ("l4-pcie-1", "ada-lovelace"),
        ("dgx-h200", "hopper"),
        ("dgx-b200", "blackwell"),
        ("sr675v3-rtxpro6000-8", "blackwell"),
    ],
)
def test_the_gpu_family_follows_from_the_compute_capability(kind: str, family: str) -> None:
    (node,) = of_kind(objects(f"{{type: {kind}}}"), "Node")

    assert node["metadata"]["labels"]["nvidia.com/gpu.family"] == family


def test_hardware_outside_the_catalogue_is_described_in_the_file() -> None:
    made = objects("{hardware: {accelerator: T4, count: 3, cpus: 8, memoryGiB: 30}}")

    (node,) = of_kind(made, "Node")
    assert node["metadata"]["name"] == "t4-0"
    assert (node["status"]["capacity"]["cpu"], node["status"]["capacity"]["memory"]) == ("8", "30Gi")
    assert [device["attributes"]["brand"]["string"] for device in devices(made)] == ["Tesla"] * 3
    assert (
        len({device["attributes"]["resource.kubernetes.io/pcieRoot"]["string"] for device in devices(made)})
        == 3
    )


def test_a_node_without_accelerators_has_only_its_host() -> None:
    (node,) = objects("{hardware: {cpus: 32, memoryGiB: 128}}")

    assert node["metadata"]["name"] == "cpu-0"
    assert node["status"]["capacity"]["cpu"] == "32"
    assert not any("gpu" in label for label in node["metadata"]["labels"])


@pytest.mark.parametrize(
    ("amount", "binary", "decimal"),
    [
        (0, "0", "0"),
        (14, "14", "14"),
        (1024, "1Ki", "1024"),
        (1000, "1000", "1k"),
        (81559 << 20, "81559Mi", None),
    ],
)
def test_quantities_are_written_in_canonical_form(amount: int, binary: str, decimal: str | None) -> None:
    assert binary_quantity(amount) == binary
    assert Quantity.parse(binary).value() == amount
    assert decimal_quantity(amount) == decimal or decimal is None


def test_versions_are_completed_to_three_parts() -> None:
    assert version("9.0") == {"version": "9.0.0"}
    assert version("580.126.20") == {"version": "580.126.20"}
