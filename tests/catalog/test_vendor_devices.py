"""What the other drivers publish: AMD, Intel, TPU, NICs, compute domains, vGPU guests and device plugins."""

from typing import Any

import pytest

from aliquot.catalog.fleet import expand, parse_fleet

Json = dict[str, Any]


def objects(*entries: str, kubernetes: tuple[int, int] = (1, 36)) -> list[Json]:
    text = "apiVersion: aliquot.dev/v1alpha1\nkind: Fleet\nnodes:\n" + "".join(f"  - {e}\n" for e in entries)
    return list(expand(parse_fleet(text, "f.yaml"), kubernetes))


def of_kind(made: list[Json], kind: str) -> list[Json]:
    return [item for item in made if item["kind"] == kind]


def devices(made: list[Json], driver: str) -> list[Json]:
    return [
        device
        for item in of_kind(made, "ResourceSlice")
        if item["spec"]["driver"] == driver
        for device in item["spec"].get("devices", ())
    ]


def values(device: Json, *names: str) -> list[Any]:
    return [next(iter(device["attributes"][name].values())) for name in names]


def test_a_whole_amd_gpu_is_named_by_its_card_and_render_node() -> None:
    made = objects("{type: mi300x-8way}")
    found = devices(made, "gpu.amd.com")

    assert [device["name"] for device in found] == [f"gpu-{i}-{128 + i}" for i in range(8)]
    assert values(found[0], "type", "productName", "deviceID", "partitionProfile", "numaNode") == [
        "amdgpu",
        "Instinct_MI300X",
        "0x74a1",
        "spx_nps1",
        0,
    ]
    assert {name: held["value"] for name, held in found[0]["capacity"].items()} == {
        "memory": "196592Mi",
        "computeUnits": "304",
        "simdUnits": "1216",
    }


def test_partitions_made_beforehand_divide_the_gpu_and_keep_its_address() -> None:
    found = devices(objects("{type: mi300x-8way, partitions: cpx_nps4}"), "gpu.amd.com")

    assert len(found) == 64
    assert [device["name"] for device in found] == sorted(device["name"] for device in found)
    assert {device["capacity"]["computeUnits"]["value"] for device in found} == {"38"}
    assert {device["capacity"]["memory"]["value"] for device in found} == {"24574Mi"}
    by_parent: dict[str, int] = {}
    for device in found:
        (address,) = values(device, "resource.kubernetes.io/pciBusID")
        by_parent[address] = by_parent.get(address, 0) + 1
        assert values(device, "type", "partitionProfile") == ["amdgpu-partition", "cpx_nps4"]
    assert list(by_parent.values()) == [8] * 8


def test_auto_partition_offers_each_combination_once_per_gpu_behind_a_mutex() -> None:
    made = objects("{type: mi300x-8way, partitions: dynamic}")
    counters, published = (item["spec"] for item in of_kind(made, "ResourceSlice"))
    found = {device["name"]: device for device in published["devices"]}

    assert counters["sharedCounters"] == [
        {"name": f"gpu-{i}-mutex", "counters": {"partition-mode": {"value": "1"}}} for i in range(8)
    ]
    assert len(found) == 32
    whole, cut = found["gpu-0-spx-nps1"], found["gpu-0-cpx-nps4"]
    assert values(whole, "type", "computePartition") == ["amdgpu", "spx"]
    assert "allowMultipleAllocations" not in whole
    assert values(cut, "type", "memoryPartition", "gpuIndex") == ["amdgpu-partition", "nps4", 0]
    assert cut["allowMultipleAllocations"] is True
    assert cut["capacity"] == {
        "partitions": {"value": "8", "requestPolicy": {"default": "1", "validValues": ["1"]}},
        "memory": {"value": "196592Mi", "requestPolicy": {"default": "24574Mi", "validValues": ["24574Mi"]}},
        "computeUnits": {"value": "304", "requestPolicy": {"default": "38", "validValues": ["38"]}},
        "simdUnits": {"value": "1216", "requestPolicy": {"default": "152", "validValues": ["152"]}},
    }
    assert cut["consumesCounters"] == [
        {"counterSet": "gpu-0-mutex", "counters": {"partition-mode": {"value": "1"}}}
    ]


