"""The `authorizer` of admission policies: who may do what, asked within an expression."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Final

from aliquot.cel.declarations import Library
from aliquot.cel.typesystem import struct
from aliquot.cel.values import ExtensionValue

__all__ = ["AUTHORIZATION", "AuthorizationQuery", "Authorizer", "Decision"]


@dataclass(frozen=True, slots=True)
class AuthorizationQuery:
    """What an expression asks: a verb on a resource, or on a path that is no resource.

    `service_account` is (namespace, name) if the question is not about the user of the request.
    """

    verb: str = ""
    path: str = ""
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    field_selector: str = ""
    label_selector: str = ""
    service_account: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Decision(ExtensionValue):
    """The answer; `error` says why there is none."""

    cel_name: ClassVar[str] = "kubernetes.authorization.Decision"
    go_name: ClassVar[str] = "library.decisionVal"

    allowed: bool
    reason: str = ""
    error: str = ""


Decide = Callable[[AuthorizationQuery], Decision]


@dataclass(frozen=True, slots=True)
class Authorizer(ExtensionValue):
    """The value of `authorizer`; `decide` answers."""

    cel_name: ClassVar[str] = "kubernetes.authorization.Authorizer"
    go_name: ClassVar[str] = "library.authorizerVal"

    decide: Decide
    query: AuthorizationQuery = AuthorizationQuery()


@dataclass(frozen=True, slots=True)
class PathCheck(Authorizer):
    cel_name: ClassVar[str] = "kubernetes.authorization.PathCheck"
    go_name: ClassVar[str] = "library.pathCheckVal"


@dataclass(frozen=True, slots=True)
class GroupCheck(Authorizer):
    cel_name: ClassVar[str] = "kubernetes.authorization.GroupCheck"
    go_name: ClassVar[str] = "library.groupCheckVal"


@dataclass(frozen=True, slots=True)
class ResourceCheck(Authorizer):
    """What `authorizer.requestResource` is, and what `authorizer.group("").resource("")` gives."""

    cel_name: ClassVar[str] = "kubernetes.authorization.ResourceCheck"
    go_name: ClassVar[str] = "library.resourceCheckVal"


def _refined(field: str) -> Callable[[ResourceCheck, str], ResourceCheck]:
    def refine(check: ResourceCheck, text: str) -> ResourceCheck:
        return ResourceCheck(check.decide, replace(check.query, **{field: text}))  # type: ignore[arg-type]

    return refine


def _service_account(authorizer: Authorizer, namespace: str, name: str) -> Authorizer:
    return Authorizer(authorizer.decide, replace(authorizer.query, service_account=(namespace, name)))


def _check(check: Authorizer, verb: str) -> Decision:
    return check.decide(replace(check.query, verb=verb))


def _library() -> Library:
    names = [each.cel_name for each in (Authorizer, PathCheck, GroupCheck, ResourceCheck, Decision)]
    authorizer, path, group, resource, decision = names
    library = Library(types={name: struct(name) for name in names})
    library.member(
        "path",
        "authorizer_path",
        f"{authorizer}, string -> {path}",
        lambda value, text: PathCheck(value.decide, replace(value.query, path=text)),
    )
    library.member(
        "group",
        "authorizer_group",
        f"{authorizer}, string -> {group}",
        lambda value, text: GroupCheck(value.decide, replace(value.query, group=text)),
    )
    library.member(
        "serviceAccount",
        "authorizer_serviceaccount",
        f"{authorizer}, string, string -> {authorizer}",
        _service_account,
    )
    library.member("resource", "groupcheck_resource", f"{group}, string -> {resource}", _refined("resource"))
    for name, identifier, field in (
        ("subresource", "resourcecheck_subresource", "subresource"),
        ("namespace", "resourcecheck_namespace", "namespace"),
        ("name", "resourcecheck_name", "name"),
        ("fieldSelector", "authorizer_fieldselector", "field_selector"),
        ("labelSelector", "authorizer_labelselector", "label_selector"),
    ):
        library.member(name, identifier, f"{resource}, string -> {resource}", _refined(field))
    library.member("check", "pathcheck_check", f"{path}, string -> {decision}", _check)
    library.member("check", "resourcecheck_check", f"{resource}, string -> {decision}", _check)
    library.member("errored", "decision_errored", f"{decision} -> bool", lambda value: bool(value.error))
    library.member("error", "decision_error", f"{decision} -> string", lambda value: value.error)
    library.member("allowed", "decision_allowed", f"{decision} -> bool", lambda value: value.allowed)
    library.member("reason", "decision_reason", f"{decision} -> string", lambda value: value.reason)
    return library


AUTHORIZATION: Final = _library()
