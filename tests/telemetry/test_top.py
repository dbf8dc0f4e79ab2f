"""`aliquot top` as somebody types it, over a saved cluster and a real Prometheus, exporter or history."""

import asyncio
import contextlib
import io
import json
import time
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.inventory.world import QUEUES, claim, pod, world
from tests.telemetry.cluster import an_hour, small
from tests.telemetry.exporter import serving
from tests.telemetry.prometheus_server import load, prometheus

from aliquot.cli import snapshot_files
from aliquot.cli.main import main
from aliquot.cli.snapshot_files import Saved
from aliquot.scheduling.policy import Policy
from aliquot.telemetry.holdings import facts

NOW = int(time.time()) * 1000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved cluster, and what its exporters said in a Prometheus' folder."""
    made = tmp_path_factory.mktemp("top")
    cluster = small()
    load(made, an_hour(cluster, NOW).text())
    moment = datetime.fromtimestamp(NOW / 1000, UTC)
    snapshot_files.write(Saved(snapshot=cluster.after, time=moment, policy=Policy()), made / "cluster.json")
    return made


class Terminal(io.StringIO):
    """Standard output that is a terminal; its width is that of COLUMNS."""

    def isatty(self) -> bool:
        return True


async def top(folder: Path, *arguments: str, terminal: bool = False) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of `aliquot top`."""

    def run() -> tuple[int, str, str]:
        out, err = Terminal() if terminal else io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main(["top", *arguments, "--snapshot", str(folder / "cluster.json")])
            except SystemExit as end:
                return int(end.code or 0), out.getvalue(), err.getvalue()
        raise AssertionError("main returned")

    return await asyncio.to_thread(run)


async def test_devices_fit_80_columns_and_add_up(folder: Path) -> None:
    async with prometheus(folder) as url:
        status, out, err = await top(folder, "--prometheus", url)
        _, text, _ = await top(folder, "devices", "-o", "json", "--prometheus", url)
    assert status == 0
    assert max(len(line) for line in out.splitlines()) <= 80
    assert out.startswith("24 devices: ")
    assert "utilisation over 60m:" in out
    lines = {line.split()[0]: line for line in out.splitlines() if line}
    assert "83/42/55" in lines["plain-0/gpu-0"]
    assert "idle" in lines["plain-0/gpu-1"]
    assert ">60m" in lines["plain-0/gpu-1"]
    assert "unknown" in lines["plain-0/gpu-2"]
    assert "~ estimated, ? not measured" in err
    assert max(len(line) for line in err.splitlines()) <= 80
    found: dict[str, Any] = json.loads(text)
    assert sum(Fraction(value) for value in found["summary"]["states"].values()) == 24
    busy = next(item for item in found["items"] if item["device"] == "gpu-0" and item["node"] == "plain-0")
    assert busy["busy"] == {"value": 830_000, "unit": "ppm", "provenance": "measured"}
    assert busy["power"] == {"value": 612_500, "unit": "mW", "provenance": "measured"}
    assert busy["owners"][0]["claim"]["name"] == "busy"
    silent = next(item for item in found["items"] if item["device"] == "gpu-2" and item["node"] == "plain-0")
    assert silent["busy"]["value"] is None
    assert silent["busy"]["provenance"] == "unknown"


async def test_groups_tell_who_wastes_and_how_well_it_is_known(folder: Path) -> None:
    async with prometheus(folder) as url:
        _, out, _ = await top(folder, "workloads", "--prometheus", url)
        _, text, _ = await top(folder, "queues", "-o", "json", "--prometheus", url)
        _, nodes, _ = await top(folder, "nodes", "--prometheus", url, "--sort", "utilisation")
        missing, _, problem = await top(folder, "nodes", "--prometheus", url, "--sort", "nothing")
        none, _, _ = await top(folder, "workloads", "nobody", "--prometheus", url)
    lines = out.splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith("NAMESPACE"))
    rows = [line.split() for line in lines[start + 1 :]]
    assert rows[0][:3] == ["blue", "pod/lazy", "blue"]
    shares = {row[1]: row[4] for row in rows}
    assert shares["pod/busy"] == "83%"
    assert shares["pod/left"] == shares["pod/right"] == "~90%"
    assert shares["pod/silent"] == "?"
    red, blue = sorted(json.loads(text)["items"], key=lambda item: item["name"], reverse=True)
    assert (red["name"], blue["name"]) == ("red", "blue")
    used = red["deviceSecondsUsed"] + blue["deviceSecondsUsed"]
    expected = 3600 * (0.83 + 0.6 + 0.5 * 0.5 + 0.1 / 8)
    assert used == pytest.approx(expected, rel=0.001)
    assert blue["provenance"] == "estimated"
    assert nodes.splitlines()[-1].split()[0] == "*"
    assert max(len(line) for line in nodes.splitlines()) <= 80
    assert missing == 2
    assert "--sort: there is no column 'nothing'; columns are node" in problem
    assert none == 1


async def test_an_exporter_is_read_directly_and_a_history_is_kept(folder: Path, tmp_path: Path) -> None:
    cluster = small()
    known = facts(cluster.report())
    device = next(
        item for item in known.devices if (item.subject.node, item.subject.device) == ("plain-0", "gpu-0")
    )
    body = (
        "# TYPE DCGM_FI_DEV_GPU_UTIL gauge\n"
        f'DCGM_FI_DEV_GPU_UTIL{{gpu="0",UUID="{device.uuid}",pod="busy",namespace="red"}} 47\n'
    )
    history = str(tmp_path / "usage.db")
    async with serving(lambda request: web.Response(text=body)) as target:
        where = ("--exporter", f"http://{target}/metrics", "--history", history, "--keep")
        status, out, _ = await top(folder, "devices", "plain-0", *where)
        assert status == 0
        assert "~47/?/?" in out
    _, out, err = await top(folder, "devices", "plain-0", "--history", history)
    assert "~47/?/?" in out
    assert "nothing says" not in err
    gone = ("--exporter", f"http://{target}/metrics")
    status, out, err = await top(folder, "devices", "plain-0", *gone)
    assert status == 2
    assert "unknown" in out
    assert f"error: http://{target}/metrics: cannot be reached" in err
    async with serving(lambda request: web.Response(text=body)) as target:
        for source in (("--history", history), ("--exporter", f"http://{target}/metrics")):
            status, out, err = await top(folder, "devices", "plain-0", *gone, *source)
            assert status == 1
            assert "~47/?/?" in out
            assert err.startswith("error: ")


async def test_without_a_source_devices_are_shown_and_the_way_to_one_is_told(folder: Path) -> None:
    status, out, err = await top(folder)
    assert status == 0
    assert "utilisation over 60m: unknown, nothing was measured" in out
    assert "nothing says how devices are used; give --prometheus URL" in err
    assert "plain-0/gpu-0" in out


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("cows",), "there is nothing called 'cows' to show; try devices"),
        (("--since", "9y"), "--since: '9y' is no duration"),
        (("--keep",), "--keep needs --history FILE"),
        (("--sources", "/nowhere"), "/nowhere: No such file or directory; name the file of sources"),
        (("--prometheus", "http://u:p@h"), "has a user or password in its address"),
        (("--history", "/nowhere/usage.db"), "does not exist"),
    ],
)
async def test_mistakes_name_the_place_and_the_fix(
    folder: Path, arguments: tuple[str, ...], problem: str
) -> None:
    status, out, err = await top(folder, *arguments)
    assert (status, out) == (2, "")
    assert problem in err


async def test_a_file_of_sources_may_name_metrics_of_other_exporters(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "sources.yaml"
    async with serving(
        lambda request: web.Response(text='my_duty{pod="lazy",namespace="blue"} 0.25\n')
    ) as target:
        file.write_text(
            f"exporters: [{{url: 'http://{target}/metrics'}}]\n"
            "metrics: {my_duty: {metric: kernel-busy, unit: ratio}}\n"
        )
        _, out, _ = await top(folder, "workloads", "lazy", "--sources", str(file))
        file.write_text("metrics: {my_duty: {metric: kernel-busy, unit: furlongs}}\n")
        status, _, err = await top(folder, "--sources", str(file))
    assert "25%" in out
    assert status == 2
    assert "metrics.my_duty: kernel-busy is not given in 'furlongs'; choose from percent, ratio, ppm" in err


async def test_what_is_free_and_fits_nobody_is_stranded_and_says_why(tmp_path: Path) -> None:
    """Pods want five GPUs of one node each: three of eight are left that nobody can use."""
    manifests = QUEUES + "".join(
        claim(name, "blue", "deviceClassName: gpu.nvidia.com, count: 5") + pod(name, "blue", name)
        for name in ("first", "second")
    )
    fleet = """