def test_auto_partition_needs_kubernetes_1_36() -> None:
    found = devices(objects("{type: mi300x-8way, partitions: dynamic}", kubernetes=(1, 35)), "gpu.amd.com")

    assert [values(device, "partitionProfile") for device in found] == [["spx_nps1"]] * 8


def test_amd_extended_resources_move_to_whole_gpus_with_auto_partition() -> None:
    plain = of_kind(objects("{type: mi300x-8way}"), "DeviceClass")
    auto = of_kind(objects("{type: mi300x-8way, partitions: dynamic}"), "DeviceClass")

    assert [(c["metadata"]["name"], c["spec"].get("extendedResourceName")) for c in plain] == [
        ("gpu.amd.com", "amd.com/gpu")
    ]
    assert [(c["metadata"]["name"], c["spec"].get("extendedResourceName")) for c in auto] == [
        ("gpu.amd.com", None),
        ("gpu.amd.com-spx", "amd.com/gpu"),
    ]


def test_each_die_of_an_mi250x_is_a_device_of_half_its_units() -> None:
    found = devices(objects("{type: mi250x-4oam}"), "gpu.amd.com")

    assert len(found) == 8
    assert found[0]["capacity"]["computeUnits"] == {"value": "110"}
    assert "partitionProfile" not in found[0]["attributes"]


def test_intel_devices_are_named_by_address_and_model() -> None:
    made = objects("{type: b60-pcie-4}", "{type: gaudi3-hls3}")
    gpu, gaudi = devices(made, "gpu.intel.com")[0], devices(made, "gaudi.intel.com")[0]

    assert gpu["name"] == "0000-11-00-0-0xe211"
    assert values(gpu, "model", "driver", "type", "health") == ["Arc Pro B60", "xe", "gpu", "Healthy"]
    assert gpu["capacity"] == {"memory": {"value": "24480Mi"}, "millicores": {"value": "1k"}}
    assert gaudi["name"] == "0000-11-00-0-0x1060"
    assert values(gaudi, "model", "healthy") == ["Gaudi3", True]
    assert "capacity" not in gaudi


def test_hosts_of_a_tpu_slice_publish_their_chips_and_share_a_node_pool() -> None:
    made = objects("{type: tpu-v6e-4, count: 8, topology: 4x4}")
    found = devices(made, "tpu.google.com")
    pools = [node["metadata"]["labels"]["cloud.google.com/gke-nodepool"] for node in of_kind(made, "Node")]

    assert len(found) == 32
    assert found[1]["name"] == "1"
    assert values(found[1], "index", "tpuGen", "accelerator", "chipCount", "topology") == [
        1,
        "v6e",
        "tpu-v6e-slice",
        4,
        "4x4",
    ]
    assert pools == ["tpu-v6e-4-slice-0"] * 4 + ["tpu-v6e-4-slice-1"] * 4


def test_a_tpu_without_a_driver_is_a_device_plugin_node() -> None:
    made = objects("{type: tpu7x-4, legacy: true}")

    assert [item["kind"] for item in made] == ["Node"]
    assert made[0]["status"]["capacity"]["google.com/tpu"] == "4"


def test_each_nic_of_a_dgx_shares_the_root_of_one_gpu() -> None:
    made = objects("{type: dgx-h100, nics: true}")
    root = "resource.kubernetes.io/pcieRoot"
    gpus = [values(device, root) for device in devices(made, "gpu.nvidia.com")]
    nics = devices(made, "dra.net")

    assert [values(nic, root) for nic in nics] == gpus
    assert nics[0]["name"] == "pci-0000-18-00-0"
    assert values(nics[0], "dra.net/ifName", "dra.net/rdma", "dra.net/rdmaDevice") == [
        "enp24s0np0",
        True,
        "mlx5_0",
    ]
    macs = {values(nic, "dra.net/mac")[0] for nic in nics}
    assert len(macs) == 8


def test_nodes_of_an_nvl72_rack_share_a_clique_and_publish_compute_domain_devices() -> None:
    made = objects("{type: nvl72-gb200, count: 36}")
    cliques = [node["metadata"]["labels"]["nvidia.com/gpu.clique"] for node in of_kind(made, "Node")]
    found = devices(made, "compute-domain.nvidia.com")

    assert len(set(cliques)) == 2
    assert cliques[0] == cliques[17] != cliques[18] == cliques[35]
    assert [device["name"] for device in found[:2]] == ["channel-0", "daemon-0"]
    assert found[0]["attributes"] == {"type": {"string": "channel"}, "id": {"int": 0}}
    assert len(found) == 72
    names = [item["metadata"]["name"] for item in of_kind(made, "DeviceClass")]
    assert names[3:] == ["compute-domain-default-channel.nvidia.com", "compute-domain-daemon.nvidia.com"]
    assert values(devices(made, "gpu.nvidia.com")[0], "addressingMode") == ["ATS"]


