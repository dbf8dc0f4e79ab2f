"""What is measured of a device or a workload: one name, one integer unit for each, whoever exports it.

Exporters' own names and units are in `aliquot.telemetry`; here a share of time is always in parts per million
(1,000,000 is all the time), memory in bytes, power in milliwatts, energy in millijoules, rates per second.
"""

import enum

WHOLE_PPM = 1_000_000
"""All of the time, or all of a capacity, in parts per million."""


class Unit(enum.StrEnum):
    """The unit of a metric's integers."""

    PPM = "ppm"
    BYTES = "B"
    BYTES_PER_SECOND = "B/s"
    MILLIWATTS = "mW"
    MILLIJOULES = "mJ"
    MILLISECONDS = "ms"
    COUNT = "1"


class Metric(enum.StrEnum):
    """A quantity that changes over time. DCGM's field, AMD's metric or vLLM's behind each is in its text."""

    KERNEL_BUSY = "kernel-busy"
    """Share of time in which any kernel ran (DCGM_FI_DEV_GPU_UTIL, NVML utilization.gpu); full SMs or not."""
    ENGINE_BUSY = "engine-busy"
    """Share of time in which the graphics or compute engine was active (PROF_GR_ENGINE_ACTIVE,
    AMD GPU_GFX_ACTIVITY). The one that exists for each MIG instance."""
    SM_BUSY = "sm-busy"
    """Share of cycles with at least one warp, averaged over the SMs (PROF_SM_ACTIVE)."""
    SM_OCCUPANCY = "sm-occupancy"
    """Resident warps against the most there can be (PROF_SM_OCCUPANCY)."""
    TENSOR_BUSY = "tensor-busy"
    """Share of cycles in which the tensor pipe was active (PROF_PIPE_TENSOR_ACTIVE)."""
    DRAM_BUSY = "dram-busy"
    """Share of cycles in which the memory interface was busy (PROF_DRAM_ACTIVE, AMD GPU_UMC_ACTIVITY)."""
    MEMORY_USED = "memory-used"
    """Device memory in use, in bytes. A server that allocates beforehand (vLLM) keeps it high without
    load."""
    MEMORY_TOTAL = "memory-total"
    """Device memory there is, in bytes."""
    POWER = "power"
    """Power of the board, in milliwatts."""
    ENERGY = "energy"
    """Energy drawn in the time of the sample, in millijoules: increments of a counter, resets taken out."""
    PCIE_RECEIVED = "pcie-received"
    PCIE_SENT = "pcie-sent"
    NVLINK_RECEIVED = "nvlink-received"
    NVLINK_SENT = "nvlink-sent"
    """Peer-to-peer traffic over NVLink: who has it does not fit into a MIG instance."""
    XID = "xid"
    """The code of the last XID error, 0 for none (DCGM_FI_DEV_XID_ERRORS): a code, never to be added up."""
    ROW_REMAP_FAILURE = "row-remap-failure"
    """1 when a memory row could not be remapped: the board has to be replaced."""
    REQUESTS_RUNNING = "requests-running"
    """Requests in the batch of a model server (vllm:num_requests_running)."""
    REQUESTS_WAITING = "requests-waiting"
    KV_CACHE_USED = "kv-cache-used"
    """Share of the KV cache in use (vllm:kv_cache_usage_perc)."""
    PROMPT_TOKENS = "prompt-tokens"
    """Tokens taken in in the time of the sample."""
    GENERATION_TOKENS = "generation-tokens"
    """Tokens given out in the time of the sample."""
    PREEMPTIONS = "preemptions"
    """Requests that a model server pushed out of its batch: pressure on the KV cache."""

    CPU_TIME = "cpu-time"
    """CPU time used in the time of the sample, in ms (kubelet container_cpu_usage_seconds_total)."""
    HOST_MEMORY_USED = "host-memory-used"
    """Working set in the node's memory, in bytes (kubelet container_memory_working_set_bytes)."""

    @property
    def unit(self) -> Unit:
        return _UNITS.get(self, Unit.COUNT)

    @property
    def amount(self) -> bool:
        """Whether a value is an amount that came about in the time of its sample (of a counter), which is
        added up over time; otherwise it is a level that held during that time, which is averaged."""
        return self in _AMOUNTS

    @property
    def busy(self) -> bool:
        """Whether it says how much of its time something was at work."""
        return self in BUSY


BUSY = (Metric.SM_BUSY, Metric.ENGINE_BUSY, Metric.KERNEL_BUSY)
"""The metrics that can say how busy a device is, the most telling first: share of SMs at work, share of time
with the engine at work, share of time with any kernel."""

_AMOUNTS = frozenset(
    {Metric.ENERGY, Metric.PROMPT_TOKENS, Metric.GENERATION_TOKENS, Metric.PREEMPTIONS, Metric.CPU_TIME}
)

_UNITS = {
    **dict.fromkeys(
        (
            Metric.KERNEL_BUSY,
            Metric.ENGINE_BUSY,
            Metric.SM_BUSY,
            Metric.SM_OCCUPANCY,
            Metric.TENSOR_BUSY,
            Metric.DRAM_BUSY,
            Metric.KV_CACHE_USED,
        ),
        Unit.PPM,
    ),
    **dict.fromkeys((Metric.MEMORY_USED, Metric.MEMORY_TOTAL, Metric.HOST_MEMORY_USED), Unit.BYTES),
    **dict.fromkeys(
        (Metric.PCIE_RECEIVED, Metric.PCIE_SENT, Metric.NVLINK_RECEIVED, Metric.NVLINK_SENT),
        Unit.BYTES_PER_SECOND,
    ),
    Metric.POWER: Unit.MILLIWATTS,
    Metric.ENERGY: Unit.MILLIJOULES,
    Metric.CPU_TIME: Unit.MILLISECONDS,
}
