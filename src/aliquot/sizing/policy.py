"""What an operator may choose about sizes: which modes, how much risk, how much slower."""

import msgspec

from aliquot.sizing.parts import Isolation, Mode


class SizingPolicy(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """modes: ways of giving out devices that may be recommended.

    risk: probability with which an hour may need more memory than the part has (`extremes`). margin_percent:
    what a part has at least above the highest memory seen. growth_percent: growth of memory that is
    expected besides, such as of models to come. least_hours: with less history nothing smaller is
    recommended.

    delayed_percent, delayed_percent_batch: how much of its work may come later than it did, when its history
    is replayed on the part; for work that somebody waits for, and for batch and training. backlog_seconds:
    for how long work that somebody waits for may be behind. stretch: how many times as long a short burst may
    take on a part with less compute; None for any.

    isolation: what neighbours may not do where a workload says nothing itself (none, memory, fault, device);
    isolation_of: the same by queue. peer_bytes_per_second: peer-to-peer traffic above this counts as such.
    """

    modes: tuple[Mode, ...] = (
        Mode.EXCLUSIVE,
        Mode.MIG,
        Mode.MPS,
        Mode.TIME_SLICING,
        Mode.CONSUMABLE,
        Mode.AMD_PARTITION,
    )
    risk: float = 0.001
    margin_percent: int = 15
    growth_percent: int = 0
    least_hours: int = 6
    delayed_percent: int = 5
    delayed_percent_batch: int = 10
    backlog_seconds: int = 300
    stretch: float | None = None
    isolation: str = "memory"
    isolation_of: dict[str, str] = {}
    peer_bytes_per_second: int = 1_000_000

    def isolation_in(self, queue: str) -> Isolation:
        """What neighbours may not do to work of this queue. Raises ValueError for a word that is none."""
        return isolation_of_word(self.isolation_of.get(queue, self.isolation))


def isolation_of_word(word: str) -> Isolation:
    """none, memory, fault or device. Raises ValueError."""
    try:
        return Isolation[word.strip().upper()]
    except KeyError:
        known = ", ".join(item.word for item in Isolation)
        raise ValueError(f"{word!r} is no isolation; write one of {known}") from None
