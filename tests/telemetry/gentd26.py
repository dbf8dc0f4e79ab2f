"""GenTD26: duty cycle and memory of the containers of a production GPU inference cluster, as a Prometheus
there would have had them.

The trace names containers by an anonymous address and no devices; every container is taken as a pod.
"""

import csv
import io
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from aliquot.telemetry.vocabulary import ONE, PERCENT, Term, Vocabulary
from aliquot.usage.metrics import Metric

NAMESPACE = "gentd26"
DUTY_CYCLE = "pod_gpu_duty_cycle"
MEMORY = "pod_gpu_memory_used_bytes"
START, END = 1662858720_000, 1662940800_000
"""The first and the last sample, ms."""
STEP = 57_000

TERMS: Mapping[str, Term] = {
    DUTY_CYCLE: Term(Metric.KERNEL_BUSY, PERCENT),
    MEMORY: Term(Metric.MEMORY_USED, ONE),
}
"""What the trace's metrics mean, as somebody would write it under `metrics` in the file of sources."""

VOCABULARY = Vocabulary(TERMS)


def samples(shared: Path, name: str) -> Mapping[str, list[tuple[int, float]]]:
    """(ms, value) by container, in the order of time, of DUTY_CYCLE or MEMORY."""
    found: dict[str, list[tuple[int, float]]] = {}
    archive = shared / "traces" / "gentd26" / f"{name}_anon.tar.gz"
    with tarfile.open(archive) as tar:
        member = tar.extractfile(tar.getmembers()[0])
        assert member is not None
        for row in csv.DictReader(io.TextIOWrapper(member, "utf-8")):
            time = round(float(row["timestamp_anon"]) * 1000)
            found.setdefault(row["container_ip"], []).append((time, float(row["value"])))
    return {key: sorted(own) for key, own in sorted(found.items())}


def openmetrics(shared: Path) -> Iterator[str]:
    """The trace in OpenMetrics format, as `promtool tsdb create-blocks-from openmetrics` takes it."""
    for name in (DUTY_CYCLE, MEMORY):
        yield f"# TYPE {name} gauge\n"
        for container, own in samples(shared, name).items():
            labels = f'{{namespace="{NAMESPACE}",pod="{container}",job="gpu",instance="trace"}}'
            for time, value in own:
                yield f"{name}{labels} {value} {time / 1000:.3f}\n"
