"""For how long records and what they keep of people is kept.

Retention drops whole records, the oldest first; redaction deletes private values of records that stay. Both
leave a record of themselves in the log, and both leave its chain verifiable (`audit.record`).
"""

from collections.abc import Mapping

import msgspec

from aliquot.audit.record import Body

DAY_US = 86_400_000_000


class KeepingPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """keep_days: records older than that are dropped; None: none ever is.

    private_days: for each name of a private value how long it is kept; `*`: all others. A name without
    an entry is kept as long as its record.
    """

    keep_days: int | None = None
    private_days: Mapping[str, int] = {}

    def dropped_before_us(self, now_us: int) -> int | None:
        """Records of before this moment are dropped; None: none is."""
        return None if self.keep_days is None else now_us - self.keep_days * DAY_US

    def expired(self, body: Body, now_us: int) -> frozenset[str]:
        """The names of a record's private values that are to be deleted now."""
        age_us = now_us - body.time_us
        found = set()
        for name in body.committed:
            days = self.private_days.get(name, self.private_days.get("*"))
            if days is not None and age_us > days * DAY_US:
                found.add(name)
        return frozenset(found)


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over records; what is dropped leaves its totals behind, so that sums over all time stay right."""

    records: int = 0
    cost_nano: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    microjoules: int = 0

    def plus(self, body: Body) -> "Totals":
        return Totals(
            records=self.records + 1,
            cost_nano=self.cost_nano + body.cost_nano,
            input_tokens=self.input_tokens + body.input_tokens,
            output_tokens=self.output_tokens + body.output_tokens,
            microjoules=self.microjoules + body.microjoules,
        )
