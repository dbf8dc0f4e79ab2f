"""The controller at scale, against a server that only answers: time to read, memory, new pods per second.

The server runs in this process and speaks as much of the Kubernetes API as the controller asks for: lists in
pages, watches, and writes, which it merges, numbers and sends out on the watches. It checks nothing. The
controller is the real process, `aliquot controller`. What is measured:

- filled: from the start of the process until `/readyz` says that everything has been read;
- first: from then until it has decided for the first time;
- memory: its resident set after that, and at the end;
- decided: for every new pod, from the sending of its watch event until the last of the writes that place it
  has come in: the claim's finalizer, its allocation, the lifting of the gate. As many pods as arrive, leave.

Objects have the size that they have in clusters, managedFields and all.
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

NODES = (5_000,)
DEVICES = 8
PODS = 30_000
RATE = 100
SECONDS = 30
CLAIMED = 0.8
"""The part of the pods that have a device through a claim."""

QUEUES = 20

DRIVER = "gpu.nvidia.com"
PODS_PATH = "/api/v1/pods"
CLAIMS_PATH = "/apis/resource.k8s.io/v1/resourceclaims"
STAMP = "2026-01-01T00:00:00Z"


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


# Objects


def _managed(*fields: str) -> Json:
    """managedFields as a server keeps them: they are a third of what it sends."""
    tree: Json = {f"f:{name}": {".": {}, "f:value": {}, "f:status": {}, "f:reason": {}} for name in fields}
    return {
        "manager": "kube-controller-manager",
        "operation": "Update",
        "apiVersion": "v1",
        "time": STAMP,
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:metadata": tree, "f:spec": tree},
    }


_FIELDS = ("labels", "annotations", "ownerReferences", "containers", "volumes", "tolerations", "resources")


def node(number: int) -> Json:
    name = f"node-{number:05}"
    amounts = {
        "cpu": "128",
        "memory": "2113548472Ki",
        "pods": "110",
        "ephemeral-storage": "3750Gi",
        "hugepages-1Gi": "0",
        "hugepages-2Mi": "0",
    }
    conditions = [
        {
            "type": kind,
            "status": "True" if kind == "Ready" else "False",
            "lastHeartbeatTime": STAMP,
            "lastTransitionTime": STAMP,
            "reason": f"Kubelet{kind}",
            "message": "kubelet is posting its status",
        }
        for kind in ("MemoryPressure", "DiskPressure", "PIDPressure", "Ready")
    ]
    images = [
        {"names": [f"registry.example/images/{item}@sha256:{item:064}"], "sizeBytes": 12345678 * (item + 1)}
        for item in range(40)
    ]
    return {
        "kind": "Node",
        "apiVersion": "v1",
        "metadata": {
            "name": name,
            "uid": f"node-{number}",
            "creationTimestamp": STAMP,
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "topology.kubernetes.io/zone": f"zone-{number % 3}",
                "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3",
                "nvidia.com/gpu.count": str(DEVICES),
                **{f"feature.node.kubernetes.io/cpu-feature-{item}": "true" for item in range(30)},
            },
            "annotations": {f"node.example/{item}": "x" * 60 for item in range(5)},
            "managedFields": [_managed(*_FIELDS), _managed(*_FIELDS)],
        },
        "spec": {"podCIDR": "10.0.0.0/24", "providerID": f"example:///{name}"},
        "status": {
            "capacity": amounts,
            "allocatable": amounts,
            "conditions": conditions,
            "images": images,
            "nodeInfo": {"kubeletVersion": "v1.36.2", "osImage": "Linux", "architecture": "amd64"},
        },
    }


def resource_slice(number: int) -> Json:
    name = f"node-{number:05}"
    attributes = {
        "productName": {"string": "NVIDIA H100 80GB HBM3"},
        "architecture": {"string": "Hopper"},
        "brand": {"string": "Nvidia"},
        "driverVersion": {"version": "580.65.6"},
        "cudaComputeCapability": {"version": "9.0.0"},
        "type": {"string": "gpu"},
        "resource.kubernetes.io/numaNode": {"int": 0},
    }
    devices = [
        {
            "name": f"gpu-{index}",
            "attributes": {
                **attributes,
                "uuid": {"string": f"GPU-{number:08}-{index:04}-4000-8000-000000000000"},
                "resource.kubernetes.io/pcieRoot": {"string": f"pci0000:{index:02x}"},
            },
            "capacity": {"memory": {"value": "81559Mi"}},
        }
        for index in range(DEVICES)
    ]
    return {
        "kind": "ResourceSlice",
        "apiVersion": "resource.k8s.io/v1",
        "metadata": {
            "name": f"{name}-{DRIVER}",
            "uid": f"slice-{number}",
            "creationTimestamp": STAMP,
            "managedFields": [_managed(*_FIELDS)],
        },
        "spec": {
            "driver": DRIVER,
            "nodeName": name,
            "pool": {"name": name, "generation": 1, "resourceSliceCount": 1},
            "devices": devices,
        },
    }


def pod(number: int, claimed: bool, on: str = "") -> Json:
    """A pod of a Job's size and shape; with a claim of its own, or without."""
    name = f"work-{number:07}"
    spec: Json = {
        "schedulerName": "default-scheduler",
        "restartPolicy": "Never",
        "serviceAccountName": "default",
        "priority": 0,
        "preemptionPolicy": "Never",
        "containers": [
            {
                "name": "main",
                "image": "registry.example/training:1.2.3",
                "command": ["python", "-m", "train"],
                "env": [{"name": f"SETTING_{item}", "value": "x" * 40} for item in range(20)],
                "resources": {"requests": {"cpu": "8", "memory": "64Gi"}, "claims": [{"name": "gpu"}]},
                "volumeMounts": [{"name": f"v{item}", "mountPath": f"/v/{item}"} for item in range(4)],
            }
        ],
        "volumes": [{"name": f"v{item}", "emptyDir": {}} for item in range(4)],
        "tolerations": [
            {
                "key": f"node.kubernetes.io/{key}",
                "operator": "Exists",
                "effect": "NoExecute",
                "tolerationSeconds": 300,
            }
            for key in ("not-ready", "unreachable")
        ],
    }
    status: Json = {"phase": "Running" if on else "Pending", "qosClass": "Burstable"}
    if claimed:
        spec["resourceClaims"] = [{"name": "gpu", "resourceClaimTemplateName": "one-gpu"}]
        status["resourceClaimStatuses"] = [{"name": "gpu", "resourceClaimName": f"{name}-gpu"}]
    if on:
        spec["nodeName"] = on
        status["startTime"] = STAMP
        status["conditions"] = [
            {"type": kind, "status": "True", "lastTransitionTime": STAMP}
            for kind in ("PodScheduled", "Initialized", "ContainersReady", "Ready")
        ]
    else:
        spec["schedulingGates"] = [{"name": "aliquot.dev/placement"}]
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {
            "name": name,
            "namespace": "team",
            "uid": f"pod-{number}",
            "creationTimestamp": STAMP,
            "labels": {"app": "training", "aliquot.dev/queue": f"team-{number % QUEUES}"},
            "ownerReferences": [
                {
                    "apiVersion": "example.dev/v1",
                    "kind": "Run",
                    "name": name,
                    "uid": f"run-{number}",
                    "controller": True,
                }
            ],
            "managedFields": [_managed(*_FIELDS), _managed(*_FIELDS)],
        },
        "spec": spec,
        "status": status,
    }


