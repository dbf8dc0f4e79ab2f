"""Fields of a fleet file that say how devices are divided: MIG, shares, vGPU, partitions, device plugin."""

import re

from aliquot.catalog.accelerators import Accelerator
from aliquot.catalog.drivers.amd import DYNAMIC, PARTITION_PROFILES, partition_profiles
from aliquot.catalog.drivers.device_plugin import RESOURCES
from aliquot.catalog.drivers.nvidia_mig import dynamic_problem
from aliquot.catalog.drivers.tpu import UNSUPPORTED
from aliquot.catalog.fleet_fields import Fields
from aliquot.catalog.fleet_yaml import near
from aliquot.catalog.mig import MigBoard, NoRoom, mig_boards, place_layout
from aliquot.catalog.node_groups import Legacy, Mig, PlacedProfiles
from aliquot.catalog.node_types import NodeType
from aliquot.catalog.vgpu import VgpuType, vgpu_types

_INDEXES = re.compile(r"(\d{1,2})(?:-(\d{1,2}))?")


def _only(entry: Fields, name: str, accelerator: Accelerator, vendor: str, what: str) -> None:
    if accelerator.vendor != vendor:
        raise entry.error(name, f"{accelerator.id} has no {what}", "remove it")


def read_legacy(entry: Fields, accelerator: Accelerator) -> Legacy | None:
    """`legacy: true`, or `legacy: {replicas: 4, rename: true, strategy: mixed}`."""
    value = entry.value("legacy")
    if value is None or value is False:
        if accelerator.id in UNSUPPORTED:
            raise entry.error("legacy", f"no DRA driver supports {accelerator.id}", "write `legacy: true`")
        return None
    if accelerator.vendor not in RESOURCES:
        raise entry.error("legacy", f"no device plugin is known for {accelerator.id}", "remove it")
    if value is True:
        return Legacy()
    fields = entry.mapping("legacy")
    if fields is None:
        return None
    _only(fields, "", accelerator, "nvidia", "options of the device plugin")
    replicas = fields.number("replicas", 1, 1000, 1)
    rename = fields.flag("rename")
    strategy = fields.choice("strategy", ("none", "single", "mixed"), "none")
    fields.done()
    for known in ("single", "mixed"):
        if strategy == known:
            return Legacy(replicas, rename, known)
    return Legacy(replicas, rename)


def read_mig(
    entry: Fields, node_type: NodeType, accelerator: Accelerator, legacy: Legacy | None
) -> Mig | None:
    """`mig: {dynamic: true}`, `{layout: [3g.40gb, 4g.40gb]}` for all GPUs, or `{gpus: {0-3: [...]}}`."""
    fields = entry.mapping("mig")
    if fields is None:
        return None
    if not accelerator.mig:
        raise entry.error("mig", f"{accelerator.id} cannot be partitioned with MIG", "remove it")
    board = mig_boards()[accelerator.mig]
    dynamic = fields.flag("dynamic")
    forms = [name for name in ("layout", "gpus") if fields.has(name)]
    if len(forms) + dynamic != 1:
        fix = "write one of `dynamic: true`, `layout: [...]` and `gpus: {0-3: [...]}`"
        raise entry.error("mig", "does not say one way to partition", fix)
    if dynamic:
        if legacy is not None:
            raise fields.error(
                "dynamic", "the device plugin has no dynamic MIG", "remove `legacy` or `dynamic`"
            )
        problem = dynamic_problem(board, len(node_type.gpus))
        if problem:
            raise fields.error("dynamic", problem, "write a static `layout` of known profiles")
        fields.value("layout")
        fields.value("gpus")
        fields.done()
        return Mig(board, dynamic=True)
    layouts: dict[int, PlacedProfiles] = {}
    if fields.has("layout"):
        placed = _layout(fields, "layout", board)
        layouts = {slot.index: placed for slot in node_type.gpus}
    else:
        gpus = fields.mapping("gpus")
        for key in gpus.names() if gpus else ():
            if gpus is None:
                break
            for index in _indexes(gpus, key, node_type):
                if index in layouts:
                    raise gpus.error(key, f"GPU {index} has a layout already", "name each GPU once")
                layouts[index] = _layout(gpus, key, board)
    fields.value("layout")
    fields.value("gpus")
    fields.done()
    if legacy is not None and legacy.strategy == "single":
        profiles = {profile.name for layout in layouts.values() for profile, _ in layout}
        if len(profiles) > 1 or len(layouts) < len(node_type.gpus):
            fix = "give every GPU instances of one profile, or use `strategy: mixed`"
            raise entry.error("legacy", "strategy `single` needs equal instances on all GPUs", fix)
    return Mig(board, layouts=layouts)


