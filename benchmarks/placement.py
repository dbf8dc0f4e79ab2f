"""The openb benchmark's decisions per second of processor time, learning included, for FGD and Aliquot.

The authors' simulator (Go) makes 34 to 52 a second of FGD's. One seed; the best of the runs, for what else
the machine does only slows it down.
"""

import gc
import time
from collections.abc import Iterator
from pathlib import Path

from aliquot.catalog.openb import parse_nodes, parse_pods
from aliquot.packing.arrivals import order_for_seed
from aliquot.packing.benchmark import POLICIES, run
from aliquot.packing.cluster import Demand, Node

TRACE = Path(__file__).resolve().parents[2] / "shared" / "traces" / "openb"
TRACES = ("default", "multigpu30", "gpushare60", "gpuspec20")
SEED = 42


def table(runs: int) -> Iterator[str]:
    """Lines to print; none where the trace is not there."""
    if not TRACE.is_dir():
        return
    yield f"{'placement':14} {'policy':10} {'decisions':>9} {'per second':>11} {'@130':>7}"
    nodes = [
        Node(node.name, node.cpu_milli, node.memory_mib, node.gpus, node.model)
        for node in parse_nodes((TRACE / "openb_node_list_gpu_node.csv").read_text(), "nodes")
    ]
    for trace in TRACES:
        kinds: dict[Demand, Demand] = {}
        pods = {}
        for pod in parse_pods((TRACE / f"openb_pod_list_{trace}.csv").read_text(), "pods"):
            demand = Demand(pod.cpu_milli, pod.memory_mib, pod.gpus, pod.gpu_milli, pod.models)
            pods[pod.name] = kinds.setdefault(demand, demand)
        arrivals, order = order_for_seed(pods, nodes, SEED)
        for policy in ("FGD", "Aliquot"):
            taken = []
            for _ in range(runs):
                made = POLICIES[policy](pods.values(), SEED)
                gc.collect()
                start = time.process_time()
                outcome = run(made, pods, arrivals, order)
                taken.append(time.process_time() - start)
            rate = len(arrivals) / min(taken)
            yield f"{trace:14} {policy:10} {len(arrivals):9,} {rate:11,.0f} {outcome.curve[130]:7.2f}"
