"""What exporters call the metrics, and in which unit they give them.

Names: dcgm-exporter at d5e5f51 (default and optional fields), AMD device-metrics-exporter at 0778d3a
(docs/configuration/metricslist.md; energy in microjoules, memory in MB of 2^20 bytes, powers in watts), vLLM
0.8 to 0.32, kubelet /metrics/resource (KEP 2371), cAdvisor's accelerator metrics of Kubernetes up to 1.24.
Some services lower all letters, some people put a prefix before AMD's names; both are understood.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from aliquot.usage.metrics import WHOLE_PPM, Metric
from aliquot.usage.series import Column

PERCENT = Fraction(WHOLE_PPM, 100)
RATIO = Fraction(WHOLE_PPM)
MIB = Fraction(1 << 20)
MILLI = Fraction(1000)
ONE = Fraction(1)


@dataclass(frozen=True, slots=True)
class Term:
    """A metric under an exporter's name: value x scale is in the metric's unit."""

    metric: Metric
    scale: Fraction


_DCGM = {
    "DCGM_FI_DEV_GPU_UTIL": Term(Metric.KERNEL_BUSY, PERCENT),
    "DCGM_FI_PROF_GR_ENGINE_ACTIVE": Term(Metric.ENGINE_BUSY, RATIO),
    "DCGM_FI_PROF_SM_ACTIVE": Term(Metric.SM_BUSY, RATIO),
    "DCGM_FI_PROF_SM_OCCUPANCY": Term(Metric.SM_OCCUPANCY, RATIO),
    "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE": Term(Metric.TENSOR_BUSY, RATIO),
    "DCGM_FI_PROF_DRAM_ACTIVE": Term(Metric.DRAM_BUSY, RATIO),
    "DCGM_FI_PROF_PCIE_RX_BYTES": Term(Metric.PCIE_RECEIVED, ONE),
    "DCGM_FI_PROF_PCIE_TX_BYTES": Term(Metric.PCIE_SENT, ONE),
    "DCGM_FI_PROF_NVLINK_RX_BYTES": Term(Metric.NVLINK_RECEIVED, ONE),
    "DCGM_FI_PROF_NVLINK_TX_BYTES": Term(Metric.NVLINK_SENT, ONE),
    "DCGM_FI_DEV_FB_USED": Term(Metric.MEMORY_USED, MIB),
    "DCGM_FI_DEV_FB_TOTAL": Term(Metric.MEMORY_TOTAL, MIB),
    "DCGM_FI_DEV_POWER_USAGE": Term(Metric.POWER, MILLI),
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": Term(Metric.ENERGY, ONE),
    "DCGM_FI_DEV_XID_ERRORS": Term(Metric.XID, ONE),
    "DCGM_FI_DEV_ROW_REMAP_FAILURE": Term(Metric.ROW_REMAP_FAILURE, ONE),
}

_AMD = {
    "gpu_gfx_activity": Term(Metric.ENGINE_BUSY, PERCENT),
    "gpu_umc_activity": Term(Metric.DRAM_BUSY, PERCENT),
    "gpu_prof_occupancy_percent": Term(Metric.SM_OCCUPANCY, PERCENT),
    "gpu_prof_tensor_active_percent": Term(Metric.TENSOR_BUSY, PERCENT),
    "gpu_prof_sm_active": Term(Metric.SM_BUSY, PERCENT),
    "gpu_used_vram": Term(Metric.MEMORY_USED, MIB),
    "gpu_total_vram": Term(Metric.MEMORY_TOTAL, MIB),
    "gpu_package_power": Term(Metric.POWER, MILLI),
    "gpu_average_package_power": Term(Metric.POWER, MILLI),
    "gpu_power_usage": Term(Metric.POWER, MILLI),
    "gpu_energy_consumed": Term(Metric.ENERGY, Fraction(1, 1000)),
}

_VLLM = {
    "vllm:num_requests_running": Term(Metric.REQUESTS_RUNNING, ONE),
    "vllm:num_requests_waiting": Term(Metric.REQUESTS_WAITING, ONE),
    "vllm:kv_cache_usage_perc": Term(Metric.KV_CACHE_USED, RATIO),
    "vllm:gpu_cache_usage_perc": Term(Metric.KV_CACHE_USED, RATIO),
    "vllm:prompt_tokens_total": Term(Metric.PROMPT_TOKENS, ONE),
    "vllm:generation_tokens_total": Term(Metric.GENERATION_TOKENS, ONE),
    "vllm:num_preemptions_total": Term(Metric.PREEMPTIONS, ONE),
}

_KUBELET = {
    "container_cpu_usage_seconds_total": Term(Metric.CPU_TIME, MILLI),
    "container_memory_working_set_bytes": Term(Metric.HOST_MEMORY_USED, ONE),
    "container_accelerator_duty_cycle": Term(Metric.KERNEL_BUSY, PERCENT),
    "container_accelerator_memory_used_bytes": Term(Metric.MEMORY_USED, ONE),
    "container_accelerator_memory_total_bytes": Term(Metric.MEMORY_TOTAL, ONE),
}

_SPARE = frozenset({Metric.CPU_TIME, Metric.HOST_MEMORY_USED})
"""Of every container of a cluster: asked for only where it is wanted."""

MOST = {
    Metric.POWER: 20_000_000,
    Metric.MEMORY_USED: 1 << 44,
    Metric.MEMORY_TOTAL: 1 << 44,
    Metric.HOST_MEMORY_USED: 1 << 46,
}
"""Larger values are not measurements: exporters give 2^16-1, 2^32-1, 2^47 or 2^63-16 for what a device cannot
tell (DCGM's blank values, AMD's N/A)."""
MOST_ELSE = 1 << 60
_MOST_PPM = WHOLE_PPM + WHOLE_PPM // 50
"""Shares are computed from counters and can exceed the whole a little; they are cut to it."""


class Vocabulary:
    """Exporters' names and what they mean."""

    def __init__(self, terms: Mapping[str, Term] | None = None, *, containers: bool = False) -> None:
        """terms: further names. containers: also CPU and memory of every container, from the kubelet."""
        known = {**_DCGM, **_AMD, **_VLLM, **_KUBELET}
        self._terms = {
            name.lower(): term for name, term in known.items() if containers or term.metric not in _SPARE
        } | {name.lower(): term for name, term in (terms or {}).items()}

    def term(self, name: str) -> Term | None:
        """What a name means; None for a metric that is of no use here."""
        low = name.lower()
        # OpenMetrics, and prometheus_client for every counter, end a counter's name with _total.
        for known in (low, low.removesuffix("_total")):
            found = self._terms.get(known) or self._terms.get(known.removeprefix("amd_"))
            if found is not None:
                return found
        return None

    def known(self, names: Iterable[str]) -> tuple[str, ...]:
        """Those of the names that mean something."""
        return tuple(name for name in names if self.term(name) is not None)


def scaled(term: Term, values: Sequence[float]) -> tuple[npt.NDArray[np.bool_], Column]:
    """Which values are measurements, and those in the metric's unit.

    NaN, what is negative and what is beyond MOST is none. Floats hold every integer below 2^53 exactly, and
    exporters give no more digits.
    """
    given = np.asarray(values, dtype=np.float64)
    share = term.scale in (PERCENT, RATIO)
    most = _MOST_PPM if share else MOST.get(term.metric, MOST_ELSE)
    with np.errstate(over="ignore", invalid="ignore"):
        found = np.rint(given * float(term.scale))
        good = (found >= 0) & (found <= most)
    numbers = found[good].astype(np.int64)
    return good, np.minimum(numbers, WHOLE_PPM) if share else numbers
