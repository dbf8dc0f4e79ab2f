"""What ``kubectl logs`` shows of a pod whose containers do not really run."""

from __future__ import annotations

from aliquot.embedded.hooks import Object
from aliquot.embedded.status import bad_request


def pod_log(pod: Object, container: str | None) -> str:
    """A few lines about the pod. Raises StatusError 400 for a container it does not have."""
    meta, spec, status = pod["metadata"], pod.get("spec") or {}, pod.get("status") or {}
    names = [one.get("name") for part in ("initContainers", "containers") for one in spec.get(part) or ()]
    name = container or (names[0] if len(names) == 1 else None)
    if name is None:
        raise bad_request(
            f"a container name must be specified for pod {meta['name']}, choose one of: {names}"
        )
    if name not in names:
        raise bad_request(f"container {name} is not valid for pod {meta['name']}")
    if not spec.get("nodeName"):
        raise bad_request(f'container "{name}" in pod "{meta["name"]}" is waiting to start: not scheduled')
    lines = [
        f"{name}: containers do not run in the embedded cluster; this pod is {status.get('phase', 'Pending')}"
    ]
    lines.append(f"{name}: node {spec['nodeName']}")
    for key in ("startTime", "podIP"):
        if key in status:
            lines.append(f"{name}: {key} {status[key]}")
    return "\n".join(lines) + "\n"
