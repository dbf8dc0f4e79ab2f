"""From JSON bytes to typed objects, one bad object at a time."""

from typing import Any, Generic, TypeVar, cast

import msgspec

from aliquot.kube.errors import ApiError, error_from
from aliquot.kube.marks import trusted
from aliquot.model.core import Pod
from aliquot.model.kinds import convert, decoder
from aliquot.model.meta import KubernetesObject

T = TypeVar("T", bound=KubernetesObject)


class UndecodableError(Exception):
    """An object of the server is not of the form that its kind has. name, namespace: where known."""

    def __init__(self, kind: str, namespace: str, name: str, problem: str) -> None:
        super().__init__(f"{kind} {namespace}/{name}: {problem}")
        self.kind = kind
        self.namespace = namespace
        self.name = name
        self.problem = problem


class _Meta(msgspec.Struct, frozen=True, rename="camel"):
    name: str = ""
    namespace: str = ""
    resource_version: str = ""


class _Head(msgspec.Struct, frozen=True):
    metadata: _Meta = _Meta()


class _Page(msgspec.Struct, frozen=True):
    metadata: _Meta = _Meta()
    items: list[msgspec.Raw] | None = None


class _Event(msgspec.Struct, frozen=True):
    type: str
    object: msgspec.Raw


_decode_head = msgspec.json.Decoder(_Head).decode
_decode_page = msgspec.json.Decoder(_Page).decode
_decode_event = msgspec.json.Decoder(_Event).decode


def _without_nulls(value: Any) -> Any:
    """Kubernetes writes null for an empty list or map here and there and means that it is absent."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


class Decoding(Generic[T]):
    """Decodes what a server says about one kind. Of pods' marks only Aliquot's own are kept (`marks`)."""

    def __init__(self, kind: type[T]) -> None:
        self.kind = kind
        self._decode = decoder(kind).decode

    def object(self, body: bytes | msgspec.Raw) -> T:
        """One object. Raises UndecodableError."""
        try:
            decoded: T = self._decode(body)
        except (msgspec.ValidationError, msgspec.DecodeError) as first:
            try:
                decoded = convert(_without_nulls(msgspec.json.decode(body)), self.kind)
            except (msgspec.ValidationError, msgspec.DecodeError, RecursionError):
                raise self._undecodable(body, str(first)) from first
        if not decoded.metadata.name:
            raise UndecodableError(self.kind.kind(), decoded.metadata.namespace, "", "has no metadata.name")
        return cast("T", trusted(decoded)) if isinstance(decoded, Pod) else decoded

    def page(self, body: bytes) -> tuple[str, list[T], list[UndecodableError]]:
        """A List: its resourceVersion, its objects, and those that could not be decoded."""
        try:
            page = _decode_page(body)
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            raise UndecodableError(f"{self.kind.kind()}List", "", "", str(error)) from error
        items: list[T] = []
        failed: list[UndecodableError] = []
        for raw in page.items or ():
            try:
                items.append(self.object(raw))
            except UndecodableError as error:
                failed.append(error)
        return page.metadata.resource_version, items, failed

    def event(self, line: bytes) -> tuple[str, msgspec.Raw]:
        """A watch event: its type and the object's JSON. Raises UndecodableError, and ApiError for ERROR."""
        try:
            event = _decode_event(line)
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            raise UndecodableError(self.kind.kind(), "", "", f"not a watch event: {error}") from error
        if event.type == "ERROR":
            raise watch_error(bytes(event.object), self.kind.kind())
        return event.type, event.object

    def _undecodable(self, body: bytes | msgspec.Raw, problem: str) -> UndecodableError:
        meta = head(body)
        return UndecodableError(self.kind.kind(), meta.namespace, meta.name, problem)


def head(body: bytes | msgspec.Raw) -> _Meta:
    """Name, namespace and resourceVersion of any object; empty where it has none."""
    try:
        return _decode_head(body).metadata
    except (msgspec.ValidationError, msgspec.DecodeError):
        return _Meta()


def watch_error(body: bytes, kind: str) -> ApiError:
    """The Status that an ERROR event carries."""
    return error_from(0, body, None, f"WATCH {kind}")
