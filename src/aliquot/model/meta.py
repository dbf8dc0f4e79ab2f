"""What all Kubernetes objects share: metadata, owners, label selectors, conditions.

Source of all field meanings: the Kubernetes API reference, meta/v1.
"""

from datetime import datetime

import msgspec


class Record(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, gc=False):
    """A Kubernetes value: frozen, camelCase in JSON, default values left out when encoded."""


class OwnerReference(Record, frozen=True):
    """An entry of metadata.ownerReferences."""

    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool = False
    block_owner_deletion: bool = False


class ObjectMeta(Record, frozen=True):
    """metadata of an object. `resource_version` is opaque; `creation_timestamp` is aware (UTC) or None."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owner_references: tuple[OwnerReference, ...] = ()
    finalizers: tuple[str, ...] = ()

    @property
    def controller(self) -> OwnerReference | None:
        """The managing owner: the one owner reference with `controller: true`, or None."""
        for reference in self.owner_references:
            if reference.controller:
                return reference
        return None


class LabelSelectorRequirement(Record, frozen=True):
    """key, operator (In, NotIn, Exists, DoesNotExist) and values."""

    key: str = ""
    operator: str = ""
    values: tuple[str, ...] = ()


class LabelSelector(Record, frozen=True):
    """Both parts are ANDed; an empty selector matches everything."""

    match_labels: dict[str, str] = {}
    match_expressions: tuple[LabelSelectorRequirement, ...] = ()


class Condition(Record, frozen=True):
    """An entry of status.conditions."""

    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""
    observed_generation: int = 0
    last_transition_time: datetime | None = None


class KubernetesObject(Record, frozen=True):
    """Anything with metadata. A subclass's tag is its kind; `kinds.py` knows the apiVersions."""

    metadata: ObjectMeta = ObjectMeta()

    @classmethod
    def kind(cls) -> str:
        return str(cls.__struct_config__.tag)

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def namespace(self) -> str:
        return self.metadata.namespace

    @property
    def ref(self) -> "ObjectRef":
        """Points at exactly this object, uid included."""
        meta = self.metadata
        return ObjectRef(kind=self.kind(), namespace=meta.namespace, name=meta.name, uid=meta.uid)

    @property
    def key(self) -> tuple[str, str]:
        """(namespace, name); the namespace is "" for cluster-scoped objects."""
        return (self.metadata.namespace, self.metadata.name)


class ObjectRef(Record, frozen=True):
    """Points at one object; `uid` is empty where any object of that name is meant."""

    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""

    def __str__(self) -> str:
        """`kind/namespace/name` in lower-case kind, without the namespace for cluster-scoped objects."""
        place = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{self.kind.lower()}/{place}"
