"""Exporters read directly: NVIDIA's, AMD's, vLLM, kubelet, and whatever else may answer there."""

import contextlib
import math
from dataclasses import replace

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from tests.telemetry.exporter import serving

from aliquot.telemetry import exposition
from aliquot.telemetry.collecting import Collector
from aliquot.telemetry.endpoint import Endpoint, Source
from aliquot.telemetry.errors import SourceError
from aliquot.telemetry.exposition import parse
from aliquot.telemetry.raw import readings
from aliquot.telemetry.settings import Settings, SettingsError
from aliquot.telemetry.settings import parse as parse_settings
from aliquot.telemetry.vocabulary import Term, Vocabulary, scaled
from aliquot.usage.metrics import WHOLE_PPM, Metric

WORDS = Vocabulary()
NOW = 1_790_000_000_000

DCGM = """# HELP DCGM_FI_DEV_GPU_UTIL GPU utilization (in %).
# TYPE DCGM_FI_DEV_GPU_UTIL gauge
DCGM_FI_DEV_GPU_UTIL{gpu="0",UUID="GPU-a",pci_bus_id="00000000:08:00.0",device="nvidia0",Hostname="n1"} 42
# TYPE DCGM_FI_PROF_GR_ENGINE_ACTIVE gauge
DCGM_FI_PROF_GR_ENGINE_ACTIVE{gpu="0",UUID="GPU-a",GPU_I_PROFILE="1g.10gb",GPU_I_ID="9",Hostname="n1"} 0.25
# TYPE DCGM_FI_DEV_FB_USED gauge
DCGM_FI_DEV_FB_USED{gpu="0",UUID="GPU-a",Hostname="n1"} 1024
# TYPE DCGM_FI_DEV_POWER_USAGE gauge
DCGM_FI_DEV_POWER_USAGE{gpu="0",UUID="GPU-a",Hostname="n1"} 30.982
# TYPE DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION counter
DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{gpu="0",UUID="GPU-a",Hostname="n1"} 55491669881
# TYPE DCGM_FI_DEV_GPU_TEMP gauge
DCGM_FI_DEV_GPU_TEMP{gpu="0",UUID="GPU-a",Hostname="n1"} 54
"""

AMD = """# TYPE amd_gpu_gfx_activity gauge
amd_gpu_gfx_activity{gpu_id="2",serial_number="692251001234",gpu_partition_id="0",hostname="n2",pod=""} 37
# TYPE gpu_used_vram gauge
gpu_used_vram{gpu_id="2",serial_number="692251001234",hostname="n2"} 283
# TYPE gpu_package_power gauge
gpu_package_power{gpu_id="2",serial_number="692251001234",hostname="n2"} 141
# TYPE gpu_energy_consumed gauge
gpu_energy_consumed{gpu_id="2",serial_number="692251001234",hostname="n2"} 1.5e+12
"""

VLLM = """# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m",pod="serve-0",namespace="ml"} 3.0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="m",pod="serve-0",namespace="ml"} 0.125
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{engine="0",model_name="m",pod="serve-0",namespace="ml"} 12345.0
# TYPE vllm:time_to_first_token_seconds histogram
vllm:time_to_first_token_seconds_bucket{le="0.1",model_name="m"} 7.0
vllm:time_to_first_token_seconds_bucket{le="+Inf",model_name="m"} 7.0
vllm:time_to_first_token_seconds_count{model_name="m"} 7.0
vllm:time_to_first_token_seconds_sum{model_name="m"} 0.3
"""

