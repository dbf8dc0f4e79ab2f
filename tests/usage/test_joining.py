"""Readings joined to devices and holders: each way of holding, and any disorder of exporters."""

from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aliquot.model.meta import ObjectRef
from aliquot.usage.identity import identity
from aliquot.usage.joining import Reading, Usage, joined_usage
from aliquot.usage.matching import Device
from aliquot.usage.metrics import Metric
from aliquot.usage.provenance import Provenance
from aliquot.usage.series import NOBODY, Owner, Series, Subject, column
from aliquot.usage.sharing import BY_SHARE, Tenure

DRIVER = "gpu.nvidia.com"
STEP = 60_000


def gpu(number: int, node: str = "n1") -> Device:
    place = Subject(node, DRIVER, node, f"gpu-{number}")
    return Device(place, uuid=f"GPU-{node}-{number}", pci=f"0000:0{number}:00.0", index=str(number))


def slice_of(number: int, profile: str, start: int, share: Fraction, uuid: str = "") -> Device:
    name = f"gpu-{number}-mig-{profile.replace('.', '')}-{start}"
    place = Subject("n1", DRIVER, "n1", f"gpu-{number}", name)
    return Device(
        place, uuid=uuid, parent_uuid=f"GPU-n1-{number}", index=str(number), profile=profile, share=share
    )


def owner(name: str) -> Owner:
    return Owner(queue=f"team-{name}", pod=ObjectRef(kind="Pod", namespace="ml", name=name))


OWNERS = {("ml", name): owner(name) for name in "abcd"}


def held(
    device: Device, name: str, start: int = 0, end: int | None = None, share: Fraction | None = None
) -> Tenure:
    return Tenure(device.subject, owner(name), device.share if share is None else share, start, end)


def said(
    labels: dict[str, str],
    values: Sequence[int],
    metric: Metric = Metric.ENGINE_BUSY,
    origin: str = "dcgm/n1",
    start: int = 0,
) -> Reading:
    times = column(start + (place + 1) * STEP for place in range(len(values)))
    return Reading(metric, identity(labels), times, column(values), origin)


def by_pod(usage: Usage, metric: Metric = Metric.ENGINE_BUSY) -> dict[str, Series]:
    return {
        item.owner.pod.name: item
        for item in usage.held
        if item.metric is metric and item.owner.pod is not None
    }


def test_a_whole_device_is_its_holders() -> None:
    device = gpu(0)
    usage = joined_usage([said({"UUID": "GPU-n1-0"}, [100, 200])], [device], [held(device, "a")], OWNERS)
    (series,) = usage.held
    assert (series.owner, series.provenance, series.values.tolist()) == (
        owner("a"),
        Provenance.MEASURED,
        [100, 200],
    )
    assert usage.of(device.subject, Metric.SM_BUSY, Metric.ENGINE_BUSY) is not None


@pytest.mark.parametrize(
    "labels",
    [
        {"UUID": "GPU-n1-1", "Hostname": "some-exporter-pod"},
        {"Hostname": "n1", "pci_bus_id": "00000000:01:00.0"},
        {"hostname": "exporter-pod", "node": "n1", "gpu": "1"},
        {"Hostname": "n1", "device": "nvidia1"},
        {"dra_driver_name": DRIVER, "dra_pool_name": "n1", "dra_device_name": "gpu-1"},
    ],
)
def test_a_device_is_found_by_whatever_the_exporter_calls_it(labels: dict[str, str]) -> None:
    devices = [gpu(number, node) for node in ("n1", "n2") for number in range(3)]
    usage = joined_usage([said(labels, [1])], devices, [], OWNERS)
    assert list(usage.devices) == [devices[1].subject]


@pytest.mark.parametrize(
    "labels",
    [
        {"UUID": "GPU-other"},
        {"UUID": "GPU-other", "Hostname": "n1", "gpu": "1"},
        {"Hostname": "n9", "gpu": "1"},
        {"gpu": "1"},
    ],
)
def test_a_device_that_is_not_published_is_told_and_given_to_nobody(labels: dict[str, str]) -> None:
    usage = joined_usage([said(labels, [1])], [gpu(0), gpu(1)], [held(gpu(1), "a")], OWNERS)
    assert usage.devices == {}
    assert usage.held == ()
    assert len(usage.unmatched) == 1


