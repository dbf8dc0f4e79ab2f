"""Which records somebody looks for."""

import msgspec

from aliquot.audit.record import Body, Kind, Outcome

EQUAL = (
    "kind",
    "outcome",
    "namespace",
    "service_account",
    "agent",
    "key",
    "queue",
    "model",
    "request",
    "session",
    "policy",
    "reason",
)
"""The fields of a body that are looked for by equality."""


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """Conditions that all have to be met; None and "" are none.

    since_us, until_us: from `since_us` to before `until_us`. after: records behind this sequence number.
    """

    kind: Kind | None = None
    outcome: Outcome | None = None
    namespace: str = ""
    service_account: str = ""
    agent: str = ""
    key: str = ""
    queue: str = ""
    model: str = ""
    request: str = ""
    session: str = ""
    policy: str = ""
    reason: str = ""
    since_us: int | None = None
    until_us: int | None = None
    after: int = 0

    def wanted(self) -> dict[str, str]:
        """The fields to compare, with their values."""
        return {name: str(value) for name in EQUAL if (value := getattr(self, name))}

    def matches(self, body: Body) -> bool:
        if body.seq <= self.after:
            return False
        if self.since_us is not None and body.time_us < self.since_us:
            return False
        if self.until_us is not None and body.time_us >= self.until_us:
            return False
        return all(str(getattr(body, name)) == value for name, value in self.wanted().items())
