"""Requests as access rules see them: recorded by an embedded server, and judged by roles as RBAC does.

Source: Kubernetes documentation, "Authorization" (request attributes) and "Using RBAC Authorization"; from
1.36 on, a change of a claim's allocation or reservations needs `resourceclaims/binding` with the same verb
(kubernetes/enhancements, KEP-4381, granular status authorization).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from aliquot.embedded.http.app import Application
from aliquot.embedded.http.paths import target_of
from aliquot.embedded.http.tokens import CONTROLLER
from aliquot.embedded.status import StatusError

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True, slots=True, order=True)
class Asked:
    """One request. resource: with subresource. namespace: "" for all or none. name: "" for any."""

    verb: str
    group: str
    resource: str
    namespace: str = ""
    name: str = ""

    @property
    def kind_of(self) -> tuple[str, str, str]:
        """What is compared with roles: verb, group, resource."""
        return self.verb, self.group, self.resource


def allowed(roles: Iterable[dict[str, Any]], asked: Asked) -> bool:
    """Whether one of the roles (ClusterRole, or Role in its namespace) has a rule for the request."""
    for role in roles:
        namespace = role["metadata"].get("namespace", "")
        if namespace and namespace != asked.namespace:
            continue
        for rule in role["rules"]:
            names = rule.get("resourceNames") or ()
            if (
                asked.verb in rule["verbs"]
                and asked.group in rule["apiGroups"]
                and asked.resource in rule["resources"]
                and (not names or asked.name in names)
            ):
                return True
    return False


class Recorded:
    """What the controller asked of servers, and what its roles did not allow. conflicts: how many writes of a
    claim's status are still to be answered as if somebody else had been there before.
    """

    def __init__(self, roles: Iterable[dict[str, Any]] = (), conflicts: int = 1) -> None:
        self.roles = tuple(roles)
        self.conflicts = conflicts
        self.asked: set[Asked] = set()
        self.refused: set[Asked] = set()

    def judge(self, table: Any, request: Request) -> bool:
        """Note the request; False if the roles do not allow it. Discovery is everybody's."""
        try:
            target = target_of(table, request.url.path.rstrip("/"))
        except StatusError:
            return True
        name, query = target.name, request.query_params
        if request.method in ("GET", "HEAD"):
            watching = query.get("watch") in ("1", "true")
            verb = "watch" if watching else "get" if name else "list"
            if not name and query.get("fieldSelector", "").startswith("metadata.name="):
                name = query["fieldSelector"].removeprefix("metadata.name=")
        else:
            verb = _VERBS[request.method]
        resource = target.resource.plural + (f"/{target.subresource}" if target.subresource else "")
        asked = [Asked(verb, target.resource.group, resource, target.namespace, name)]
        if resource == "resourceclaims/status":
            asked.append(Asked(verb, target.resource.group, "resourceclaims/binding", target.namespace, name))
        self.asked.update(asked)
        lacking = {one for one in asked if not allowed(self.roles, one)}
        self.refused |= lacking
        return not lacking


def recording(recorded: Recorded) -> type[Application]:
    """An API server's application that lets the controller do what its roles allow, and notes all it asks."""

    class Recording(Application):
        async def _answer(self, request: Request) -> Response:
            user = self._tokens.user(request.headers.get("authorization"))
            if user == CONTROLLER and not recorded.judge(self._registry.resources, request):
                raise StatusError(403, "Forbidden", f"{request.method} {request.url.path} is forbidden")
            claims = request.method == "PATCH" and request.url.path.endswith("/status")
            if claims and "/resourceclaims/" in request.url.path and recorded.conflicts:
                recorded.conflicts -= 1
                raise StatusError(409, "Conflict", "the object has been modified")
            return await super()._answer(request)

    return Recording