def test_mig_instances_go_to_the_parts_that_their_pods_hold() -> None:
    whole = gpu(0)
    small = [slice_of(0, "1g.10gb", place, Fraction(1, 7)) for place in range(2)]
    large = slice_of(0, "3g.40gb", 4, Fraction(3, 7))
    parent = {"UUID": "GPU-n1-0", "GPU_I_PROFILE": "1g.10gb"}
    usage = joined_usage(
        [
            said({**parent, "GPU_I_ID": "9", "pod": "b", "namespace": "ml"}, [10]),
            said({**parent, "GPU_I_ID": "10", "pod": "a", "namespace": "ml"}, [20]),
            said({"UUID": "GPU-n1-0", "GPU_I_ID": "2", "GPU_I_PROFILE": "3g.40gb"}, [30]),
            said({"UUID": "GPU-n1-0"}, [400_000], Metric.POWER),
        ],
        [whole, *small, large],
        [held(small[0], "a"), held(small[1], "b"), held(large, "c")],
        OWNERS,
    )
    found = {name: item.values.tolist() for name, item in by_pod(usage).items()}
    assert found == {"a": [20], "b": [10], "c": [30]}
    assert {item.subject for item in by_pod(usage).values()} == {item.subject for item in (*small, large)}
    assert by_pod(usage, Metric.POWER) == {}
    assert usage.of(whole.subject, Metric.POWER) is not None


def test_mig_instances_that_cannot_be_told_apart_are_given_to_nobody() -> None:
    parts = [slice_of(0, "1g.10gb", place, Fraction(1, 7)) for place in range(2)]
    parent = {"UUID": "GPU-n1-0", "GPU_I_PROFILE": "1g.10gb"}
    usage = joined_usage(
        [said({**parent, "GPU_I_ID": "9"}, [10]), said({**parent, "GPU_I_ID": "10"}, [20])],
        [gpu(0), *parts],
        [held(part, name) for part, name in zip(parts, "ab", strict=True)],
        OWNERS,
    )
    assert {subject.part for subject in usage.devices} == {"instance 9", "instance 10"}
    assert all(item.owner == NOBODY for item in usage.held)


def test_a_mig_instance_is_found_by_its_own_uuid() -> None:
    part = slice_of(0, "1g.10gb", 0, Fraction(1, 7), "MIG-7")
    labels = {"UUID": "GPU-n1-0", "GPU_I_ID": "9", "dra_mig_device_uuid": "MIG-7"}
    usage = joined_usage([said(labels, [10])], [part], [held(part, "a")], OWNERS)
    assert list(by_pod(usage)) == ["a"]


def test_time_slices_of_a_device_plugin_share_what_the_exporter_repeats() -> None:
    device = Device(Subject("n1", "device-plugin", "n1", "nvidia.com/gpu-0"), index="0", anonymous=True)
    quarter = Fraction(1, 4)
    readings = [
        said({"UUID": "GPU-x", "Hostname": "n1", "gpu": "0", "pod": name, "namespace": "ml"}, [90, 91])
        for name in "ab"
    ]
    tenures = [held(device, name, share=quarter) for name in "ab"]
    usage = joined_usage(readings, [device], tenures, OWNERS)
    found = by_pod(usage)
    assert [found[name].values.tolist() for name in "ab"] == [[45, 45], [45, 46]]
    assert {item.rule for item in found.values()} == {BY_SHARE}
    assert usage.devices[device.subject][Metric.ENGINE_BUSY].values.tolist() == [90, 91]


def test_devices_of_a_device_plugin_are_told_apart_by_their_pods() -> None:
    devices = [
        Device(Subject("n1", "device-plugin", "n1", f"nvidia.com/gpu-{n}"), index=str(n), anonymous=True)
        for n in range(3)
    ]
    readings = [
        said({"UUID": "GPU-x", "Hostname": "n1", "gpu": "0"}, [1]),
        said({"UUID": "GPU-y", "Hostname": "n1", "gpu": "1"}, [2]),
        said({"UUID": "GPU-z", "Hostname": "n1", "gpu": "2", "pod": "a", "namespace": "ml"}, [3]),
    ]
    usage = joined_usage(readings, devices, [held(devices[0], "a")], OWNERS)
    values = {
        subject.device: own[Metric.ENGINE_BUSY].values.tolist() for subject, own in usage.devices.items()
    }
    assert values == {"nvidia.com/gpu-0": [3], "nvidia.com/gpu-1": [1], "nvidia.com/gpu-2": [2]}
    assert by_pod(usage)["a"].values.tolist() == [3]


def test_gpus_behind_the_mig_devices_of_a_device_plugin_are_not_strangers() -> None:
    place = Subject("n1", "device-plugin", "n1", "nvidia.com/mig-1g.5gb-0")
    part = Device(place, index="0", profile="1g.5gb", share=Fraction(1, 7), anonymous=True)
    gpu_labels = {"UUID": "GPU-x", "Hostname": "n1", "gpu": "0"}
    readings = [
        said(gpu_labels, [400], Metric.POWER),
        said({**gpu_labels, "GPU_I_ID": "7", "GPU_I_PROFILE": "1g.5gb"}, [60]),
        said({"UUID": "GPU-y", "Hostname": "n2", "gpu": "0"}, [1], Metric.POWER),
    ]
    usage = joined_usage(readings, [part], [held(part, "a")], OWNERS)
    assert by_pod(usage)["a"].values.tolist() == [60]
    assert [item.uuid for item in usage.unmatched] == ["GPU-y"]


