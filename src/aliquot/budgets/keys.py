"""Keys of callers: what is kept of one, and what it permits. The secret itself is kept nowhere."""

import msgspec

from aliquot.budgets.spending import Caller, Endpoint


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A key as stored.

    identity: names the key, appears in records. digest: SHA-256 of the secret, which has 256 random bits, so
    that a slow hash would add nothing. models, endpoints: what it may be used for; empty: everything that
    its caller may. expires_us, revoked_us: 0 for never.
    """

    identity: str
    digest: bytes
    created_us: int
    expires_us: int = 0
    revoked_us: int = 0
    namespace: str = ""
    service_account: str = ""
    queue: str = ""
    agent: str = ""
    user: str = ""
    models: tuple[str, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    note: str = ""

    def valid(self, now: int) -> bool:
        """Whether the key may be used at `now`, microseconds."""
        return not self.revoked_us and (not self.expires_us or now < self.expires_us)

    def caller(self) -> Caller:
        """Who uses it. Its session is the key itself: a task that needs a session of its own gets a key."""
        return Caller(
            namespace=self.namespace,
            service_account=self.service_account,
            agent=self.agent,
            key=self.identity,
            queue=self.queue,
            session=f"key:{self.identity}",
            user=self.user,
        )
