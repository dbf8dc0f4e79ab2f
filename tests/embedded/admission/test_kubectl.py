"""The manifests and the policies through the real kubectl."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from importlib import resources
from typing import Any

from aliquot.embedded.admission import Admission
from aliquot.embedded.server import EmbeddedServer

Kubectl = Callable[..., Awaitable[Any]]

CLAIM = """
apiVersion: resource.k8s.io/v1
kind: ResourceClaim
metadata: {name: c, namespace: default}
spec:
  devices:
    requests:
    - name: gpu
      exactly: {deviceClassName: gpu.nvidia.com}
"""


async def test_the_manifests_apply_as_a_folder_and_hold_against_people(
    server: EmbeddedServer, kubectl: Kubectl
) -> None:
    server.registry.admission = Admission(server.registry)
    folder = str(resources.files("aliquot.manifests"))
    await kubectl("apply", "-k", folder)
    again = await kubectl("apply", "-k", folder)
    lines = [line for line in again.out.splitlines() if line]
    assert lines
    assert [line for line in lines if not line.endswith("unchanged")] == []
    await kubectl("apply", "-f", "-", input=CLAIM)
    results = [{"request": "gpu", "driver": "gpu.nvidia.com", "pool": "n1", "device": "gpu-0"}]
    patch = json.dumps({"status": {"allocation": {"devices": {"results": results}}}})
    forged = await kubectl(
        "patch", "resourceclaim", "c", "--subresource=status", "--type=merge", "-p", patch, ok=False
    )
    assert forged.code == 1
    assert "denied request: only Aliquot allocates devices of driver gpu.nvidia.com" in forged.err
    await kubectl("create", "namespace", "team")
    await kubectl("label", "namespace", "team", "aliquot.dev/managed=true")
    await kubectl("run", "p", "-n", "team", "--image=work", "--overrides", json.dumps(_asking()))
    shown = await kubectl("get", "pod", "p", "-n", "team", "-o", "jsonpath={.spec.schedulingGates[*].name}")
    assert shown.out == "aliquot.dev/placement"


def _asking() -> dict[str, Any]:
    container = {"name": "p", "image": "work", "resources": {"limits": {"nvidia.com/mig-1g.5gb": "1"}}}
    return {"spec": {"containers": [container]}}
