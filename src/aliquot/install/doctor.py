"""All checks of a cluster, by group."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import TypeAlias

from aliquot.install.checks import (
    admission,
    api,
    clock,
    controller,
    drivers,
    neighbours,
    permissions,
    pods,
    policies,
)
from aliquot.install.cluster import Cluster, NotServedError
from aliquot.install.findings import Finding, unknown
from aliquot.kube.errors import ApiError, TransportError

Check: TypeAlias = Callable[[Cluster], AsyncIterator[Finding]]

GROUPS: Mapping[str, Check] = {
    "api": api.check,
    "drivers": drivers.check,
    "permissions": permissions.check,
    "policies": policies.check,
    "admission": admission.check,
    "controller": controller.check,
    "clock": clock.check,
    "neighbours": neighbours.check,
    "pods": pods.check,
}
"""The checks by the name of their group, in the order in which they are made."""


async def examine(cluster: Cluster, groups: Iterable[str] = tuple(GROUPS)) -> list[Finding]:
    """The findings of these groups. What may not be read gives a finding `unknown`; raises TransportError
    only where the server cannot be reached at all.
    """
    await cluster.version()
    found: list[Finding] = []
    for group in groups:
        try:
            async for finding in GROUPS[group](cluster):
                found.append(finding)
        except ApiError as refused:
            fix = "run it as somebody who may read this" if refused.status in (401, 403) else ""
            found.append(unknown(f"{group}/readable", f"cannot be looked at: {refused}", fix))
        except (TransportError, NotServedError) as failed:
            found.append(unknown(f"{group}/readable", f"cannot be looked at: {failed}"))
    return found
