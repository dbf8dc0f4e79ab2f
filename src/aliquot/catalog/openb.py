"""The openb trace: a production cluster of whole and shared GPUs, as Kubernetes objects.

The trace is two CSV files of hkust-adsl/kubernetes-scheduler-simulator (FGD, USENIX ATC 2023): nodes with
CPU, memory, GPUs and their model, and pods that ask for CPU, memory and either a part of one GPU or whole
GPUs.

Each GPU becomes a device that several claims may share, with a capacity `share` of 1000 (milli-GPU). A pod
with gpu_milli 460 takes 460 of one device; a pod of two whole GPUs takes all 1000 of two.
"""

import csv
import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec

from aliquot.catalog.drivers.publication import (
    API_VERSION,
    MAX_DEVICES,
    Json,
    device_class,
    integer,
    mebibytes,
    string,
)
from aliquot.model.core import PLACEMENT_GATE

DRIVER = "openb.aliquot.dev"
NAMESPACE = "openb"
SHARE = "share"
WHOLE_GPU = 1000
PODS_PER_NODE = 1001
"""The simulator's limit of pods on a node, which never binds."""

MAX_BYTES = 64 << 20
MAX_ROWS = 1_000_000
MAX_AMOUNT = 1 << 40

_START = datetime(2026, 1, 1, tzinfo=UTC)


class OpenbError(Exception):
    """A trace file that cannot be read. line: the header is line 1; column: its name, or ""."""

    def __init__(self, source: str, line: int, column: str, problem: str, fix: str) -> None:
        super().__init__(source, line, column, problem, fix)
        self.source = source
        self.line = line
        self.column = column
        self.problem = problem
        self.fix = fix

    def __str__(self) -> str:
        column = f"column {self.column}: " if self.column else ""
        return f"{self.source}:{self.line}: {column}{self.problem}; {self.fix}"


class OpenbNode(msgspec.Struct, frozen=True):
    """One node. cpu_milli: thousandths of a CPU; memory_mib: MiB; model: of its GPUs, "" without any."""

    name: str
    cpu_milli: int
    memory_mib: int
    gpus: int
    model: str


class OpenbPod(msgspec.Struct, frozen=True):
    """One pod. gpus devices, gpu_milli (1 to 1000) of each; 0 of 0 for a pod without GPU.

    models: the GPU models it accepts, empty for any. Times are seconds of the trace; None where it has none.
    """

    name: str
    cpu_milli: int
    memory_mib: int
    gpus: int
    gpu_milli: int
    models: tuple[str, ...] = ()
    qos: str = ""
    creation_time: int | None = None
    deletion_time: int | None = None

    def total_milli(self) -> int:
        """Milli-GPU over all its devices."""
        return self.gpus * self.gpu_milli


class _Row:
    """One line of a file, its cells by column name."""

    def __init__(self, source: str, line: int, cells: dict[str, str]) -> None:
        self.source = source
        self.line = line
        self._cells = cells

    def error(self, column: str, problem: str, fix: str) -> OpenbError:
        return OpenbError(self.source, self.line, column, problem, fix)

    def text(self, column: str) -> str:
        return self._cells.get(column, "").strip()

    def name(self, column: str) -> str:
        value = self.text(column)
        if not value or len(value) > 63 or value.strip("-") != value or not set(value) <= _NAME_CHARACTERS:
            raise self.error(column, f"{value!r} is not a valid name", "use a-z, 0-9 and `-`")
        return value

    def number(self, column: str, high: int = MAX_AMOUNT) -> int:
        value = self.text(column)
        if not (value.isascii() and value.isdigit()) or len(value) > 15 or int(value) > high:
            raise self.error(column, f"{value!r} is not a number", f"write a whole number from 0 to {high}")
        return int(value)

    def seconds(self, column: str) -> int | None:
        value = self.text(column)
        return int(value) if value.isascii() and value.isdigit() and len(value) <= 15 else None


_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
_WORD_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")


def _rows(text: str, source: str, columns: tuple[str, ...]) -> Iterator[_Row]:
    if len(text) > MAX_BYTES:
        raise OpenbError(source, 1, "", f"larger than {MAX_BYTES} bytes", "split the file")
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""))
    try:
        header = [name.strip() for name in next(reader, [])]
        for column in columns:
            if column not in header:
                fix = f"the header must be {','.join(columns)}[,...]"
                raise OpenbError(source, 1, column, "there is no such column", fix)
        for count, cells in enumerate(reader):
            if count >= MAX_ROWS:
                raise OpenbError(source, reader.line_num, "", f"more than {MAX_ROWS} rows", "split the file")
            if not cells:
                continue
            if len(cells) != len(header):
                problem = f"{len(cells)} cells under {len(header)} columns"
                fix = "check for a missing or extra comma, and that the file is whole"
                raise OpenbError(source, reader.line_num, "", problem, fix)
            yield _Row(source, reader.line_num, dict(zip(header, cells, strict=True)))
    except csv.Error as error:
        raise OpenbError(source, reader.line_num, "", f"not valid CSV: {error}", "check its quotes") from None


def _word(row: _Row, column: str, value: str) -> str:
    if len(value) > 60 or not set(value) <= _WORD_CHARACTERS or value.strip("._-") != value:
        raise row.error(column, f"{value!r} is not a name", "use letters, digits, `-`, `_` and `.`")
    return value


