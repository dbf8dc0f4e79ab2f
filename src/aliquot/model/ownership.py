"""Which devices are Aliquot's to allocate: those of listed drivers, of all their pools or of some.

The list is the ConfigMap aliquot-system/aliquot-drivers: a key for each driver, whose value holds words
separated by single spaces. `pool=NAME` and `pool=BEGINNING*` say which of the driver's pools are Aliquot's;
without such a word all are. Other words are extended resources. The admission policies read the same words.

>>> listed = Ownership.of({"gpu.example.com": "example.com/gpu pool=rack-a-* pool=dgx-7"})
>>> listed.owns("gpu.example.com", "rack-a-3"), listed.owns("gpu.example.com", "rack-b-3")
(True, False)
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

POOL = "pool="
ANY = "*"


@dataclass(frozen=True, slots=True)
class Ownership:
    """pools: by listed driver the patterns for its pools; none where all are Aliquot's."""

    pools: Mapping[str, tuple[str, ...]]

    @staticmethod
    def of(listing: Mapping[str, str]) -> "Ownership":
        """What a list says."""
        return Ownership(
            {
                driver: tuple(word.removeprefix(POOL) for word in value.split(" ") if word.startswith(POOL))
                for driver, value in listing.items()
            }
        )

    @staticmethod
    def whole(drivers: Iterable[str]) -> "Ownership":
        """All pools of some drivers."""
        return Ownership(dict.fromkeys(drivers, ()))

    def owns(self, driver: str, pool: str) -> bool:
        """Whether devices of a pool are Aliquot's to allocate."""
        patterns = self.pools.get(driver)
        if not patterns:
            return patterns is not None
        return any(
            pool.startswith(pattern.removesuffix(ANY)) if pattern.endswith(ANY) else pool == pattern
            for pattern in patterns
        )

    @property
    def entries(self) -> frozenset[tuple[str, str]]:
        """Drivers with each of their patterns, or with ANY; what is new among them was handed over."""
        return frozenset(
            (driver, pattern) for driver, patterns in self.pools.items() for pattern in patterns or (ANY,)
        )
