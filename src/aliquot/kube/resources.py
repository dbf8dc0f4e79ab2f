"""Where the kinds of the API live: group, version, plural and the paths made from them; what a server
serves.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

import msgspec

from aliquot.model.kinds import API_VERSIONS
from aliquot.model.meta import KubernetesObject


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource in one version; group is "" for the core API."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The URL path of a collection, an object, or a subresource of one."""
        parts = [group_path(self.api_version)]
        if self.namespaced and namespace:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.plural)
        if name:
            parts.append(quote(name, safe=""))
        if subresource:
            parts.append(subresource)
        return "/".join(parts)


def group_path(api_version: str) -> str:
    """`/api/v1` for the core API, `/apis/GROUP/VERSION` for the rest."""
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"


PODS = Resource("", "v1", "pods", "Pod", True)
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap", namespaced=True)
RESOURCE_CLAIMS = Resource("resource.k8s.io", "v1", "resourceclaims", "ResourceClaim", True)
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease", True)
EVENTS = Resource("events.k8s.io", "v1", "events", "Event", True)


class _Served(msgspec.Struct, rename="camel"):
    name: str
    kind: str
    namespaced: bool = False


class _ResourceList(msgspec.Struct):
    resources: list[_Served] = []


_decode_list = msgspec.json.Decoder(_ResourceList).decode


def served_in(api_version: str, body: bytes) -> Mapping[str, Resource]:
    """The resources of an APIResourceList by kind, without subresources. Raises msgspec.DecodeError."""
    group, _, version = api_version.rpartition("/")
    return {
        entry.kind: Resource(group, version, entry.name, entry.kind, entry.namespaced)
        for entry in _decode_list(body).resources
        if "/" not in entry.name
    }


def versions_of(kind: type[KubernetesObject]) -> tuple[str, ...]:
    """The apiVersions that `kind` is read in, the preferred first."""
    return API_VERSIONS[kind]
