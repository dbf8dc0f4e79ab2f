"""The messages of Envoy's external processing, built at run time from the table below.

Only fields that are used here are declared; others are kept as unknown fields and ignored. Numbers and types
are those of Envoy's API v3: envoy.service.ext_proc.v3 (external_processor.proto), envoy.config.core.v3
(base.proto), envoy.type.v3 (http_status.proto) and envoy.extensions.filters.http.ext_proc.v3
(processing_mode.proto).
"""

from typing import Any

from google.protobuf import (  # type: ignore[import-untyped]
    descriptor_pb2,
    descriptor_pool,
    message_factory,
)

PACKAGE = "envoy.service.ext_proc.v3"
SERVICE = f"{PACKAGE}.ExternalProcessor"
METHOD = "Process"

_TYPES = {
    "bool": descriptor_pb2.FieldDescriptorProto.TYPE_BOOL,
    "bytes": descriptor_pb2.FieldDescriptorProto.TYPE_BYTES,
    "string": descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
    "int32": descriptor_pb2.FieldDescriptorProto.TYPE_INT32,
}

# message -> field -> (number, type); "repeated " before a type, "|name" behind it for a oneof. Enumerations
# are declared as int32: they are alike on the wire.
_MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "HeaderValue": {"key": (1, "string"), "value": (2, "string"), "raw_value": (3, "bytes")},
    "HeaderMap": {"headers": (1, "repeated HeaderValue")},
    "HeaderValueOption": {"header": (1, "HeaderValue"), "append_action": (3, "int32")},
    "HttpStatus": {"code": (1, "int32")},
    "ProcessingMode": {
        "request_header_mode": (1, "int32"),
        "response_header_mode": (2, "int32"),
        "request_body_mode": (3, "int32"),
        "response_body_mode": (4, "int32"),
        "request_trailer_mode": (5, "int32"),
        "response_trailer_mode": (6, "int32"),
    },
    "HttpHeaders": {"headers": (1, "HeaderMap"), "end_of_stream": (3, "bool")},
    "HttpBody": {"body": (1, "bytes"), "end_of_stream": (2, "bool")},
    "HttpTrailers": {"trailers": (1, "HeaderMap")},
    "HeaderMutation": {
        "set_headers": (1, "repeated HeaderValueOption"),
        "remove_headers": (2, "repeated string"),
    },
    "BodyMutation": {"body": (1, "bytes|mutation"), "clear_body": (2, "bool|mutation")},
    "CommonResponse": {
        "status": (1, "int32"),
        "header_mutation": (2, "HeaderMutation"),
        "body_mutation": (3, "BodyMutation"),
        "clear_route_cache": (5, "bool"),
    },
    "HeadersResponse": {"response": (1, "CommonResponse")},
    "BodyResponse": {"response": (1, "CommonResponse")},
    "TrailersResponse": {"header_mutation": (1, "HeaderMutation")},
    "ImmediateResponse": {
        "status": (1, "HttpStatus"),
        "headers": (2, "HeaderMutation"),
        "body": (3, "bytes"),
        "details": (5, "string"),
    },
    "ProcessingRequest": {
        "request_headers": (2, "HttpHeaders|request"),
        "response_headers": (3, "HttpHeaders|request"),
        "request_body": (4, "HttpBody|request"),
        "response_body": (5, "HttpBody|request"),
        "request_trailers": (6, "HttpTrailers|request"),
        "response_trailers": (7, "HttpTrailers|request"),
        "observability_mode": (10, "bool"),
    },
    "ProcessingResponse": {
        "request_headers": (1, "HeadersResponse|response"),
        "response_headers": (2, "HeadersResponse|response"),
        "request_body": (3, "BodyResponse|response"),
        "response_body": (4, "BodyResponse|response"),
        "request_trailers": (5, "TrailersResponse|response"),
        "response_trailers": (6, "TrailersResponse|response"),
        "immediate_response": (7, "ImmediateResponse|response"),
        "mode_override": (9, "ProcessingMode"),
    },
}

OVERWRITE = 2
"""HeaderValueOption.append_action: replace the header, or add it."""
SEND, SKIP = 1, 2
"""ProcessingMode: header modes."""
NO_BODY, STREAMED, BUFFERED = 0, 1, 2
"""ProcessingMode: body modes."""


def _build() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="aliquot/ext_proc.proto", package=PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        choices: dict[str, int] = {}
        for field, (number, described) in fields.items():
            kind, _, choice = described.partition("|")
            repeated = kind.startswith("repeated ")
            kind = kind.removeprefix("repeated ")
            made = message.field.add(name=field, number=number)
            made.label = made.LABEL_REPEATED if repeated else made.LABEL_OPTIONAL
            if kind in _TYPES:
                made.type = _TYPES[kind]
            else:
                made.type = made.TYPE_MESSAGE
                made.type_name = f".{PACKAGE}.{kind}"
            if choice:
                if choice not in choices:
                    choices[choice] = len(choices)
                    message.oneof_decl.add(name=choice)
                made.oneof_index = choices[choice]
    # A pool of its own: another library in this process may have the whole of Envoy's API.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))
        for name in _MESSAGES
    }


_classes = _build()

ProcessingRequest = _classes["ProcessingRequest"]
ProcessingResponse = _classes["ProcessingResponse"]


def headers_of(found: Any) -> dict[bytes, bytes]:
    """The headers of an HttpHeaders message, names in lower case; of repeated ones all values."""
    headers: dict[bytes, bytes] = {}
    for one in found.headers.headers:
        name = one.key.lower().encode("latin-1")
        value = one.raw_value or one.value.encode("latin-1", "replace")
        headers[name] = headers[name] + b", " + value if name in headers else value
    return headers


def mutate(mutation: Any, headers: list[tuple[bytes, bytes]], removed: tuple[str, ...] = ()) -> None:
    """Fill a HeaderMutation."""
    for name, value in headers:
        option = mutation.set_headers.add()
        option.header.key = name.decode("latin-1").lower()
        option.header.raw_value = value
        option.append_action = OVERWRITE
    mutation.remove_headers.extend(removed)
