"""Named formats of Kubernetes: `format.dns1123Label().validate(text)` (pkg/cel/library format)."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from typing import ClassVar, Final

from aliquot.cel.declarations import Library
from aliquot.cel.errors import EvaluationError
from aliquot.cel.instants import Timestamp
from aliquot.cel.libraries.network import URL, URLS
from aliquot.cel.patterns import compile_pattern
from aliquot.cel.typesystem import struct
from aliquot.cel.values import NONE, ExtensionValue, Optional

__all__ = ["FORMATS", "LONGEST_PATTERN", "NamedFormat"]

_LABEL: Final = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN: Final = _LABEL + r"(\." + _LABEL + ")*"
_LABEL_1035: Final = "[a-z]([-a-z0-9]*[a-z0-9])?"
_NAME: Final = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_UUID: Final = "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$"
_DATE: Final = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"


@dataclass(frozen=True, slots=True)
class NamedFormat(ExtensionValue):
    """A format: `check` gives the faults of a text, none if it is of the format."""

    cel_name: ClassVar[str] = "kubernetes.NamedFormat"
    go_name: ClassVar[str] = "*cel.Format"

    name: str
    regex_size: int
    check: Callable[[str], list[str]] = field(compare=False)


def _fully(pattern: str, text: str) -> bool:
    return compile_pattern(f"^(?:{pattern})$").search(text) is not None


def _regex(pattern: str, message: str, *examples: str) -> str:
    shown = ",  or ".join(f"'{example}'" for example in examples)
    return f"{message} (e.g. {shown}, regex used for validation is '{pattern}')"


def _too_long(limit: int) -> str:
    return f"must be no more than {limit} characters"


_LABEL_MESSAGE: Final = _regex(
    _LABEL,
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start "
    "and end with an alphanumeric character",
    "my-name",
    "123-abc",
)
_SUBDOMAIN_MESSAGE: Final = _regex(
    _SUBDOMAIN,
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
    "start and end with an alphanumeric character",
    "example.com",
)
_LABEL_1035_MESSAGE: Final = _regex(
    _LABEL_1035,
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
    "character, and end with an alphanumeric character",
    "my-name",
    "abc-123",
)


def _matching(pattern: str, message: str, limit: int) -> Callable[[str], list[str]]:
    def check(text: str) -> list[str]:
        faults = [_too_long(limit)] if len(text) > limit else []
        return faults if _fully(pattern, text) else [*faults, message]

    return check


def _prefix(check: Callable[[str], list[str]]) -> Callable[[str], list[str]]:
    """A name that something will be appended to may end with a dash."""
    return lambda text: check(f"{text[:-1]}a" if len(text) > 1 and text.endswith("-") else text)


def _qualified_name(text: str) -> list[str]:
    message = _regex(
        _NAME,
        "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
        "alphanumeric character",
        "MyName",
        "my.name",
        "123-abc",
    )
    prefix, slash, name = text.partition("/")
    if not slash:
        name = text
    elif "/" in name:
        whole = _regex(
            _NAME,
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
            "and must start and end with an alphanumeric character",
            "MyName",
        )
        return [f"{whole} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"]
    faults: list[str] = []
    if slash and not prefix:
        faults.append("prefix part must be non-empty")
    elif slash:
        faults.extend(f"prefix part {fault}" for fault in _subdomain(prefix))
    if not name:
        faults.append("name part must be non-empty")
    elif len(name) > 63:
        faults.append(f"name part {_too_long(63)}")
    return faults if _fully(_NAME, name) else [*faults, message]


def _label_value(text: str) -> list[str]:
    pattern = f"({_NAME})?"
    message = _regex(
        f"({_NAME})?",
        "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and "
        "must start and end with an alphanumeric character",
        "MyValue",
        "my_value",
        "12345",
    )
    faults = [_too_long(63)] if len(text) > 63 else []
    return faults if _fully(pattern, text) else [*faults, message]


def _uri(text: str) -> list[str]:
    try:
        url: URL = URLS.functions["url"].overloads[0].implementation(text)
    except EvaluationError as error:
        return [error.message.removeprefix("URL parse error during conversion from string: ")]
    assert url.text == text
    return []


def _uuid(text: str) -> list[str]:
    return [] if compile_pattern(_UUID).search(text) else ["does not match the UUID format"]


def _byte(text: str) -> list[str]:
    try:
        b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        return ["invalid base64"]
    return [] if text else ["invalid base64"]


def _date(text: str) -> list[str]:
    try:
        if compile_pattern(_DATE).search(text):
            date.fromisoformat(text)
            return []
    except ValueError:
        pass
    return ["invalid date"]


def _datetime(text: str) -> list[str]:
    try:
        Timestamp.parse(text)
    except ValueError:
        return ["invalid datetime"]
    return []


_label: Final = _matching(_LABEL, _LABEL_MESSAGE, 63)
_subdomain: Final = _matching(_SUBDOMAIN, _SUBDOMAIN_MESSAGE, 253)
_label_1035: Final = _matching(_LABEL_1035, _LABEL_1035_MESSAGE, 63)

_FORMATS: Final = {
    "dns1123Label": NamedFormat("DNS1123Label", 30, _label),
    "dns1123Subdomain": NamedFormat("DNS1123Subdomain", 60, _subdomain),
    "dns1035Label": NamedFormat("DNS1035Label", 30, _label_1035),
    "qualifiedName": NamedFormat("QualifiedName", 60, _qualified_name),
    "dns1123LabelPrefix": NamedFormat("DNS1123LabelPrefix", 30, _prefix(_label)),
    "dns1123SubdomainPrefix": NamedFormat("DNS1123SubdomainPrefix", 60, _prefix(_subdomain)),
    "dns1035LabelPrefix": NamedFormat("DNS1035LabelPrefix", 30, _prefix(_label_1035)),
    "labelValue": NamedFormat("LabelValue", 40, _label_value),
    "uri": NamedFormat("URI", 1103, _uri),
    "uuid": NamedFormat("uuid", 70, _uuid),
    "byte": NamedFormat("byte", 84, _byte),
    "date": NamedFormat("date", 71, _date),
    "datetime": NamedFormat("datetime", 71, _datetime),
}


LONGEST_PATTERN: Final = max(each.regex_size for each in _FORMATS.values())
"""Characters of the longest pattern that a format is said to have."""


def _validate(wanted: NamedFormat, text: str) -> Optional:
    faults = wanted.check(text)
    return Optional(faults) if faults else NONE


def _named(name: str) -> Optional:
    found = _FORMATS.get(name)
    return NONE if found is None else Optional(found)


def _constant(value: NamedFormat) -> Callable[[], NamedFormat]:
    return lambda: value


def _library() -> Library:
    name = NamedFormat.cel_name
    library = Library(types={name: struct(name)})
    library.free("format.named", "format-named", f"string -> optional<{name}>", _named)
    library.member("validate", "format-validate", f"{name}, string -> optional<list<string>>", _validate)
    for key, value in _FORMATS.items():
        library.free(f"format.{key}", f"format-{key}", f"-> {name}", _constant(value))
    return library


FORMATS: Final = _library()
