"""Pods with one claim each on a real control plane: the stock scheduler alone, and with Aliquot deciding.

Both in one run against the cluster that a kubeconfig names, which must have no nodes of its own: 1,000
nodes of eight GPUs are made as objects, and no pod really runs. What is timed is the way from the first
pod's creation to the last one's binding. For the second half Aliquot's manifests are applied and `aliquot
controller` is started with the role that is shipped. Processor time is that of each process of the control
plane on this machine, and of `aliquot controller`. In each half one pod is bound beforehand, so that neither
pays for what an API server does once: the first mutating policy of a group makes it read that group's schema,
which takes a second of processor time.
"""

import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conformance.server import Api
from tests.real.cluster import MADE, Cluster, node_of, pod

from aliquot import manifests
from aliquot.kube.config import load_kubeconfig

NODES, DEVICES, PODS = 1_000, 8, 1_000
WRITERS = 16
DRIVER = "gpu.nvidia.com"
FIRST = "first"
"""The pod that is bound before anything is measured."""
SECONDS = 600.0
QUIET = 0.1
"""Of a processor: what all of them may use before pods are created, so that neither half pays for before."""
QUIET_SECONDS = 120.0
PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
_TICKS = 100


@dataclass(frozen=True, slots=True)
class Result:
    """seconds: from the first creation to the last binding. waits: seconds from each pod's creation to its
    binding. processor: seconds of processor time by process."""

    name: str
    pods: int
    created: float
    seconds: float
    waits: tuple[float, ...]
    processor: dict[str, float]

    @property
    def rate(self) -> float:
        return self.pods / self.seconds


