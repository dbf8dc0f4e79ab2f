"""Which device taints a request tolerates (KEP-5055)."""

from collections.abc import Iterable

from aliquot.model.resource import DeviceTaint, DeviceToleration


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
