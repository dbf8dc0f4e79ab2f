"""What may be chosen of a simulation besides the cluster, the workloads and the policy."""

from datetime import UTC, datetime

import msgspec

HOUR = 3600

START = datetime(2026, 1, 1, tzinfo=UTC)


class Failures(msgspec.Struct, frozen=True, kw_only=True):
    """How often machines go. All means are of exponential distributions, drawn from the seed; 0: never.

    node_hours: mean time between two failures of one node; node_repair_seconds: mean time until it is back.
    device_hours, device_repair_seconds: the same for one device. spot_hours: mean time until a spot node is
    reclaimed; spot_warning_seconds: how long before that its pods are asked to leave; spot_return_seconds:
    mean time until there is a node in its place.
    """

    node_hours: int = 0
    node_repair_seconds: int = 2 * HOUR
    device_hours: int = 0
    device_repair_seconds: int = 24 * HOUR
    spot_hours: int = 0
    spot_warning_seconds: int = 120
    spot_return_seconds: int = HOUR


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """label: what the policy is called in the results. seed: all that is drawn follows from it.

    start: the moment of virtual time 0 (aware, UTC). until: when to stop, in seconds; None: when nothing can
    happen any more. decision_seconds: decisions are made at multiples of this, if anything has changed, so
    that what happens within one interval is decided together; 1 is next to at once. again_seconds: while
    something waits, decide again after so long without any change (minimum run times end, promises lapse),
    then after twice as long, up to 16 times. usage_seconds: how often what queues have used is written to
    their status, where it enters fair shares; 0: never. sample_seconds: how often the state is noted; 0:
    never.

    pod_start_seconds: mean time from when a pod has its node until it runs (image, sandbox), drawn evenly
    from half to one and a half of it; 0: at once. grace_seconds: how long a pod that is evicted holds on.
    """

    label: str = "aliquot"
    seed: int = 0
    start: datetime = START
    until: int | None = None
    decision_seconds: int = 1
    again_seconds: int = 60
    usage_seconds: int = 300
    sample_seconds: int = 300
    pod_start_seconds: int = 0
    grace_seconds: int = 30
    failures: Failures = Failures()