KUBELET = """# TYPE container_cpu_usage_seconds_total counter
container_cpu_usage_seconds_total{container="main",namespace="ml",pod="serve-0"} 12.5 1790000000123
# TYPE container_memory_working_set_bytes gauge
container_memory_working_set_bytes{container="main",namespace="ml",pod="serve-0"} 4096 1790000000123
"""


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            DCGM,
            {
                Metric.KERNEL_BUSY: 420_000,
                Metric.ENGINE_BUSY: 250_000,
                Metric.MEMORY_USED: 1 << 30,
                Metric.POWER: 30_982,
                Metric.ENERGY: 55_491_669_881,
            },
        ),
        (
            AMD,
            {
                Metric.ENGINE_BUSY: 370_000,
                Metric.MEMORY_USED: 283 << 20,
                Metric.POWER: 141_000,
                Metric.ENERGY: 1_500_000_000,
            },
        ),
        (
            VLLM,
            {Metric.REQUESTS_RUNNING: 3, Metric.KV_CACHE_USED: 125_000, Metric.GENERATION_TOKENS: 12_345},
        ),
        (KUBELET, {Metric.CPU_TIME: 12_500, Metric.HOST_MEMORY_USED: 4096}),
    ],
    ids=["dcgm-exporter", "device-metrics-exporter", "vllm", "kubelet"],
)
def test_values_arrive_in_the_metrics_units(body: str, expected: dict[Metric, int]) -> None:
    words = Vocabulary(containers=True)
    found = readings(parse(body.encode(), "x", NOW, words), words)
    assert {item.metric: item.values.tolist() for item in found} == {
        metric: [value] for metric, value in expected.items()
    }


def test_a_sample_keeps_its_own_time_and_others_have_that_of_the_look() -> None:
    words = Vocabulary(containers=True)
    assert {item.times[0] for item in parse(KUBELET.encode(), "x", NOW, words)} == {1_790_000_000_123}
    assert {item.times[0] for item in parse(DCGM.encode(), "x", NOW, words)} == {NOW}


def test_all_containers_of_a_cluster_are_left_out_unless_they_are_wanted() -> None:
    assert parse(KUBELET.encode(), "x", NOW, WORDS) == ()


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        (Metric.KERNEL_BUSY, math.nan),
        (Metric.KERNEL_BUSY, -1.0),
        (Metric.KERNEL_BUSY, 65_535.0),
        (Metric.MEMORY_USED, 140_737_488_355_328.0),
        (Metric.ENERGY, 9_223_372_036_854_775_792.0),
        (Metric.POWER, 4_294_967_295.0),
        (Metric.POWER, math.inf),
    ],
)
def test_what_exporters_give_for_not_available_is_no_measurement(metric: Metric, value: float) -> None:
    term = next(
        found
        for name in (
            "DCGM_FI_DEV_GPU_UTIL",
            "DCGM_FI_DEV_FB_USED",
            "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
            "DCGM_FI_DEV_POWER_USAGE",
        )
        if (found := WORDS.term(name)) is not None and found.metric is metric
    )
    good, numbers = scaled(term, [value])
    assert good.tolist() == [False]
    assert len(numbers) == 0


def test_a_share_a_little_above_the_whole_is_the_whole() -> None:
    term = WORDS.term("DCGM_FI_PROF_SM_ACTIVE")
    assert isinstance(term, Term)
    _, numbers = scaled(term, [1.004, 0.5])
    assert numbers.tolist() == [WHOLE_PPM, WHOLE_PPM // 2]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"\xff\xfe", "does not answer with text"),
        (b"<!doctype html><title>login</title>", "not in Prometheus' text format"),
        (b'DCGM_FI_DEV_GPU_UTIL{gpu="0" 1\n', "not in Prometheus' text format"),
        (b"DCGM_FI_DEV_GPU_UTIL one\n", "not in Prometheus' text format"),
        (b'DCGM_FI_DEV_GPU_UTIL{gpu="' + b"x" * 5000 + b'"} 1\n', "too long labels"),
    ],
)
def test_what_is_no_exporter_is_told_with_its_address(body: bytes, problem: str) -> None:
    with pytest.raises(SourceError, match=problem) as caught:
        parse(body, "http://n1:9400/metrics", NOW, WORDS)
    assert str(caught.value).startswith("http://n1:9400/metrics: ")


