"""Small clusters and workloads to simulate."""

from typing import Any

from aliquot.catalog.fleet import expand, parse_fleet
from aliquot.model.kinds import decode
from aliquot.model.snapshot import Snapshot
from aliquot.simulation.workload import Workload

FLEET = """\
apiVersion: aliquot.dev/v1alpha1
kind: Fleet
metadata: {name: small}
nodes:
  - {count: NODES, type: dgx-h100, labels: {aliquot.dev/spot: "true"} FORM}
"""


def cluster(nodes: int, form: str = "plugin", *objects: dict[str, Any]) -> Snapshot:
    """Nodes of eight H100; form: "claims" (a DRA driver) or "plugin" (a device plugin)."""
    text = FLEET.replace("NODES", str(nodes)).replace(" FORM", ", legacy: {}" if form == "plugin" else "")
    return Snapshot.of(decode(item) for item in [*expand(parse_fleet(text, "fleet")), *objects])


def workload(name: str, **fields: Any) -> Workload:
    """A workload of which all pods are needed, unless something else is said."""
    fields.setdefault("minimum", fields.get("pods", 1))
    return Workload(name=name, **fields)


def queue(name: str, quota: int, parent: str = "") -> dict[str, Any]:
    """A queue with a quota of devices."""
    spec: dict[str, Any] = {"resources": [{"name": "gpu", "quota": str(quota)}]}
    if parent:
        spec["parent"] = parent
    return {"apiVersion": "aliquot.dev/v1alpha1", "kind": "Queue", "metadata": {"name": name}, "spec": spec}
