"""The verbs on resources: get, list, watch, create, update, patch, delete."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from aliquot.embedded import writing
from aliquot.embedded.hooks import Object, User
from aliquot.embedded.http import bodies
from aliquot.embedded.http.logs import pod_log
from aliquot.embedded.http.paths import Target
from aliquot.embedded.http.represent import Representer, form_of
from aliquot.embedded.registry import Registry
from aliquot.embedded.status import (
    Cause,
    StatusError,
    bad_request,
    expired,
    forbidden_field,
    invalid,
    invalid_value,
    method_not_supported,
    unsupported,
)
from aliquot.embedded.watching import Watch

_TRUE = ("true", "1", "True", "TRUE", "t")
#: A watch without timeoutSeconds ends after this long; its client opens a new one.
_WATCH_SECONDS = 3600.0
_PATCH_TYPES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)


class Call:
    """One request for one target."""

    def __init__(self, registry: Registry, request: Request, target: Target, user: User) -> None:
        self.registry = registry
        self.request = request
        self.target = target
        self.user = user
        self.query = request.query_params
        self.warnings: list[str] = []

    async def answer(self) -> Response:
        method, target = self.request.method, self.target
        if target.subresource:
            return await self._subresource()
        if method in ("GET", "HEAD"):
            if target.name and not self._flag("watch"):
                self._allow("get")
                return self._one(self.registry.get(target.resource, target.namespace, target.name))
            if self._flag("watch"):
                self._allow("watch")
                return self._watch()
            self._allow("list")
            return self._list()
        if method == "POST" and not target.name:
            self._allow("create")
            return await self._create()
        if method == "PUT" and target.name:
            self._allow("update")
            return await self._update()
        if method == "PATCH" and target.name:
            self._allow("patch")
            return await self._patch()
        if method == "DELETE":
            self._allow("delete" if target.name else "deletecollection")
            return await self._delete()
        message = "the server does not allow this method on the requested resource"
        raise StatusError(405, "MethodNotAllowed", message)

    def _allow(self, verb: str) -> None:
        resource = self.target.resource
        sub = resource.subresource(self.target.subresource) if self.target.subresource else None
        if verb not in (sub.verbs if sub is not None else resource.verbs):
            raise method_not_supported(resource.plural, resource.group, verb)

    def _flag(self, name: str) -> bool:
        return self.query.get(name) in _TRUE

    def _number(self, name: str) -> int | None:
        text = self.query.get(name)
        if text is None or text == "":
            return None
        if name == "limit" and text.startswith("-") and text[1:].isdigit():
            return None
        if not text.isdigit() or len(text) > 18:
            raise bad_request(f"{name} must be a whole number, not {text!r}")
        return int(text)

    def _dry_run(self, body: Object | None = None) -> bool:
        asked = self.query.getlist("dryRun") or (body or {}).get("dryRun") or []
        if asked in ([], [""]):
            return False
        if asked != ["All"]:
            cause = Cause(
                "FieldValueNotSupported", "dryRun", f'Unsupported value: {asked}: supported values: "All"'
            )
            raise invalid(self._options(), "meta.k8s.io", "", [cause])
        return True

    def _options(self) -> str:
        """The kind that a request's parameters are of."""
        kinds = {"POST": "Create", "PUT": "Update", "PATCH": "Patch", "DELETE": "Delete"}
        return kinds.get(self.request.method, "List") + "Options"

    def _manager(self) -> str:
        given = self.query.get("fieldManager")
        if given is None:
            given = (self.request.headers.get("user-agent") or "unknown").partition("/")[0] or "unknown"
        return given[:128]

    def _validation(self) -> str:
        asked = self.query.get("fieldValidation") or "Warn"
        if asked not in ("Strict", "Warn", "Ignore"):
            message = f'Unsupported value: "{asked}": supported values: "Ignore", "Strict", "Warn"'
            cause = Cause("FieldValueNotSupported", "fieldValidation", message)
            raise invalid(self._options(), "meta.k8s.io", "", [cause])
        return asked

    def _representer(self) -> Representer:
        form = form_of(self.request.headers.get("accept") or "")
        return Representer(self.registry, self.target.resource, form, self.query.get("includeObject") or "")

    def _one(self, obj: Object, code: int = 200) -> Response:
        response = Response(self._representer().one(obj), code, media_type="application/json")
        for warning in self.warnings:
            text = warning.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ").replace("\r", " ")
            response.headers.append("Warning", f'299 - "{text}"'.encode().decode("latin-1"))
        return response

    def _list(self) -> Response:
        version = self._number("resourceVersion")
        match = self.query.get("resourceVersionMatch")
        if problem := _list_problem(
            self.query.get("resourceVersion"), match, self._flag("sendInitialEvents")
        ):
            raise invalid("ListOptions", "meta.k8s.io", "", [problem])
        if version is not None and version > self.registry.version:
            raise StatusError(
                504,
                "Timeout",
                f"Too large resource version: {version}, current: {self.registry.version}",
                causes=[Cause("ResourceVersionTooLarge", "", "Too large resource version")],
                retry_after_seconds=1,
            )
        if match == "Exact" and version and version < self.registry.version:
            raise expired(f"The resourceVersion for the provided list is too old: {version}")
        page = self.registry.page(
            self.target.resource,
            self.target.namespace or None,
            label_selector=self.query.get("labelSelector"),
            field_selector=self.query.get("fieldSelector"),
            limit=self._number("limit"),
            continue_=self.query.get("continue"),
        )
        return Response(self._representer().page(page), media_type="application/json")

    def _watch(self) -> Response:
        fields = self.query.get("fieldSelector") or ""
        if self.target.name:
            named = f"metadata.name={self.target.name}"
            fields = f"{fields},{named}" if fields else named
        initial = self._flag("sendInitialEvents")
        if initial and self.query.get("resourceVersionMatch") != "NotOlderThan":
            cause = Cause(
                "FieldValueForbidden",
                "resourceVersionMatch",
                "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            )
            raise invalid("ListOptions", "meta.k8s.io", "", [cause])
        representer = self._representer()
        try:
            watch = self.registry.open_watch(
                self.target.resource,
                self.target.namespace or None,
                since=self._number("resourceVersion"),
                label_selector=self.query.get("labelSelector"),
                field_selector=fields or None,
                bookmarks=self._flag("allowWatchBookmarks"),
                send_initial_events=initial,
            )
        except StatusError as error:
            if error.code != 410:
                raise
            return Response(_error_event(error), media_type="application/json")
        seconds = float(self._number("timeoutSeconds") or _WATCH_SECONDS)
        return StreamingResponse(_lines(watch, representer, seconds), media_type="application/json")

    async def _body(self, *, repeated: list[str] | None = None) -> Any:
        raw = await bodies.read(self.request)
        return bodies.decode(raw, self.request.headers.get("content-type") or "", repeated=repeated)

    async def _object(self) -> tuple[Any, str]:
        """The body, and the field validation left to do; repeated fields are dealt with here."""
        validation = self._validation()
        if validation == "Ignore":
            return await self._body(), validation
        repeated: list[str] = []
        body = await self._body(repeated=repeated)
        options = writing.Options(self.user, field_validation=validation, warnings=self.warnings)
        writing.report_unknown(self.target.resource, repeated, options, "duplicate")
        return body, validation

    async def _create(self) -> Response:
        body, validation = await self._object()
        created = self.registry.create(
            self.target.resource,
            self.target.namespace or None,
            body,
            self.user,
            dry_run=self._dry_run(),
            field_manager=self._manager(),
            field_validation=validation,
            warnings=self.warnings,
        )
        return self._one(created, 201)

    async def _update(self) -> Response:
        body, validation = await self._object()
        updated = self.registry.update(
            self.target.resource,
            self.target.namespace or None,
            self.target.name,
            body,
            self.user,
            subresource=self.target.subresource or None,
            dry_run=self._dry_run(),
            field_manager=self._manager(),
            field_validation=validation,
            warnings=self.warnings,
        )
        return self._one(updated)

    async def _patch(self) -> Response:
        media = (self.request.headers.get("content-type") or "").partition(";")[0].strip()
        if media not in _PATCH_TYPES:
            raise StatusError(
                415,
                "UnsupportedMediaType",
                f"the body of the request was in an unknown format - accepted media types include: "
                f"{', '.join(_PATCH_TYPES)}",
            )
        apply = media == "application/apply-patch+yaml"
        if apply and not self.query.get("fieldManager"):
            cause = Cause("FieldValueRequired", "fieldManager", "Required value: is required for apply patch")
            raise invalid("PatchOptions", "meta.k8s.io", "", [cause])
        if not apply and self._flag("force"):
            cause = Cause(
                "FieldValueForbidden", "force", "Forbidden: may not be specified for non-apply patch"
            )
            raise invalid("PatchOptions", "meta.k8s.io", "", [cause])
        target = self.target
        body = await self._body()
        existed = self.registry.find(target.resource, target.namespace, target.name) is not None
        patched = self.registry.patch(
            target.resource,
            target.namespace or None,
            target.name,
            media,
            body,
            self.user,
            subresource=target.subresource or None,
            force=self._flag("force"),
            field_manager=self._manager(),
            dry_run=self._dry_run(),
            field_validation=self._validation(),
            warnings=self.warnings,
        )
        return self._one(patched, 200 if existed else 201)

    async def _delete(self) -> Response:
        raw = await bodies.read(self.request)
        body = bodies.decode(raw, self.request.headers.get("content-type") or "") if raw.strip() else {}
        try:
            options = msgspec.convert(body, DeleteOptions)
        except msgspec.ValidationError as error:
            raise bad_request(f"DeleteOptions cannot be read: {error}") from None
        grace = self._number("gracePeriodSeconds")
        grace = grace if grace is not None else options.gracePeriodSeconds
        propagation = self.query.get("propagationPolicy") or options.propagationPolicy
        if options.propagationPolicy is not None and options.orphanDependents is not None:
            why = "orphanDependents and deletionPropagation cannot be both set"
            problem = invalid_value("propagationPolicy", options.propagationPolicy, why)
            raise invalid("DeleteOptions", "meta.k8s.io", "", [problem])
        if propagation is None and options.orphanDependents is not None:
            propagation = "Orphan" if options.orphanDependents else "Background"
        target, registry = self.target, self.registry
        dry_run = self._dry_run({"dryRun": options.dryRun})
        if target.name:
            deleted = registry.delete(
                target.resource,
                target.namespace,
                target.name,
                self.user,
                preconditions=options.preconditions,
                propagation=propagation,
                grace_period=grace,
                dry_run=dry_run,
            )
            return self._one(deleted)
        objects = registry.delete_collection(
            target.resource,
            target.namespace or None,
            self.user,
            label_selector=self.query.get("labelSelector"),
            field_selector=self.query.get("fieldSelector"),
            propagation=propagation,
            grace_period=grace,
            dry_run=dry_run,
        )
        return self._one(
            {
                "kind": target.resource.list_name,
                "apiVersion": target.resource.api_version,
                "metadata": {"resourceVersion": str(registry.version)},
                "items": objects if target.resource.custom else [_without_kind(one) for one in objects],
            }
        )

    async def _subresource(self) -> Response:
        method, target, name = self.request.method, self.target, self.target.subresource
        verb = {"GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch", "POST": "create"}.get(method)
        self._allow(verb or method)
        if name == "log":
            pod = self.registry.get(target.resource, target.namespace, target.name)
            return PlainTextResponse(pod_log(pod, self.query.get("container")))
        if verb == "get":
            return self._one(
                self.registry.get_subresource(target.resource, target.namespace, target.name, name)
            )
        if verb == "create":
            created = self.registry.create_subresource(
                target.resource,
                target.namespace,
                target.name,
                name,
                await self._body(),
                self.user,
                dry_run=self._dry_run(),
            )
            return self._one(created, 201)
        return await (self._patch() if verb == "patch" else self._update())


class DeleteOptions(msgspec.Struct, frozen=True):
    """``meta/v1 DeleteOptions`` as far as it matters here."""

    gracePeriodSeconds: int | None = None  # noqa: N815
    propagationPolicy: str | None = None  # noqa: N815
    orphanDependents: bool | None = None  # noqa: N815
    preconditions: dict[str, str] = {}
    dryRun: list[str] = []  # noqa: N815


def _without_kind(obj: Object) -> Object:
    """An object of a built-in kind as part of a list, which says the kind for all."""
    return {key: value for key, value in obj.items() if key not in ("apiVersion", "kind")}


def _list_problem(version: str | None, match: str | None, initial: bool) -> Cause | None:
    """What is wrong with the parameters of a list (meta/v1 ListOptions), if anything is."""
    if initial:
        return forbidden_field("sendInitialEvents", "sendInitialEvents is forbidden for list")
    if match is None:
        return None
    if not version:
        return forbidden_field("resourceVersionMatch", "is forbidden unless resourceVersion is provided")
    if match not in ("Exact", "NotOlderThan"):
        return unsupported("resourceVersionMatch", match, ("Exact", "NotOlderThan"))
    if match == "Exact" and version == "0":
        why = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
        return forbidden_field("resourceVersionMatch", why)
    return None


def _error_event(error: StatusError) -> bytes:
    return msgspec.json.encode({"type": "ERROR", "object": error.to_status()}) + b"\n"


async def _lines(watch: Watch, representer: Representer, seconds: float) -> AsyncIterator[bytes]:
    try:
        async for batch in watch.batches(seconds):
            yield b"".join([representer.event(item) for item in batch])
    except StatusError as error:
        yield _error_event(error)