def test_too_many_samples_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposition, "MOST_SAMPLES", 3)
    with pytest.raises(SourceError, match="more than 3 samples"):
        parse(DCGM.encode(), "x", NOW, WORDS)


@given(st.binary(max_size=200))
def test_no_bytes_are_worse_than_an_error_with_a_place(body: bytes) -> None:
    with contextlib.suppress(SourceError):
        found = parse(b'DCGM_FI_DEV_GPU_UTIL{gpu="0"} 1\n' + body, "x", NOW, WORDS)
        assert found[0].values == [1]


async def test_a_long_answer_is_cut_off_and_refused() -> None:
    async with (
        serving(lambda request: web.Response(body=b"#" * 100_000)) as address,
        Source(Endpoint(f"http://{address}"), most=50_000) as source,
    ):
        with pytest.raises(SourceError, match="answers with more than"):
            await source.get()


async def test_an_answer_elsewhere_is_not_followed() -> None:
    def answer(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "http://127.0.0.1:1/steal"})

    async with serving(answer) as address, Source(Endpoint(f"http://{address}")) as source:
        with pytest.raises(SourceError, match="answers 302"):
            await source.get()


async def test_looking_again_and_again_gives_a_past_and_one_dead_exporter_harms_no_other() -> None:
    count = 0

    def answer(request: web.Request) -> web.Response:
        nonlocal count
        count += 1
        return web.Response(text=f'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{{UUID="GPU-a"}} {1000 * count}\n')

    async with serving(answer) as address:
        settings = Settings(
            exporters=(Endpoint(f"http://{address}/metrics"), Endpoint("http://127.0.0.1:1/metrics"))
        )
        collector = Collector(settings, remember=100_000)
        for moment in (NOW, NOW + 15_000, NOW + 30_000, NOW + 120_000):
            seen = await collector.collect(moment - 100_000, moment)
            assert len(seen.problems) == 1
    (reading,) = seen.readings
    assert reading.times.tolist() == [NOW + 30_000, NOW + 120_000]
    assert reading.values.tolist() == [3000, 4000]


def test_a_file_of_sources_is_read_with_everything_in_it() -> None:
    text = b"""
    prometheus: {url: "https://p:9090", match: 'cluster="a"', tokenFile: /t, caFile: /c, tenant: x}
    exporters: [{url: "http://n1:9400/metrics"}, {url: "http://n2:5000/metrics", user: me, passwordFile: /p}]
    metrics:
      my_duty: {metric: kernel-busy, unit: percent}
      my_joules: {metric: energy, unit: J}
    teamLabels: [cost-centre]
    containers: true
    """
    found = parse_settings(text, "sources.yaml")
    assert found.prometheus == Endpoint("https://p:9090", "/t", ca_file="/c", tenant="x")
    assert found.match == 'cluster="a"'
    assert [item.url for item in found.exporters] == ["http://n1:9400/metrics", "http://n2:5000/metrics"]
    assert found.vocabulary.known(["my_duty", "container_cpu_usage_seconds_total", "other"]) == (
        "my_duty",
        "container_cpu_usage_seconds_total",
    )
    assert found.team_labels == ("cost-centre",)
    assert not replace(found, prometheus=None).empty
    assert parse_settings(b"", "empty").empty


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"prometeus: {}", "sources.yaml: Object contains unknown field `prometeus`"),
        (b"prometheus: {url: 7}", "Expected `str`, got `int`"),
        (b"exporters: [{url: nowhere}]", "nowhere: is not an address"),
        (
            b"metrics: {m: {metric: speed, unit: percent}}",
            "metrics.m: there is no metric 'speed'",
        ),
        (b"{", "sources.yaml: "),
        (b" " * (2 << 20), "larger than 1 MiB"),
    ],
)
def test_mistakes_in_a_file_of_sources_name_the_place(text: bytes, problem: str) -> None:
    with pytest.raises((SettingsError, SourceError)) as caught:
        parse_settings(text, "sources.yaml")
    assert problem in str(caught.value)
