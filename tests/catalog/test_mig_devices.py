"""MIG instances and shares as NVIDIA's driver publishes them, and that the counters allow just what fits."""

import itertools
from collections import Counter
from typing import Any

import pytest

from aliquot.catalog.drivers.nvidia_mig import counter_set, dynamic_devices, dynamic_problem
from aliquot.catalog.fleet import expand, parse_fleet
from aliquot.catalog.mig import MigBoard, NoRoom, mig_boards, place_layout
from aliquot.cel.quantity import Quantity

Json = dict[str, Any]

KNOWN = [pytest.param(board, id=board.id) for board in mig_boards().values() if not dynamic_problem(board, 8)]


def objects(entry: str, kubernetes: tuple[int, int] = (1, 36)) -> list[Json]:
    text = f"apiVersion: aliquot.dev/v1alpha1\nkind: Fleet\nnodes:\n  - {entry}\n"
    return list(expand(parse_fleet(text, "f.yaml"), kubernetes))


def specs(made: list[Json]) -> list[Json]:
    return [item["spec"] for item in made if item["kind"] == "ResourceSlice"]


def parent() -> Json:
    return {"name": "gpu-0", "attributes": {"type": {"string": "gpu"}, "uuid": {"string": "GPU-x"}}}


def consumed(device: Json) -> dict[str, int]:
    (consumption,) = device["consumesCounters"]
    return {name: Quantity.parse(amount["value"]).value() for name, amount in consumption["counters"].items()}


def available(board: MigBoard) -> dict[str, int]:
    counters = counter_set(board, 0)["counters"]
    return {name: Quantity.parse(amount["value"]).value() for name, amount in counters.items()}


def fits(board: MigBoard, chosen: list[Json]) -> bool:
    total: Counter[str] = Counter()
    for device in chosen:
        total.update(consumed(device))
    return all(amount <= available(board)[name] for name, amount in total.items())


def test_a_static_instance_is_published_as_the_nvidia_driver_does() -> None:
    (spec,) = specs(objects("{type: dgx-a100, mig: {gpus: {0: [1g.5gb]}}}"))

    names = [device["name"] for device in spec["devices"]]
    assert names == ["gpu-0-mig-1g5gb-19-0", *(f"gpu-{index}" for index in range(1, 8))]
    instance = spec["devices"][0]
    assert instance["attributes"]["type"] == {"string": "mig"}
    assert instance["attributes"]["profile"] == {"string": "1g.5gb"}
    assert instance["attributes"]["uuid"]["string"].startswith("MIG-")
    assert instance["attributes"]["parentUUID"]["string"].startswith("GPU-")
    assert instance["attributes"]["productName"] == {"string": "NVIDIA A100-SXM4-40GB"}
    assert {name: held["value"] for name, held in instance["capacity"].items()} == {
        "memory": "4864Mi",
        "multiprocessors": "14",
        "copyEngines": "1",
        "decoders": "0",
        "encoders": "0",
        "jpegEngines": "0",
        "ofaEngines": "0",
        "memorySlice0": "1",
    }
    assert "consumesCounters" not in instance


def test_a_gpu_in_mig_mode_without_instances_publishes_nothing() -> None:
    (spec,) = specs(objects("{type: dgx-a100, mig: {gpus: {0-6: []}}}"))

    assert [device["name"] for device in spec["devices"]] == ["gpu-7"]


def test_dynamic_mig_has_one_slice_of_counters_and_one_of_devices_per_gpu() -> None:
    first, *others = specs(objects("{type: dgx-h100, mig: {dynamic: true}}"))

    assert [found["name"] for found in first["sharedCounters"]] == [f"gpu-{i}-counter-set" for i in range(8)]
    assert "devices" not in first
    assert len(others) == 8
    assert {spec["pool"]["resourceSliceCount"] for spec in (first, *others)} == {9}
    assert first["sharedCounters"][0]["counters"] == {
        "multiprocessors": {"value": "132"},
        "copy-engines": {"value": "8"},
        "decoders": {"value": "7"},
        "encoders": {"value": "0"},
        "jpeg-engines": {"value": "7"},
        "ofa-engines": {"value": "1"},
        "memory": {"value": "81152Mi"},
        **{f"memory-slice-{number}": {"value": "1"} for number in range(8)},
    }
    for index, spec in enumerate(others):
        assert len(spec["devices"]) == 26
        assert spec["devices"][0]["name"] == f"gpu-{index}"
        assert "sharedCounters" not in spec
    whole, *instances = others[0]["devices"]
    assert consumed(whole) == available(mig_boards()["h100-80gb-sxm5"])
    assert whole["capacity"]["memory"] == {"value": "81152Mi"}
    found = next(device for device in instances if device["name"] == "gpu-0-mig-3g40gb-9-4")
    assert "uuid" not in found["attributes"]
    assert "memorySlice4" not in found["capacity"]
    assert {name for name in consumed(found) if name.startswith("memory-slice")} == {
        f"memory-slice-{number}" for number in (4, 5, 6, 7)
    }