def processes() -> dict[str, int]:
    """Processes of this machine that belong to a control plane, by name."""
    found: dict[str, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        name = Path(line[0].decode(errors="replace")).name
        if name in PLANE:
            found[name] = int(folder.name)
    return found


def processor(controller: int | None) -> dict[str, float]:
    """Seconds of processor time so far: of these processes, and of the controller with this number."""
    times = {}
    for name, number in (processes() | ({"aliquot controller": controller} if controller else {})).items():
        try:
            fields = Path(f"/proc/{number}/stat").read_text().rpartition(") ")[2].split()
        except OSError:
            continue
        times[name] = (int(fields[11]) + int(fields[12])) / _TICKS
    return times


class Bench:
    """One cluster and what is made in it."""

    def __init__(self, kubeconfig: Path, folder: Path, nodes: int, pods: int) -> None:
        self.cluster = Cluster(Api(load_kubeconfig([kubeconfig])), folder)
        self.nodes = nodes
        self.pods = pods
        self._writers = ThreadPoolExecutor(WRITERS)

    def each(self, work: Callable[[int], Any], count: int) -> None:
        for _ in self._writers.map(work, range(count)):
            pass

    def prepare(self) -> None:
        """Nodes with their slices, and the class."""
        foreign = [
            node["metadata"]["name"]
            for node in self.cluster.items("/api/v1/nodes")
            if MADE not in (node["metadata"].get("labels") or {})
        ]
        if foreign:
            raise SystemExit(f"the cluster has nodes of its own ({foreign[0]}, ...); use one without any")
        self.cluster.clear()
        selector = [{"cel": {"expression": f"device.driver == '{DRIVER}'"}}]
        self._post(
            "/apis/resource.k8s.io/v1/deviceclasses",
            {
                "apiVersion": "resource.k8s.io/v1",
                "kind": "DeviceClass",
                "metadata": {"name": "gpu.nvidia.com"},
                "spec": {"selectors": selector},
            },
        )
        self.each(self._node, self.nodes)

    def _post(self, path: str, obj: dict[str, Any]) -> None:
        answer = self.cluster.api.request("POST", path, obj)
        if answer.code not in (201, 409):
            raise SystemExit(f"{path}: {answer.content.decode()}")

    def _node(self, number: int) -> None:
        name = f"node-{number:04}"
        amounts = {"cpu": "128", "memory": "1Ti", "pods": "110"}
        self._post(
            "/api/v1/nodes",
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": name, "labels": {MADE: "true", "kubernetes.io/hostname": name}},
                "status": {
                    "capacity": amounts,
                    "allocatable": amounts,
                    "conditions": [{"type": "Ready", "status": "True"}],
                },
            },
        )
        # The server taints new nodes as not ready, and nobody here takes that back.
        self.cluster.patch(f"/api/v1/nodes/{name}", {"spec": {"taints": None}})
        devices = [
            {
                "name": f"gpu-{index}",
                "attributes": {"index": {"int": index}, "productName": {"string": "H100"}},
                "capacity": {"memory": {"value": "80Gi"}},
            }
            for index in range(DEVICES)
        ]
        self._post(
            "/apis/resource.k8s.io/v1/resourceslices",
            {
                "apiVersion": "resource.k8s.io/v1",
                "kind": "ResourceSlice",
                "metadata": {"name": f"{name}-gpus"},
                "spec": {
                    "driver": DRIVER,
                    "nodeName": name,
                    "pool": {"name": name, "generation": 1, "resourceSliceCount": 1},
                    "devices": devices,
                },
            },
        )

    def settle(self, controller: int | None) -> None:
        """Wait until neither the control plane nor the controller has anything to do."""
        end = time.monotonic() + QUIET_SECONDS
        while True:
            before = sum(processor(controller).values())
            time.sleep(2.0)
            if sum(processor(controller).values()) - before < QUIET * 2.0 or time.monotonic() > end:
                return

    def measure(self, name: str, space: str, *, managed: bool, controller: int | None = None) -> Result:
        """Create the pods and wait until all are bound."""
        cluster = self.cluster
        cluster.namespace(space, managed=managed)
        cluster.template(space, 1, "gpu")
        path = f"/api/v1/namespaces/{space}/pods"
        cluster.until(
            lambda: (
                cluster.api.request("GET", f"/api/v1/namespaces/{space}/serviceaccounts/default").code == 200
            ),
            "the service account is there",
        )
        cluster.create(path, pod(FIRST, space, ["gpu"]))
        cluster.until(lambda: bool(node_of(cluster.get(f"{path}/{FIRST}"))), "a first pod is bound")
        created: dict[str, float] = {}
        bound: dict[str, float] = {}
        done = threading.Event()

        def follow() -> None:
            # Bound pods only: who measures is not to work for each change of a pod.
            version = "0"
            query = "fieldSelector=spec.nodeName!%3D&timeoutSeconds=300"
            while not done.is_set():
                for event in cluster.api.events(path, f"{query}&resourceVersion={version}"):
                    meta = event["object"]["metadata"]
                    version = meta.get("resourceVersion", version)
                    if meta["name"] != FIRST:
                        bound.setdefault(meta["name"], time.monotonic())
                        if len(bound) == self.pods:
                            done.set()
                            return

        watching = threading.Thread(target=follow, daemon=True)
        watching.start()

        names = [f"pod-{number:05}" for number in range(self.pods)]
        bodies = [json.dumps(pod(one, space, ["gpu"])).encode() for one in names]

        def create(number: int) -> None:
            created[names[number]] = time.monotonic()
            answer = cluster.api.request("POST", path, bodies[number])
            if answer.code != 201:
                raise SystemExit(f"{names[number]}: {answer.content.decode()}")

        self.settle(controller)
        before = processor(controller)
        start = time.monotonic()
        self.each(create, self.pods)
        all_created = time.monotonic() - start
        if not done.wait(SECONDS):
            raise SystemExit(f"{name}: only {len(bound)} of {self.pods} pods were bound in {SECONDS:.0f} s")
        seconds = max(bound.values()) - start
        after = processor(controller)
        watching.join()
        return Result(
            name,
            self.pods,
            all_created,
            seconds,
            tuple(bound[one] - created[one] for one in bound),
            {key: after[key] - before.get(key, 0.0) for key in after},
        )

    def check(self) -> str:
        """What is wrong with what was given out: a device twice, a pod beside its claim; "" for nothing."""
        held: set[tuple[str, str, str]] = set()
        claims: dict[str, str] = {}
        for claim in self.cluster.items("/apis/resource.k8s.io/v1/resourceclaims"):
            for one in claim["status"]["allocation"]["devices"]["results"]:
                key = (one["driver"], one["pool"], one["device"])
                if key in held:
                    return f"{key} is held twice"
                held.add(key)
                claims[claim["status"]["reservedFor"][0]["uid"]] = one["pool"]
        for found in self.cluster.items("/api/v1/pods"):
            meta = found["metadata"]
            if claims.get(meta["uid"]) != found["spec"].get("nodeName"):
                return f"pod {meta['name']} is beside its claim"
        return ""

    def clear(self, space: str) -> None:
        """Remove the pods and their claims, as kubelets and controllers would."""
        path = f"/api/v1/namespaces/{space}/pods"
        names = [item["metadata"]["name"] for item in self.cluster.items(path)]
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0}
        self.each(
            lambda index: self.cluster.api.request("DELETE", f"{path}/{names[index]}", options), len(names)
        )
        claims = f"/apis/resource.k8s.io/v1/namespaces/{space}/resourceclaims"
        self.cluster.until(lambda: not self.cluster.items(claims), "the claims are gone", SECONDS)

    def uninstalled(self) -> bool:
        path = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/one-allocator.aliquot.dev"
        return self.cluster.api.request("GET", path).code == 404

    def close(self) -> None:
        self._writers.shutdown()
        self.cluster.api.close()


