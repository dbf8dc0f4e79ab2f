"""Which devices a list of CEL selectors matches, remembered per pool and per shape of device.

A compiled selector tells which attributes and capacities it reads. Devices of one driver that agree in
those give the same result, so that a selector over 40,000 alike devices is evaluated a few times.
"""

from aliquot.dra.features import Features, KubernetesVersion
from aliquot.dra.pools import Pool

MAX_REMEMBERED = 100_000
"""Shapes remembered per selector before the memory is emptied."""

MAX_MATCHERS = 1_000
"""Lists of selectors remembered before the memory is emptied."""


class Matchers:
    def __init__(self, features: Features, kubernetes: KubernetesVersion) -> None:
        self.features = features

    def forget(self, pool: Pool) -> None:
        pass
