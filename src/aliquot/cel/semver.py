"""Semantic versions, as strict as Kubernetes reads them (github.com/blang/semver/v4 Parse)."""

from __future__ import annotations

from functools import total_ordering
from typing import Final

__all__ = ["MAX_SEMVER_LENGTH", "Semver", "SemverError"]

MAX_SEMVER_LENGTH: Final = 256
"""Longest accepted text, in characters (a version attribute of a device has at most 64)."""

_DIGITS: Final = frozenset("0123456789")
_ALPHANUMERICS: Final = _DIGITS | frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-")
_MAX_NUMBER: Final = 2**64 - 1

_Identifier = tuple[int, int, str]


class SemverError(ValueError):
    """A text that is no semantic version: `text` as given (cut to the length limit) and `reason`."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(text, reason)
        self.text = text[:MAX_SEMVER_LENGTH]
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.text!r} is not a semantic version: {self.reason}"


@total_ordering
class Semver:
    """An immutable semantic version, ordered by precedence (semver.org 2.0.0, clause 11).

    Build metadata takes no part in equality, order and hash: `1.0.0+a == 1.0.0+b`.
    """

    __slots__ = ("_key", "_text", "major", "minor", "patch")

    major: int
    minor: int
    patch: int
    _key: tuple[int, int, int, bool, tuple[_Identifier, ...]]
    _text: str

    def __init__(
        self,
        major: int,
        minor: int,
        patch: int,
        prerelease: tuple[str, ...] = (),
        build: tuple[str, ...] = (),
    ) -> None:
        text = f"{major}.{minor}.{patch}"
        if prerelease:
            text += "-" + ".".join(prerelease)
        if build:
            text += "+" + ".".join(build)
        # A release is above all of its pre-releases; numbers are below words; a longer list of
        # identifiers is above its own beginning.
        identifiers = tuple((0, int(part), "") if _is_number(part) else (1, 0, part) for part in prerelease)
        for name, value in (
            ("major", major),
            ("minor", minor),
            ("patch", patch),
            ("_key", (major, minor, patch, not prerelease, identifiers)),
            ("_text", text),
        ):
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"Semver is immutable: cannot set {name!r}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"Semver is immutable: cannot delete {name!r}")

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Semver.parse, (self._text,))

    @classmethod
    def parse(cls, text: str, *, normalize: bool = False) -> Semver:
        """Parse `text`; raise `SemverError` unless it is strictly `major.minor.patch[-pre][+build]`.

        With `normalize`, as in Kubernetes' CEL `semver(text, true)`: a leading "v" is dropped, missing
        minor and patch numbers are 0, and leading zeros are removed ("v01.2" reads as 1.2.0).
        """
        if len(text) > MAX_SEMVER_LENGTH:
            raise SemverError(text, f"it is longer than {MAX_SEMVER_LENGTH} characters")
        subject = _normalized(text) if normalize else text
        if not subject:
            raise SemverError(text, "it is empty")
        parts = subject.split(".", 2)
        if len(parts) != 3:
            raise SemverError(text, "it has no major.minor.patch")
        rest, plus, build_text = parts[2].partition("+")
        patch, dash, pre_text = rest.partition("-")
        prerelease = tuple(pre_text.split(".")) if dash else ()
        build = tuple(build_text.split(".")) if plus else ()
        major = _number(text, "major", parts[0])
        minor = _number(text, "minor", parts[1])
        patch_number = _number(text, "patch", patch)
        for part in prerelease:
            if _is_number(part):
                _number(text, "pre-release", part)
            elif not part or not _ALPHANUMERICS.issuperset(part):
                raise SemverError(text, f"pre-release identifier {part!r} is not of [0-9A-Za-z-]+")
        for part in build:
            if not part or not _ALPHANUMERICS.issuperset(part):
                raise SemverError(text, f"build identifier {part!r} is not of [0-9A-Za-z-]+")
        return cls(major, minor, patch_number, prerelease, build)

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return self._key == other._key if isinstance(other, Semver) else NotImplemented

    def __lt__(self, other: Semver) -> bool:
        return self._key < other._key if isinstance(other, Semver) else NotImplemented

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"Semver.parse({self._text!r})"


def _is_number(part: str) -> bool:
    return part != "" and _DIGITS.issuperset(part)


def _number(text: str, name: str, digits: str) -> int:
    if not _is_number(digits):
        raise SemverError(text, f"{name} number {digits!r} is not a number")
    if len(digits) > 1 and digits[0] == "0":
        raise SemverError(text, f"{name} number {digits!r} has a leading zero")
    number = int(digits)
    if number > _MAX_NUMBER:
        raise SemverError(text, f"{name} number {digits!r} does not fit 64 bits")
    return number


def _normalized(text: str) -> str:
    parts = text.removeprefix("v").split(".", 2)
    for index, part in enumerate(parts):
        if len(part) > 1:
            stripped = part.lstrip("0")
            parts[index] = stripped if stripped[:1] in _DIGITS else "0" + stripped
    if len(parts) < 3 and ("+" in parts[-1] or "-" in parts[-1]):
        raise SemverError(text, "a shortened version cannot have a pre-release or build part")
    return ".".join([*parts, "0", "0"][:3] if len(parts) < 3 else parts)
