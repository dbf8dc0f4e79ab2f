"""The controller at scale, against a server that only answers: time to read, memory, new pods per second.

The server runs in this process and speaks as much of the Kubernetes API as the controller asks for: lists in
pages, watches, and writes, which it merges, numbers and sends out on the watches. It checks nothing. The
controller is the real process, `aliquot controller`. What is measured:

- filled: from the start of the process until `/readyz` says that everything has been read;
- first: from then until it has decided for the first time;
- memory: its resident set after that, and at the end;
- decided: for every new pod, from the sending of its watch event until the last of the writes that place it
  has come in: the claim's finalizer, its allocation, the lifting of the gate. As many pods as arrive, leave.
"""

import asyncio
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import msgspec
import yaml
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.answering import Answering, Json
from benchmarks.full_cluster import CLAIMS_PATH, DRIVER, PODS_PATH, claim, fill, pod

NODES = (5_000,)
PODS = 30_000
RATE = 100
SECONDS = 30


class Result(msgspec.Struct, frozen=True):
    """Seconds, MiB, pods. cpu: processor seconds of the controller: until filled, and while pods arrive."""

    nodes: int
    pods: int
    filled: float
    first: float
    filled_cpu: float
    steady_mib: int
    final_mib: int
    arrived: int
    placed: int
    rate: float
    median: float
    p95: float
    worst: float
    arriving_cpu: float
    server_cpu: float
    load: float


@dataclass
class Process:
    """A running controller and the address of its metrics and probes."""

    running: asyncio.subprocess.Process
    address: str

    def cpu(self) -> float:
        """Processor seconds so far."""
        fields = Path(f"/proc/{self.running.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def mib(self) -> int:
        """The resident set."""
        for line in Path(f"/proc/{self.running.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) // 1024
        return 0

    async def get(self, path: str) -> tuple[int, str]:
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session,
                session.get(f"http://{self.address}/{path}") as answer,
            ):
                return answer.status, await answer.text()
        except (aiohttp.ClientError, TimeoutError):
            return 0, ""

    async def until_ready(self, seconds: float) -> float:
        """Seconds until the probe succeeds."""
        began = time.monotonic()
        async with asyncio.timeout(seconds):
            while (await self.get("readyz"))[0] != 200:
                if self.running.returncode is not None:
                    raise RuntimeError(f"the controller ended with {self.running.returncode}")
                await asyncio.sleep(0.05)
        return time.monotonic() - began

    async def until_decided(self, seconds: float) -> None:
        async with asyncio.timeout(seconds):
            while await self._cycles() < 1:  # noqa: ASYNC110
                await asyncio.sleep(0.1)

    async def _cycles(self) -> float:
        _, text = await self.get("metrics")
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "aliquot_cycles_total" and sample.labels.get("result") == "done"
        )


@contextlib.asynccontextmanager
async def controller(server: Answering, folder: Path) -> AsyncIterator[Process]:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server.url}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "c",
    }
    (folder / "kubeconfig").write_text(yaml.safe_dump(config))
    (folder / "policy.yaml").write_text(yaml.safe_dump({"managedDrivers": [DRIVER]}))
    address = f"127.0.0.1:{server.spare_port()}"
    with (folder / "controller.log").open("wb") as log:
        running = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "aliquot", "controller"),
            *("--kubeconfig", str(folder / "kubeconfig"), "--policy", str(folder / "policy.yaml")),
            *("--state", str(folder / "state")),
            *("--metrics-bind-address", address, "--health-probe-bind-address", address),
            stdout=log,
            stderr=log,
        )
    try:
        yield Process(running, address)
    except Exception as error:
        error.add_note((folder / "controller.log").read_text()[-4000:])
        raise
    finally:
        if running.returncode is None:
            running.terminate()
            try:
                await asyncio.wait_for(running.wait(), 30)
            except TimeoutError:
                running.kill()
                await running.wait()


