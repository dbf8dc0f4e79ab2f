"""Production telemetry through a real Prometheus and the whole pipeline."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest

from aliquot.telemetry.endpoint import Endpoint
from aliquot.telemetry.prometheus import Prometheus
from aliquot.telemetry.raw import readings
from aliquot.usage.joining import Usage, joined_usage
from aliquot.usage.metrics import WHOLE_PPM, Metric
from aliquot.usage.provenance import Provenance
from tests.telemetry import gentd26
from tests.telemetry.prometheus_server import load, prometheus


@pytest.fixture(scope="module")
def folder(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = tmp_path_factory.mktemp("gentd26")
    load(made, gentd26.openmetrics(shared))
    yield made


async def read(folder: Path) -> Usage:
    """The trace as the pipeline sees it."""
    start, end = gentd26.START - gentd26.STEP, gentd26.END
    async with prometheus(folder) as url, Prometheus(Endpoint(url)) as server:
        names = await server.names(gentd26.VOCABULARY, start, end)
        assert set(names) == {gentd26.DUTY_CYCLE, gentd26.MEMORY}
        raw = await server.samples(names, start, end)
    return joined_usage(readings(raw, gentd26.VOCABULARY), (), (), {})


async def test_every_sample_of_the_trace_arrives_and_gaps_stay_gaps(folder: Path, shared: Path) -> None:
    usage = await read(folder)
    for name, metric in ((gentd26.DUTY_CYCLE, Metric.KERNEL_BUSY), (gentd26.MEMORY, Metric.MEMORY_USED)):
        truth = gentd26.samples(shared, name)
        found = {
            item.owner.pod.name: item
            for item in usage.servers
            if item.metric is metric and item.owner.pod is not None
        }
        assert set(found) == set(truth)
        for pod, own in truth.items():
            series = found[pod]
            assert series.provenance is Provenance.MEASURED
            assert series.times.tolist() == [time for time, _ in own]
            scale = 10_000 if metric is Metric.KERNEL_BUSY else 1
            assert series.values.tolist() == [round(value * scale) for _, value in own]
            distances = [after - before for (before, _), (after, _) in zip(own, own[1:], strict=False)]
            missing = sum(gap - gentd26.STEP for gap in distances if gap > gentd26.STEP)
            if len(own) > 10:
                assert series.covered == own[-1][0] - own[0][0] + gentd26.STEP - missing
                assert len(series.gaps) == sum(1 for gap in distances if gap > gentd26.STEP)


async def test_the_duty_cycle_of_the_fleet_is_seven_percent(folder: Path) -> None:
    usage = await read(folder)
    busy = [item for item in usage.servers if item.metric is Metric.KERNEL_BUSY]
    covered = sum(item.covered for item in busy)
    mean = Fraction(sum(item.total() for item in busy), covered * WHOLE_PPM)
    assert Fraction(65, 1000) < mean < Fraction(75, 1000)