def measure(kubeconfig: Path, nodes: int, pods: int) -> Iterator[Result]:
    """The stock scheduler alone, then Aliquot deciding."""
    with tempfile.TemporaryDirectory(prefix="aliquot-throughput-") as folder:
        bench = Bench(kubeconfig, Path(folder), nodes, pods)
        try:
            bench.prepare()
            if not bench.uninstalled():
                for obj in manifests.load(bench.cluster.api.version[1]):
                    if "AdmissionPolicy" in obj["kind"]:
                        bench.cluster.api.request("DELETE", bench.cluster.path(obj))
                # Policies are forgotten by the server's plugins a moment after they are deleted.
                time.sleep(5)
            yield bench.measure("stock scheduler alone", "throughput-stock", managed=False)
            bench.clear("throughput-stock")
            bench.cluster.install()
            with bench.cluster.controller("throughput") as running:
                bench.cluster.until(lambda: " leads " in running.log.read_text(), "Aliquot leads")
                number = running.process.pid
                yield bench.measure("Aliquot deciding", "throughput-aliquot", managed=True, controller=number)
            if problem := bench.check():
                raise SystemExit(problem)
            bench.clear("throughput-aliquot")
        finally:
            bench.close()


def table(kubeconfig: Path, nodes: int = NODES, pods: int = PODS) -> Iterator[str]:
    """The lines of the report."""
    yield f"{nodes:,} nodes x {DEVICES} GPUs, {pods:,} pods with one claim each (template)"
    yield f"{'':24} {'created s':>9} {'bound s':>8} {'pods/s':>7} {'p50 s':>7} {'p99 s':>7}  processor s"
    results = []
    for found in measure(kubeconfig, nodes, pods):
        results.append(found)
        waits = sorted(found.waits)
        times = ", ".join(f"{key} {value:.1f}" for key, value in sorted(found.processor.items()))
        yield (
            f"{found.name:24} {found.created:9.1f} {found.seconds:8.1f} {found.rate:7.1f}"
            f" {statistics.median(waits):7.1f} {waits[int(0.99 * (len(waits) - 1))]:7.1f}  {times}"
        )
    yield f"{'ratio':24} {results[1].rate / results[0].rate:35.2f}"
    yield json.dumps({one.name: round(one.rate, 1) for one in results})