class Arrivals:
    """Pods that come at a steady rate while as many of the oldest leave; how long each took to be placed."""

    def __init__(self, server: Answering, first: int, oldest: list[int]) -> None:
        self._server = server
        self._next = first
        self._oldest = oldest
        self.sent: dict[str, float] = {}
        self.took: dict[str, float] = {}
        server.on_patch = self._patched

    async def run(self, rate: int, seconds: int) -> None:
        began = time.monotonic()
        for number in range(rate * seconds):
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            self._arrive()
            self._leave()

    def _arrive(self) -> None:
        number, self._next = self._next, self._next + 1
        self._server.put(CLAIMS_PATH, claim(number))
        self.sent[f"work-{number:07}"] = time.monotonic()
        self._server.put(PODS_PATH, pod(number, True))

    def _leave(self) -> None:
        if not self._oldest:
            return
        number = self._oldest.pop(0)
        self._server.remove(PODS_PATH, "team", f"work-{number:07}")
        self._server.remove(CLAIMS_PATH, "team", f"work-{number:07}-gpu")

    def _patched(self, path: str, obj: Json) -> None:
        """A write came in: where it was the last one that places a pod, that is bound and runs."""
        name = obj["metadata"]["name"]
        if path != PODS_PATH or name in self.took or name not in self.sent:
            return
        if obj["spec"].get("schedulingGates"):
            return
        self.took[name] = time.monotonic() - self.sent[name]
        key = f"{name}-gpu"
        allocation = self._server.get(CLAIMS_PATH, "team", key)["status"]["allocation"]
        term = allocation["nodeSelector"]["nodeSelectorTerms"][0]
        bound = json.loads(json.dumps(obj))
        bound["spec"]["nodeName"] = term["matchFields"][0]["values"][0]
        bound["status"]["phase"] = "Running"
        self._server.put(PODS_PATH, bound)
        self._oldest.append(int(name.removeprefix("work-")))


async def measured(nodes: int, pods: int = PODS, rate: int = RATE, seconds: int = SECONDS) -> Result:
    server = Answering()
    oldest = fill(server, nodes, pods)
    await server.start()
    with tempfile.TemporaryDirectory() as folder:
        async with controller(server, Path(folder)) as process:
            filled = await process.until_ready(300.0)
            filled_cpu, began = process.cpu(), time.monotonic()
            await process.until_decided(300.0)
            first = time.monotonic() - began
            await asyncio.sleep(5.0)
            steady, cpu, own = process.mib(), process.cpu(), time.process_time()
            arrivals = Arrivals(server, pods, oldest)
            began = time.monotonic()
            await arrivals.run(rate, seconds)
            spent = time.monotonic() - began
            end = time.monotonic() + 30.0
            while len(arrivals.took) < len(arrivals.sent) and time.monotonic() < end:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            took = sorted(arrivals.took.values()) or [float("inf")]
            result = Result(
                nodes=nodes,
                pods=pods,
                filled=filled,
                first=first,
                filled_cpu=filled_cpu,
                steady_mib=steady,
                final_mib=process.mib(),
                arrived=len(arrivals.sent),
                placed=len(arrivals.took),
                rate=len(arrivals.sent) / spent,
                median=statistics.median(took),
                p95=took[int(len(took) * 0.95)],
                worst=took[-1],
                arriving_cpu=process.cpu() - cpu,
                server_cpu=time.process_time() - own,
                load=os.getloadavg()[0],
            )
    await server.stop()
    return result


def table(sizes: tuple[int, ...] = NODES, pods: int = PODS, seconds: int = SECONDS) -> Iterator[str]:
    """The lines of a table: one for each size."""
    yield (
        f"{'scale':22} {'filled s':>9} {'cpu s':>6} {'first s':>8} {'MiB':>6} {'then':>6} {'pods/s':>7} "
        f"{'placed':>7} {'median s':>9} {'p95 s':>6} {'worst':>6} {'cpu s':>6} {'server':>7} {'load':>5}"
    )
    for nodes in sizes:
        found = asyncio.run(measured(nodes, pods * nodes // NODES[0], seconds=seconds))
        yield (
            f"{f'{found.nodes:,} nodes, {found.pods:,} pods':22} {found.filled:9.1f} {found.filled_cpu:6.1f} "
            f"{found.first:8.1f} {found.steady_mib:6,} {found.final_mib:6,} {found.rate:7.0f} "
            f"{found.placed:7,} {found.median:9.3f} {found.p95:6.2f} {found.worst:6.2f} "
            f"{found.arriving_cpu:6.1f} {found.server_cpu:7.1f} {found.load:5.1f}"
        )