def test_before_kubernetes_1_35_a_slice_holds_counters_and_devices_of_one_gpu() -> None:
    found = specs(objects("{type: dgx-h100, mig: {dynamic: true}}", (1, 34)))

    assert len(found) == 8
    for index, spec in enumerate(found):
        assert [one["name"] for one in spec["sharedCounters"]] == [f"gpu-{index}-counter-set"]
        assert len(spec["devices"]) == 26


def test_on_ampere_only_instances_are_published() -> None:
    _, *others = specs(objects("{type: dgx-a100, mig: {dynamic: true}}"))

    for spec in others:
        assert {device["attributes"]["type"]["string"] for device in spec["devices"]} == {"mig"}
        assert len(spec["devices"]) == 25


def test_the_counters_of_an_rtx_pro_6000_are_those_read_on_a_live_node() -> None:
    first, *others = specs(objects("{type: sr675v3-rtxpro6000-8, mig: {dynamic: true}}"))
    counters = {name: amount["value"] for name, amount in first["sharedCounters"][0]["counters"].items()}
    small = next(device for device in others[0]["devices"] if "-mig-1g24gb-14-" in device["name"])

    assert counters == {
        "multiprocessors": "188",
        "copy-engines": "4",
        "decoders": "4",
        "encoders": "4",
        "jpeg-engines": "4",
        "ofa-engines": "1",
        "memory": "95Gi",
        **{f"memory-slice-{number}": "1" for number in range(12)},
    }
    assert sum(name.startswith("memory-slice") for name in consumed(small)) == 3
    assert len(others[0]["devices"]) <= 64


@pytest.mark.parametrize("board", KNOWN)
def test_no_instance_consumes_more_than_its_gpu_has(board: MigBoard) -> None:
    total = available(board)
    for device in dynamic_devices(board, 0, parent()):
        assert all(amount <= total[name] for name, amount in consumed(device).items()), device["name"]


@pytest.mark.parametrize("board", KNOWN)
def test_every_profile_fits_as_often_as_nvidia_says(board: MigBoard) -> None:
    """The counters let as many equal instances be allocated side by side as the profile table lists."""
    devices = dynamic_devices(board, 0, parent())
    for profile in board.profiles:
        if "+me" in profile.name:
            continue
        own = [
            device
            for device in devices
            if device.get("attributes", {}).get("profile", {}).get("string") == profile.name
        ]
        most = max(
            size
            for size in range(len(own) + 1)
            if any(fits(board, list(chosen)) for chosen in itertools.combinations(own, size))
        )
        assert most == profile.max_instances, profile.name


@pytest.mark.parametrize("board", KNOWN)
def test_the_whole_gpu_and_an_instance_exclude_each_other(board: MigBoard) -> None:
    if not board.toggles_without_reset():
        return
    whole, *instances = dynamic_devices(board, 0, parent())

    assert whole["name"] == "gpu-0"
    assert not any(fits(board, [whole, instance]) for instance in instances)


@pytest.mark.parametrize("board", KNOWN)
def test_a_static_layout_that_can_be_placed_can_also_be_allocated_dynamically(board: MigBoard) -> None:
    devices = {device["name"]: device for device in dynamic_devices(board, 0, parent())}
    names = [
        profile.name for profile in board.profiles if "me" not in profile.name and "gfx" not in profile.name
    ]
    tried = 0
    for size in range(1, min(board.max_instances, 4) + 1):
        for layout in itertools.combinations_with_replacement(names, size):
            placed = place_layout(board, layout)
            if isinstance(placed, NoRoom):
                continue
            tried += 1
            chosen = [
                devices[f"gpu-0-mig-{profile.name.replace('.', '')}-{profile.profile_id}-{start}"]
                for profile, start in placed
            ]
            assert fits(board, chosen), layout
    assert tried >= 7


@pytest.mark.parametrize(
    ("mode", "memory", "shares"),
    [
        ("memory", ("46068Mi", "1Mi"), None),
        ("unlimited", ("0", "0"), None),
        ("4", ("0", "0"), "4"),
    ],
)
def test_consumable_shares_follow_the_mode(mode: str, memory: tuple[str, str], shares: str | None) -> None:
    (spec,) = specs(objects(f"{{type: l40s-pcie-4, shares: {mode}}}"))
    device = spec["devices"][0]
    default, lowest = memory

    assert device["allowMultipleAllocations"] is True
    assert device["capacity"]["memory"] == {
        "value": "46068Mi",
        "requestPolicy": {
            "default": default,
            "validRange": {"min": lowest, "max": "46068Mi", "step": "1Mi"},
        },
    }
    if shares is None:
        assert "shares" not in device["capacity"]
    else:
        assert device["capacity"]["shares"] == {
            "value": shares,
            "requestPolicy": {"default": "1", "validRange": {"min": "1", "max": shares, "step": "1"}},
        }


def test_shares_apply_to_instances_too() -> None:
    _, *others = specs(objects("{type: dgx-h100, mig: {dynamic: true}, shares: 2}"))

    assert all(device["allowMultipleAllocations"] for spec in others for device in spec["devices"])
