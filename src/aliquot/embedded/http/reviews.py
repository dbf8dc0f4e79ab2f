"""Reviews: who am I, may I. Every token of this server may do everything that admission lets through."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aliquot.embedded.hooks import Object, User
from aliquot.embedded.resources import Resource
from aliquot.embedded.status import bad_request

_GROUPS = ("authorization.k8s.io", "authentication.k8s.io")


def resources() -> Iterator[Resource]:
    """The create-only resources that are answered rather than stored."""
    for plural, kind, namespaced in (
        ("selfsubjectaccessreviews", "SelfSubjectAccessReview", False),
        ("subjectaccessreviews", "SubjectAccessReview", False),
        ("localsubjectaccessreviews", "LocalSubjectAccessReview", True),
        ("selfsubjectrulesreviews", "SelfSubjectRulesReview", False),
    ):
        yield Resource(_GROUPS[0], "v1", plural, kind, namespaced=namespaced, verbs=("create",))
    yield Resource(
        _GROUPS[1], "v1", "selfsubjectreviews", "SelfSubjectReview", namespaced=False, verbs=("create",)
    )


def is_review(resource: Resource) -> bool:
    return resource.group in _GROUPS


def answer(resource: Resource, body: Any, user: User) -> Object:
    """The review with its status filled in."""
    if not isinstance(body, dict) or body.get("kind", resource.kind) != resource.kind:
        raise bad_request(f"the body must be a {resource.kind}")
    review: Object = {
        "kind": resource.kind,
        "apiVersion": resource.api_version,
        "metadata": {"creationTimestamp": None},
    }
    if "spec" in body:
        review["spec"] = body["spec"]
    if resource.kind == "SelfSubjectReview":
        review["status"] = {"userInfo": {"username": user.name, "groups": list(user.groups)}}
    elif resource.kind == "SelfSubjectRulesReview":
        review["status"] = {
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
            "incomplete": False,
        }
    else:
        review["status"] = {
            "allowed": True,
            "reason": "every token of the embedded cluster may do everything",
        }
    return review
