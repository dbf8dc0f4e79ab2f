"""The kinds that a Snapshot holds, and how their JSON is decoded and encoded.

`decode` and `encode` are the one place where Kubernetes JSON becomes typed values and back.
"""

import functools
from collections.abc import Mapping
from typing import Any

import msgspec

from aliquot.cel.quantity import Quantity, QuantityError
from aliquot.model.core import ConfigMap, Namespace, Node, Pod, PriorityClass
from aliquot.model.funds import Funds
from aliquot.model.meta import KubernetesObject
from aliquot.model.owners import OWNERS
from aliquot.model.podgroups import POD_GROUPS
from aliquot.model.queue import Queue
from aliquot.model.resource import (
    DeviceClass,
    DeviceTaintRule,
    ResourceClaim,
    ResourceClaimTemplate,
    ResourceSlice,
)
from aliquot.model.topology import TOPOLOGIES, Topology
from aliquot.model.workloads import Job, PodGroup, Workload

API_VERSIONS: Mapping[type[KubernetesObject], tuple[str, ...]] = {
    ConfigMap: ("v1",),
    Namespace: ("v1",),
    Node: ("v1",),
    Pod: ("v1",),
    PriorityClass: ("scheduling.k8s.io/v1",),
    DeviceClass: ("resource.k8s.io/v1",),
    ResourceSlice: ("resource.k8s.io/v1",),
    ResourceClaim: ("resource.k8s.io/v1",),
    ResourceClaimTemplate: ("resource.k8s.io/v1",),
    DeviceTaintRule: ("resource.k8s.io/v1beta2", "resource.k8s.io/v1alpha3"),
    Job: ("batch/v1",),
    PodGroup: ("scheduling.k8s.io/v1beta1", "scheduling.k8s.io/v1alpha2"),
    Workload: ("scheduling.k8s.io/v1beta1", "scheduling.k8s.io/v1alpha2", "scheduling.k8s.io/v1alpha1"),
    Queue: ("aliquot.dev/v1alpha1",),
    Funds: ("aliquot.dev/v1alpha1",),
    **OWNERS,
    **POD_GROUPS,
    **TOPOLOGIES,
}
"""Every kind with the apiVersions it is read in, the preferred first."""

KINDS: Mapping[str, type[KubernetesObject]] = {
    kind.kind(): kind
    for kind in API_VERSIONS
    if kind not in POD_GROUPS and (kind is Topology or kind not in TOPOLOGIES)
}
"""Every kind by name. Where several API groups have a kind of that name, Kubernetes' own; see `kind_of`."""

TYPES: Mapping[str, type[KubernetesObject]] = {kind.__name__: kind for kind in API_VERSIONS}
"""Every kind by the name of its type, which is that of the kind unless several API groups have it."""

_BY_API_VERSION = {
    (version, kind.kind()): kind for kind, versions in API_VERSIONS.items() for version in versions
}


def kind_of(api_version: str, kind: str) -> type[KubernetesObject] | None:
    """The type that documents of this apiVersion and kind are read as; None if they are not read."""
    return _BY_API_VERSION.get((api_version, kind))


class ObjectError(Exception):
    """A document is no valid object of its kind. `path`: the field, "" for the whole; `problem`: why."""

    def __init__(self, kind: str, name: str, path: str, problem: str) -> None:
        super().__init__(f"{kind} {name}: {path or 'document'}: {problem}")
        self.kind = kind
        self.name = name
        self.path = path
        self.problem = problem


@functools.lru_cache(maxsize=65_536)
def _quantity(text: str) -> Quantity:
    return Quantity.parse(text)


def _decode_custom(wanted: type, value: object) -> object:
    if wanted is Quantity:
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise ValueError(f"a quantity is a string or a number, not {type(value).__name__}")
        try:
            return _quantity(value if isinstance(value, str) else repr(value))
        except QuantityError as error:
            raise ValueError(str(error)) from error
    raise NotImplementedError(wanted)


def _encode_custom(value: object) -> object:
    if isinstance(value, Quantity):
        return str(value)
    raise NotImplementedError(type(value))


_ENCODER = msgspec.json.Encoder(enc_hook=_encode_custom, order="deterministic")


@functools.cache
def decoder(kind: type[KubernetesObject]) -> "msgspec.json.Decoder[Any]":
    """A reusable decoder from JSON bytes to one object of `kind`."""
    return msgspec.json.Decoder(kind, dec_hook=_decode_custom)


def convert(value: object, wanted: Any) -> Any:
    """A JSON-like Python value as a value of any type of this package. Raises msgspec.ValidationError."""
    return msgspec.convert(value, wanted, dec_hook=_decode_custom)


def decode(document: Mapping[str, Any]) -> KubernetesObject:
    """A JSON document with kind and apiVersion as a typed object.

    Raises ObjectError for a kind or version that is not read here, and for a field of the wrong type.
    """
    kind_name = document.get("kind")
    metadata = document.get("metadata")
    name = str(metadata.get("name", "")) if isinstance(metadata, Mapping) else ""
    version = document.get("apiVersion")
    kind = kind_of(version, kind_name) if isinstance(version, str) and isinstance(kind_name, str) else None
    if kind is None:
        named = KINDS.get(kind_name) if isinstance(kind_name, str) else None
        if named is None:
            raise ObjectError(str(kind_name), name, "kind", f"is none of {', '.join(sorted(KINDS))}")
        wanted = " or ".join(API_VERSIONS[named])
        raise ObjectError(named.kind(), name, "apiVersion", f"is {version!r}, must be {wanted}")
    try:
        decoded: KubernetesObject = convert(document, kind)
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at `$")
        raise ObjectError(kind.kind(), name, path.strip("`."), problem) from error
    return decoded


def encode(value: KubernetesObject) -> dict[str, Any]:
    """The JSON document of an object, with apiVersion and kind."""
    document: dict[str, Any] = plain(value)
    return {"apiVersion": API_VERSIONS[type(value)][0], **document}


def plain(value: object) -> Any:
    """Any value of this package as JSON-like Python values; times as RFC 3339 text, quantities as text."""
    return msgspec.to_builtins(value, enc_hook=_encode_custom)


def encode_json(value: object) -> bytes:
    """Any value of this package as JSON with sorted keys: equal values give equal bytes."""
    return _ENCODER.encode(value)
