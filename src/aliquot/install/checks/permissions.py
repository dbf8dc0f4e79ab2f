"""Whether the controller may do what it has to: its role, asked of the API server itself."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

from aliquot import manifests
from aliquot.install.cluster import Cluster, NotServedError
from aliquot.install.findings import Finding, error, ok, unknown
from aliquot.kube.errors import ApiError

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """One thing that a role allows. resource: with subresource. namespace: "" for all; name: "" for any."""

    verb: str
    group: str
    resource: str
    namespace: str = ""
    name: str = ""

    def __str__(self) -> str:
        where = f"{self.resource}.{self.group}" if self.group else self.resource
        return f"{self.verb} {where}" + (f" in {self.namespace}" if self.namespace else "")


async def check(cluster: Cluster) -> AsyncIterator[Finding]:
    """Every right of the shipped roles, by SubjectAccessReview; by SelfSubjectAccessReview for the controller
    itself.
    """
    asked = sorted(rights())
    try:
        oneself = await _user(cluster) == manifests.CONTROLLER_USER
        answers = await asyncio.gather(*(_allowed(cluster, right, oneself) for right in asked))
    except NotServedError as missing:
        yield unknown("permissions/controller", str(missing))
        return
    except ApiError as refused:
        if refused.status != 403:
            raise
        fix = "run it as somebody who may create subjectaccessreviews.authorization.k8s.io"
        yield unknown("permissions/controller", "you may not ask what the controller may do", fix)
        return
    lacking = [right for right, allowed in zip(asked, answers, strict=True) if not allowed]
    if lacking:
        shown = ", ".join(str(right) for right in lacking[:4])
        text = f"the controller may not {shown}" + (
            f" and {len(lacking) - 4} more" if len(lacking) > 4 else ""
        )
        fix = "`aliquot install` brings its roles up to this version"
        yield error("permissions/controller", text, fix, lacking=[str(right) for right in lacking])
    else:
        yield ok("permissions/controller", f"the controller has its {len(asked)} rights", rights=len(asked))


async def _user(cluster: Cluster) -> str:
    """Who asks, as the server knows them; "" where it does not say."""
    if not await cluster.serves("authentication.k8s.io/v1", "SelfSubjectReview"):
        return ""
    status = await cluster.review("SelfSubjectReview", {}, "authentication.k8s.io")
    return str((status.get("userInfo") or {}).get("username") or "")


async def _allowed(cluster: Cluster, right: Right, oneself: bool) -> bool:
    resource, _, subresource = right.resource.partition("/")
    attributes = {"verb": right.verb, "group": right.group, "resource": resource}
    if subresource:
        attributes["subresource"] = subresource
    if right.namespace:
        attributes["namespace"] = right.namespace
    if right.name:
        attributes["name"] = right.name
    if oneself:
        status = await cluster.review("SelfSubjectAccessReview", {"resourceAttributes": attributes})
        return bool(status.get("allowed"))
    spec = {
        "user": manifests.CONTROLLER_USER,
        "groups": [
            "system:serviceaccounts",
            f"system:serviceaccounts:{manifests.NAMESPACE}",
            "system:authenticated",
        ],
        "resourceAttributes": attributes,
    }
    status = await cluster.review("SubjectAccessReview", spec)
    return bool(status.get("allowed"))


def rights() -> Iterator[Right]:
    """What the shipped roles allow."""
    for document in manifests.load():
        if document["kind"] not in ("ClusterRole", "Role"):
            continue
        if document["metadata"]["name"] != manifests.SERVICE_ACCOUNT:
            continue
        namespace = document["metadata"].get("namespace", "")
        for rule in document["rules"]:
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    for verb in rule["verbs"]:
                        for name in rule.get("resourceNames") or ("",):
                            yield Right(verb, group, resource, namespace, name)
