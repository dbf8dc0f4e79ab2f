"""The form in which a client wants objects: whole, as metadata only, or as a table for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from aliquot.embedded.changes import Stored
from aliquot.embedded.hooks import Object
from aliquot.embedded.http.tables import Table, table_for
from aliquot.embedded.listing import Page
from aliquot.embedded.registry import Registry
from aliquot.embedded.resources import Resource
from aliquot.embedded.status import StatusError
from aliquot.embedded.watching import Item

encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Form:
    """``version`` is that of meta.k8s.io for tables and metadata."""

    shape: Literal["object", "table", "metadata"] = "object"
    version: str = "v1"


def form_of(accept: str) -> Form:
    """The first form in an Accept header that this server has. Raises StatusError 406."""
    if not accept.strip():
        return Form()
    for media in accept.split(","):
        kind, *parameters = (part.strip() for part in media.split(";"))
        options = dict(one.split("=", 1) for one in parameters if "=" in one)
        if kind not in ("application/json", "*/*", "application/*"):
            continue
        wanted = options.get("as")
        if wanted is None:
            return Form()
        if options.get("g") == "meta.k8s.io" and options.get("v") in ("v1", "v1beta1"):
            if wanted == "Table":
                return Form("table", options["v"])
            if wanted in ("PartialObjectMetadata", "PartialObjectMetadataList"):
                return Form("metadata", options["v"])
    raise StatusError(
        406,
        "NotAcceptable",
        "only the following media types are accepted: application/json, "
        "application/json;as=Table;v=v1;g=meta.k8s.io, "
        "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
    )


def partial(obj: Object, version: str) -> Object:
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": obj.get("metadata") or {},
    }


class Representer:
    """Writes objects of one resource in one form as JSON."""

    def __init__(self, registry: Registry, resource: Resource, form: Form, include_object: str) -> None:
        self._registry = registry
        self._resource = resource
        self._form = form
        self._include = include_object or "Metadata"
        self._table: Table = table_for(resource)
        self._columns_sent = False

    def one(self, obj: Object) -> bytes:
        if self._form.shape == "table" and obj.get("kind") != "Status":
            return encode(
                self._as_table([obj], {"resourceVersion": obj["metadata"].get("resourceVersion", "")})
            )
        if self._form.shape == "metadata" and obj.get("kind") != "Status":
            return encode(partial(obj, self._form.version))
        return encode(obj)

    def _as_table(self, objects: list[Object], meta: Object) -> Object:
        table: Object = {
            "kind": "Table",
            "apiVersion": f"meta.k8s.io/{self._form.version}",
            "metadata": meta,
            "columnDefinitions": self._table.definitions(),
        }
        now = self._registry.clock()
        table["rows"] = [self._row(obj, self._table.cells(obj, now)) for obj in objects]
        return table

    def _row(self, obj: Object, cells: list[Any]) -> Object:
        row: Object = {"cells": cells}
        if self._include == "Object":
            row["object"] = obj
        elif self._include != "None":
            row["object"] = partial(obj, self._form.version)
        return row

    def page(self, page: Page) -> bytes:
        meta: Object = {"resourceVersion": str(page.version)}
        if page.continue_:
            meta["continue"] = page.continue_
            if page.remaining is not None:
                meta["remainingItemCount"] = page.remaining
        resource, registry = self._resource, self._registry
        if self._form.shape == "table":
            return encode(self._as_table([registry.decode(resource, one) for one in page.items], meta))
        if self._form.shape == "metadata":
            version = self._form.version
            kind, api_version = "PartialObjectMetadataList", f"meta.k8s.io/{version}"
            documents = [encode(partial(registry.decode(resource, one), version)) for one in page.items]
        else:
            kind, api_version = resource.list_name, resource.api_version
            documents = [self._item(registry.document(resource, one)) for one in page.items]
        head = encode({"kind": kind, "apiVersion": api_version, "metadata": meta})
        return head[:-1] + b',"items":[' + b",".join(documents) + b"]}"

    def _item(self, document: bytes) -> bytes:
        """An object as part of a list: of built-in kinds it does not say its kind, which the list does."""
        front = b'{"apiVersion":"%s","kind":"%s",' % (
            self._resource.api_version.encode(),
            self._resource.kind.encode(),
        )
        if self._resource.custom or not document.startswith(front):
            return document
        return b"{" + document[len(front) :]

    def event(self, item: Item) -> bytes:
        """One line of a watch."""
        if item.stored is None:
            event = self._registry.event(self._resource, item)
            if self._form.shape == "table":
                table = self._as_table([], {"resourceVersion": str(item.version)})
                table["rows"] = [{"cells": [], "object": event["object"]}]
                event["object"] = table
            elif self._form.shape == "metadata":
                event["object"] = partial(event["object"], self._form.version)
            return encode(event) + b"\n"
        return b'{"type":"%s","object":%s}\n' % (str(item.type).encode(), self._document(item.stored))

    def _document(self, stored: Stored) -> bytes:
        if self._form.shape == "object":
            return self._registry.document(self._resource, stored)
        obj = self._registry.decode(self._resource, stored)
        if self._form.shape == "metadata":
            return encode(partial(obj, self._form.version))
        table = self._as_table([obj], {"resourceVersion": str(stored.version)})
        if self._columns_sent:
            table["columnDefinitions"] = None
        self._columns_sent = True
        return encode(table)