def test_who_held_a_device_before_is_known_from_the_exporter() -> None:
    device = gpu(0)
    readings = [
        said({"UUID": "GPU-n1-0", "pod": "gone", "namespace": "ml"}, [70, 80]),
        said({"UUID": "GPU-n1-0"}, [0, 0], start=2 * STEP),
        said({"UUID": "GPU-n1-0", "pod": "a", "namespace": "ml"}, [50, 60], start=4 * STEP),
    ]
    usage = joined_usage(readings, [device], [held(device, "a", start=4 * STEP)], OWNERS)
    found = by_pod(usage)
    assert found["gone"].values.tolist() == [70, 80]
    assert found["a"].values.tolist() == [50, 60]
    (nobody,) = [item for item in usage.held if item.owner == NOBODY]
    assert nobody.values.tolist() == [0, 0]


def test_what_is_said_of_a_pod_alone_goes_to_the_one_device_that_it_alone_holds() -> None:
    devices = [gpu(0), gpu(1), gpu(2)]
    tenures = [held(devices[0], "a"), held(devices[1], "b"), held(devices[2], "b")]
    readings = [said({"pod": name, "namespace": "ml"}, [7]) for name in "ab"]
    usage = joined_usage(readings, devices, tenures, OWNERS)
    assert list(usage.devices) == [devices[0].subject]
    assert [item.owner.pod for item in usage.servers] == [OWNERS["ml", "b"].pod]


def test_model_servers_and_containers_are_kept_by_pod_and_container() -> None:
    readings = [
        said({"pod": "a", "namespace": "ml", "container": name}, [0, 30, 10], Metric.GENERATION_TOKENS)
        for name in ("x", "y")
    ]
    usage = joined_usage(readings, [gpu(0)], [held(gpu(0), "a")], OWNERS)
    assert [(item.owner.container, item.owner.queue) for item in usage.servers] == [
        ("x", "team-a"),
        ("y", "team-a"),
    ]
    assert [item.values.tolist() for item in usage.servers] == [[30, 10], [30, 10]]


@settings(deadline=None)
@given(
    values=st.lists(st.integers(0, 1000), min_size=2, max_size=12),
    energy=st.lists(st.integers(0, 500), min_size=2, max_size=12),
    copies=st.integers(1, 3),
    lost=st.sets(st.tuples(st.integers(0, 2), st.integers(0, 11))),
    switch=st.integers(0, 12),
    data=st.data(),
)
def test_duplicate_exporters_gaps_disorder_and_changing_labels_never_corrupt_a_sum(
    values: list[int],
    energy: list[int],
    copies: int,
    lost: set[tuple[int, int]],
    switch: int,
    data: st.DataObject,
) -> None:
    """Each exporter says the same of the same device; some of what each says is lost; the pod changes."""
    device = gpu(0)
    moments = [(place + 1) * STEP for place in range(len(values))]
    shown = [sum(energy[: place + 1]) for place in range(min(len(energy), len(values)))]
    readings = []
    kept: set[int] = set()
    for copy in range(copies):
        for pod, own in (
            ("a", [place for place in range(len(values)) if place < switch]),
            ("b", [place for place in range(len(values)) if place >= switch]),
        ):
            own = [place for place in own if (copy, place) not in lost]
            own = data.draw(st.permutations(own))
            kept.update(own)
            labels = {"UUID": "GPU-n1-0", "pod": pod, "namespace": "ml"}
            times = column(moments[place] for place in own)
            readings.append(
                Reading(
                    Metric.ENGINE_BUSY,
                    identity(labels),
                    times,
                    column(values[place] for place in own),
                    f"job-{copy}",
                    STEP,
                )
            )
            meter = [place for place in own if place < len(shown)]
            readings.append(
                Reading(
                    Metric.ENERGY,
                    identity(labels),
                    column(moments[place] for place in meter),
                    column(shown[place] for place in meter),
                    f"job-{copy}",
                    STEP,
                )
            )
    usage = joined_usage(data.draw(st.permutations(readings)), [device], [], OWNERS)
    busy = usage.of(device.subject, Metric.ENGINE_BUSY)
    assert (busy is None) == (not kept)
    if busy is not None:
        assert dict(zip(busy.times.tolist(), busy.values.tolist(), strict=True)) == {
            moments[place]: values[place] for place in kept
        }
        assert busy.total() == sum(values[place] * STEP for place in kept)
        for name, own in by_pod(usage).items():
            mine = {place for place in kept if (place < switch) == (name == "a")}
            assert own.total() == sum(values[place] * STEP for place in mine)
    drawn = usage.of(device.subject, Metric.ENERGY)
    if drawn is not None:
        span = shown[moments.index(drawn.end)] - shown[moments.index(drawn.start)]
        assert drawn.total() == span - sum(
            shown[moments.index(end)] - shown[moments.index(start)] for start, end in drawn.gaps
        )
        parts = [item for item in usage.held if item.metric is Metric.ENERGY]
        assert sum(item.total() for item in parts) == drawn.total()
