"""A real Prometheus: samples as they were scraped, its limits, its locks, and what it does to labels."""

import asyncio
import datetime
import ipaddress
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.telemetry.cluster import Samples
from tests.telemetry.exporter import gate, serving
from tests.telemetry.prometheus_server import load, prometheus

from aliquot.telemetry import prometheus as client
from aliquot.telemetry.collecting import Collector
from aliquot.telemetry.endpoint import Endpoint
from aliquot.telemetry.errors import SourceError
from aliquot.telemetry.prometheus import Prometheus
from aliquot.telemetry.raw import readings
from aliquot.telemetry.settings import Settings
from aliquot.telemetry.vocabulary import Vocabulary
from aliquot.usage.joining import joined_usage
from aliquot.usage.matching import Device
from aliquot.usage.metrics import Metric
from aliquot.usage.series import Subject

START = 1_790_000_000_000
MINUTE = 60_000
UTIL = "DCGM_FI_DEV_GPU_UTIL"
ENERGY = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"
PASSWORD = "open sesame"
HASH = "$2b$04$6NC0r/EFPxdvwsBeZ375rOoJcsGBDwQ2HFmEOMuIM68lvmMNtoZm2"
WORDS = Vocabulary()


def loaded(folder: Path, minutes: int = 300, gpus: int = 3) -> list[int]:
    """Samples of some GPUs a minute apart, and one metric of something else; the times."""
    times = [START + (place + 1) * MINUTE for place in range(minutes)]
    found = Samples()
    for number in range(gpus):
        labels = {"UUID": f"GPU-{number}", "Hostname": "n1", "job": "dcgm", "instance": "n1:9400"}
        found.add(UTIL, labels, [(time, (place + number) % 101) for place, time in enumerate(times)])
        found.add(ENERGY, labels, [(time, 1e12 + place * 30_000) for place, time in enumerate(times)])
    found.add("node_load1", {"job": "node"}, [(time, 1) for time in times])
    load(folder, found.text())
    return times


async def test_samples_arrive_as_they_were_scraped_whatever_the_pieces(tmp_path: Path) -> None:
    times = loaded(tmp_path)
    async with prometheus(tmp_path) as url, Prometheus(Endpoint(url)) as server:
        end = times[-1]
        names = await server.names(WORDS, START, end)
        assert names == (UTIL, ENERGY)
        for piece in (7 * MINUTE + 1, 3_600_000, 10**9):
            raw = await server.samples(names, START, end, piece=piece)
            found = readings(raw, WORDS)
            assert len(found) == 6
            for item in found:
                assert item.times.tolist() == times
            busy = next(i for i in found if (i.metric, i.identity.uuid) == (Metric.KERNEL_BUSY, "GPU-2"))
            assert busy.values.tolist() == [(place + 2) % 101 * 10_000 for place in range(300)]
        none = await server.samples(names, START - 10**9, START)
        assert none == ()


async def test_a_server_that_refuses_large_answers_is_asked_for_smaller_pieces(tmp_path: Path) -> None:
    times = loaded(tmp_path)
    flags = ("--query.max-samples=250",)
    async with prometheus(tmp_path, flags=flags) as url, Prometheus(Endpoint(url)) as server:
        raw = await server.samples([UTIL], START, times[-1])
        assert [len(item.times) for item in raw] == [300, 300, 300]
    few = ("--query.max-samples=1",)
    async with prometheus(tmp_path, flags=few) as url, Prometheus(Endpoint(url)) as server:
        with pytest.raises(SourceError, match="ask for less time"):
            await server.samples([UTIL], START, START + 10 * MINUTE)


async def test_averages_are_asked_for_in_pieces_within_the_limit_of_points(tmp_path: Path) -> None:
    times = loaded(tmp_path, minutes=250, gpus=1)
    async with prometheus(tmp_path) as url, Prometheus(Endpoint(url)) as server:
        points = (times[-1] - START) // 1000
        assert points > client.MOST_POINTS
        raw = await server.averages([UTIL], START, times[-1], 1000)
        assert [len(item.times) for item in raw] == [250]
        (coarse,) = await server.averages([UTIL], START, START + 20 * MINUTE, 10 * MINUTE)
        assert coarse.times == [START + 10 * MINUTE, START + 20 * MINUTE]
        assert coarse.values == [pytest.approx(4.5), pytest.approx(14.5)]
        (most,) = await server.averages(
            [UTIL], START, START + 20 * MINUTE, 10 * MINUTE, function="max_over_time"
        )
        assert most.values == [9.0, 19.0]


