"""Labels as exporters, relabelling and monitoring services write them."""

import pytest

from aliquot.model.meta import ObjectRef
from aliquot.usage.identity import identity, pci_address, profile_name

POD = ObjectRef(kind="Pod", namespace="ml", name="train-0")


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("exporter, read directly", {"pod": "train-0", "namespace": "ml", "container": "main"}),
        (
            "labels of the target win",
            {
                "pod": "nvidia-dcgm-exporter-x2x4z",
                "namespace": "gpu-operator",
                "container": "nvidia-dcgm-exporter",
                "exported_pod": "train-0",
                "exported_namespace": "ml",
                "exported_container": "main",
            },
        ),
        ("old names", {"pod_name": "train-0", "pod_namespace": "ml", "container_name": "main"}),
        ("all in lower case", {"Pod": "train-0", "NAMESPACE": "ml", "CONTAINER": "main"}),
    ],
)
def test_the_pod_that_used_a_device_is_found(name: str, labels: dict[str, str]) -> None:
    found = identity({**labels, "UUID": "GPU-1"})
    assert (found.pod, found.container, found.uuid) == (POD, "main", "GPU-1")


@pytest.mark.parametrize(
    "labels",
    [
        {"pod": "nvidia-dcgm-exporter-x2x4z", "namespace": "gpu-operator"},
        {"pod": "something", "container": "nvidia-dcgm-exporter"},
        {"pod": "amd-device-metrics-exporter-abcde", "namespace": "kube-amd-gpu"},
        {"pod": "", "namespace": "", "container": ""},
    ],
)
def test_the_exporter_itself_does_not_pass_for_the_holder_of_a_free_device(labels: dict[str, str]) -> None:
    assert identity({**labels, "UUID": "GPU-1"}).pod is None


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"gpu": "3"}, "3"),
        ({"device": "nvidia3"}, "3"),
        ({"gpu_id": "07"}, "7"),
        ({"gpu": "GPU-abc", "device": "nvidia1"}, "1"),
        ({"gpu": "all"}, ""),
    ],
)
def test_the_number_of_a_device(labels: dict[str, str], expected: str) -> None:
    assert identity(labels).index == expected


def test_a_mig_instance_is_named_by_its_parent_and_its_own_id() -> None:
    found = identity({"UUID": "GPU-1", "GPU_I_ID": "9", "GPU_I_PROFILE": "1g.10gb+me"})
    assert (found.uuid, found.instance, found.profile) == ("GPU-1", "9", "1g.10gb.me")
    alone = identity({"UUID": "MIG-7"})
    assert (alone.uuid, alone.mig_uuid) == ("", "MIG-7")


def test_dynamic_resource_allocation_names_claim_and_device() -> None:
    found = identity(
        {
            "UUID": "GPU-1",
            "dra_claim_name": "c",
            "dra_claim_namespace": "ml",
            "dra_driver_name": "gpu.nvidia.com",
            "dra_pool_name": "node-1",
            "dra_device_name": "gpu-0-mig-1g10gb-19-0",
            "dra_mig_profile": "1g.10gb",
            "dra_mig_device_uuid": "MIG-7",
        }
    )
    assert found.claim == ObjectRef(kind="ResourceClaim", namespace="ml", name="c")
    assert (found.driver, found.pool, found.device) == ("gpu.nvidia.com", "node-1", "gpu-0-mig-1g10gb-19-0")
    assert (found.mig_uuid, found.profile) == ("MIG-7", "1g.10gb")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("00000000:65:00.0", "0000:65:00.0"),
        ("0000:65:00.0", "0000:65:00.0"),
        ("65:00.0", "0000:65:00.0"),
        ("00000001:8D:00.0", "0001:8d:00.0"),
        ("gpu0", ""),
    ],
)
def test_pci_addresses_are_written_as_kubernetes_does(text: str, expected: str) -> None:
    assert pci_address(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1g.10gb", "1g.10gb"),
        ("MIG 1g.10gb", "1g.10gb"),
        ("nvidia.com/mig-1g.10gb.me", "1g.10gb.me"),
        ("1G.10GB+me", "1g.10gb.me"),
        ("", ""),
    ],
)
def test_profiles_are_written_one_way(text: str, expected: str) -> None:
    assert profile_name(text) == expected
