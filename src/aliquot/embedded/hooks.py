"""What the registry asks of others: who calls, who admits, and how a kind's documents look."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from aliquot.embedded.status import Cause

if TYPE_CHECKING:
    from aliquot.embedded.resources import Resource

Object = dict[str, Any]
Operation = Literal["CREATE", "UPDATE", "DELETE", "CONNECT"]


@dataclass(frozen=True, slots=True)
class User:
    """Who makes a request."""

    name: str
    groups: tuple[str, ...] = ()


#: The server itself and its stand-ins.
SYSTEM = User("system:apiserver", ("system:masters", "system:authenticated"))


Completion = Callable[[Object], Object]


def unchanged(obj: Object) -> Object:
    """Of what needs no completion."""
    return obj


class AdmissionChain(Protocol):
    """Looks at every write before it is stored.

    ``operation``: CREATE, UPDATE (patches too), DELETE, or CONNECT. ``subresource`` is ``""`` for the
    object itself. ``obj`` is the object as it would be stored, with defaults (for ``pods/binding`` and
    ``pods/eviction`` the Binding or Eviction; None for DELETE); ``old`` is the stored one (None for
    CREATE). ``namespace_object`` is the Namespace of a namespaced object. Returns the object to store,
    which may be ``obj`` itself, changed in place; raises StatusError to refuse.

    ``completed`` brings what may be changed to what is stored, and raises StatusError if that is not valid.
    It is called after everything that changes objects and before everything that only judges them, as in
    an API server (k8s.io/apiserver, registry/generic/registry/store.go).
    """

    def admit(
        self,
        operation: Operation,
        resource: Resource,
        subresource: str,
        namespace: str,
        name: str,
        obj: Object | None,
        old: Object | None,
        user: User,
        namespace_object: Object | None,
        dry_run: bool,
        completed: Completion = unchanged,
    ) -> Object | None: ...


class NoAdmission:
    """Admits everything unchanged."""

    def admit(
        self,
        operation: Operation,
        resource: Resource,
        subresource: str,
        namespace: str,
        name: str,
        obj: Object | None,
        old: Object | None,
        user: User,
        namespace_object: Object | None,
        dry_run: bool,
        completed: Completion = unchanged,
    ) -> Object | None:
        return obj if obj is None else completed(obj)


@dataclass(slots=True)
class Conformed:
    """A document brought into the form its schema describes; it shares no container with the input.

    ``unknown``: paths of fields the schema does not have (dropped). ``causes``: values that are missing
    or not allowed, for a 422.
    """

    obj: Object
    unknown: list[str] = field(default_factory=list)
    causes: list[Cause] = field(default_factory=list)


class ObjectSchema(Protocol):
    """The shape of one kind's documents."""

    def conform(self, obj: Object, *, defaults: bool = True) -> Conformed:
        """Check types, drop unknown fields and nulls, write quantities canonically, fill in defaults.

        Raises StatusError 400 where a value cannot be decoded at all (text where a number belongs).
        """
        ...

    def rule_causes(self, obj: Object, old: Object | None) -> list[Cause]:
        """What the schema's own rules say of an object that is otherwise valid."""
        ...

    @property
    def root(self) -> Any:
        """The :class:`aliquot.embedded.schema.Shape` of the document."""
        ...


def path_of(parts: Sequence[str | int]) -> str:
    """``("spec", "containers", 0)`` as ``spec.containers[0]``."""
    text = ""
    for part in parts:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text