async def test_a_long_time_comes_as_averages_with_peaks_and_whole_counters(tmp_path: Path) -> None:
    used = "DCGM_FI_DEV_FB_USED"
    minutes = 24 * 60 + 1
    start = START // (3 * MINUTE) * 3 * MINUTE
    found = Samples()
    labels = {"UUID": "GPU-0", "job": "dcgm", "instance": "n1:9400"}
    times = [start + (place + 1) * MINUTE for place in range(minutes) if not 600 <= place < 720]
    values = [(place * 37) % 101 for place in range(len(times))]
    found.add(UTIL, labels, zip(times, values, strict=True))
    found.add(used, labels, zip(times, [value * 10 for value in values], strict=True))
    found.add(ENERGY, labels, ((time, (time - start) // 10) for time in times))
    load(tmp_path, found.text())
    end = start + minutes * MINUTE
    async with prometheus(tmp_path) as url:
        seen = await Collector(Settings(prometheus=Endpoint(url))).collect(start, end)
    assert seen.problems == []
    place = Subject(device="gpu-0")
    usage = joined_usage(seen.readings, [Device(place, uuid="GPU-0")], [], {})
    busy, memory, energy = (
        usage.devices[place][metric] for metric in (Metric.KERNEL_BUSY, Metric.MEMORY_USED, Metric.ENERGY)
    )
    assert set(busy.spans.tolist()) == {3 * MINUTE, MINUTE}
    assert busy.end == end
    assert busy.covered == len(times) * MINUTE
    mean = busy.mean().value
    assert mean is not None
    assert mean == pytest.approx(sum(values) * 10_000 / len(values), rel=1e-5)
    assert memory.maximum().value == max(values) * 10 << 20
    assert memory.values.max() < memory.maximum().value
    assert energy.total() == (times[-1] - energy.start) // 10


async def test_matchers_choose_series(tmp_path: Path) -> None:
    times = loaded(tmp_path)
    async with prometheus(tmp_path) as url:
        async with Prometheus(Endpoint(url), matchers='{UUID="GPU-1"}') as server:
            names = await server.names(WORDS, START, times[-1])
            raw = await server.samples(names, START, times[-1])
            assert {item.labels["UUID"] for item in raw} == {"GPU-1"}
        async with Prometheus(Endpoint(url), matchers="UUID=") as server:
            with pytest.raises(SourceError, match="answers 400"):
                await server.names(WORDS, START, times[-1])


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert, private = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return cert, private


async def test_a_password_and_a_certificate_open_a_locked_server(tmp_path: Path) -> None:
    loaded(tmp_path, minutes=3)
    cert, key = certificate(tmp_path)
    web_config = (
        f"tls_server_config: {{cert_file: {cert}, key_file: {key}}}\nbasic_auth_users: {{reader: '{HASH}'}}\n"
    )
    secret = tmp_path / "password"
    secret.write_text(PASSWORD + "\n")
    async with prometheus(tmp_path, web=web_config) as url:
        fine = Endpoint(url, user="reader", password_file=str(secret), ca_file=str(cert))
        async with Prometheus(fine) as server:
            assert await server.names(WORDS, START, START + 10 * MINUTE) == (UTIL, ENERGY)
        async with Prometheus(replace(fine, ca_file="", insecure=True)) as server:
            assert await server.names(WORDS, START, START + 10 * MINUTE) == (UTIL, ENERGY)
        async with Prometheus(replace(fine, ca_file="")) as server:
            with pytest.raises(SourceError, match="certificate is not trusted"):
                await server.names(WORDS, START, START + 10 * MINUTE)
        secret.write_text("wrong")
        async with Prometheus(fine) as server:
            with pytest.raises(SourceError, match="answers 401") as caught:
                await server.names(WORDS, START, START + 10 * MINUTE)
            assert "wrong" not in str(caught.value)


async def test_a_token_is_read_anew_for_each_request(tmp_path: Path) -> None:
    loaded(tmp_path, minutes=3)
    token = tmp_path / "token"
    token.write_text("old")
    async with (
        prometheus(tmp_path) as url,
        gate(url, "new") as outside,
        Prometheus(Endpoint(outside, bearer_file=str(token))) as server,
    ):
        with pytest.raises(SourceError, match="answers 401: who are you"):
            await server.names(WORDS, START, START + 10 * MINUTE)
        token.write_text("new\n")
        names = await server.names(WORDS, START, START + 10 * MINUTE)
        assert len(await server.samples(names, START, START + 10 * MINUTE)) == 6


DCGM = """# TYPE DCGM_FI_DEV_GPU_UTIL gauge
DCGM_FI_DEV_GPU_UTIL{gpu="0",UUID="GPU-0",Hostname="n1",pod="train-0",namespace="ml",container="main"} 55
DCGM_FI_DEV_GPU_UTIL{gpu="1",UUID="GPU-1",Hostname="n1"} 0
"""


@pytest.mark.parametrize("honoured", [True, False])
async def test_labels_of_the_target_do_not_hide_who_used_a_device(tmp_path: Path, honoured: bool) -> None:
    """Scraped for real, with target labels `pod` and `namespace` as service discovery puts them there."""
    relabel = (
        f"  honor_labels: {str(honoured).lower()}\n"
        "  relabel_configs:\n"
        "  - {target_label: pod, replacement: nvidia-dcgm-exporter-abcde}\n"
        "  - {target_label: namespace, replacement: gpu-operator}\n"
    )
    asked = 0
    stored = asyncio.Event()

    def answer(request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        if asked == 3:
            # What it saw twice is stored by now.
            stored.set()
        return web.Response(text=DCGM)

    async with (
        serving(answer) as target,
        prometheus(tmp_path, [target], scrape=relabel) as url,
        Prometheus(Endpoint(url)) as server,
        asyncio.timeout(60),
    ):
        await stored.wait()
        now = round(datetime.datetime.now(datetime.UTC).timestamp() * 1000)
        raw = await server.samples([UTIL], now - 10 * MINUTE, now)
    assert len(raw) == 2
    pods = {item.identity.uuid: item.identity.pod for item in readings(raw, WORDS)}
    assert pods["GPU-0"] is not None
    assert (pods["GPU-0"].namespace, pods["GPU-0"].name) == ("ml", "train-0")
    assert pods["GPU-1"] is None


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("<html>login</html>", "does not answer as Prometheus does"),
        ('{"status":"success","data":{"resultType":"vector","result":[]}}', "answers with a vector"),
        ('{"status":"error","error":"no","errorType":"bad_data"}', "refuses: no"),
        (
            '{"status":"success","data":{"resultType":"matrix","result":[{"values":[["x"]]}]}}',
            "does not answer",
        ),
        ("[" * 100_000, "does not answer as Prometheus does"),
    ],
)
async def test_strange_answers_are_refused_with_the_place(body: str, problem: str) -> None:
    async with (
        serving(lambda request: web.Response(text=body)) as address,
        Prometheus(Endpoint(f"http://{address}")) as server,
    ):
        with pytest.raises(SourceError, match=problem) as caught:
            await server.samples([UTIL], START, START + MINUTE)
    assert caught.value.source == f"http://{address}"


async def test_a_failing_server_is_asked_again_and_a_dead_one_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("aliquot.telemetry.endpoint.FIRST_PAUSE_S", 0.001)
    asked = 0

    def answer(request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.Response(status=503) if asked < 3 else web.json_response({"status": "success", "data": []})

    async with serving(answer) as address:
        async with Prometheus(Endpoint(f"http://{address}")) as server:
            assert await server.names(WORDS, START, START + 1) == ()
        assert asked == 3
    seen = await Collector(Settings(prometheus=Endpoint(f"http://{address}"))).collect(START, START + 1)
    assert seen.readings == ()
    assert "cannot be reached" in str(seen.problems[0])


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://me:secret@host/", "user or password in its address"),
        ("ftp://host/", "is not an address"),
        ("http://", "is not an address"),
        ("http://host:99999/", "is not an address"),
    ],
)
def test_addresses_are_checked_and_secrets_in_them_are_not_told(url: str, problem: str) -> None:
    with pytest.raises(SourceError, match=problem) as caught:
        Endpoint(url).checked()
    assert "secret" not in str(caught.value)
