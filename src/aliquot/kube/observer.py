"""Who is told how requests and watches fare: a protocol, so that nothing here depends on how it is shown."""

from typing import Protocol

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


class Observer(Protocol):
    """Every method returns at once and raises nothing."""

    def answered(self, verb: str, resource: str, code: int, seconds: float) -> None:
        """One request ended. code: the HTTP status; 0 where no complete answer came."""

    def throttled(self, verb: str, resource: str) -> None:
        """The server asked to be left alone for a while (429, or 503 with Retry-After)."""

    def listed(self, kind: str) -> None:
        """All objects of a kind were listed: at the start, or because the watch could not go on."""

    def lagged(self, kind: str, seconds: float) -> None:
        """The watch brought what a write was answered with so long ago."""


class Unobserved:
    """Tells nobody."""

    def answered(self, verb: str, resource: str, code: int, seconds: float) -> None:
        pass

    def throttled(self, verb: str, resource: str) -> None:
        pass

    def listed(self, kind: str) -> None:
        pass

    def lagged(self, kind: str, seconds: float) -> None:
        pass


def verb_and_resource(method: str, path: str) -> tuple[str, str]:
    """A request as access rules name it: verb, and plural with subresource; no resource for discovery.

    >>> verb_and_resource("GET", "/api/v1/namespaces/a/pods/b/status")
    ('get', 'pods/status')
    >>> verb_and_resource("GET", "/apis/resource.k8s.io/v1/resourceclaims")
    ('list', 'resourceclaims')
    """
    parts = [part for part in path.split("/") if part]
    rest = parts[2:] if parts[:1] == ["api"] else parts[3:]
    if len(rest) > 2 and rest[0] == "namespaces":
        rest = rest[2:]
    if not rest:
        return "get", ""
    resource = "/".join([rest[0], *rest[2:]])
    if method == "GET":
        return ("get" if len(rest) > 1 else "list"), resource
    return _VERBS.get(method, method.lower()), resource
