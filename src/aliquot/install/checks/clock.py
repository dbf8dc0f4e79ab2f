"""Clocks: leases and waits compare times that different machines wrote."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

from aliquot.install.cluster import Cluster, decode, moment
from aliquot.install.findings import Finding, info, ok, unknown, warning
from aliquot.kube.errors import ApiError

TOLERATED_SECONDS = 5.0
_AUTHENTICATION = "authentication.k8s.io/v1"


async def check(cluster: Cluster) -> AsyncIterator[Finding]:
    """This machine's clock against the server's, and nodes' clocks against it."""
    before = datetime.now(UTC)
    server = await _server_time(cluster)
    after = datetime.now(UTC)
    if server is None:
        yield unknown("clock/here", "the server does not say its time")
        return
    # The server's time is cut to seconds.
    ahead = (before - server).total_seconds() - 1.0
    behind = (server - after).total_seconds()
    skew = ahead if ahead > 0 else -behind if behind > 0 else 0.0
    if abs(skew) > TOLERATED_SECONDS:
        word = "ahead of" if skew > 0 else "behind"
        text = f"this machine's clock is {abs(skew):.0f} s {word} the API server's"
        fix = "synchronise this machine's clock (chrony, systemd-timesyncd)"
        yield info("clock/here", text, fix, seconds=round(skew))
    else:
        yield ok("clock/here", "this machine's clock goes with the API server's")
    wrong = []
    count = 0
    try:
        async for lease in cluster.items("coordination.k8s.io/v1", "Lease", "kube-node-lease"):
            renewed = moment((lease.get("spec") or {}).get("renewTime"))
            count += 1
            if renewed is not None and (renewed - server).total_seconds() > TOLERATED_SECONDS:
                wrong.append(lease["metadata"]["name"])
    except ApiError as refused:
        yield unknown("clock/nodes", f"leases of nodes cannot be read: {refused.message[:120]}")
        return
    if wrong:
        text = f"{len(wrong)} nodes have clocks ahead of the API server's, such as {wrong[0]}"
        fix = "synchronise the clocks of these nodes; tolerations and waits are measured by them"
        yield warning("clock/nodes", text, fix, nodes=wrong)
    elif count:
        yield ok("clock/nodes", f"no clock of {count} nodes is ahead", nodes=count)


async def _server_time(cluster: Cluster) -> datetime | None:
    """When the server makes an object it writes down its time; nothing is stored."""
    resource = (await cluster.served(_AUTHENTICATION)).get("SelfSubjectReview")
    if resource is not None:
        body = {"apiVersion": _AUTHENTICATION, "kind": "SelfSubjectReview"}
        answer = decode(await cluster.client.request("POST", resource.path(), body=body, attempts=2))
        found = moment((answer.get("metadata") or {}).get("creationTimestamp"))
        if found is not None:
            return found
    probe = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"generateName": "aliquot-doctor-", "namespace": "default"},
    }
    try:
        return moment((await cluster.create_dry(probe))["metadata"].get("creationTimestamp"))
    except ApiError:
        return None
