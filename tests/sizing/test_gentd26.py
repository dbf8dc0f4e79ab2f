"""The back-test on production telemetry: sizes from the first half of the trace, judged by the second."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.telemetry import gentd26
from tests.telemetry.prometheus_server import load, prometheus

from aliquot.catalog.accelerators import accelerators
from aliquot.cli.recommend import histories_of
from aliquot.cli.recommend_history import read_histories
from aliquot.sizing.backtest import Backtest, History, backtest
from aliquot.sizing.choosing import Offer
from aliquot.sizing.parts import Isolation, Mode
from aliquot.sizing.policy import SizingPolicy

MOST_OVER = 0.001
"""Out of memory in less than a thousandth of the time of containers."""

POLICY = SizingPolicy()
MODELS = ("A10", "A100-SXM4-80GB", "H100-SXM5-80GB")


def offers(*names: str) -> list[Offer]:
    return [Offer(accelerators()[name]) for name in names]


@pytest.fixture(scope="module")
def histories(shared: Path) -> list[History]:
    folder = shared / "traces" / "gentd26"
    names = ("pod_gpu_memory_used_bytes_anon.tar.gz", "pod_gpu_duty_cycle_anon.tar.gz")
    return histories_of(read_histories([folder / name for name in names]))


def split(histories: list[History], part: float = 0.5) -> int:
    first = min(item.use.memory.start for item in histories)
    last = max(item.use.memory.end for item in histories)
    return first + round((last - first) * part)


def run(
    histories: list[History],
    *names: str,
    policy: SizingPolicy = POLICY,
    isolation: Isolation = Isolation.MEMORY,
    part: float = 0.5,
    pool: bool = False,
) -> Backtest:
    middle = split(histories, part)
    return backtest(histories, middle, offers(*names), policy, isolation=isolation, pool=pool)


def test_the_trace_is_read_whole(histories: list[History]) -> None:
    assert len(histories) == 144
    assert sum(1 for item in histories if item.use.busy is not None) == 143


@pytest.mark.parametrize("fleet", [MODELS, *((name,) for name in MODELS)], ids="+".join)
def test_memory_is_short_in_less_than_a_thousandth_of_the_time(
    histories: list[History], fleet: tuple[str, ...]
) -> None:
    found = run(histories, *fleet)
    assert len(found.outcomes) > 100
    assert found.over < MOST_OVER
    assert found.over_hourly < MOST_OVER
    assert found.packed <= found.whole
    assert found.hindsight_packed <= found.packed


def test_shares_cut_to_measure_are_short_in_less_than_a_thousandth_of_the_time(
    histories: list[History],
) -> None:
    modes = (Mode.EXCLUSIVE, Mode.CONSUMABLE)
    found = run(histories, "A100-SXM4-80GB", policy=replace(POLICY, modes=modes), isolation=Isolation.NONE)
    assert any(item.part is not None and item.part.mode is Mode.CONSUMABLE for item in found.outcomes)
    assert found.over < MOST_OVER


def test_containers_together_take_a_third_fewer_devices_and_are_never_short(
    histories: list[History],
) -> None:
    found = run(histories, "A100-SXM4-80GB", pool=True).pooled[0]
    assert found.over_ms == 0
    assert found.devices < 0.7 * found.containers
    assert found.hindsight <= found.devices


def test_a_margin_that_follows_the_peak_alone_would_not_have_been_enough(histories: list[History]) -> None:
    """What the rule is for: with the peak and 15 % more, hours are short ten times as often."""
    bare = run(
        histories,
        "A100-SXM4-80GB",
        policy=replace(POLICY, risk=0.999999, margin_percent=0),
        isolation=Isolation.NONE,
    )
    assert bare.over_hourly > 10 * MOST_OVER


@pytest.mark.prove
@pytest.mark.parametrize("part", [0.35, 0.5, 0.65])
@pytest.mark.parametrize("risk", [0.0001, 0.001])
def test_the_result_does_not_hang_on_where_the_trace_is_split(
    histories: list[History], part: float, risk: float
) -> None:
    found = run(histories, "A100-SXM4-80GB", policy=replace(POLICY, risk=risk), part=part)
    assert found.over < MOST_OVER


async def _through_prometheus(shared: Path, folder: Path) -> dict[str, Any]:
    load(folder, gentd26.openmetrics(shared))
    async with prometheus(folder) as url:
        sources = folder / "sources.yaml"
        sources.write_text(
            f"prometheus: {{url: {url}}}\n"
            "metrics:\n"
            f"  {gentd26.DUTY_CYCLE}: {{metric: kernel-busy, unit: percent}}\n"
            f"  {gentd26.MEMORY}: {{metric: memory-used, unit: B}}\n"
        )
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "aliquot", "recommend", "--sources", str(sources)),
            *("--at", "2022-09-12T00:00:00.001Z", "--since", "23h", "--fleet", "A10,A100,H100"),
            *("--backtest", "-o", "json"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(120):
            out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    found: dict[str, Any] = json.loads(out)
    return found


@pytest.mark.prove
def test_the_whole_way_from_prometheus_gives_the_same_sizes(
    histories: list[History], shared: Path, tmp_path: Path
) -> None:
    found = asyncio.run(_through_prometheus(shared, tmp_path))["items"][0]
    direct = run(histories, *MODELS)
    assert found["sized"] == len(direct.outcomes)
    assert found["overMs"] / found["coveredMs"] < MOST_OVER
    assert abs(found["devices"] - direct.packed) <= 1
