"""Who calls: keys, tokens of OIDC issuers, tokens of Kubernetes service accounts.

Everything that is known of a caller comes from its credential and the configuration, nothing from other
headers. So does its session: a key is one session, a token of a pod's service account is that pod's (its uid
is part of what TokenReview answers), an OIDC token that of its session claim or subject.
"""

import asyncio
import hashlib
import hmac
import logging
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from aliquot.budgets.keys import KeyRecord
from aliquot.budgets.spending import Caller, Endpoint
from aliquot.store.budgets import BudgetStore, BudgetStoreError, Clock

_log = logging.getLogger(__name__)

PREFIX = "alq"
MAX_TOKEN_BYTES = 8192
MAX_REMEMBERED = 10_000
KEYS_AGAIN_US = 50_000
"""Unknown keys make all be read again, this often at most."""
KEYS_EVERY_SECONDS = 1.0
"""How long a key that was revoked elsewhere may still be taken, at most."""


class Known(msgspec.Struct, frozen=True):
    """A caller, and what its credential permits (empty: everything that the caller may).

    depth: how many agents stand above it, as its credential says.
    """

    caller: Caller
    models: tuple[str, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    depth: int = 0


class CallerError(Exception):
    """A credential is missing or not taken. Never holds it. unavailable: it could not be checked."""

    def __init__(self, message: str, *, unavailable: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.unavailable = unavailable


class Verifier(Protocol):
    """Checks tokens of one kind."""

    def claims(self, issuer: str) -> bool:
        """Whether tokens with this `iss` are this verifier's to judge."""
        ...

    async def verify(self, token: str, now: int) -> tuple[Known, int]:
        """The caller, and until when (microseconds) this may be remembered. Raises CallerError."""
        ...


def new_key(now: int, **about: Any) -> tuple[str, KeyRecord]:
    """A new key: its text, to be shown once, and what is stored of it."""
    identity = secrets.token_hex(8)
    secret = urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()
    digest = hashlib.sha256(secret.encode()).digest()
    record = KeyRecord(identity=identity, digest=digest, created_us=now, **about)
    return f"{PREFIX}_{identity}_{secret}", record


class Keys:
    """The keys of a store, read again every second so that revocation takes effect."""

    def __init__(self, store: BudgetStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._known: Mapping[str, KeyRecord] = {}
        self._callers: dict[str, Known] = {}
        self._read_at = 0

    async def refresh(self) -> None:
        """Read the keys. Raises BudgetStoreError."""
        found = {key.identity: key for key in await self._store.keys()}
        if found != self._known:
            self._known = found
            self._callers = {
                identity: Known(key.caller(), key.models, key.endpoints) for identity, key in found.items()
            }
        self._read_at = self._clock()

    async def keep(self) -> None:
        """Refresh until cancelled."""
        while True:
            await asyncio.sleep(KEYS_EVERY_SECONDS)
            try:
                await self.refresh()
            except BudgetStoreError as error:
                _log.error("%s", error)

    async def known(self, token: str, now: int) -> Known:
        """The caller of a key; of one that is not known the store is asked, so that new ones work at once.

        Raises CallerError.
        """
        identity = token.split("_", 2)[1]
        if identity not in self._known and now - self._read_at >= KEYS_AGAIN_US:
            self._read_at = now
            try:
                await self.refresh()
            except BudgetStoreError as error:
                _log.error("%s", error)
                raise CallerError("keys cannot be read now", unavailable=True) from None
        return self.verify(token, now)

    def verify(self, token: str, now: int) -> Known:
        """The caller of a key among those read last. Raises CallerError."""
        _, _, rest = token.partition("_")
        identity, _, secret = rest.partition("_")
        key = self._known.get(identity)
        digest = hashlib.sha256(secret.encode()).digest()
        # A key that is not there costs the same comparison as one that is.
        same = hmac.compare_digest(digest, key.digest if key else bytes(32))
        if key is None or not same or not key.valid(now):
            raise CallerError("this key is not known, has expired or was revoked")
        return self._callers[identity]


class Callers:
    """Finds out who calls, by whatever credentials the configuration takes."""

    def __init__(self, keys: Keys | None, verifiers: tuple[Verifier, ...], clock: Clock) -> None:
        self._keys = keys
        self._verifiers = verifiers
        self._clock = clock
        self._remembered: OrderedDict[bytes, tuple[Known, int]] = OrderedDict()

    async def refresh_keys(self) -> None:
        """Read the keys now. Raises BudgetStoreError."""
        if self._keys is not None:
            await self._keys.refresh()

    async def identify(self, authorization: bytes | None) -> Known:
        """The caller that an Authorization header names. Raises CallerError."""
        if authorization is None:
            raise CallerError("send a credential: Authorization: Bearer ...")
        scheme, _, raw = authorization.partition(b" ")
        if scheme.lower() != b"bearer" or not raw or len(raw) > MAX_TOKEN_BYTES:
            raise CallerError("send a credential: Authorization: Bearer ...")
        try:
            token = raw.decode("ascii").strip()
        except UnicodeDecodeError:
            raise CallerError("the credential holds characters that no credential has") from None
        now = self._clock()
        if token.startswith(f"{PREFIX}_"):
            if self._keys is None:
                raise CallerError("keys are not taken here")
            return await self._keys.known(token, now)
        place = hashlib.sha256(raw).digest()
        remembered = self._remembered.get(place)
        if remembered is not None and now < remembered[1]:
            return remembered[0]
        return await self._verified(token, place, now)

    async def _verified(self, token: str, place: bytes, now: int) -> Known:
        issuer = issuer_of(token)
        verifier = next((one for one in self._verifiers if one.claims(issuer)), None)
        if verifier is None:
            raise CallerError("no issuer of this token is trusted here")
        found, until = await verifier.verify(token, now)
        self._remembered[place] = (found, until)
        if len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)
        return found


class _Claims(msgspec.Struct):
    iss: str = ""


def issuer_of(token: str) -> str:
    """The issuer that a token names, unverified: only to choose who verifies it. Raises CallerError."""
    pieces = token.split(".")
    if len(pieces) != 3:
        raise CallerError("the credential is neither a key nor a signed token")
    try:
        payload = urlsafe_b64decode(pieces[1] + "=" * (-len(pieces[1]) % 4))
        return msgspec.json.decode(payload, type=_Claims).iss
    except (ValueError, msgspec.DecodeError):
        raise CallerError("the credential is not a token") from None
