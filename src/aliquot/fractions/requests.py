"""What a pod asks of accelerators that a device plugin advertises: whole ones, parts, memory, MIG instances.

Annotations: KAI-Scheduler (`gpu-fraction`, `gpu-memory`, `gpu-fraction-num-devices`; pkg/common/constants of
kai-scheduler/KAI-Scheduler), its legacy MIG annotations (`nvidia.com/mig-...`), and the same under Aliquot's
own names. Extended resources: those of device plugins and HAMi's.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from aliquot.cel.quantity import Quantity, QuantityError
from aliquot.fractions.resources import (
    HAMI_CORES,
    HAMI_MEMORY,
    HAMI_PARTS,
    HAMI_PERCENTAGE,
    MIG_PREFIX,
    NVIDIA_GPU,
    WHOLE_DEVICES,
    asked,
    asked_by_pod,
    compute_slices,
)
from aliquot.model.core import Container, Pod

WHOLE = 10**9
"""A whole device in billionths; parts of devices are counted in these."""

FRACTION_ANNOTATIONS = ("aliquot.dev/gpu-fraction", "gpu-fraction")
MEMORY_ANNOTATIONS = ("aliquot.dev/gpu-memory", "gpu-memory")
DEVICES_ANNOTATIONS = ("aliquot.dev/gpu-fraction-num-devices", "gpu-fraction-num-devices")
"""Aliquot's name and KAI-Scheduler's."""

_ANNOTATIONS = frozenset((*FRACTION_ANNOTATIONS, *MEMORY_ANNOTATIONS, *DEVICES_ANNOTATIONS))

MOST_DEVICES = 1024
"""More devices than this, of one pod on one node, is a mistake."""

_MEBIBYTE = 2**20
_MOST_MEMORY = 2**30
_LONGEST = 32
_NAME_LENGTH = 64
_DECIMAL = re.compile(r"^(?=[.\d])\d*\.?\d*$", re.ASCII)
_HUNDRED = 100
_OWN = "aliquot.dev/"


class Kind(StrEnum):
    """whole: devices of one's own. part: the same part of each of some devices. memory: the same memory of
    each of some devices. mig: MIG instances by profile. legacyMig: MIG instances by annotation, which nothing
    hands out any more."""

    WHOLE = "whole"
    PART = "part"
    MEMORY = "memory"
    MIG = "mig"
    LEGACY_MIG = "legacyMig"


class Author(StrEnum):
    """Whose words the request is in, which says who understands it on a node."""

    PLUGIN = "plugin"
    KAI = "kai"
    HAMI = "hami"
    ALIQUOT = "aliquot"


@dataclass(frozen=True, slots=True)
class GpuRequest:
    """A pod's request for accelerators of device plugins.

    devices: how many, whole or of each of which a part is wanted. part: billionths of each device (kind
    part). memory_mib: MiB of each (kind memory). cores: percent of each device's compute, 0 if not limited
    (HAMi). profiles: MIG resource and number. resource: the extended resource of whole devices; "" where any
    vendor's will do.
    """

    kind: Kind
    devices: int = 0
    part: int = 0
    memory_mib: int = 0
    cores: int = 0
    profiles: tuple[tuple[str, int], ...] = ()
    resource: str = ""
    author: Author = Author.PLUGIN

    @property
    def shared(self) -> bool:
        """The devices may have other users besides."""
        return self.kind in (Kind.PART, Kind.MEMORY)

    @property
    def mig(self) -> bool:
        return self.kind in (Kind.MIG, Kind.LEGACY_MIG)


@dataclass(frozen=True, slots=True)
class RequestProblem:
    """A request that cannot be understood. place: the field or annotation; value: what stands there."""

    place: str
    value: str
    reason: str
    fix: str

    def __str__(self) -> str:
        return f"{self.place}: {self.value!r} {self.reason}; {self.fix}"


class _Malformed(Exception):  # noqa: N818
    """Carries a problem up to gpu_request."""

    def __init__(self, place: str, value: str, reason: str, fix: str) -> None:
        super().__init__(place)
        self.problem = RequestProblem(place, value[:_LONGEST], reason, fix)


def gpu_request(pod: Pod) -> GpuRequest | RequestProblem | None:
    """What the pod asks for; None if it asks for no accelerator of a device plugin.

    A part of a device by annotation and an extended resource in one pod exclude each other, as
    KAI-Scheduler's admission has it.
    """
    try:
        noted = _annotated(pod.metadata.annotations) if pod.metadata.annotations else None
        resources = asked_by_pod(pod.spec)
        if noted is not None:
            if noted.shared and resources:
                name = min(resources)
                raise _Malformed(
                    name, str(resources[name]), "stands beside a part by annotation", "keep one of the two"
                )
            return noted
        return _extended(pod, resources) if resources else None
    except _Malformed as problem:
        return problem.problem


def gpu_annotations(annotations: Mapping[str, str]) -> dict[str, str]:
    """Those that a request can be made of."""
    return {
        name: value
        for name, value in annotations.items()
        if name in _ANNOTATIONS or name.startswith(MIG_PREFIX)
    }


def beside_shared(requests: Mapping[str, int], request: GpuRequest | None) -> Mapping[str, int]:
    """What a pod takes of its node besides parts of devices: amounts by resource without those that say how
    large its parts are, which no node lists, and of how many devices they are."""
    if request is None or request.author is not Author.HAMI:
        return requests
    return {
        name: number for name, number in requests.items() if name not in HAMI_PARTS and name != NVIDIA_GPU
    }


def whole_number(text: str, most: int) -> int | None:
    """A number from 1 to `most` written in digits; None for anything else."""
    if not (text.isascii() and text.isdigit() and len(text) <= _LONGEST):
        return None
    number = int(text)
    return number if 1 <= number <= most else None


def part_of_device(text: str) -> int | None:
    """Billionths of a device, rounded up, of a decimal number above 0 and at most 1; None for other text."""
    if len(text) > _LONGEST or not _DECIMAL.match(text):
        return None
    part = -(-Fraction(text if text[-1] != "." else f"{text}0") * WHOLE // 1)
    return part if 0 < part <= WHOLE else None


def _annotated(annotations: Mapping[str, str]) -> GpuRequest | None:
    legacy = sorted(name for name in annotations if name.startswith(MIG_PREFIX))
    if legacy:
        return _legacy(annotations, legacy)
    part = _chosen(annotations, FRACTION_ANNOTATIONS)
    memory = _chosen(annotations, MEMORY_ANNOTATIONS)
    count = _chosen(annotations, DEVICES_ANNOTATIONS)
    if part is None and memory is None:
        if count is not None:
            raise _Malformed(
                *count, "says of how many devices, but not what of each", f"add {FRACTION_ANNOTATIONS[0]}"
            )
        return None
    if part is not None and memory is not None:
        raise _Malformed(*memory, f"stands beside {part[0]}", "keep one: a part or an amount of memory")
    devices = 1 if count is None else whole_number(count[1], MOST_DEVICES)
    if devices is None and count is not None:
        raise _Malformed(*count, "is no number of devices", f"write a number from 1 to {MOST_DEVICES}")
    if part is not None:
        return _part(part, devices or 1)
    return None if memory is None else _memory(memory, devices or 1)


def _chosen(annotations: Mapping[str, str], names: tuple[str, str]) -> tuple[str, str] | None:
    """The annotation that is set, by name and value; an empty value says nothing."""
    found = [(name, annotations[name]) for name in names if annotations.get(name)]
    if len(found) > 1 and found[0][1] != found[1][1]:
        raise _Malformed(*found[0], f"differs from {found[1][0]}", "keep one of the two")
    return found[0] if found else None


def _author(annotation: str) -> Author:
    return Author.ALIQUOT if annotation.startswith(_OWN) else Author.KAI


def _part(written: tuple[str, str], devices: int) -> GpuRequest:
    part = part_of_device(written[1])
    if part is None:
        raise _Malformed(*written, "is no part of a device", "write a decimal number above 0 and at most 1")
    return GpuRequest(Kind.PART, devices, part=part, author=_author(written[0]))


def _memory(written: tuple[str, str], devices: int) -> GpuRequest:
    name, text = written
    memory = whole_number(text, _MOST_MEMORY)
    fix = "write MiB as a whole number, as 4096"
    if memory is None and name.startswith(_OWN):
        fix += ", or a quantity, as 4Gi"
        memory = _mebibytes(text)
    if memory is None:
        raise _Malformed(name, text, "is no amount of memory", fix)
    return GpuRequest(Kind.MEMORY, devices, memory_mib=memory, author=_author(name))


def _mebibytes(text: str) -> int | None:
    """MiB of a quantity with a suffix, rounded up."""
    if not text or text[-1].isdigit() or len(text) > _LONGEST:
        return None
    try:
        number = -(-Quantity.parse(text).nano // (WHOLE * _MEBIBYTE))
    except QuantityError:
        return None
    return number if 1 <= number <= _MOST_MEMORY else None


def _legacy(annotations: Mapping[str, str], names: list[str]) -> GpuRequest:
    found: list[tuple[str, int]] = []
    for name in names:
        count = 0 if annotations[name] == "0" else whole_number(annotations[name], MOST_DEVICES)
        if count is None:
            raise _Malformed(
                name,
                annotations[name],
                "is no number of MIG instances",
                f"ask for the extended resource {name[:_NAME_LENGTH]} in the container's limits",
            )
        found.append((name, count))
    return GpuRequest(Kind.LEGACY_MIG, profiles=tuple(found), author=Author.KAI)


def _extended(pod: Pod, resources: Mapping[str, int]) -> GpuRequest:
    if any(name in resources for name in HAMI_PARTS):
        return _hami(pod)
    profiles = sorted(item for item in resources.items() if item[0].startswith(MIG_PREFIX))
    for name, count in profiles:
        if not compute_slices(name):
            raise _Malformed(name, str(count), "names no MIG profile", "write mig-1g.10gb or alike")
    whole = {name: count for name, count in resources.items() if WHOLE_DEVICES.match(name)}
    kind = Kind.MIG if profiles else Kind.WHOLE
    return GpuRequest(kind, sum(whole.values()), profiles=tuple(profiles), resource=min(whole, default=""))


def _hami(pod: Pod) -> GpuRequest:
    """HAMi's requests are each container's own; here all containers of a pod have to ask for the same."""
    sidecars = [item for item in pod.spec.init_containers if item.restart_policy == "Always"]
    running = [found for item in (*pod.spec.containers, *sidecars) if (found := _hami_container(item))]
    first = [
        found
        for item in pod.spec.init_containers
        if item.restart_policy != "Always" and (found := _hami_container(item))
    ]
    wanted = [*running, *first]
    same = {(item.kind, item.part, item.memory_mib, item.cores) for item in wanted}
    if len(same) > 1:
        raise _Malformed(
            "spec.containers",
            f"{len(same)} different parts",
            "are asked for by the containers of one pod",
            "ask for the same in each of them, or make several pods",
        )
    devices = max(sum(item.devices for item in running), max((item.devices for item in first), default=0))
    one = wanted[0]
    return GpuRequest(
        one.kind, devices, one.part, one.memory_mib, one.cores, resource=NVIDIA_GPU, author=Author.HAMI
    )


def _hami_container(container: Container) -> GpuRequest | None:
    """Memory in MiB goes before a percentage; without either it is the whole memory. One device where no
    number is given (HAMi docs, "Default device number")."""
    resources = asked(container)
    if not resources:
        return None
    place = f"spec.containers[{container.name}]"
    memory = resources.get(HAMI_MEMORY, 0)
    percentage = resources.get(HAMI_PERCENTAGE, _HUNDRED)
    cores = resources.get(HAMI_CORES, 0)
    devices = resources.get(NVIDIA_GPU, 1)
    for name, number, most in (
        (HAMI_MEMORY, memory, _MOST_MEMORY),
        (HAMI_PERCENTAGE, percentage, _HUNDRED),
        (HAMI_CORES, cores, _HUNDRED),
        (NVIDIA_GPU, devices, MOST_DEVICES),
    ):
        if number > most:
            raise _Malformed(f"{place} {name}", str(number), "is too much", f"write at most {most}")
    if memory:
        return GpuRequest(Kind.MEMORY, devices, memory_mib=memory, cores=cores)
    return GpuRequest(Kind.PART, devices, part=percentage * (WHOLE // _HUNDRED), cores=cores)