def _indexes(gpus: Fields, key: str, node_type: NodeType) -> range:
    matched = _INDEXES.fullmatch(key)
    last = len(node_type.gpus) - 1
    if matched:
        low, high = int(matched[1]), int(matched[2] or matched[1])
        if low <= high <= last:
            return range(low, high + 1)
    raise gpus.error(
        key, f"{key!r} names no GPUs of {node_type.id}", f"write an index or a range from 0 to {last}"
    )


def _layout(fields: Fields, name: str, board: MigBoard) -> PlacedProfiles:
    names: list[str] = []
    for path, item in fields.items(name, "write a list of profiles: `[3g.40gb, 4g.40gb]`"):
        profile = board.profile(item) if isinstance(item, str) else None
        if profile is None:
            known = [other.name for other in board.profiles]
            likely = near(str(item), known) or known
            problem = f"there is no MIG profile {item!r} on {board.boards}"
            index = path.rpartition("[")[2]
            raise fields.error(f"{name}[{index}", problem, f"write one of {', '.join(likely)}")
        names.append(profile.name)
    if not names:
        return ()
    if len(names) > board.max_instances:
        raise fields.error(name, f"{len(names)} instances", f"at most {board.max_instances} fit on one GPU")
    placed = place_layout(board, tuple(names))
    if isinstance(placed, NoRoom):
        problem = f"{placed.profile} does not fit: {placed.reason}"
        raise fields.error(f"{name}[{placed.position}]", problem, "remove an instance or take smaller ones")
    return placed


def read_shares(entry: Fields, accelerator: Accelerator, legacy: Legacy | None) -> str:
    """`shares: memory`, `shares: unlimited` or a number of shares."""
    value = entry.value("shares")
    if value is None:
        return ""
    _only(entry, "shares", accelerator, "nvidia", "consumable shares")
    if legacy is not None:
        fix = "write `legacy: {replicas: 4}` instead of `shares`"
        raise entry.error("shares", "the device plugin has no consumable shares", fix)
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 1_000_000:
        return str(value)
    if value in ("memory", "unlimited"):
        return str(value)
    raise entry.error("shares", f"{value!r} is no sharing mode", "write `memory`, `unlimited` or a number")


def read_vgpu(entry: Fields, node_type: NodeType, accelerator: Accelerator) -> tuple[VgpuType | None, int]:
    """`vgpu: A10-12Q`, or `vgpu: {type: A10-12Q, count: 2}`: the nodes are guests with such vGPUs."""
    value = entry.value("vgpu")
    if value is None:
        return None, 0
    count, place, name = 1, "vgpu", value
    if isinstance(value, dict):
        fields = entry.mapping("vgpu")
        if fields is not None:
            name = fields.text("type")
            count = fields.number("count", 1, 16, 1)
            fields.done()
        place = "vgpu.type"
    types = vgpu_types(accelerator.vgpu) if accelerator.vgpu else {}
    if not types:
        raise entry.error(place, f"{accelerator.id} has no vGPU types", "remove `vgpu`")
    kind = types.get(name) if isinstance(name, str) else None
    if kind is None:
        likely = near(str(name), types) or list(types)[:3]
        fix = f"write a type such as {' or '.join(repr(item) for item in likely)}"
        raise entry.error(place, f"{name!r} is not a vGPU type of {accelerator.id}", fix)
    most = kind.max_per_gpu * len(node_type.gpus)
    if count > most:
        raise entry.error(place, f"{count} of {name} in one guest", f"a host of {node_type.id} has {most}")
    return kind, count


def read_partitions(entry: Fields, accelerator: Accelerator, legacy: Legacy | None) -> str:
    """`partitions: cpx_nps4`, or `partitions: dynamic` (AutoPartition)."""
    value = entry.text("partitions")
    if not value:
        return ""
    _only(entry, "partitions", accelerator, "amd", "compute partitions")
    modes = partition_profiles(accelerator)
    if not modes:
        raise entry.error("partitions", f"{accelerator.id} cannot be partitioned", "remove it")
    allowed = modes if legacy else [*modes, DYNAMIC]
    if value not in allowed:
        known = "" if value not in PARTITION_PROFILES else f" on {accelerator.id}"
        raise entry.error(
            "partitions", f"{value!r} is not valid{known}", f"write one of {', '.join(allowed)}"
        )
    return value
