"""The behaviours of the built-in kinds, by resource key."""

from __future__ import annotations

from aliquot.embedded.behaviors import Behavior
from aliquot.embedded.kinds.namespaces import NamespaceBehavior

BEHAVIORS: dict[str, Behavior] = {
    "namespaces": NamespaceBehavior(),
}
_PLAIN = Behavior()


def behavior_of(key: str) -> Behavior:
    return BEHAVIORS.get(key, _PLAIN)
