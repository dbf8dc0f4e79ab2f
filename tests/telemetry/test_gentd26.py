"""Production telemetry through a real Prometheus and the whole pipeline."""

import asyncio
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest
from tests.telemetry import gentd26
from tests.telemetry.prometheus_server import load, prometheus

from aliquot.telemetry.endpoint import Endpoint
from aliquot.telemetry.prometheus import Prometheus
from aliquot.telemetry.raw import readings
from aliquot.usage.joining import Usage, joined_usage
from aliquot.usage.metrics import WHOLE_PPM, Metric
from aliquot.usage.provenance import Provenance


@pytest.fixture(scope="module")
def usage(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Usage:
    folder = tmp_path_factory.mktemp("gentd26")
    load(folder, gentd26.openmetrics(shared))
    return asyncio.run(read(folder))


async def read(folder: Path) -> Usage:
    """The trace as the pipeline sees it."""
    start, end = gentd26.START - gentd26.STEP, gentd26.END
    async with prometheus(folder) as url, Prometheus(Endpoint(url)) as server:
        names = await server.names(gentd26.VOCABULARY, start, end)
        assert set(names) == {gentd26.DUTY_CYCLE, gentd26.MEMORY}
        raw = await server.samples(names, start, end)
    return joined_usage(readings(raw, gentd26.VOCABULARY), (), (), {})


def test_every_sample_of_the_trace_arrives_and_gaps_stay_gaps(usage: Usage, shared: Path) -> None:
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
            distances = [after - before for (before, _), (after, _) in pairwise(own)]
            missing = sum(gap - gentd26.STEP for gap in distances if gap > gentd26.STEP)
            if len(own) > 10:
                assert series.covered == own[-1][0] - own[0][0] + gentd26.STEP - missing
                assert len(series.gaps) == sum(1 for gap in distances if gap > gentd26.STEP)


def test_the_duty_cycle_of_the_fleet_is_seven_percent(usage: Usage) -> None:
    busy = [item for item in usage.servers if item.metric is Metric.KERNEL_BUSY]
    covered = sum(item.covered for item in busy)
    mean = Fraction(sum(item.total() for item in busy), covered * WHOLE_PPM)
    assert Fraction(65, 1000) < mean < Fraction(75, 1000)
