"""A small cluster in which devices are held in every way, and what exporters would say of it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tests.inventory.world import QUEUES, World, claim, pod, world

from aliquot.telemetry.holdings import facts

FLEET = """
apiVersion: aliquot.dev/v1alpha1
kind: Fleet
nodes:
  - {count: 1, type: dgx-h100, name: plain, zone: a}
  - {count: 1, type: dgx-a100, name: fixed, zone: b, mig: {layout: [1g.5gb, 1g.5gb, 2g.10gb, 3g.20gb]}}
  - {count: 1, type: l40s-pcie-4, name: shared, zone: b, shares: memory}
  - {count: 1, type: l4-pcie-4, name: old, zone: b, legacy: {replicas: 4}}
"""

_SAID = "device.attributes['gpu.nvidia.com']"
_PRODUCT = f"""selectors: [{{cel: {{expression: "{_SAID}.productName.contains('%s')"}}}}]"""
H100, L40S = _PRODUCT % "H100", _PRODUCT % "L40S"
PROFILE = f"""selectors: [{{cel: {{expression: "{_SAID}.profile == '%s'"}}}}]"""
SHARE = "capacity: {requests: {memory: %s}}"

MANIFESTS = (
    QUEUES
    + claim("busy", "red", f"deviceClassName: gpu.nvidia.com, {H100}")
    + pod("busy", "red", "busy")
    + claim("lazy", "blue", f"deviceClassName: gpu.nvidia.com, {H100}")
    + pod("lazy", "blue", "lazy")
    + claim("silent", "blue", f"deviceClassName: gpu.nvidia.com, {H100}")
    + pod("silent", "blue", "silent")
    + claim("slice", "red", f"deviceClassName: mig.nvidia.com, {PROFILE % '3g.20gb'}")
    + pod("slice", "red", "slice")
    + claim("piece", "blue", f"deviceClassName: mig.nvidia.com, {PROFILE % '1g.5gb'}")
    + pod("piece", "blue", "piece")
    + claim(
        "left", "red", f"deviceClassName: gpu.nvidia.com, {L40S}, capacity: {{requests: {{memory: 20Gi}}}}"
    )
    + pod("left", "red", "left")
    + claim(
        "right", "blue", f"deviceClassName: gpu.nvidia.com, {L40S}, capacity: {{requests: {{memory: 10Gi}}}}"
    )
    + pod("right", "blue", "right")
)
"""Whole devices that are busy, idle and not measured; MIG instances; two shares of one device."""


@dataclass
class Samples:
    """Samples in OpenMetrics format, by metric."""

    lines: dict[str, list[str]] = field(default_factory=dict)

    def add(self, name: str, labels: dict[str, str], samples: Iterable[tuple[int, float]]) -> None:
        """samples: (ms, value) in the order of time."""
        text = ",".join(f'{key}="{value}"' for key, value in labels.items())
        own = self.lines.setdefault(name, [])
        own.extend(f"{name}{{{text}}} {value} {time / 1000:.3f}\n" for time, value in samples)

    def text(self) -> Iterator[str]:
        for name, lines in self.lines.items():
            kind = "counter" if name.endswith("_total") else "gauge"
            yield f"# TYPE {name.removesuffix('_total')} {kind}\n"
            yield from lines


def small() -> World:
    return world(MANIFESTS, FLEET)


STEP_MS = 30_000


def an_hour(cluster: World, now: int) -> Samples:
    """What dcgm-exporter said in the hour before `now` (ms) of the devices of `small`."""
    found = Samples()
    known = facts(cluster.report())
    devices = {item.subject: item for item in known.devices}
    places = {item.owner.pod.name: item.subject for item in known.tenures if item.owner.pod is not None}
    times = range(now - 3_600_000 + STEP_MS, now + 1, STEP_MS)
    for name, engine, tensor, dram, memory, watts in (
        ("busy", 0.83, 0.42, 0.55, 71_000, 612.5),
        ("lazy", 0.0, 0.0, 0.0, 40_000, 98.0),
        ("left", 0.6, 0.1, 0.2, 30_000, 210.0),
        ("slice", 0.5, None, None, 15_000, None),
        ("piece", 0.1, None, None, 3_000, None),
    ):
        device = devices[places[name]]
        labels = {
            "gpu": device.index,
            "UUID": device.uuid if not device.profile else device.parent_uuid,
            "Hostname": device.subject.node,
            "job": "dcgm",
            "instance": f"{device.subject.node}:9400",
            "exported_pod": name,
            "exported_namespace": "red" if name in ("busy", "left", "slice") else "blue",
            "pod": "nvidia-dcgm-exporter-x",
            "namespace": "gpu-operator",
        }
        if device.profile:
            labels |= {"GPU_I_ID": "2" if name == "slice" else "9", "GPU_I_PROFILE": device.profile}
        for metric, value in (
            ("DCGM_FI_PROF_GR_ENGINE_ACTIVE", engine),
            ("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", tensor),
            ("DCGM_FI_PROF_DRAM_ACTIVE", dram),
            ("DCGM_FI_DEV_FB_USED", memory),
            ("DCGM_FI_DEV_POWER_USAGE", watts),
        ):
            if value is not None:
                found.add(metric, labels, [(time, value) for time in times])
    return found
