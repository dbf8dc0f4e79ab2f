"""The device table shows every physical device once, its parts, its holders, and the mode in force."""

from collections import Counter
from fractions import Fraction

import msgspec
import pytest
from tests.inventory.world import QUEUES, claim, pod, world

from aliquot.inventory.devices import DeviceState
from aliquot.inventory.report import Report
from aliquot.scheduling.policy import Policy

GPU = "deviceClassName: gpu.nvidia.com"
MIG = "deviceClassName: mig.nvidia.com"


def profile(name: str) -> str:
    expression = f"device.attributes['gpu.nvidia.com'].profile == '{name}'"
    return f'{MIG}, selectors: [{{cel: {{expression: "{expression}"}}}}]'


def device(report: Report, node: str, name: str) -> DeviceState:
    (found,) = [
        state for state in report.devices.devices if (state.board.node, state.board.name) == (node, name)
    ]
    return found


def test_each_physical_device_stands_once_whatever_is_published_of_it() -> None:
    report = world(QUEUES).report()

    counted = Counter(state.board.node for state in report.devices.devices if state.board.accelerator)
    assert counted == {"plain-0": 8, "split-0": 8, "fixed-0": 8, "shared-0": 4, "old-0": 4}
    assert report.devices.total.total == 32
    assert report.devices.total.allocated == 0


MODES = {
    "a free GPU": ("plain-0", "gpu-0", "exclusive", ["gpu-0"]),
    "a free GPU that can be split": ("split-0", "gpu-0", "exclusive", ["gpu-0"]),
    "a GPU with fixed parts": (
        "fixed-0",
        "gpu-0",
        "mig",
        [
            "gpu-0-mig-1g5gb-19-2",
            "gpu-0-mig-1g5gb-19-3",
            "gpu-0-mig-2g10gb-14-0",
            "gpu-0-mig-3g20gb-9-4",
        ],
    ),
    "a GPU whose memory is shared": ("shared-0", "gpu-0", "consumable", ["gpu-0"]),
    "a GPU of a device plugin": ("old-0", "nvidia.com/gpu-0", "time-slicing", ["nvidia.com/gpu-0"]),
}


@pytest.mark.parametrize("case", MODES)
def test_the_mode_and_parts_of_free_devices(case: str) -> None:
    node, name, mode, parts = MODES[case]
    state = device(world("").report(), node, name)

    assert (state.mode, [part.part.name for part in state.parts]) == (mode, parts)


def test_a_held_device_names_claim_pods_workload_and_queue() -> None:
    report = world(QUEUES + claim("one", "red", GPU) + pod("p", "red", "one", "plain-0")).report()

    held = [state for state in report.devices.devices if state.allocated]
    (state,) = held
    (holder,) = state.holders
    assert state.board.node == "plain-0"
    assert state.mode == "exclusive"
    assert state.allocated == 1
    assert holder.claim is not None
    assert holder.claim.name == "one"
    assert [ref.name for ref in holder.pods] == ["p"]
    assert holder.workload is not None
    assert (holder.workload.kind, holder.workload.name, holder.queue) == ("Pod", "p", "red")


def test_mig_instances_of_one_gpu_are_parts_of_it_with_exact_shares_and_places() -> None:
    manifests = "".join(
        claim(f"c{number}", "red", profile(name)) + pod(f"p{number}", "red", f"c{number}", "split-0")
        for number, name in enumerate(["1g.10gb", "1g.10gb", "3g.40gb"])
    )
    report = world(QUEUES + manifests).report()

    used = [state for state in report.devices.devices if state.allocated]
    parts = [part for state in used for part in state.parts if part.held]
    assert {state.mode for state in used} == {"mig"}
    assert sorted(part.part.share for part in parts) == [Fraction(1, 8), Fraction(1, 8), Fraction(1, 2)]
    assert sum(state.allocated for state in used) == Fraction(3, 4)
    for state in used:
        own = sorted((p.part.start, p.part.share) for p in state.parts if p.held and p.part.start is not None)
        ends = [start + share for start, share in own]
        assert all(end <= start for end, (start, _) in zip(ends, own[1:]))
        assert state.free == 1 - state.allocated