def claim(number: int, on: str = "", device: str = "") -> Json:
    name = f"work-{number:07}"
    found: Json = {
        "kind": "ResourceClaim",
        "apiVersion": "resource.k8s.io/v1",
        "metadata": {
            "name": f"{name}-gpu",
            "namespace": "team",
            "uid": f"claim-{number}",
            "creationTimestamp": STAMP,
            "annotations": {"resource.kubernetes.io/pod-claim-name": "gpu"},
            "ownerReferences": [
                {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "name": name,
                    "uid": f"pod-{number}",
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
            "managedFields": [_managed(*_FIELDS)],
        },
        "spec": {
            "devices": {
                "requests": [
                    {
                        "name": "gpu",
                        "exactly": {
                            "deviceClassName": "gpu.nvidia.com",
                            "allocationMode": "ExactCount",
                            "count": 1,
                        },
                    }
                ]
            }
        },
        "status": {},
    }
    if on:
        found["metadata"]["finalizers"] = ["resource.kubernetes.io/delete-protection"]
        found["status"] = {
            "allocation": {
                "devices": {"results": [{"request": "gpu", "driver": DRIVER, "pool": on, "device": device}]},
                "nodeSelector": {
                    "nodeSelectorTerms": [
                        {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [on]}]}
                    ]
                },
                "allocationTimestamp": STAMP,
            },
            "reservedFor": [{"resource": "pods", "name": name, "uid": f"pod-{number}"}],
        }
    return found


def _fixed() -> Iterator[tuple[str, Json]]:
    yield (
        "/api/v1/namespaces",
        {
            "kind": "Namespace",
            "apiVersion": "v1",
            "metadata": {"name": "team", "uid": "ns-team", "labels": {"aliquot.dev/managed": "true"}},
        },
    )
    yield (
        "/apis/resource.k8s.io/v1/deviceclasses",
        {
            "kind": "DeviceClass",
            "apiVersion": "resource.k8s.io/v1",
            "metadata": {"name": "gpu.nvidia.com", "uid": "class"},
            "spec": {
                "selectors": [
                    {
                        "cel": {
                            "expression": (
                                f"device.driver == '{DRIVER}' && device.attributes['{DRIVER}'].type == 'gpu'"
                            )
                        }
                    }
                ]
            },
        },
    )


def _queues() -> Iterator[Json]:
    """One above, and teams with equal quotas below it."""
    for name in ("all", *(f"team-{number}" for number in range(QUEUES))):
        spec: Json = {"resources": [{"name": "gpu", "quota": 1000 if name != "all" else 1000 * QUEUES}]}
        if name != "all":
            spec["parent"] = "all"
        yield {
            "kind": "Queue",
            "apiVersion": "aliquot.dev/v1alpha1",
            "metadata": {"name": name, "uid": f"queue-{name}", "creationTimestamp": STAMP},
            "spec": spec,
        }


def fill(server: Answering, nodes: int, pods: int) -> list[int]:
    """Put a cluster into the server. Gives the numbers of the pods with claims, the oldest first."""
    for path, obj in _fixed():
        server.put(path, obj)
    for queue in _queues():
        server.put("/apis/aliquot.dev/v1alpha1/queues", queue)
    for number in range(nodes):
        server.put("/api/v1/nodes", node(number))
        server.put("/apis/resource.k8s.io/v1/resourceslices", resource_slice(number))
    claimed: list[int] = []
    for number in range(pods):
        if number < pods * CLAIMED and number < nodes * DEVICES:
            # Nodes fill up one after the other, as they do where work is packed.
            on = f"node-{number // DEVICES:05}"
            server.put(PODS_PATH, pod(number, True, on))
            server.put(CLAIMS_PATH, claim(number, on, f"gpu-{number % DEVICES}"))
            claimed.append(number)
        else:
            server.put(PODS_PATH, pod(number, False, f"node-{number % nodes:05}"))
    return claimed


# Measuring


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
