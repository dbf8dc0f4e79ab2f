"""Deep recursion without a deep call stack.

A step is a generator that yields the step it depends on and is sent that one's result; it returns its own.
A claim set of many devices nests a search deeper than Python's call stack goes.
"""

from collections.abc import Generator
from typing import Any, TypeAlias

Step: TypeAlias = "Generator[Step, bool, bool]"


def run(first: Step) -> bool:
    """The result of a step. What a step raises is raised in the step that depends on it."""
    stack: list[Generator[Any, bool | None, bool]] = [first]  # type: ignore[list-item]
    value: bool | None = None
    error: Exception | None = None
    while stack:
        try:
            if error is None:
                following = stack[-1].send(value)
            else:
                raised, error = error, None
                following = stack[-1].throw(raised)
        except StopIteration as done:
            stack.pop()
            value = done.value
        except Exception as failure:
            stack.pop()
            error = failure
        else:
            stack.append(following)
            value = None
    if error is not None:
        raise error
    return bool(value)
