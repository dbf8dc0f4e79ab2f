"""What kind of work a workload is, and the rule that said so."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass

KIND_LABEL = "aliquot.dev/workload-kind"
"""On pods or their owners: training, inference, batch or notebook."""

ISOLATION_LABEL = "aliquot.dev/isolation"
"""On pods or their owners: none, memory, fault or device; see `parts.Isolation`."""


class Kind(enum.StrEnum):
    TRAINING = "training"
    INFERENCE = "inference"
    BATCH = "batch"
    NOTEBOOK = "notebook"
    UNKNOWN = "unknown"

    @property
    def waited_for(self) -> bool:
        """Whether somebody waits for each answer, so that work may not be late."""
        return self not in (Kind.TRAINING, Kind.BATCH)


_BY_OWNER = {
    **dict.fromkeys(
        ("PyTorchJob", "TFJob", "XGBoostJob", "JAXJob", "PaddleJob", "MPIJob", "TrainJob"), Kind.TRAINING
    ),
    **dict.fromkeys(
        ("InferenceService", "SeldonDeployment", "RayService", "LLMInferenceService"), Kind.INFERENCE
    ),
    **dict.fromkeys(("SparkApplication", "RayJob", "Job", "CronJob"), Kind.BATCH),
    **dict.fromkeys(("Notebook", "Workspace"), Kind.NOTEBOOK),
    **dict.fromkeys(("Deployment", "ReplicaSet"), Kind.INFERENCE),
}

_NOTEBOOK_LABELS = ("notebook-name", "opendatahub.io/notebook-image", "hub.jupyter.org/username")

STEADY_BUSY = 0.5
STEADY_VARIATION = 0.5
IDLE_BUSY = 0.05
PEAK_BUSY = 0.20


@dataclass(frozen=True, slots=True)
class Shape:
    """Busy shares of a device, 0 to 1: median, 95th percentile, and standard deviation over mean."""

    median: float
    high: float
    variation: float


def kind_of(
    owners: tuple[str, ...],
    said: Mapping[str, str],
    *,
    serves: bool = False,
    shape: Shape | None = None,
) -> tuple[Kind, str]:
    """The kind, and the rule. The first of these that applies:

    the label `aliquot.dev/workload-kind`; labels of notebook servers; metrics of a model server (serves);
    the kind of an owner, the topmost first; how the device is used: evenly busy is training, mostly idle
    with bursts is inference.

    owners: kinds from the topmost down. said: labels and annotations of the pods and owners.
    """
    written = said.get(KIND_LABEL, "").strip().lower()
    if written in tuple(Kind):
        return Kind(written), f"label {KIND_LABEL}"
    for label in _NOTEBOOK_LABELS:
        if label in said:
            return Kind.NOTEBOOK, f"label {label}"
    if said.get("component") == "singleuser-server":
        return Kind.NOTEBOOK, "label component=singleuser-server (JupyterHub)"
    if serves:
        return Kind.INFERENCE, "it has the metrics of a model server"
    for owner in owners:
        if owner in _BY_OWNER:
            return _BY_OWNER[owner], f"owned by a {owner}"
    if shape is not None:
        if shape.median >= STEADY_BUSY and shape.variation <= STEADY_VARIATION:
            return Kind.TRAINING, f"evenly busy: median {shape.median:.0%}, variation {shape.variation:.1f}"
        if shape.median <= IDLE_BUSY and shape.high >= PEAK_BUSY:
            return Kind.INFERENCE, f"idle with bursts: median {shape.median:.0%}, p95 {shape.high:.0%}"
    return Kind.UNKNOWN, "nothing says what it is"
