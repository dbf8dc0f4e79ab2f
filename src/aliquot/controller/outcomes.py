"""How enacting a decision ended."""

from dataclasses import dataclass

from aliquot.model.meta import ObjectRef
from aliquot.scheduling.plan import Decision


class EnactError(Exception):
    """An action was not carried out. subject: the object; problem: why."""

    def __init__(self, subject: ObjectRef, problem: str) -> None:
        super().__init__(f"{subject} {problem}")
        self.subject = subject
        self.problem = problem


class ConflictError(EnactError):
    """The object is not as it was when this was decided; the truth is in the mirror now: decide anew."""


class RefusedError(EnactError):
    """The server does not take this write, now or at all; trying the same at once is useless."""


class HeldBackError(RefusedError):
    """A disruption budget forbids it at present; that passes without anything that a watch would tell."""


class NotLeadingError(Exception):
    """Leadership was lost; nothing more may be written."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """decision: what was to be done. problem: None when all of it is done."""

    decision: Decision
    problem: EnactError | None = None

    @property
    def refused(self) -> bool:
        return isinstance(self.problem, RefusedError)
