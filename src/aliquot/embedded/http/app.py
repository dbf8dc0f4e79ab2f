"""The ASGI application: who calls, what for, and the answer, errors included."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from aliquot.embedded.hooks import User
from aliquot.embedded.http import discovery, openapi, paths, reviews
from aliquot.embedded.http.tokens import Tokens
from aliquot.embedded.http.verbs import Call
from aliquot.embedded.registry import Registry
from aliquot.embedded.status import StatusError

_log = logging.getLogger(__name__)

#: Answered without a token, as API servers do.
_OPEN = ("/healthz", "/readyz", "/livez", "/version")

_encode = msgspec.json.Encoder().encode


def json_response(document: Any, code: int = 200, media_type: str = "application/json") -> Response:
    return Response(_encode(document), code, media_type=media_type)


class Application:
    """Serves one registry."""

    def __init__(self, registry: Registry, tokens: Tokens) -> None:
        self._registry = registry
        self._tokens = tokens
        self._documents: dict[tuple[Any, ...], bytes] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except StatusError as error:
            response = _error(error)
        except ClientDisconnect:
            return
        except Exception:
            _log.exception("internal error on %s %s", request.method, request.url.path)
            response = _error(StatusError(500, "InternalError", "Internal error occurred"))
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        path = request.url.path.rstrip("/") or "/"
        if path.startswith(_OPEN) and request.method in ("GET", "HEAD"):
            if path == "/version":
                return json_response(discovery.version_document())
            return PlainTextResponse("ok")
        user = self._tokens.user(request.headers.get("authorization"))
        if user is None:
            raise StatusError(401, "Unauthorized", "Unauthorized")
        if request.method in ("GET", "HEAD"):
            document = self._document(request, path)
            if document is not None:
                return document
        parts = path.split("/")[1:]
        if parts[0] == "apis" and parts[1] not in self._registry.resources.versions():
            return PlainTextResponse("404 page not found\n", 404)
        target = paths.target_of(self._registry.resources, path)
        if reviews.is_review(target.resource):
            return await self._review(request, target, user)
        return await Call(self._registry, request, target, user).answer()

    async def _review(self, request: Request, target: paths.Target, user: User) -> Response:
        from aliquot.embedded.http import bodies

        if request.method != "POST" or target.name:
            raise StatusError(
                405, "MethodNotAllowed", "the server does not allow this method on the resource"
            )
        body = bodies.decode(await bodies.read(request), request.headers.get("content-type") or "")
        return json_response(reviews.answer(target.resource, body, user), 201)

    def _document(self, request: Request, path: str) -> Response | None:
        """Discovery and OpenAPI; None where the path names a resource."""
        accept = request.headers.get("accept") or ""
        table = self._registry.resources
        parts = path.split("/")[1:]
        if path in ("/api", "/apis"):
            version = discovery.aggregated_version(accept)
            if version is not None:
                make = lambda: discovery.aggregated(table, path == "/api", version)  # noqa: E731
                return self._cached((path, version), make, discovery.aggregated_media_type(version))
            if path == "/apis":
                return self._cached((path,), lambda: discovery.groups(table))
            return json_response(discovery.core_versions(request.url.netloc))
        if parts[0] == "api" and len(parts) == 2:
            return self._found(discovery.resources(table, "", parts[1]))
        if parts[0] == "apis" and len(parts) == 2:
            return self._found(discovery.group(table, parts[1]))
        if parts[0] == "apis" and len(parts) == 3:
            return self._found(discovery.resources(table, parts[1], parts[2]))
        if parts[0] == "openapi":
            return self._openapi(path, parts, accept)
        if path == "/":
            return json_response({"paths": ["/api", "/apis", "/healthz", "/openapi/v3", "/version"]})
        return None

    def _openapi(self, path: str, parts: list[str], accept: str) -> Response:
        table = self._registry.resources
        if path == "/openapi/v3":
            return self._cached((path,), lambda: openapi.index(table))
        if path == "/openapi/v2":
            if accept and not any(kind in accept for kind in ("application/json", "*/*")):
                return Response(openapi.SWAGGER_PROTOBUF, media_type=openapi.SWAGGER_PROTOBUF_TYPE)
            return self._cached((path,), lambda: openapi.swagger(table))
        group, version = (
            ("", parts[3]) if len(parts) == 4 else (parts[3], parts[4]) if len(parts) == 5 else ("", "")
        )
        if not table.versions().get(group) or version not in table.versions()[group]:
            raise paths.unknown_path()
        return self._cached((path,), lambda: openapi.document(table, group, version))

    @staticmethod
    def _found(document: dict[str, Any] | None) -> Response:
        if document is None:
            raise paths.unknown_path()
        return json_response(document)

    def _cached(
        self, key: tuple[Any, ...], make: Callable[[], Any], media_type: str = "application/json"
    ) -> Response:
        key = (self._registry.resources.revision, *key)
        found = self._documents.get(key)
        if found is None:
            if any(old[0] != key[0] for old in self._documents):
                self._documents.clear()
            found = self._documents[key] = _encode(make())
        return Response(found, media_type=media_type)


def _error(error: StatusError) -> Response:
    response = json_response(error.to_status(), error.code)
    if error.retry_after_seconds:
        response.headers["Retry-After"] = str(error.retry_after_seconds)
    return response


Handler = Callable[[Request], Awaitable[Response]]