apiVersion: aliquot.dev/v1alpha1
kind: Fleet
nodes: [{count: 1, type: dgx-h100, name: plain, zone: a}]
"""
    cluster = world(manifests, fleet)
    saved = Saved(snapshot=cluster.after, time=datetime.fromtimestamp(NOW / 1000, UTC), policy=Policy())
    snapshot_files.write(saved, tmp_path / "cluster.json")
    _, out, _ = await top(tmp_path, "-o", "wide")
    _, text, _ = await top(tmp_path, "-o", "json")
    assert "3 unoccupied (3 of them stranded)" in " ".join(out.split())
    lines = [line for line in out.splitlines() if "stranded" in line and "/gpu-" in line]
    assert len(lines) == 3
    assert all("TooFewTogether" in line for line in lines)
    assert json.loads(text)["summary"]["stranded"] == "3"


async def test_long_names_are_cut_on_a_terminal_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    namespace = "recommendation-research"
    names = [f"pretraining-of-the-large-model-7d9f8c6b5-x2k{number}q" for number in range(3)]
    home = f"""
---
apiVersion: v1
kind: Namespace
metadata: {{name: {namespace}, labels: {{aliquot.dev/managed: "true", aliquot.dev/queue: blue}}}}
"""
    work = [
        claim(name, namespace, "deviceClassName: gpu.nvidia.com") + pod(name, namespace, name)
        for name in names
    ]
    manifests = QUEUES + home + "".join(work)
    cluster = world(manifests)
    saved = Saved(snapshot=cluster.after, time=datetime.fromtimestamp(NOW / 1000, UTC), policy=Policy())
    snapshot_files.write(saved, tmp_path / "cluster.json")
    monkeypatch.setenv("NO_COLOR", "1")
    for width in ("80", "100"):
        monkeypatch.setenv("COLUMNS", width)
        _, shown, _ = await top(tmp_path, "workloads", terminal=True)
        rows = [line for line in shown.splitlines() if "…" in line]
        assert len(rows) == len(names)
        assert max(len(line) for line in shown.splitlines()) == int(width)
        assert [line.split()[1][-4:] for line in rows] == [f"x2k{number}q"[-4:] for number in range(3)]
        assert {line.split()[2] for line in rows} == {"blue"}
    monkeypatch.setenv("COLUMNS", "200")
    whole = [
        await top(tmp_path, "workloads", terminal=True),
        await top(tmp_path, "workloads", "-o", "wide", terminal=True),
        await top(tmp_path, "workloads"),
    ]
    for _, shown, _ in whole:
        assert all(f"{namespace}   pod/{name}" in shown for name in names)
