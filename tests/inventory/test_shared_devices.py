"""Devices of device plugins of which pods have parts."""

from fractions import Fraction

from tests.scheduling.builders import NOW, cluster
from tests.scheduling.test_shared_devices import MEMORY, REGISTER, WORDS, asking, plugin_node

from aliquot.inventory.report import Report
from aliquot.inventory.workloads import Status
from aliquot.scheduling.decide import decide
from aliquot.scheduling.policy import Policy

GPU = "nvidia.com/gpu"
HALF = {"gpu-fraction": "0.5"}


def report(*objects):
    snapshot, policy = cluster(*objects), Policy()
    return Report.of(snapshot, decide(snapshot, policy, NOW), policy)


def shares(found):
    """What each pod has of each device, by device."""
    return {
        state.board.name: {pod.name: holder.share for holder in state.holders for pod in holder.pods}
        for state in found.devices.devices
    }


def pod(name, groups, notes=HALF, **options):
    return asking(name, {**notes, "aliquot.dev/gpu-groups": groups}, node_name="n", **options)


def test_pods_that_share_a_device_stand_on_the_same_one_beside_whole_ones():
    found = report(
        plugin_node("n", 4, **{"aliquot.dev/fractions": "ours"}),
        pod("a", "shared-2"),
        pod("b", "shared-1,shared-2", {"gpu-memory": str(MEMORY // 5), "gpu-fraction-num-devices": "2"}),
        asking("w", node_name="n", **{GPU: 2}),
    )

    assert shares(found) == {
        f"{GPU}-0": {"w": 1},
        f"{GPU}-1": {"w": 1},
        f"{GPU}-2": {"b": Fraction(1, 5)},
        f"{GPU}-3": {"a": Fraction(1, 2), "b": Fraction(1, 5)},
    }
    modes = [state.mode for state in found.devices.devices]
    assert modes == ["device-plugin", "device-plugin", "shared", "shared"]
    assert [state.allocated for state in found.devices.devices] == [1, 1, Fraction(1, 5), Fraction(7, 10)]


def test_a_workload_with_parts_is_among_the_workloads():
    found = report(plugin_node("n", 4, **{"aliquot.dev/fractions": "ours"}), pod("a", "shared-1"))
    (state,) = found.workloads.workloads

    assert (state.ref.name, state.status, state.devices) == ("a", Status.RUNNING, Fraction(1, 2))


def test_devices_that_hami_registered_are_shown_and_not_its_slots():
    given = {"hami.io/vgpu-devices-allocated": f"GPU-b,NVIDIA,{MEMORY // 4},30:;"}
    found = report(
        plugin_node("n", 20, register=REGISTER),
        asking("a", given, node_name="n", **WORDS),
        asking("w", node_name="n", **{GPU: 1}),
    )

    assert shares(found) == {f"{GPU}-0": {"w": 1}, f"{GPU}-1": {"a": Fraction(3, 10)}}


def test_what_kai_reserves_a_device_with_is_no_holder_of_its_own():
    marks = {"app": "kai-resource-reservation", "runai-gpu-group": "g1"}
    space = "kai-resource-reservation"
    reservation = asking("r", node_name="n", ns=space, labels=marks, **{GPU: 1})
    user = asking("a", HALF, node_name="n", labels={"runai-gpu-group": "g1"})
    found = report(plugin_node("n", 2), reservation, user)

    assert shares(found) == {f"{GPU}-0": {"a": Fraction(1, 2)}, f"{GPU}-1": {}}
