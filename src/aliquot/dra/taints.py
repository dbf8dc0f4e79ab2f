"""Which device taints a request tolerates (KEP-5055)."""

from collections.abc import Iterable, Mapping

from aliquot.dra.features import Features
from aliquot.dra.pools import BLOCKING_EFFECTS, Devices, Pool, set_of
from aliquot.model.resource import DeviceTaint, DeviceTaintRule, DeviceToleration


class DeviceTaints:
    """The blocking taints of devices, from slices and from taint rules."""

    def __init__(self, features: Features, rules: tuple[DeviceTaintRule, ...]) -> None:
        self.rules = rules if features.device_taints else ()
        self._by_pool: dict[Pool, Mapping[int, tuple[DeviceTaint, ...]]] = {}
        self._tainted: dict[Pool, Devices] = {}

    def of(self, pool: Pool) -> Mapping[int, tuple[DeviceTaint, ...]]:
        """The taints by device number."""
        if not self.rules:
            return pool.taints
        known = self._by_pool.get(pool)
        if known is None:
            known = self._by_pool[pool] = _with_rules(pool, self.rules)
        return known

    def tainted(self, pool: Pool) -> Devices:
        """The devices with any blocking taint."""
        known = self._tainted.get(pool)
        if known is None:
            known = self._tainted[pool] = set_of(self.of(pool))
        return known

    def forget(self, pool: Pool) -> None:
        """Drop what is remembered about a pool that is gone."""
        self._by_pool.pop(pool, None)
        self._tainted.pop(pool, None)


def tolerates(toleration: DeviceToleration, taint: DeviceTaint) -> bool:
    """Whether one toleration covers one taint.

    An empty effect covers all effects and an empty key all keys; an empty operator means Equal, which
    compares values even without a key.
    """
    if toleration.effect not in ("", taint.effect) or toleration.key not in ("", taint.key):
        return False
    if toleration.operator == "Exists":
        return True
    return toleration.operator in ("", "Equal") and toleration.value == taint.value


def untolerated(taints: Iterable[DeviceTaint], tolerations: Iterable[DeviceToleration]) -> DeviceTaint | None:
    """The first taint that none of the tolerations covers."""
    accepted = tuple(tolerations)
    for taint in taints:
        if not any(tolerates(each, taint) for each in accepted):
            return taint
    return None


def _with_rules(pool: Pool, rules: Iterable[DeviceTaintRule]) -> Mapping[int, tuple[DeviceTaint, ...]]:
    """Add what rules say to the taints of a pool's devices.

    A rule without selector selects nothing, one with an empty selector every device (KEP-5055).
    """
    taints = dict(pool.taints)
    for rule in rules:
        selector = rule.spec.device_selector
        if (
            selector is None
            or rule.spec.taint.effect not in BLOCKING_EFFECTS
            or selector.driver not in (None, pool.driver)
            or selector.pool not in (None, pool.name)
        ):
            continue
        if selector.device is None:
            chosen = range(len(pool.devices))
        elif selector.device in pool.names:
            number = pool.names[selector.device]
            chosen = range(number, number + 1)
        else:
            continue
        for index in chosen:
            taints[index] = (*taints.get(index, ()), rule.spec.taint)
    return taints
