"""Whether a model may be called or run by somebody, and why not. Pure; one dictionary look-up a call."""

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from aliquot.approvals.model import Access, ApprovedModel, State


class Purpose(StrEnum):
    """What is asked for: to call a model, or to run a workload that serves it."""

    CALL = "call"
    RUN = "run"


class Reason(StrEnum):
    """Why a verdict is what it is. The value is what stands in records, labels and error bodies."""

    APPROVED = "ModelApproved"
    DEPRECATED = "ModelDeprecated"
    """Allowed, with a warning."""
    UNKNOWN = "ModelUnknown"
    PROPOSED = "ModelNotApproved"
    REVOKED = "ModelRevoked"
    NAMESPACE = "ModelNotAllowedInNamespace"
    QUEUE = "ModelNotAllowedInQueue"


ALLOWED = frozenset({Reason.APPROVED, Reason.DEPRECATED})

# The reason closest to an approval is the one worth telling when several models go by one name.
_CLOSENESS = {
    reason: place
    for place, reason in enumerate(
        (
            Reason.APPROVED,
            Reason.DEPRECATED,
            Reason.QUEUE,
            Reason.NAMESPACE,
            Reason.PROPOSED,
            Reason.REVOKED,
            Reason.UNKNOWN,
        )
    )
}


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """model: the approved model that the verdict is about, None if nothing is known by the name.

    asked, namespace, queue: as given. Text is made of it by `wording.sentence`.
    """

    reason: Reason
    asked: str
    purpose: Purpose
    namespace: str
    queue: str
    model: ApprovedModel | None = None

    @property
    def allowed(self) -> bool:
        return self.reason in ALLOWED


class Registry:
    """The approved models by every name that calls ask for. Immutable: make a new one when a model changes.

    Names are unique within a cluster except those shared by versions of one model: then a version that is
    allowed goes before one that is not, approved before deprecated, and of equals the first by `name`.
    """

    __slots__ = ("_by_name", "models")

    def __init__(self, models: Iterable[ApprovedModel] = ()) -> None:
        #: All models in the order of their names.
        self.models: tuple[ApprovedModel, ...] = tuple(sorted(models, key=lambda model: model.name))
        by_name: dict[str, list[ApprovedModel]] = {}
        for model in self.models:
            for name in model.names:
                by_name.setdefault(name, []).append(model)
        # A resource's own name is nobody else's alias.
        for model in self.models:
            by_name[model.name] = [model]
        self._by_name = {name: tuple(found) for name, found in by_name.items()}

    def named(self, name: str) -> tuple[ApprovedModel, ...]:
        """The models that go by a name; none if nobody knows it."""
        return self._by_name.get(name, ())

    def get(self, name: str) -> ApprovedModel | None:
        """The model whose resource has this name."""
        return next((model for model in self.named(name) if model.name == name), None)


def verdict(
    registry: Registry,
    model: str,
    *,
    namespace: str,
    queues: tuple[str, ...] = (),
    purpose: Purpose = Purpose.CALL,
) -> Verdict:
    """Whether `model` may be called (or run) from a namespace through a queue.

    model: as asked for, or, once the upstream is chosen, the name of the ApprovedModel that it serves: where
    versions share a name, only that says which one answers. queues: the queue that pays and those above it,
    the queue itself first.
    """
    best = Verdict(
        reason=Reason.UNKNOWN,
        asked=model,
        purpose=purpose,
        namespace=namespace,
        queue=queues[0] if queues else "",
    )
    for candidate in registry.named(model):
        reason = _reason(candidate, namespace, queues, purpose)
        if _CLOSENESS[reason] < _CLOSENESS[best.reason]:
            best = msgspec.structs.replace(best, reason=reason, model=candidate)
    return best


def _reason(model: ApprovedModel, namespace: str, queues: tuple[str, ...], purpose: Purpose) -> Reason:
    if model.state is State.REVOKED:
        return Reason.REVOKED
    if model.state is State.PROPOSED:
        return Reason.PROPOSED
    access: Access = model.call if purpose is Purpose.CALL else model.run
    if not access.has_namespace(namespace):
        return Reason.NAMESPACE
    if not access.has_queue(queues):
        return Reason.QUEUE
    return Reason.APPROVED if model.state is State.APPROVED else Reason.DEPRECATED


def callable_models(
    registry: Registry, *, namespace: str, queues: tuple[str, ...] = ()
) -> tuple[ApprovedModel, ...]:
    """What a caller may call, for the list of models that it is shown."""
    return tuple(
        model for model in registry.models if _reason(model, namespace, queues, Purpose.CALL) in ALLOWED
    )
