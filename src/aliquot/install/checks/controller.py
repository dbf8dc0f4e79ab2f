"""The controller: installed, running, of this version, and deciding."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from aliquot import __version__, manifests
from aliquot.install.cluster import Cluster, moment
from aliquot.install.findings import Finding, error, info, ok, warning
from aliquot.install.removing import LEASE

Json = dict[str, Any]


async def check(cluster: Cluster) -> AsyncIterator[Finding]:
    """Deployment and lease."""
    deployment = await cluster.get("apps/v1", "Deployment", manifests.SERVICE_ACCOUNT, manifests.NAMESPACE)
    if deployment is None:
        fix = "`aliquot install`, unless the controller runs elsewhere"
        yield info("controller/deployment", "the cluster has no Deployment of the controller", fix)
    else:
        yield _deployment(deployment)
        image = str(deployment["spec"]["template"]["spec"]["containers"][0].get("image", ""))
        tag = image.rpartition(":")[2] if "@" not in image else ""
        if tag and "/" not in tag and tag != __version__:
            text = f"the controller is {image}, and this command {__version__}"
            fix = "use the same version of both; `aliquot install` brings the cluster to this one"
            yield warning("controller/version", text, fix, image=image, version=__version__)
    yield _lease(
        await cluster.get("coordination.k8s.io/v1", "Lease", LEASE, manifests.NAMESPACE), datetime.now(UTC)
    )


def _deployment(deployment: Json) -> Finding:
    wanted = int(deployment["spec"].get("replicas", 1))
    status = deployment.get("status") or {}
    ready = int(status.get("readyReplicas") or 0)
    if ready == 0:
        fix = f"kubectl -n {manifests.NAMESPACE} describe pods; kubectl logs deploy/aliquot-controller"
        return error("controller/deployment", f"none of {wanted} replicas is ready", fix, ready=0)
    if ready < wanted:
        fix = f"kubectl -n {manifests.NAMESPACE} describe pods says why the others are not"
        return warning("controller/deployment", f"{ready} of {wanted} replicas are ready", fix, ready=ready)
    return ok("controller/deployment", f"{ready} replicas are ready", ready=ready)


def _lease(lease: Json | None, now: datetime) -> Finding:
    fix = "see the controller's log: it must reach the API server and may not be refused the lease"
    spec = (lease or {}).get("spec") or {}
    holder = spec.get("holderIdentity") or ""
    if not holder:
        return error("controller/leader", "no controller holds the lease: nothing is decided", fix)
    renewed = moment(spec.get("renewTime"))
    seconds = float(spec.get("leaseDurationSeconds") or 15)
    if renewed is None or (now - renewed).total_seconds() > 4 * seconds:
        text = f"{holder} holds the lease and does not renew it: nothing is decided"
        return error("controller/leader", text, fix, holder=holder)
    return ok("controller/leader", f"{holder} decides", holder=holder)
