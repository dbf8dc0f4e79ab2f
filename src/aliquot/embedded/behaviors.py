"""What is particular to one kind: computed defaults, validation, what an update may change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from aliquot.embedded import metadata
from aliquot.embedded.hooks import Object
from aliquot.embedded.status import Cause


@dataclass(frozen=True, slots=True)
class Moment:
    """When a request happens."""

    time: datetime

    @property
    def text(self) -> str:
        return metadata.timestamp(self.time)


#: ``find(plural, group, namespace, name)`` is an object, or None where there is none.
Find = Callable[[str, str, str, str], "Object | None"]


class Behavior:
    """The rules of a kind that has no particular ones; other kinds override what differs."""

    name_rule: metadata.NameRule = staticmethod(metadata.subdomain_error)
    #: True where a status write may change labels, annotations and owners too (Pod, Node).
    status_writes_metadata = False
    #: True where a new object may bring its status along (a kubelet registers its Node so).
    status_on_create = False
    #: True where a deletion answers with the object rather than with a Status.
    returns_deleted = False

    def default(self, obj: Object) -> None:
        """Fill in what follows from other fields.

        Runs on every create and update, before admission and after.
        """

    def resolve(self, obj: Object, find: Find) -> list[Cause]:
        """Fill in and check what follows from other objects; runs on create, after :meth:`default`.

        May raise StatusError 403, as the admission plugins of Kubernetes do.
        """
        return []

    def on_create(self, obj: Object, now: Moment) -> None:
        """Set what the server owns in a new object."""

    def on_update(self, obj: Object, old: Object, subresource: str, now: Moment) -> None:
        """Set what the server owns in a changed object."""

    def validate(self, obj: Object) -> list[Cause]:
        return []

    def validate_update(self, obj: Object, old: Object, subresource: str) -> list[Cause]:
        return []

    def grace_period(self, obj: Object, asked: int | None) -> int:
        """Seconds between the deletion of an object and its removal; 0 removes it at once."""
        return 0
