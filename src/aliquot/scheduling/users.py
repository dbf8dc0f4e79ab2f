"""Who uses a claim, by how far along each pod is: on a node, on its way to one, or behind a gate."""

from dataclasses import dataclass, field
from typing import Protocol

from aliquot.model.core import Pod
from aliquot.model.resource import ResourceClaim


@dataclass(slots=True)
class Users:
    """Live pods of one claim. bound: on a node; let_go: unbound without any gate; gated: behind a gate."""

    bound: list[Pod] = field(default_factory=list)
    let_go: list[Pod] = field(default_factory=list)
    gated: list[Pod] = field(default_factory=list)


class ClaimUsers(Protocol):
    """The users of a snapshot's claims."""

    def of(self, claim: ResourceClaim) -> Users:
        """Pods that name the claim or that it is reserved for."""
