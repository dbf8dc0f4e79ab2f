"""Histories to make profiles from."""

from collections.abc import Iterable, Sequence

from aliquot.catalog.accelerators import accelerators
from aliquot.model.meta import ObjectRef
from aliquot.sizing.kinds import Kind
from aliquot.sizing.parts import Isolation, Part, exclusive
from aliquot.sizing.policy import SizingPolicy
from aliquot.sizing.profiles import Profile, Use, profile_of
from aliquot.usage.metrics import Metric
from aliquot.usage.series import Owner, Series, Subject

MINUTE = 60_000
START = 1_700_000_000_000
GIB = 1 << 30


def series(metric: Metric, values: Iterable[int], *, step: int = MINUTE, pod: str = "p-0") -> Series:
    """A sample for every step, from START on."""
    rows = [(START + step * number, step, int(value)) for number, value in enumerate(values, 1)]
    owner = Owner(pod=ObjectRef(kind="Pod", namespace="team", name=pod))
    return Series.of(metric, Subject(device="gpu-0"), rows, owner)


def memory(gib: Sequence[float], **more: int) -> Series:
    """Device memory in GiB, minute by minute."""
    return series(Metric.MEMORY_USED, [round(value * GIB) for value in gib], **more)


def busy(percent: Sequence[float], **more: int) -> Series:
    """Share of time with the engine at work, in per cent, minute by minute."""
    return series(Metric.ENGINE_BUSY, [round(value * 10_000) for value in percent], **more)


def whole(model: str = "A100-SXM4-80GB") -> Part:
    return exclusive(accelerators()[model])


def profile(
    gib: Sequence[float],
    percent: Sequence[float] | None = None,
    *,
    had: Part | None = None,
    kind: Kind = Kind.INFERENCE,
    isolation: Isolation = Isolation.MEMORY,
    devices: int = 1,
    pods: int = 1,
    queue: str = "",
    peers: int = 0,
    policy: SizingPolicy | None = None,
    name: str = "model",
) -> Profile:
    """A profile of one pod with this history."""
    use = Use(memory(gib), None if percent is None else busy(percent), peers=peers, had=had)
    found = profile_of(
        ObjectRef(kind="Deployment", namespace="team", name=name),
        [use],
        queue=queue,
        kind=(kind, "given"),
        isolation=(isolation, "given"),
        devices=devices,
        pods=pods,
        policy=policy,
    )
    assert found is not None
    return found


def waves(low: float, high: float, hours: int, *, every: int = 60) -> list[float]:
    """Minutes at `low`, with one at `high` in every so many."""
    return [high if number % every == every - 1 else low for number in range(hours * 60)]
