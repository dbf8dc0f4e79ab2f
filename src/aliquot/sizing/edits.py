"""What has to change in a claim, a claim template or a pod template so that it asks for another part.

Classes, attributes and capacities are those of the vendors' DRA drivers
(kubernetes-sigs/dra-driver-nvidia-gpu: `mig.nvidia.com`, attribute `profile`, capacity `memory` with the gate
ConsumableShares; ROCm/k8s-gpu-dra-driver: attribute `partitionProfile`), resources those of the NVIDIA device
plugin (`nvidia.com/mig-<profile>`, MIG strategy mixed), annotations Aliquot's own.
"""

import copy
import enum
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from aliquot.sizing.parts import MIB, Mode, Part

Json = Mapping[str, Any]
Path = tuple[str | int, ...]

NVIDIA_CLASS = "gpu.nvidia.com"
MIG_CLASS = "mig.nvidia.com"
AMD_CLASS = "gpu.amd.com"
NVIDIA_RESOURCE = "nvidia.com/gpu"
MIG_RESOURCE = "nvidia.com/mig-"
FRACTION = "aliquot.dev/gpu-fraction"
MEMORY = "aliquot.dev/gpu-memory"

_VGPU = "vGPU types are given to virtual machines by their host, not to pods"

_TEMPLATES: Mapping[str, Path] = {
    "Pod": (),
    "Deployment": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
    "ReplicaSet": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
    "ResourceClaim": ("spec",),
    "ResourceClaimTemplate": ("spec", "spec"),
}


@dataclass(frozen=True, slots=True)
class Edit:
    """One change of a document. path: keys and indexes. value: what is there afterwards; with `gone` the last
    key of the path is removed. renamed: the last key is called so afterwards, its value stays."""

    path: Path
    value: Any = None
    gone: bool = False
    renamed: str = ""

    def patch(self) -> list[dict[str, Any]]:
        """The same as operations of a JSON Patch (RFC 6902)."""
        pointer = pointer_of(self.path)
        if self.gone:
            return [{"op": "remove", "path": pointer}]
        if self.renamed:
            other = pointer_of((*self.path[:-1], self.renamed))
            return [{"op": "move", "from": pointer, "path": other}]
        return [{"op": "add", "path": pointer, "value": self.value}]


class EditError(Exception):
    """A part that a document cannot ask for. problem, fix: text."""

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(problem, fix)
        self.problem = problem
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.problem}; {self.fix}"


class Asks(enum.StrEnum):
    """How the pods of a workload ask for devices."""

    CLAIM = "claim"
    RESOURCE = "resource"
    """By extended resources of a device plugin, or the annotations of parts."""


def unaskable(part: Part, asks: Asks) -> str:
    """Why pods that ask so could never have this part; "" if they could, where a node offers it."""
    if part.exclusive:
        return ""
    try:
        if asks is Asks.CLAIM:
            _asked(part)
        else:
            _resource(part)
    except EditError as error:
        return str(error)
    return ""


def pointer_of(path: Path) -> str:
    """A JSON Pointer (RFC 6901)."""
    return "".join("/" + str(key).replace("~", "~0").replace("/", "~1") for key in path)


def applied(document: Any, edits: Iterable[Edit]) -> Any:
    """A copy of a document with these changes. Raises KeyError, IndexError for a path that is not there."""
    found = copy.deepcopy(document)
    for edit in edits:
        holder = found
        for key in edit.path[:-1]:
            holder = holder[key]
        last = edit.path[-1]
        if edit.gone:
            holder.pop(last, None)
        elif edit.renamed:
            holder[edit.renamed] = holder.pop(last)
        else:
            holder[last] = copy.deepcopy(edit.value)
    return found


def template_path(kind: str) -> Path | None:
    """Where in an object of a kind the pod template or the claim's spec is; None where nobody knows."""
    return _TEMPLATES.get(kind)


def claim_templates(document: Json) -> tuple[str, ...]:
    """The ResourceClaimTemplates and ResourceClaims that the pods of a document use."""
    path = template_path(str(document.get("kind")))
    if path is None:
        return ()
    claims = _at(document, (*path, "spec", "resourceClaims"))
    names = []
    for claim in claims if isinstance(claims, list) else ():
        if isinstance(claim, dict):
            name = claim.get("resourceClaimTemplateName") or claim.get("resourceClaimName")
            if isinstance(name, str):
                names.append(name)
    return tuple(dict.fromkeys(names))


def edits_of(document: Json, part: Part) -> tuple[Edit, ...]:
    """What to change in a document so that each of its devices is such a part; nothing if it asks for it.

    Claims and templates have their requests changed, pods their extended resources; pods that use claims are
    left alone, as their templates are documents of their own. Raises EditError.
    """
    kind = str(document.get("kind"))
    path = template_path(kind)
    if path is None:
        return ()
    if kind in ("ResourceClaim", "ResourceClaimTemplate"):
        return tuple(_claim_edits(document, path, part))
    return tuple(_pod_edits(document, path, part))


def _at(document: Any, path: Path) -> Any:
    for key in path:
        if isinstance(document, Mapping) and isinstance(key, str):
            document = document.get(key)
        elif isinstance(document, list) and isinstance(key, int) and key < len(document):
            document = document[key]
        else:
            return None
    return document


def _set(document: Json, path: Path, value: Any) -> Iterator[Edit]:
    """A value at a path, unless it is there; missing mappings above are made with it."""
    if _at(document, path) == value:
        return
    while len(path) > 1 and _at(document, path[:-1]) is None:
        path, value = path[:-1], {path[-1]: value}
    yield Edit(path, value)