def test_shares_of_one_device_add_up() -> None:
    memory = f"{GPU}, capacity: {{requests: {{memory: %s}}}}"
    manifests = "".join(
        claim(f"c{number}", "red", memory % amount) + pod(f"p{number}", "red", f"c{number}", "shared-0")
        for number, amount in enumerate(["11517Mi", "23034Mi"])
    )
    report = world(QUEUES + manifests).report()

    used = [state for state in report.devices.devices if state.allocated]
    assert sum(state.allocated for state in used) == Fraction(3, 4)
    assert {state.mode for state in used} == {"consumable"}


SHARING = """, config: [{requests: [r], opaque: {driver: gpu.nvidia.com, parameters: {
  apiVersion: resource.nvidia.com/v1beta1, kind: GpuConfig, sharing: {strategy: %s}}}}]"""


@pytest.mark.parametrize(
    ("config", "mode"),
    [("", "shared"), (SHARING % "TimeSlicing", "time-slicing"), (SHARING % "MPS", "mps")],
    ids=["no strategy", "time-slicing", "MPS"],
)
def test_two_pods_on_one_claim_share_the_device_by_the_strategy_it_was_given(config: str, mode: str) -> None:
    manifests = claim("one", "red", GPU, config) + "".join(
        pod(name, "red", "one", "plain-0") for name in ("p", "q")
    )
    report = world(QUEUES + manifests).report()

    (state,) = [state for state in report.devices.devices if state.allocated]
    assert state.mode == mode
    assert state.allocated == 1
    assert [ref.name for ref in state.holders[0].pods] == ["p", "q"]


def test_devices_of_a_plugin_are_given_out_in_units() -> None:
    plugin = """
---
apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: red}
spec: {containers: [{name: main, image: x, resources: {limits: {nvidia.com/gpu: "%d"}}}]}
"""
    report = world(QUEUES + plugin % ("p", 3) + plugin % ("q", 2)).report()

    states = [state for state in report.devices.devices if state.board.node == "old-0"]
    assert [state.allocated for state in states] == [1, Fraction(1, 4), 0, 0]
    assert [[pod.name for holder in state.holders for pod in holder.pods] for state in states[:2]] == [
        ["p", "q"],
        ["q"],
    ]
    assert report.devices.total.allocated == Fraction(5, 4)


def test_totals_are_the_sum_of_the_devices_by_node_and_in_all() -> None:
    manifests = "".join(claim(f"c{n}", "blue", GPU) + pod(f"p{n}", "blue", f"c{n}") for n in range(5))
    report = world(QUEUES + manifests).report()

    by_node = report.devices.by_node()
    assert sum(len(states) for states in by_node.values()) == len(report.devices.devices)
    assert report.devices.total.allocated == 5
    assert report.devices.total.free == report.devices.total.usable - 5


def test_a_report_takes_over_what_has_not_changed() -> None:
    scene = world(QUEUES)
    first = scene.report()
    second = Report.of(scene.after, first.plan, Policy(), previous=first)

    assert second.layout is first.layout
    assert second.devices == first.devices


def test_a_node_that_is_gone_or_cordoned_makes_its_devices_unusable() -> None:
    scene = world("")
    nodes = tuple(node for node in scene.after.nodes if node.name != "split-0")
    replace = msgspec.structs.replace
    nodes = tuple(
        replace(node, spec=replace(node.spec, unschedulable=True)) if node.name == "plain-0" else node
        for node in nodes
    )
    report = Report.of(replace(scene.after, nodes=nodes), scene.plan, Policy())

    assert {s.problem for s in report.devices.devices if s.board.node == "plain-0"} == {"NodeCordoned"}
    assert {s.problem for s in report.devices.devices if s.board.node == "split-0"} == {"NodeGone"}
    assert report.devices.total.usable == report.devices.total.total - 16
