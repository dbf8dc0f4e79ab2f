"""Tokens of OIDC issuers: signed by a key of the issuer's set, for this audience, not expired (RFC 7519)."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import jwt

from aliquot.budgets.spending import Caller
from aliquot.gateway.callers import CallerError, Known
from aliquot.gateway.configuration import Oidc
from aliquot.gateway.nesting import depth_of

KEYS_SECONDS = 300.0
KEYS_AGAIN_SECONDS = 10.0
"""A token with an unknown key makes the set be read again, this often at most."""
MAX_SET_BYTES = 1 << 20
FETCH_SECONDS = 5.0
REMEMBERED_US = 30_000_000
LEEWAY_SECONDS = 30


class OidcVerifier:
    """One issuer."""

    def __init__(self, settings: Oidc, folder: Path) -> None:
        self._settings = settings
        self._folder = folder
        self._keys: dict[str, jwt.PyJWK] = {}
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    def claims(self, issuer: str) -> bool:
        return issuer == self._settings.issuer

    async def verify(self, token: str, now: int) -> tuple[Known, int]:
        settings = self._settings
        try:
            header = jwt.get_unverified_header(token)
            if header.get("alg") not in settings.algorithms:
                raise CallerError("the token is signed with an algorithm that is not taken")
            key = await self._key(str(header.get("kid", "")))
            payload: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=list(settings.algorithms),
                audience=settings.audience,
                issuer=settings.issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud"]},
            )
        except jwt.PyJWTError as error:
            raise CallerError(f"the token is not valid: {type(error).__name__}") from None
        claims = settings.claims

        def text(claim: str) -> str:
            value = payload.get(claim, "") if claim else ""
            return value if isinstance(value, str) else ""

        user = text(claims.user)
        if not user:
            raise CallerError(f"the token has no claim {claims.user!r}")
        caller = Caller(
            namespace=text(claims.namespace),
            queue=text(claims.queue),
            agent=text(claims.agent),
            user=user,
            session=f"oidc:{text(claims.session) or user}",
        )
        until = min(now + REMEMBERED_US, int(payload["exp"]) * 1_000_000)
        return Known(caller, depth=depth_of(payload)), until

    async def _key(self, identity: str) -> jwt.PyJWK:
        loop = asyncio.get_running_loop()
        async with self._reading:
            age = loop.time() - self._read_at
            if age > KEYS_SECONDS or (identity not in self._keys and age > KEYS_AGAIN_SECONDS):
                try:
                    self._keys = {
                        key.key_id or "": key for key in jwt.PyJWKSet.from_json(await self._set()).keys
                    }
                except (OSError, aiohttp.ClientError, TimeoutError, jwt.PyJWTError, ValueError) as error:
                    self._read_at = loop.time() - KEYS_SECONDS + KEYS_AGAIN_SECONDS
                    if not self._keys:
                        raise CallerError(
                            f"the keys of {self._settings.issuer} cannot be read: {type(error).__name__}",
                            unavailable=True,
                        ) from None
                else:
                    self._read_at = loop.time()
        key = self._keys.get(identity)
        if key is None:
            raise CallerError("the token is signed with a key that its issuer does not have")
        return key

    async def _set(self) -> str:
        if self._settings.jwks_file:
            return (self._folder / self._settings.jwks_file).read_text("utf-8")
        timeout = aiohttp.ClientTimeout(total=FETCH_SECONDS)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(self._settings.jwks_url, allow_redirects=False) as answer,
        ):
            answer.raise_for_status()
            content = await answer.content.read(MAX_SET_BYTES + 1)
            if len(content) > MAX_SET_BYTES:
                raise ValueError("the set of keys is too large")
            return content.decode("utf-8")