def _claim_edits(document: Json, spec: Path, part: Part) -> Iterator[Edit]:
    requests = _at(document, (*spec, "devices", "requests"))
    if not isinstance(requests, list):
        raise EditError("it has no spec.devices.requests", "give a claim that asks for devices")
    known = (NVIDIA_CLASS, MIG_CLASS, AMD_CLASS)
    found = False
    for number, request in enumerate(requests):
        if not isinstance(request, dict):
            continue
        own: Path = (*spec, "devices", "requests", number, "exactly")
        exactly = request.get("exactly")
        if not isinstance(exactly, dict) or exactly.get("deviceClassName") not in known:
            continue
        found = True
        yield from _request_edits(document, own, exactly, part)
    if not found:
        raise EditError(
            f"none of its requests is an `exactly` of {', '.join(known)}",
            "change it by hand: alternatives and other classes are not rewritten",
        )


def _request_edits(document: Json, own: Path, exactly: Json, part: Part) -> Iterator[Edit]:
    name, expression, memory = _asked(part)
    yield from _set(document, (*own, "deviceClassName"), name)
    selectors = [item for item in exactly.get("selectors") or () if isinstance(item, dict)]
    others = [item for item in selectors if not _is_ours(item)]
    wanted = [*others, {"cel": {"expression": expression}}] if expression else others
    if wanted != selectors:
        if wanted:
            yield Edit((*own, "selectors"), wanted)
        else:
            yield Edit((*own, "selectors"), gone=True)
    capacity = _at(exactly, ("capacity", "requests", "memory"))
    if memory:
        yield from _set(document, (*own, "capacity", "requests", "memory"), memory)
    elif capacity is not None:
        alone = len(_at(exactly, ("capacity", "requests"))) == 1
        path = (*own, "capacity") if alone else (*own, "capacity", "requests", "memory")
        yield Edit(path, gone=True)


def _asked(part: Part) -> tuple[str, str, str]:
    """Class, selector and memory by which a part is asked for."""
    vendor = AMD_CLASS if part.accelerator.vendor == "amd" else NVIDIA_CLASS
    match part.mode:
        case Mode.EXCLUSIVE:
            return vendor, "", ""
        case Mode.MIG:
            return MIG_CLASS, f"device.attributes['{NVIDIA_CLASS}'].profile == '{part.name}'", ""
        case Mode.AMD_PARTITION:
            return AMD_CLASS, f"device.attributes['{AMD_CLASS}'].partitionProfile == '{part.name}'", ""
        case Mode.CONSUMABLE:
            return NVIDIA_CLASS, "", f"{part.memory // MIB}Mi"
    if part.mode is Mode.VGPU:
        raise EditError(f"no claim can ask for {part.mode} {part.name}", _VGPU)
    raise EditError(
        f"a claim of its own cannot ask for {part.mode} {part.name}",
        "NVIDIA's DRA driver shares a device so among the pods of one claim only",
    )


def _is_ours(selector: Json) -> bool:
    """Whether a selector does nothing but choose a partition profile."""
    cel = selector.get("cel")
    text = str(cel.get("expression", "")) if isinstance(cel, dict) else ""
    plain = text.replace(" ", "").replace('"', "'")
    return any(
        plain.startswith(f"device.attributes['{name}'].{attribute}=='") and "&&" not in plain
        for name, attribute in ((NVIDIA_CLASS, "profile"), (AMD_CLASS, "partitionProfile"))
    )


def _pod_edits(document: Json, template: Path, part: Part) -> Iterator[Edit]:
    resource, annotation = _resource(part)
    for group in ("initContainers", "containers"):
        containers = _at(document, (*template, "spec", group))
        for number, container in enumerate(containers if isinstance(containers, list) else ()):
            for kind in ("limits", "requests"):
                place: Path = (*template, "spec", group, number, "resources", kind)
                amounts = _at(container, ("resources", kind))
                for name in _gpu_resources(amounts):
                    if annotation is not None:
                        if str(amounts[name]) != "1":
                            raise EditError(
                                f"a container asks for {amounts[name]} devices", "change it by hand"
                            )
                        yield Edit((*place, name), gone=True)
                        if kind == "limits":
                            yield from _set(
                                document, (*template, "metadata", "annotations", annotation[0]), annotation[1]
                            )
                    elif name != resource:
                        yield Edit((*place, name), renamed=resource)


def _gpu_resources(amounts: Any) -> Iterable[str]:
    if not isinstance(amounts, Mapping):
        return ()
    return tuple(name for name in amounts if name == NVIDIA_RESOURCE or str(name).startswith(MIG_RESOURCE))


def _resource(part: Part) -> tuple[str, tuple[str, str] | None]:
    """The extended resource, or instead of it the annotation, by which a pod asks for a part."""
    match part.mode:
        case Mode.EXCLUSIVE if part.accelerator.vendor == "nvidia":
            return NVIDIA_RESOURCE, None
        case Mode.MIG:
            return MIG_RESOURCE + part.name.replace("+", "."), None
        case Mode.CONSUMABLE:
            return "", (MEMORY, str(part.memory // MIB))
        case Mode.MPS | Mode.TIME_SLICING:
            return "", (FRACTION, f"{-(-part.share.numerator * 1000 // part.share.denominator) / 1000:g}")
    if part.mode is Mode.VGPU:
        raise EditError(f"no pod can ask for {part.mode} {part.name}", _VGPU)
    raise EditError(f"a pod cannot ask for {part.mode} {part.name} by a resource", "use a claim")
