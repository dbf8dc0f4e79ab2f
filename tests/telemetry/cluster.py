"""A small cluster in which devices are held in every way, and what exporters would say of it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tests.inventory.world import QUEUES, World, claim, pod, world

FLEET = """
apiVersion: aliquot.dev/v1alpha1
kind: Fleet
nodes:
  - {count: 1, type: dgx-h100, name: plain, zone: a}
  - {count: 1, type: dgx-a100, name: fixed, zone: b, mig: {layout: [1g.5gb, 1g.5gb, 2g.10gb, 3g.20gb]}}
  - {count: 1, type: l40s-pcie-4, name: shared, zone: b, shares: memory}
  - {count: 1, type: l4-pcie-4, name: old, zone: b, legacy: {replicas: 4}}
"""

PLUGIN_POD = """
---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {namespace}, labels: {{team: {team}}}}}
spec: {{containers: [{{name: main, image: x, resources: {{limits: {{nvidia.com/gpu: 1}}}}}}]}}
"""

MANIFESTS = (
    QUEUES
    + claim(
        "busy",
        "red",
        "deviceClassName: gpu.nvidia.com, selectors: [{cel: {expression: "
        "\"device.attributes['gpu.nvidia.com'].productName.contains('H100')\"}}]",
    )
    + pod("busy", "red", "busy")
    + claim(
        "lazy",
        "blue",
        "deviceClassName: gpu.nvidia.com, selectors: [{cel: {expression: "
        "\"device.attributes['gpu.nvidia.com'].productName.contains('H100')\"}}]",
    )
    + pod("lazy", "blue", "lazy")
    + claim(
        "slice",
        "red",
        "deviceClassName: mig.nvidia.com, selectors: [{cel: {expression: "
        "\"device.attributes['gpu.nvidia.com'].profile == '3g.20gb'\"}}]",
    )
    + pod("slice", "red", "slice")
    + claim(
        "piece",
        "blue",
        "deviceClassName: mig.nvidia.com, selectors: [{cel: {expression: "
        "\"device.attributes['gpu.nvidia.com'].profile == '1g.5gb'\"}}]",
    )
    + pod("piece", "blue", "piece")
)


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
