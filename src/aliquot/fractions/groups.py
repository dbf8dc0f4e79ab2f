"""Which devices the pods that run already share, and how a placement is written down.

Sources: KAI-Scheduler's labels (`runai-gpu-group`, and `runai-gpu-group/<group>` for each of several devices)
and reservation pods; HAMi's annotation `hami.io/vgpu-devices-allocated` ("UUID,type,MiB,percent of compute:"
for each device, ";" after each container); Aliquot's annotation.
"""

from collections.abc import Sequence

from aliquot.fractions.devices import HAMI, NodeDevices
from aliquot.fractions.parts import Holding, Part, part_on
from aliquot.fractions.requests import MOST_DEVICES, WHOLE, GpuRequest, Kind
from aliquot.model.core import Pod

GROUPS_ANNOTATION = "aliquot.dev/gpu-groups"
"""Names of the shared devices that a pod has been given on its node, with commas between them."""

KAI_LABEL = "runai-gpu-group"
KAI_LABEL_PREFIX = "runai-gpu-group/"
HAMI_ALLOCATED = "hami.io/vgpu-devices-allocated"
HAMI_USE = "nvidia.com/use-gpuuuid"
HAMI_CHOICE = (HAMI_USE, "nvidia.com/nouse-gpuuuid", "nvidia.com/use-gputype", "nvidia.com/nouse-gputype")
"""By which a pod says which devices HAMi may give it."""

RESERVATION_NAMESPACE = "kai-resource-reservation"
RESERVATION_APP = "kai-resource-reservation"

_LONGEST = 16_384
_LONGEST_NAME = 253
_FIELDS = 4
_ALL_CORES = 100
_DIGITS = 9


def places(pod: Pod, request: GpuRequest | None, devices: NodeDevices) -> tuple[tuple[str, Part], ...]:
    """What a pod on a node, or let go for one, has of its shared devices, by group; () if it shares none.

    HAMi's record goes first, as it says what was given; then Aliquot's, then KAI-Scheduler's. A device
    without a record has the name "": the pod has it to itself. HAMi writes its record when it binds: on a pod
    without a node it is somebody else's.
    """
    if request is None or request.mig:
        return ()
    if devices.enforcer == HAMI and pod.spec.node_name:
        given = _given_by_hami(pod.metadata.annotations.get(HAMI_ALLOCATED, ""))
        if given and not _everything(given, devices):
            return given
    if request.kind is Kind.WHOLE:
        return ()
    part = part_on(request, devices)
    names = _names(pod)[:MOST_DEVICES]
    alone = max(0, request.devices - len(names))
    return tuple((name, part) for name in (*names, *[""] * alone))


def told_to_hami(pod: Pod, groups: Sequence[str], devices: NodeDevices) -> dict[str, str]:
    """What has HAMi's scheduler take the devices that were chosen; nothing if it has to choose itself.

    It has to where a device was chosen by a name that is not an id, and where the pod says itself which
    devices it takes. HAMi, "Assign to certain device": nvidia.com/use-gpuuuid, UUIDs separated by commas.
    """
    own = pod.metadata.annotations
    if devices.enforcer != HAMI or not groups or not set(groups) <= set(devices.ids):
        return {}
    return {} if any(name in own for name in HAMI_CHOICE) else {HAMI_USE: ",".join(groups)}


def groups_annotation(holding: Holding) -> dict[str, str]:
    """The annotation that records what a pod has been given."""
    return {GROUPS_ANNOTATION: ",".join(holding.groups)}


def reserves(pod: Pod) -> str | None:
    """The group for which a reservation pod of KAI-Scheduler keeps a device; None for any other pod.

    Such a pod asks the device plugin for a whole device that its group's pods are counted for already.
    """
    labels = pod.metadata.labels
    if pod.metadata.namespace != RESERVATION_NAMESPACE or labels.get("app") != RESERVATION_APP:
        return None
    return labels.get(KAI_LABEL)


def _names(pod: Pod) -> Sequence[str]:
    own = pod.metadata.annotations.get(GROUPS_ANNOTATION, "")
    if own and len(own) <= _LONGEST:
        names = [name.strip() for name in own.split(",")]
        return list(dict.fromkeys(name for name in names if 0 < len(name) <= _LONGEST_NAME))
    labels = pod.metadata.labels
    several = sorted(value for name, value in labels.items() if name.startswith(KAI_LABEL_PREFIX) and value)
    one = labels.get(KAI_LABEL, "")
    return list(dict.fromkeys([one, *several] if one else several))


def _given_by_hami(text: str) -> tuple[tuple[str, Part], ...]:
    """Parts by device; two containers on one device have one part of it together."""
    if not text or len(text) > _LONGEST:
        return ()
    found: dict[str, Part] = {}
    for record in text.replace(";", ":").split(":"):
        fields = record.split(",")
        if len(fields) < _FIELDS or not fields[0]:
            continue
        memory, cores = (_number(field) for field in fields[2:_FIELDS])
        before = found.get(fields[0], Part(0))
        found[fields[0]] = Part(before.memory + max(1, memory * WHOLE), min(_ALL_CORES, before.cores + cores))
    return tuple(found.items())


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else 0


def _everything(given: tuple[tuple[str, Part], ...], devices: NodeDevices) -> bool:
    return all(part.memory >= devices.capacity for _, part in given)