def test_a_vgpu_guest_has_the_device_and_the_share_of_the_host_that_its_type_is() -> None:
    made = objects("{type: a10-pcie-2, vgpu: A10-12Q}", "{type: a10-pcie-2, vgpu: {type: A10-12Q, count: 2}}")
    one, two = of_kind(made, "Node")
    found = devices(made, "gpu.nvidia.com")

    assert [device["name"] for device in found] == ["gpu-0", "gpu-0", "gpu-1"]
    assert values(found[0], "type", "productName", "architecture") == ["gpu", "NVIDIA A10-12Q", "Ampere"]
    assert found[0]["capacity"] == {"memory": {"value": "12Gi"}}
    assert (one["status"]["capacity"]["cpu"], one["status"]["capacity"]["memory"]) == ("16", "64Gi")
    assert (two["status"]["capacity"]["cpu"], two["status"]["capacity"]["memory"]) == ("32", "128Gi")
    assert one["metadata"]["labels"]["nvidia.com/gpu.product"] == "NVIDIA-A10-12Q"
    assert one["metadata"]["labels"]["nvidia.com/vgpu.present"] == "true"


@pytest.mark.parametrize(
    ("entry", "resources", "labels"),
    [
        ("legacy: true", {"nvidia.com/gpu": "8"}, {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-40GB"}),
        (
            "legacy: {replicas: 4}",
            {"nvidia.com/gpu": "32"},
            {
                "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-40GB-SHARED",
                "nvidia.com/gpu.replicas": "4",
                "nvidia.com/gpu.sharing-strategy": "time-slicing",
            },
        ),
        (
            "legacy: {replicas: 4, rename: true}",
            {"nvidia.com/gpu.shared": "32"},
            {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-40GB"},
        ),
        (
            "legacy: {strategy: mixed}, mig: {gpus: {0-1: [3g.20gb, 4g.20gb], 2: [1g.5gb+me]}}",
            {
                "nvidia.com/gpu": "5",
                "nvidia.com/mig-1g.5gb.me": "1",
                "nvidia.com/mig-3g.20gb": "2",
                "nvidia.com/mig-4g.20gb": "2",
            },
            {
                "nvidia.com/mig.strategy": "mixed",
                "nvidia.com/mig-3g.20gb.count": "2",
                "nvidia.com/gpu.count": "8",
            },
        ),
        (
            "legacy: {strategy: single}, mig: {layout: [1g.5gb, 1g.5gb]}",
            {"nvidia.com/gpu": "16"},
            {
                "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-40GB-MIG-1g.5gb",
                "nvidia.com/gpu.count": "16",
                "nvidia.com/gpu.memory": "4864",
            },
        ),
    ],
)
def test_a_device_plugin_node_has_resources_instead_of_slices(
    entry: str, resources: dict[str, str], labels: dict[str, str]
) -> None:
    made = objects(f"{{type: dgx-a100, {entry}}}")

    assert [item["kind"] for item in made] == ["Node"]
    for part in ("capacity", "allocatable"):
        found = {
            name: text for name, text in made[0]["status"][part].items() if name.startswith("nvidia.com/")
        }
        assert found == resources
    assert made[0]["metadata"]["labels"].items() >= labels.items()


def test_amd_device_plugin_nodes_have_amd_resources() -> None:
    whole, cut = objects(
        "{type: mi300x-8way, legacy: true}", "{type: mi300x-8way, legacy: true, partitions: cpx_nps1}"
    )

    assert whole["status"]["capacity"]["amd.com/gpu"] == "8"
    assert cut["status"]["capacity"]["amd.com/gpu"] == "64"


def test_combinations_that_auto_partition_does_not_offer_can_be_set_up_beforehand() -> None:
    found = devices(objects("{type: mi355x-8way, partitions: qpx_nps1}"), "gpu.amd.com")

    assert len(found) == 32
    assert found[0]["capacity"]["simdUnits"] == {"value": "256"}
