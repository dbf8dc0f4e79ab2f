"""Errors of the Kubernetes API, in the form of its Status object.

Source of codes, reasons and messages: Kubernetes API conventions ("Response Status Kind") and what an
API server answers; clients such as kubectl match on ``reason`` and show ``message``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

Json = Any


@dataclass(frozen=True, slots=True)
class Cause:
    """One thing wrong with an object: ``field`` is a path such as ``spec.containers[0].image``."""

    reason: str
    field: str
    message: str

    def line(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message

    def to_json(self) -> dict[str, str]:
        return {"reason": self.reason, "message": self.message, "field": self.field}


def quoted(value: object) -> str:
    """A value as Kubernetes prints it inside messages: strings quoted, the rest as JSON."""
    return msgspec.json.encode(value).decode()


def required(field: str, hint: str = "") -> Cause:
    return Cause("FieldValueRequired", field, "Required value" + (f": {hint}" if hint else ""))


def invalid_value(field: str, value: object, why: str) -> Cause:
    return Cause("FieldValueInvalid", field, f"Invalid value: {quoted(value)}: {why}")


def unsupported(field: str, value: object, supported: Iterable[str]) -> Cause:
    names = ", ".join(quoted(name) for name in sorted(supported))
    return Cause(
        "FieldValueNotSupported", field, f"Unsupported value: {quoted(value)}: supported values: {names}"
    )


def duplicate(field: str, value: object) -> Cause:
    return Cause("FieldValueDuplicate", field, f"Duplicate value: {quoted(value)}")


def forbidden_field(field: str, why: str) -> Cause:
    return Cause("FieldValueForbidden", field, f"Forbidden: {why}")


def too_many(field: str, actual: int, limit: int) -> Cause:
    return Cause("FieldValueTooMany", field, f"Too many: {actual}: must have at most {limit} items")


def too_long(field: str, limit: int) -> Cause:
    return Cause("FieldValueTooLong", field, f"Too long: may not be more than {limit} bytes")


class StatusError(Exception):
    """An error that the API answers with a Status.

    ``code`` is that of HTTP, ``reason`` a CamelCase word, ``details`` names the object and the causes.
    """

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        name: str = "",
        group: str = "",
        kind: str = "",
        uid: str = "",
        causes: Sequence[Cause] = (),
        retry_after_seconds: int = 0,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.name = name
        self.group = group
        self.kind = kind
        self.uid = uid
        self.causes = tuple(causes)
        self.retry_after_seconds = retry_after_seconds

    @property
    def details(self) -> dict[str, Json]:
        details: dict[str, Json] = {}
        for key, value in (
            ("name", self.name),
            ("group", self.group),
            ("kind", self.kind),
            ("uid", self.uid),
        ):
            if value:
                details[key] = value
        if self.causes:
            details["causes"] = [cause.to_json() for cause in self.causes]
        if self.retry_after_seconds:
            details["retryAfterSeconds"] = self.retry_after_seconds
        return details

    def to_status(self) -> dict[str, Json]:
        status: dict[str, Json] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        if details := self.details:
            status["details"] = details
        status["code"] = self.code
        return status


def success(*, name: str, group: str, plural: str, uid: str) -> dict[str, Json]:
    """The Status that answers a deletion which removed the object at once."""
    details = {"name": name, "group": group, "kind": plural, "uid": uid}
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {key: value for key, value in details.items() if value},
    }


def qualified(plural: str, group: str) -> str:
    return f"{plural}.{group}" if group else plural


def not_found(plural: str, group: str, name: str) -> StatusError:
    message = f'{qualified(plural, group)} "{name}" not found'
    return StatusError(404, "NotFound", message, name=name, group=group, kind=plural)


def already_exists(plural: str, group: str, name: str) -> StatusError:
    message = f'{qualified(plural, group)} "{name}" already exists'
    return StatusError(409, "AlreadyExists", message, name=name, group=group, kind=plural)


def conflict(plural: str, group: str, name: str, why: str) -> StatusError:
    message = f'Operation cannot be fulfilled on {qualified(plural, group)} "{name}": {why}'
    return StatusError(409, "Conflict", message, name=name, group=group, kind=plural)


def forbidden(plural: str, group: str, name: str, why: str, causes: Sequence[Cause] = ()) -> StatusError:
    subject = f'{qualified(plural, group)} "{name}"' if name else qualified(plural, group)
    message = f"{subject} is forbidden: {why}"
    return StatusError(403, "Forbidden", message, name=name, group=group, kind=plural, causes=causes)


def invalid(kind: str, group: str, name: str, causes: Sequence[Cause]) -> StatusError:
    """422; ``kind`` is the CamelCase kind here, as Kubernetes has it."""
    lines = [cause.line() for cause in causes]
    listed = lines[0] if len(lines) == 1 else "[" + ", ".join(lines) + "]"
    subject = f"{kind}.{group}" if group else kind
    return StatusError(
        422,
        "Invalid",
        f'{subject} "{name}" is invalid: {listed}',
        name=name,
        group=group,
        kind=kind,
        causes=causes,
    )


def bad_request(message: str) -> StatusError:
    return StatusError(400, "BadRequest", message)


def expired(message: str) -> StatusError:
    return StatusError(410, "Expired", message)


def method_not_supported(plural: str, group: str, verb: str) -> StatusError:
    message = f"{verb} is not supported on resources of kind {quoted(qualified(plural, group))}"
    return StatusError(405, "MethodNotAllowed", message, group=group, kind=plural)
