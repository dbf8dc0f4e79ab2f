"""What can go wrong between here and an API server."""

from collections.abc import Mapping
from typing import Any

import msgspec


class ApiError(Exception):
    """The API server refused a request.

    status: the HTTP code. reason: Kubernetes' CamelCase reason (NotFound, Conflict, ...). message: for
    people. details: the Status object's details. retry_after: seconds after which the server wants to be
    asked again. request: method and path, without query and secrets.
    """

    def __init__(
        self,
        status: int,
        reason: str = "",
        message: str = "",
        details: Mapping[str, Any] | None = None,
        retry_after: float | None = None,
        request: str = "",
    ) -> None:
        super().__init__(
            f"{request}: {status} {reason}: {message}" if request else f"{status} {reason}: {message}"
        )
        self.status = status
        self.reason = reason
        self.message = message
        self.details = details or {}
        self.retry_after = retry_after
        self.request = request

    @property
    def not_found(self) -> bool:
        return self.status == 404

    @property
    def conflict(self) -> bool:
        """The object has changed, or a precondition does not hold, or the name is taken."""
        return self.status == 409

    @property
    def expired(self) -> bool:
        """The resourceVersion or continue token is too old: list again."""
        return self.status == 410


class TransportError(Exception):
    """No complete answer came. Whether the server has carried the request out is unknown unless `sent` is
    False.

    request: method and path. problem: what happened.
    """

    def __init__(self, request: str, problem: str, *, sent: bool) -> None:
        super().__init__(f"{request}: {problem}")
        self.request = request
        self.problem = problem
        self.sent = sent


class OversizeError(TransportError):
    """An answer is larger than `limit` bytes and was not read to its end."""

    def __init__(self, request: str, limit: int) -> None:
        super().__init__(request, f"the answer is larger than {limit} bytes", sent=True)
        self.limit = limit


class _Status(msgspec.Struct, rename="camel"):
    code: int = 0
    reason: str = ""
    message: str = ""
    details: dict[str, Any] | None = None


_decode_status = msgspec.json.Decoder(_Status).decode

_MESSAGE_LIMIT = 2_000


def error_from(status: int, body: bytes, retry_after_header: str | None, request: str) -> ApiError:
    """The ApiError told by an HTTP answer, or by the object of a watch's ERROR event.

    A body that is no Status (a proxy's HTML page) becomes the message, cut to a readable length.
    """
    try:
        told = _decode_status(body)
    except (msgspec.ValidationError, msgspec.DecodeError):
        told = _Status(message=body[:_MESSAGE_LIMIT].decode("utf-8", "replace").strip())
    wait: float | None = None
    if retry_after_header is not None and retry_after_header.isascii() and retry_after_header.isdigit():
        wait = float(retry_after_header)
    elif told.details and isinstance(told.details.get("retryAfterSeconds"), int):
        wait = float(told.details["retryAfterSeconds"])
    return ApiError(
        status or told.code,
        told.reason,
        told.message[:_MESSAGE_LIMIT],
        told.details,
        wait,
        request,
    )
