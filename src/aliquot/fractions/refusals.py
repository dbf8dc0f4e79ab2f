"""Why a node does not take a request for devices or parts of devices, whatever is free on it."""

from dataclasses import dataclass
from enum import StrEnum

from aliquot.fractions.devices import HAMI, Mig, NodeDevices
from aliquot.fractions.requests import WHOLE, Author, GpuRequest, Kind


class Ground(StrEnum):
    """Why a request is refused on a node. Each says what would have to change.

    noDevices: the node has none. otherDevices: it has another vendor's. noMig: MIG instances are wanted, the
    node has none. onlyMig: its GPUs are all cut into MIG instances. onlyWhole: its MIG instances stand for
    GPUs and are not cut further. legacyMig: MIG instances asked for by annotation are no longer handed out.
    besideLegacyMig: a pod with MIG instances by annotation is on the node. memoryUnknown: the node does not
    tell how much memory its devices have. tooLarge: more memory than a device has. tooManyDevices: more than
    the node has. notEnforced: nothing keeps pods to their parts. timeSliced: the same, pods take turns with
    all the memory. partTooLarge: what keeps them apart gives smaller parts only. onlyByHami: the request is
    in HAMi's words and the node runs no HAMi. onlyInHamisWords: the node runs HAMi, which reads no
    annotations. onlyReplicas: the node's device plugin shares by MPS, and gives replicas to who asks for its
    resource, not by annotation.
    """

    NO_DEVICES = "noDevices"
    OTHER_DEVICES = "otherDevices"
    NO_MIG = "noMig"
    ONLY_MIG = "onlyMig"
    ONLY_WHOLE = "onlyWhole"
    LEGACY_MIG = "legacyMig"
    BESIDE_LEGACY_MIG = "besideLegacyMig"
    MEMORY_UNKNOWN = "memoryUnknown"
    TOO_LARGE = "tooLarge"
    TOO_MANY_DEVICES = "tooManyDevices"
    NOT_ENFORCED = "notEnforced"
    TIME_SLICED = "timeSliced"
    PART_TOO_LARGE = "partTooLarge"
    ONLY_BY_HAMI = "onlyByHami"
    ONLY_IN_HAMIS_WORDS = "onlyInHamisWords"
    ONLY_REPLICAS = "onlyReplicas"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A ground with the amounts behind it, as text; "" where there are none."""

    ground: Ground
    wanted: str = ""
    available: str = ""


@dataclass(frozen=True, slots=True)
class NodeRules:
    """What a policy says about parts of devices.

    trust: believe that pods keep to their parts on every node. mixed_only_mig: a node that has MIG instances
    as resources of their own takes no other request for GPUs, even if some of its GPUs are not cut.
    """

    trust: bool = False
    mixed_only_mig: bool = False


KAI_RULES = NodeRules(trust=True, mixed_only_mig=True)
"""As KAI-Scheduler has it: it leaves it to the operator whether anything keeps fractions apart."""


def refusal(
    request: GpuRequest, devices: NodeDevices, rules: NodeRules, *, legacy_mig: bool = False
) -> Refusal | None:
    """Why the node cannot take the request at any time; None if it could when enough is free.

    legacy_mig: a pod that asked for MIG instances by annotation is on the node.
    """
    if request.kind is Kind.LEGACY_MIG:
        return Refusal(Ground.LEGACY_MIG)
    if request.kind is Kind.MIG:
        if devices.mig is Mig.NONE:
            return Refusal(Ground.NO_MIG)
        if legacy_mig:
            return Refusal(Ground.BESIDE_LEGACY_MIG)
        return Refusal(Ground.ONLY_WHOLE) if devices.mig is Mig.SINGLE else None
    if devices.mig is Mig.MIXED and (rules.mixed_only_mig or not devices.count):
        return Refusal(Ground.ONLY_MIG)
    if request.resource and devices.resource and request.resource != devices.resource:
        return None if request.kind is Kind.WHOLE else Refusal(Ground.OTHER_DEVICES)
    if not devices.count:
        return Refusal(Ground.NO_DEVICES)
    most = devices.count if request.shared else devices.count * devices.units
    if request.devices > most:
        return Refusal(Ground.TOO_MANY_DEVICES, str(request.devices), str(most))
    return _sharing_refusal(request, devices, rules) if request.shared else None


def _sharing_refusal(request: GpuRequest, devices: NodeDevices, rules: NodeRules) -> Refusal | None:
    if devices.mig is Mig.SINGLE:
        return Refusal(Ground.ONLY_WHOLE)
    part = request.part
    if request.kind is Kind.MEMORY:
        if devices.memory_mib is None:
            return Refusal(Ground.MEMORY_UNKNOWN, f"{request.memory_mib}Mi")
        if request.memory_mib > devices.memory_mib:
            return Refusal(Ground.TOO_LARGE, f"{request.memory_mib}Mi", f"{devices.memory_mib}Mi")
        part = -(-request.memory_mib * WHOLE // devices.memory_mib)
    if rules.trust:
        return None
    if request.author is Author.HAMI:
        return None if devices.enforcer == HAMI else Refusal(Ground.ONLY_BY_HAMI)
    if devices.enforcer is None:
        return Refusal(Ground.TIME_SLICED if devices.time_sliced else Ground.NOT_ENFORCED)
    if not devices.serves_annotations:
        hami = devices.enforcer == HAMI
        return Refusal(Ground.ONLY_IN_HAMIS_WORDS if hami else Ground.ONLY_REPLICAS)
    if part > devices.limit:
        return Refusal(Ground.PART_TOO_LARGE, _percent(part), _percent(devices.limit))
    return None


def _percent(part: int) -> str:
    """Billionths of a device as a percentage, rounded down to hundredths of one: 333333333 -> 33.33%."""
    whole, rest = divmod(part * 10_000 // WHOLE, 100)
    return f"{whole}.{rest:02}".rstrip("0").rstrip(".") + "%"
