"""Who calls: two static bearer tokens, one for people and one for the controller."""

from __future__ import annotations

import hmac
import secrets
from pathlib import Path

import msgspec

from aliquot.embedded.hooks import User
from aliquot.embedded.http.tls import write_private

#: The person at the keyboard.
PEOPLE = User("admin", ("system:masters", "system:authenticated"))
#: The service account that the controller has on a real cluster.
CONTROLLER = User(
    "system:serviceaccount:aliquot-system:aliquot-controller",
    ("system:serviceaccounts", "system:serviceaccounts:aliquot-system", "system:authenticated"),
)


class Tokens(msgspec.Struct, frozen=True):
    """The two secrets, kept over restarts so that a kubeconfig stays good."""

    people: str
    controller: str

    def user(self, authorization: str | None) -> User | None:
        """The user of an Authorization header; None where it carries neither token."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        given = token.strip().encode()
        if hmac.compare_digest(given, self.people.encode()):
            return PEOPLE
        return CONTROLLER if hmac.compare_digest(given, self.controller.encode()) else None


def ensure(path: Path) -> Tokens:
    """The tokens in the file at ``path``; new ones where there is none or it cannot be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Tokens)
    except (FileNotFoundError, msgspec.MsgspecError):
        tokens = Tokens(secrets.token_urlsafe(32), secrets.token_urlsafe(32))
        write_private(path, msgspec.json.encode(tokens))
        return tokens
