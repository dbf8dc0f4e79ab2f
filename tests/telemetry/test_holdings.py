"""What the cluster says of devices and holders, for every way of holding."""

from fractions import Fraction

from msgspec.structs import replace as change
from tests.inventory.world import NOW, QUEUES, claim, pod, world
from tests.telemetry.cluster import small

from aliquot.inventory.report import Report
from aliquot.model.resource import DeviceTaint
from aliquot.model.snapshot import Snapshot
from aliquot.scheduling.plan import Plan
from aliquot.scheduling.policy import Policy
from aliquot.telemetry.holdings import Facts, facts, ms
from aliquot.usage.series import NOBODY

TAINT = DeviceTaint(key="gpu.nvidia.com/xid", value="79", effect="NoSchedule")

PLUGIN_FLEET = """
apiVersion: aliquot.dev/v1alpha1
kind: Fleet
nodes:
  - {count: 1, type: l4-pcie-4, name: old, zone: b, legacy: {replicas: 4}}
  - {count: 1, type: dgx-a100, name: cut, legacy: {strategy: mixed}, mig: {layout: [1g.5gb, 1g.5gb, 3g.20gb]}}
"""

PLUGIN_PODS = "".join(
    f"""
---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: red, labels: {{team: vision}}}}
spec:
  nodeName: {node}
  containers: [{{name: main, image: x, resources: {{limits: {{{resource}: 1}}}}}}]
"""
    for name, node, resource in (
        ("one", "old-0", "nvidia.com/gpu"),
        ("two", "old-0", "nvidia.com/gpu"),
        ("three", "cut-0", "nvidia.com/mig-3g.20gb"),
    )
)


def known(snapshot: Snapshot) -> Facts:
    return facts(Report.of(snapshot, Plan(), Policy()))


def by_pod(found: Facts) -> dict[str, tuple[str, str, Fraction]]:
    return {
        item.owner.pod.name: (item.subject.device, item.subject.part, item.share)
        for item in found.tenures
        if item.owner.pod is not None
    }


def test_claims_hold_devices_parts_and_shares_since_their_allocation() -> None:
    found = known(small().after)
    held = by_pod(found)
    assert held["busy"] == ("gpu-0", "", Fraction(1))
    assert held["slice"][1].startswith("gpu-0-mig-3g20gb")
    assert held["slice"][2] == Fraction(1, 2)
    assert held["left"][2] == 2 * held["right"][2]
    assert {item.start for item in found.tenures} == {ms(NOW)}
    assert {item.end for item in found.tenures} == {None}
    owner = found.owners["red", "busy"]
    owner = next(item.owner for item in found.tenures if item.owner.pod == owner.pod)
    assert owner.queue == "red"
    assert owner.claim is not None
    assert (owner.claim.name, owner.namespace) == ("busy", "red")


def test_devices_have_all_the_names_that_exporters_may_use() -> None:
    found = known(small().after)
    wholes = [item for item in found.devices if not item.subject.part]
    boards = {(item.subject.node, item.subject.device): item for item in wholes}
    whole = boards["plain-0", "gpu-3"]
    assert whole.uuid.startswith("GPU-")
    assert (whole.index, whole.pci[:5], whole.mode) == ("3", "0000:", "exclusive")
    split = boards["fixed-0", "gpu-0"]
    own = [item for item in found.devices if item.subject.board == split.subject.board]
    parts = [item for item in own if item.subject.part]
    assert split.uuid == parts[0].parent_uuid
    assert sorted(item.profile for item in parts) == ["1g.5gb", "1g.5gb", "2g.10gb", "3g.20gb"]
    assert all(item.uuid.startswith("MIG-") for item in parts)


def test_device_plugins_give_numbers_and_time_slices() -> None:
    found = known(world(QUEUES + PLUGIN_PODS, PLUGIN_FLEET).before)
    held = by_pod(found)
    assert held["one"] == held["two"] == ("nvidia.com/gpu-0", "", Fraction(1, 4))
    assert held["three"] == ("nvidia.com/mig-3g.20gb-0", "", Fraction(3, 7))
    devices = {item.subject.device: item for item in found.devices}
    assert all(item.anonymous for item in devices.values())
    assert devices["nvidia.com/mig-3g.20gb-0"].profile == "3g.20gb"
    assert devices["nvidia.com/mig-3g.20gb-0"].share == Fraction(3, 7)


def test_teams_are_read_from_pods_or_else_from_namespaces() -> None:
    alone = claim("a", "blue", "deviceClassName: x") + pod("a", "blue", "a")
    made = world(QUEUES + PLUGIN_PODS + alone, PLUGIN_FLEET)
    labels = {"team": "speech"}
    spaces = tuple(
        change(item, metadata=change(item.metadata, labels=labels)) if item.name == "blue" else item
        for item in made.before.namespaces
    )
    found = known(change(made.before, namespaces=spaces))
    owners = {name: owner for (_, name), owner in found.owners.items()}
    assert found.team(owners["one"]) == "vision"
    assert found.team(owners["a"]) == "speech"
    assert found.team(NOBODY) == ""


def test_a_device_that_its_driver_tainted_for_its_health_is_broken() -> None:
    made = small()
    snapshot = made.after
    slices = []
    for item in snapshot.resource_slices:
        devices = tuple(
            change(
                device,
                taints=(TAINT,) if (item.spec.pool.name, device.name) == ("plain-0", "gpu-5") else (),
            )
            for device in item.spec.devices
        )
        slices.append(change(item, spec=change(item.spec, devices=devices)))
    found = known(change(snapshot, resource_slices=tuple(slices)))
    broken = [item for item in found.devices if item.problem]
    assert [(item.subject.node, item.subject.device, item.problem) for item in broken] == [
        ("plain-0", "gpu-5", "xid=79")
    ]
