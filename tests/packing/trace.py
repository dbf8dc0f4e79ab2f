"""The openb trace of the shared folder, as the packing package sees it."""

from pathlib import Path

from aliquot.catalog.openb import parse_nodes, parse_pods
from aliquot.packing.cluster import Demand, Node


def nodes_of(shared: Path) -> list[Node]:
    path = shared / "traces/openb/openb_node_list_gpu_node.csv"
    return [
        Node(node.name, node.cpu_milli, node.memory_mib, node.gpus, node.model)
        for node in parse_nodes(path.read_text(), path.name)
    ]


def pods_of(shared: Path, trace: str) -> dict[str, Demand]:
    path = shared / f"traces/openb/openb_pod_list_{trace}.csv"
    return {
        pod.name: Demand(pod.cpu_milli, pod.memory_mib, pod.gpus, pod.gpu_milli, pod.models)
        for pod in parse_pods(path.read_text(), path.name)
    }


def lines_of(shared: Path, name: str) -> list[str]:
    return (shared / "traces/openb/orders" / name).read_text().split()
