"""Errors of compiling and evaluating expressions, and where in the text they are."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

__all__ = ["CompileError", "EvaluationError", "Issue", "Position", "Source"]


@dataclass(frozen=True, slots=True)
class Position:
    """A place in an expression: line and column, both counted from 1 (columns in characters)."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Issue:
    """One fault found by the parser or the checker."""

    line: int
    column: int
    message: str
    excerpt: str = ""
    """The line of the expression that the fault is in."""

    def __str__(self) -> str:
        head = f"ERROR: <input>:{self.line}:{self.column}: {self.message}"
        if not self.excerpt:
            return head
        return f"{head}\n | {self.excerpt}\n | {'.' * (self.column - 1)}^"


class CompileError(ValueError):
    """An expression that does not compile.

    `issues` are in the order of the text. `summary` is set where the expression as a whole is refused
    (its length, the type of its result) rather than a place in it.
    """

    def __init__(self, issues: tuple[Issue, ...], summary: str = "") -> None:
        super().__init__(issues, summary)
        self.issues = issues
        self.summary = summary

    def __str__(self) -> str:
        if self.summary:
            return self.summary
        return "compilation failed: " + "\n".join(str(issue) for issue in self.issues)


class EvaluationError(Exception):
    """An expression that compiled but has no value for the given input.

    `position` is where in the text the failing operation is, None where that is not known (a fault of
    the input itself, the cost limit).
    """

    def __init__(self, message: str, position: Position | None = None) -> None:
        super().__init__(message, position)
        self.message = message
        self.position = position

    def __str__(self) -> str:
        return self.message


class Source:
    """The text of an expression; turns offsets into positions and excerpts."""

    __slots__ = ("_starts", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._starts = [0, *(at + 1 for at, character in enumerate(text) if character == "\n")]

    def position(self, offset: int) -> Position:
        """The line and column of the character at `offset`."""
        line = bisect_right(self._starts, offset)
        return Position(line, offset - self._starts[line - 1] + 1)

    def issue(self, offset: int, message: str) -> Issue:
        """An issue about the character at `offset`."""
        place = self.position(offset)
        start = self._starts[place.line - 1]
        end = self.text.find("\n", start)
        return Issue(place.line, place.column, message, self.text[start : end if end >= 0 else None])
