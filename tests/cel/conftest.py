"""Evaluation of single expressions, with and without metering."""

from collections.abc import Callable
from typing import Any

import pytest

from aliquot.cel import Environment, EvaluationError

Evaluate = Callable[..., Any]

UNLIMITED = 10**12


@pytest.fixture(scope="session")
def admission() -> Environment:
    return Environment.for_admission((1, 36), mutation=True)


@pytest.fixture(scope="session")
def evaluate(admission: Environment) -> Evaluate:
    """The plain value of an expression over `object`; both ways of evaluating must agree on it."""

    def run(text: str, **variables: Any) -> Any:
        program = admission.compile(text)
        outcomes = []
        for limit in (UNLIMITED, 2**80):
            try:
                outcomes.append(program.evaluate(variables, limit))
            except EvaluationError as error:
                outcomes.append((error.message, error.position))
        assert repr(outcomes[0]) == repr(outcomes[1])
        return program.evaluate(variables, UNLIMITED)

    return run
