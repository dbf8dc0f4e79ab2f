"""Which groups, versions and resources are served: the legacy documents and the aggregated ones.

Source: Kubernetes documentation, "The Kubernetes API", section "Discovery API"; KEP-3352 (aggregated
discovery).
"""

from __future__ import annotations

from typing import Any

from aliquot.embedded.resources import Resource, ResourceTable, Subresource

#: The version of Kubernetes whose API this server follows.
VERSION = ("1", "36", "v1.36.2")

_AGGREGATED = ("v2", "v2beta1")


def version_document() -> dict[str, Any]:
    major, minor, git = VERSION
    return {
        "major": major,
        "minor": minor,
        "emulationMajor": major,
        "emulationMinor": minor,
        "gitVersion": f"{git}+aliquot",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "",
        "platform": "aliquot/embedded",
    }


def aggregated_version(accept: str) -> str | None:
    """The version of the aggregated document that a client accepts, its first choice first."""
    for media in accept.split(","):
        parameters = {part.strip() for part in media.split(";")[1:]}
        if "as=APIGroupDiscoveryList" in parameters and "g=apidiscovery.k8s.io" in parameters:
            for version in _AGGREGATED:
                if f"v={version}" in parameters:
                    return version
    return None


def aggregated_media_type(version: str) -> str:
    return f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"


def _response_kind(resource: Resource, sub: Subresource | None = None) -> dict[str, str]:
    if sub is not None and sub.version:
        return {"group": sub.group, "version": sub.version, "kind": sub.kind}
    kind = sub.kind if sub is not None else resource.kind
    return {"group": resource.group, "version": resource.version, "kind": kind}


def _aggregated_resource(resource: Resource) -> dict[str, Any]:
    found: dict[str, Any] = {
        "resource": resource.plural,
        "responseKind": _response_kind(resource),
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular_name,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        found["shortNames"] = list(resource.short_names)
    if resource.categories:
        found["categories"] = list(resource.categories)
    if resource.subresources:
        found["subresources"] = [
            {"subresource": sub.name, "responseKind": _response_kind(resource, sub), "verbs": list(sub.verbs)}
            for sub in resource.subresources
        ]
    return found


def aggregated(table: ResourceTable, core: bool, version: str) -> dict[str, Any]:
    """APIGroupDiscoveryList of the core group (``core``) or of all others."""
    items = []
    for group, versions in table.versions().items():
        if (group == "") is not core:
            continue
        items.append(
            {
                "metadata": {"name": group, "creationTimestamp": None},
                "versions": [
                    {
                        "version": one,
                        "freshness": "Current",
                        "resources": [
                            _aggregated_resource(resource)
                            for resource in table
                            if (resource.group, resource.version) == (group, one)
                        ],
                    }
                    for one in versions
                ],
            }
        )
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": items,
    }


def core_versions(address: str) -> dict[str, Any]:
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    }


def _group(group: str, versions: list[str]) -> dict[str, Any]:
    listed = [{"groupVersion": f"{group}/{version}", "version": version} for version in versions]
    return {"name": group, "versions": listed, "preferredVersion": listed[0]}


def groups(table: ResourceTable) -> dict[str, Any]:
    found = [_group(group, versions) for group, versions in table.versions().items() if group]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": found}


def group(table: ResourceTable, name: str) -> dict[str, Any] | None:
    versions = table.versions().get(name)
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name, versions)} if versions and name else None


def resources(table: ResourceTable, name: str, version: str) -> dict[str, Any] | None:
    """APIResourceList of one group and version; None where it is not served."""
    listed: list[dict[str, Any]] = []
    for resource in table:
        if (resource.group, resource.version) != (name, version):
            continue
        entry: dict[str, Any] = {
            "name": resource.plural,
            "singularName": resource.singular_name,
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": list(resource.verbs),
        }
        if resource.short_names:
            entry["shortNames"] = list(resource.short_names)
        if resource.categories:
            entry["categories"] = list(resource.categories)
        listed.append(entry)
        for sub in resource.subresources:
            entry = {
                "name": f"{resource.plural}/{sub.name}",
                "singularName": "",
                "namespaced": resource.namespaced,
                "kind": sub.kind,
                "verbs": list(sub.verbs),
            }
            if sub.version:
                entry |= {"group": sub.group, "version": sub.version}
            listed.append(entry)
    if not listed:
        return None
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{name}/{version}" if name else version,
        "resources": listed,
    }
