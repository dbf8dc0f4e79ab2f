"""The openb trace as a cluster and workloads that come and go at the trace's times."""

from pathlib import Path

from msgspec.structs import replace

from aliquot.catalog import openb
from aliquot.model.kinds import decode
from aliquot.model.snapshot import Snapshot
from aliquot.simulation.workload import WHOLE_DEVICE, Workload
from aliquot.traces.errors import TraceError
from aliquot.traces.tables import text_of


def read_openb(nodes_file: Path, pods_file: Path, faster: int = 1) -> tuple[Snapshot, list[Workload]]:
    """The trace's nodes, and its pods as workloads of one pod each that run as long as they did.

    faster: by how many times arrivals are moved closer together; run times stay as they were, so that the
    cluster is asked for so many times as much. Raises TraceError.
    """
    try:
        nodes = openb.parse_nodes(text_of(nodes_file), str(nodes_file))
        pods = openb.parse_pods(text_of(pods_file), str(pods_file))
    except openb.OpenbError as error:
        raise TraceError(error.source, error.line, error.column, error.problem, error.fix) from None
    for name, found, file in (("nodes", nodes, nodes_file), ("pods", pods, pods_file)):
        if not found:
            raise TraceError(str(file), None, "", f"holds no {name}", "check that the file is whole")
    objects = [*openb.device_classes(), *(item for node in nodes for item in openb.node_objects(node))]
    workloads = []
    for number, pod in enumerate(pods):
        created, ended = pod.creation_time, pod.deletion_time
        if created is None or ended is None:
            fix = "give a pod list with creation_time and deletion_time, such as openb_pod_list_default.csv"
            raise TraceError(str(pods_file), number + 2, "creation_time", "is empty or missing", fix)
        if ended < created:
            raise TraceError(
                str(pods_file), number + 2, "deletion_time", "is before creation_time", "check both times"
            )
        workloads.append(_workload(pod, created, ended))
    first = min(workload.submitted for workload in workloads)
    return Snapshot.of(decode(item) for item in objects), [
        replace(workload, submitted=(workload.submitted - first) // faster) for workload in workloads
    ]


def _workload(pod: openb.OpenbPod, created: int, ended: int) -> Workload:
    return Workload(
        name=pod.name,
        namespace=openb.NAMESPACE,
        submitted=created,
        run_seconds=max(1, ended - created),
        devices=pod.gpus,
        part=pod.gpu_milli if pod.gpus else WHOLE_DEVICE,
        models=pod.models,
        cpu=pod.cpu_milli,
        memory=pod.memory_mib,
    )
