"""MIG instances as the NVIDIA DRA driver publishes them: static ones, and dynamic ones that share counters.

Source: kubernetes-sigs/dra-driver-nvidia-gpu cmd/gpu-kubelet-plugin/{mig,partitions,driver}.go; KEP-4815
for shared counters.
"""

import re
from collections.abc import Callable, Sequence

from aliquot.catalog.drivers.publication import (
    MAX_COUNTER_SETS,
    Json,
    Slice,
    binary_quantity,
    capacities,
    mebibytes,
    stable_uuid,
    string,
)
from aliquot.catalog.mig import MigBoard, MigProfile
from aliquot.catalog.node_groups import PlacedProfiles
from aliquot.catalog.node_types import DeviceSlot

_ENGINES = (
    ("copyEngines", "copy"),
    ("decoders", "decoder"),
    ("encoders", "encoder"),
    ("jpegEngines", "jpeg"),
    ("ofaEngines", "ofa"),
)

_COUNTER_NAMES = {
    "multiprocessors": "multiprocessors",
    "copyEngines": "copy-engines",
    "decoders": "decoders",
    "encoders": "encoders",
    "jpegEngines": "jpeg-engines",
    "ofaEngines": "ofa-engines",
    "memory": "memory",
}

_COPIED_FROM_PARENT = re.compile(r"(?!type$|uuid$).*")


def device_name(index: int, profile: MigProfile, start: int) -> str:
    """`gpu-<minor>-mig-<profile>-<profile id>-<start>`, such as gpu-0-mig-1g10gb-me-20-3."""
    short = re.sub(r"[^a-z0-9-]", "-", profile.name.replace(".", "").lower()).strip("-")
    return f"gpu-{index}-mig-{short}-{profile.profile_id}-{start}"


def amounts(profile: MigProfile) -> dict[str, int]:
    """What one instance holds, by capacity name; memory in bytes. The profile must have no unknown fields."""
    found = {"multiprocessors": profile.multiprocessors or 0}
    for capacity, engine in _ENGINES:
        found[capacity] = int(getattr(profile.engines, engine))
    found["memory"] = (profile.memory_mib or 0) << 20
    return found


def largest_amounts(board: MigBoard) -> dict[str, int]:
    """The maximum of each capacity over all profiles: what the driver takes a whole GPU to hold."""
    every = [amounts(profile) for profile in board.profiles]
    return {name: max(held[name] for held in every) for name in every[0]}


def _instance(index: int, parent: Json, profile: MigProfile, start: int) -> Json:
    attributes: Json = {"type": string("mig"), "parentUUID": dict(parent["attributes"]["uuid"])}
    attributes["profile"] = string(profile.name)
    for name, value in parent["attributes"].items():
        if _COPIED_FROM_PARENT.match(name):
            attributes[name] = dict(value)
    held = {name: binary_quantity(amount) for name, amount in amounts(profile).items()}
    held["memory"] = mebibytes(profile.memory_mib or 0)
    return {
        "name": device_name(index, profile, start),
        "attributes": attributes,
        "capacity": capacities(held),
    }


def static_instances(index: int, parent: Json, layout: PlacedProfiles, node: str) -> list[Json]:
    """The instances made before the driver started: with a uuid, and a capacity per memory slice they hold.

    The parent GPU itself is not published while MIG mode is on.
    """
    devices = []
    for profile, start in layout:
        device = _instance(index, parent, profile, start)
        uuid = f"MIG-{stable_uuid(node, 'mig', index, profile.profile_id, start)}"
        device["attributes"]["uuid"] = string(uuid)
        for held in range(start, start + (profile.memory_slices or 0)):
            device["capacity"][f"memorySlice{held}"] = {"value": "1"}
        devices.append(device)
    return devices


def _counters(held: dict[str, int], start: int, size: int) -> Json:
    counters: Json = {_COUNTER_NAMES[name]: {"value": binary_quantity(n)} for name, n in held.items()}
    for number in range(start, start + size):
        counters[f"memory-slice-{number}"] = {"value": "1"}
    return counters


def counter_set(board: MigBoard, index: int) -> Json:
    """What one GPU has to give: the largest of each capacity, and one of each memory slice."""
    counters = _counters(largest_amounts(board), 0, board.memory_slices or 0)
    return {"name": f"gpu-{index}-counter-set", "counters": counters}


def dynamic_devices(board: MigBoard, index: int, parent: Json) -> list[Json]:
    """A GPU and every instance it could be cut into, each with what it draws from the GPU's counters.

    On Ampere, where MIG mode cannot be switched without a reset, the GPU is in MIG mode and only its
    instances are published. Sorted by name, as the driver does.
    """
    name = f"gpu-{index}-counter-set"
    devices = []
    if board.toggles_without_reset():
        held = largest_amounts(board)
        counters = _counters(held, 0, board.memory_slices or 0)
        whole = dict(parent)
        whole["capacity"] = capacities({key: binary_quantity(amount) for key, amount in held.items()})
        whole["consumesCounters"] = [{"counterSet": name, "counters": counters}]
        devices.append(whole)
    for profile in board.profiles:
        for start in profile.starts:
            device = _instance(index, parent, profile, start)
            counters = _counters(amounts(profile), start, profile.memory_slices or 0)
            device["consumesCounters"] = [{"counterSet": name, "counters": counters}]
            devices.append(device)
    return sorted(devices, key=lambda device: str(device["name"]))


def split_slices(
    board: MigBoard, gpus: Sequence[tuple[DeviceSlot, Json]], finish: Callable[[Json], Json]
) -> list[Slice]:
    """Kubernetes 1.35 and later: all counter sets in one slice, then one slice of devices per GPU."""
    sets = [counter_set(board, slot.index) for slot, _ in gpus]
    found = [Slice(shared_counters=sets)]
    for slot, parent in gpus:
        found.append(Slice([finish(device) for device in dynamic_devices(board, slot.index, parent)]))
    return found


def combined_slices(
    board: MigBoard, gpus: Sequence[tuple[DeviceSlot, Json]], finish: Callable[[Json], Json]
) -> list[Slice]:
    """Kubernetes 1.34: per GPU one slice with its counter set and its devices."""
    return [
        Slice(
            [finish(device) for device in dynamic_devices(board, slot.index, parent)],
            [counter_set(board, slot.index)],
        )
        for slot, parent in gpus
    ]


def dynamic_problem(board: MigBoard, gpus: int) -> str:
    """Why the driver could not publish dynamic MIG for such a machine, or "" if it can."""
    if gpus > MAX_COUNTER_SETS:
        return f"{gpus} counter sets do not fit in one slice ({MAX_COUNTER_SETS} at most)"
    for profile in board.profiles:
        if profile.unknown_fields():
            return f"the catalogue does not know {', '.join(profile.unknown_fields())} of {profile.name}"
    return ""