def parse_nodes(csv_text: str, source: str) -> list[OpenbNode]:
    """Nodes of a trace file, in file order. source: its name, for errors. Raises OpenbError."""
    nodes = []
    seen: set[str] = set()
    for row in _rows(csv_text, source, ("sn", "cpu_milli", "memory_mib", "gpu", "model")):
        name = row.name("sn")
        if name in seen:
            raise row.error("sn", f"{name!r} is there twice", "give every node its own name")
        seen.add(name)
        gpus = row.number("gpu", MAX_DEVICES)
        model = _word(row, "model", row.text("model"))
        if gpus and not model:
            raise row.error("model", "is empty", "name the model of the node's GPUs")
        nodes.append(
            OpenbNode(name, row.number("cpu_milli"), row.number("memory_mib"), gpus, model if gpus else "")
        )
    return nodes


def parse_pods(csv_text: str, source: str) -> list[OpenbPod]:
    """Pods of a trace file, in file order. source: its name, for errors. Raises OpenbError.

    As the simulator reads them: gpu_milli above 1000 is 1000; a pod with num_gpu 0 has no GPU, whatever its
    gpu_milli and gpu_spec say.
    """
    pods = []
    seen: set[str] = set()
    for row in _rows(csv_text, source, ("name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli")):
        name = row.name("name")
        if name in seen:
            raise row.error("name", f"{name!r} is there twice", "give every pod its own name")
        seen.add(name)
        gpus = row.number("num_gpu", MAX_DEVICES)
        milli = min(row.number("gpu_milli"), WHOLE_GPU)
        if gpus and not milli:
            raise row.error("gpu_milli", "is 0 for a pod with GPUs", f"write 1 to {WHOLE_GPU}, or num_gpu 0")
        spec = [part for part in row.text("gpu_spec").split("|") if part]
        pods.append(
            OpenbPod(
                name=name,
                cpu_milli=row.number("cpu_milli"),
                memory_mib=row.number("memory_mib"),
                gpus=gpus,
                gpu_milli=milli if gpus else 0,
                models=tuple(_word(row, "gpu_spec", part) for part in spec) if gpus else (),
                qos=_word(row, "qos", row.text("qos")),
                creation_time=row.seconds("creation_time"),
                deletion_time=row.seconds("deletion_time"),
            )
        )
    return pods


def device_classes() -> list[Json]:
    """The class that the pods' claims name."""
    return [device_class(DRIVER, [f"device.driver == '{DRIVER}'"])]


def node_objects(node: OpenbNode) -> list[Json]:
    """The Node, and the ResourceSlice of its GPUs if it has any."""
    resources = {
        "cpu": f"{node.cpu_milli}m",
        "memory": mebibytes(node.memory_mib),
        "pods": str(PODS_PER_NODE),
    }
    labels = {"kubernetes.io/hostname": node.name, "kubernetes.io/os": "linux"}
    if node.model:
        labels[f"{DRIVER}/model"] = node.model
    objects: list[Json] = [
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": node.name, "labels": labels},
            "spec": {},
            "status": {
                "capacity": resources,
                "allocatable": dict(resources),
                "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
            },
        }
    ]
    if node.gpus:
        objects.append(
            {
                "apiVersion": API_VERSION,
                "kind": "ResourceSlice",
                "metadata": {"name": f"{node.name}-{DRIVER}"},
                "spec": {
                    "driver": DRIVER,
                    "nodeName": node.name,
                    "pool": {"name": node.name, "generation": 1, "resourceSliceCount": 1},
                    "devices": [_device(node.model, index) for index in range(node.gpus)],
                },
            }
        )
    return objects


def _device(model: str, index: int) -> Json:
    whole = str(WHOLE_GPU)
    return {
        "name": f"gpu-{index}",
        "attributes": {"model": string(model), "productName": string(model), "index": integer(index)},
        "capacity": {
            SHARE: {
                "value": whole,
                "requestPolicy": {"default": whole, "validRange": {"min": "1", "max": whole, "step": "1"}},
            }
        },
        "allowMultipleAllocations": True,
    }


def pod_objects(pod: OpenbPod, position: int = 0) -> list[Json]:
    """The Pod, after the ResourceClaim that it names if it has GPUs.

    position: its place in the order of arrival; the creation time is so many seconds after the start of 2026.
    """
    created = (_START + timedelta(seconds=position)).strftime("%Y-%m-%dT%H:%M:%SZ")
    metadata = {"name": pod.name, "namespace": NAMESPACE, "creationTimestamp": created}
    requests = {"cpu": f"{pod.cpu_milli}m", "memory": mebibytes(pod.memory_mib)}
    container: Json = {"name": "main", "image": "openb", "resources": {"requests": requests}}
    # Gated as in a managed namespace, so that the pods without GPUs are placed by the same decision.
    spec: Json = {
        "containers": [container],
        "restartPolicy": "Never",
        "schedulingGates": [{"name": PLACEMENT_GATE}],
    }
    objects: list[Json] = []
    if pod.gpus:
        container["resources"]["claims"] = [{"name": "gpu"}]
        spec["resourceClaims"] = [{"name": "gpu", "resourceClaimName": pod.name}]
        objects.append(
            {
                "apiVersion": API_VERSION,
                "kind": "ResourceClaim",
                "metadata": dict(metadata),
                "spec": {"devices": {"requests": [{"name": "gpu", "exactly": _request(pod)}]}},
            }
        )
    pod_metadata = metadata | ({"labels": {f"{DRIVER}/qos": pod.qos}} if pod.qos else {})
    objects.append(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": pod_metadata,
            "spec": spec,
            "status": {"phase": "Pending"},
        }
    )
    return objects


def _request(pod: OpenbPod) -> Json:
    request: Json = {
        "deviceClassName": DRIVER,
        "allocationMode": "ExactCount",
        "count": pod.gpus,
        "capacity": {"requests": {SHARE: str(pod.gpu_milli)}},
    }
    if pod.models:
        names = ", ".join(f"'{model}'" for model in pod.models)
        expression = f"device.attributes['{DRIVER}'].model in [{names}]"
        request["selectors"] = [{"cel": {"expression": expression}}]
    return request
