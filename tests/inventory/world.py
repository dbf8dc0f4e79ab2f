"""Clusters from a fleet file and manifests, before and after one decision."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec
import yaml

from aliquot.catalog.fleet import expand, parse_fleet
from aliquot.cli import expansion
from aliquot.inventory.report import Report
from aliquot.model.kinds import KINDS, decode
from aliquot.model.snapshot import Snapshot
from aliquot.scheduling.apply import apply
from aliquot.scheduling.decide import decide
from aliquot.scheduling.plan import Plan
from aliquot.scheduling.policy import Policy

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)

FLEET = """
apiVersion: aliquot.dev/v1alpha1
kind: Fleet
nodes:
  - {count: 1, type: dgx-h100, name: plain, zone: a}
  - {count: 1, type: dgx-h100, name: split, zone: a, mig: {dynamic: true}}
  - {count: 1, type: dgx-a100, name: fixed, zone: b, mig: {layout: [1g.5gb, 1g.5gb, 2g.10gb, 3g.20gb]}}
  - {count: 1, type: l40s-pcie-4, name: shared, zone: b, shares: memory}
  - {count: 1, type: l4-pcie-4, name: old, zone: b, legacy: {replicas: 4}}
"""

QUEUES = """
apiVersion: aliquot.dev/v1alpha1
kind: Queue
metadata: {name: top}
spec: {resources: [{name: gpu, quota: 20}]}
---
apiVersion: aliquot.dev/v1alpha1
kind: Queue
metadata: {name: red}
spec: {parent: top, resources: [{name: gpu, quota: 4, limit: 8}]}
---
apiVersion: aliquot.dev/v1alpha1
kind: Queue
metadata: {name: blue}
spec: {parent: top, priority: 50}
---
apiVersion: v1
kind: Namespace
metadata: {name: red, labels: {aliquot.dev/managed: "true", aliquot.dev/queue: red}}
---
apiVersion: v1
kind: Namespace
metadata: {name: blue, labels: {aliquot.dev/managed: "true", aliquot.dev/queue: blue}}
"""


def claim(name: str, namespace: str, request: str, extra: str = "") -> str:
    """A ResourceClaim with one request, written in flow style."""
    return f"""
---
apiVersion: resource.k8s.io/v1
kind: ResourceClaim
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{devices: {{requests: [{{name: r, exactly: {{{request}}}}}]{extra}}}}}
"""


def pod(name: str, namespace: str, claim_name: str, node_selector: str = "") -> str:
    selector = f"nodeSelector: {{kubernetes.io/hostname: {node_selector}}}, " if node_selector else ""
    return f"""
---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{{selector}containers: [{{name: main, image: x, resources: {{claims: [{{name: c}}]}}}}],
  resourceClaims: [{{name: c, resourceClaimName: {claim_name}}}]}}
"""


@dataclass(frozen=True)
class World:
    """before: the input; plan: what is decided on it; after: once that is done and all pods run."""

    before: Snapshot
    plan: Plan
    after: Snapshot

    def report(self) -> Report:
        """Of the state after, with what is decided then about those that still wait."""
        policy = Policy()
        return Report.of(self.after, decide(self.after, policy, NOW + timedelta(seconds=1)), policy)


def world(manifests: str, fleet: str = FLEET) -> World:
    documents = [*expand(parse_fleet(fleet, "fleet")), *yaml.safe_load_all(manifests)]
    made = expansion.expand([document for document in documents if document], NOW)
    before = Snapshot.of(decode(item) for item in made if item["kind"] in KINDS)
    plan = decide(before, Policy(every_pod=True), NOW)
    after = apply(before, plan, NOW)
    replace = msgspec.structs.replace
    pods = tuple(
        replace(item, status=replace(item.status, phase="Running")) if item.spec.node_name else item
        for item in after.pods
    )
    return World(before, plan, replace(after, pods=pods))
