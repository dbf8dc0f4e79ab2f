"""What a tenant is kept in: Kubernetes objects, made of its declaration alone.

The only way out of the namespace is the gateway: a NetworkPolicy that denies everything, and one that lets
the tenant's pods reach the gateway's pods. NetworkPolicies add up, so nobody in the tenant may write one, and
the pods may not leave the RuntimeClass (policy-tenants.yaml holds both by the namespace's labels).
Sources: Kubernetes documentation, "Network Policies", "Pod Security Standards", "Runtime Class", "Resource
Quotas"; KubeVirt user guide, "Host Devices Assignment" and "DRA".
"""

from typing import Any

from aliquot.agents.tenant import DeviceMode, Isolation, Tenant

Document = dict[str, Any]

LABEL_TENANT = "aliquot.dev/tenant"
LABEL_ISOLATION = "aliquot.dev/isolation"
LABEL_RUNTIME_CLASS = "aliquot.dev/runtime-class"
LABEL_MODELS = "aliquot.dev/models"
LABEL_MANAGED = "aliquot.dev/managed"
LABEL_QUEUE = "aliquot.dev/queue"
LABEL_PODS = "aliquot.dev/pods"
LABEL_AGENT = "aliquot.dev/agent"

RUNTIME_CLASSES = {
    Isolation.SANDBOX: ("gvisor", "runsc"),
    Isolation.VIRTUAL_MACHINE: ("kata", "kata"),
}
"""RuntimeClass and handler by isolation where the tenant names none (gVisor and Kata documentation)."""

AUDIENCE = "aliquot-gateway"
"""The audience of the service-account tokens that the gateway takes."""


def contain(tenant: Tenant) -> tuple[Document, ...]:
    """Everything that the declaration stands for, in the order in which it is applied."""
    documents = [_namespace(tenant)]
    runtime_class = runtime_class_of(tenant)
    if runtime_class is not None:
        documents.append(_runtime_class(tenant, *runtime_class))
    documents += [*_network(tenant), *_quota(tenant), *_agents(tenant)]
    if tenant.spec.queue is not None:
        documents.append(_queue(tenant))
    if tenant.spec.budget is not None:
        documents.append(_budget(tenant))
    documents += _machines(tenant)
    return tuple(documents)


def runtime_class_of(tenant: Tenant) -> tuple[str, str] | None:
    """Name and handler of the RuntimeClass of the tenant's pods; None if they need none."""
    spec = tenant.spec
    if spec.isolation is Isolation.NONE or spec.virtual_machine is not None:
        return None
    name, handler = RUNTIME_CLASSES[spec.isolation]
    return (spec.runtime_class.name or name, spec.runtime_class.handler or handler)


def _labels(tenant: Tenant, **more: str) -> dict[str, str]:
    return {
        "app.kubernetes.io/managed-by": "aliquot",
        LABEL_TENANT: tenant.name,
        **more,
    }


def _object(tenant: Tenant, api_version: str, kind: str, name: str, **fields: Any) -> Document:
    """A document in the tenant's namespace."""
    metadata = {"name": name, "namespace": tenant.home, "labels": _labels(tenant)}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **fields}


def _namespace(tenant: Tenant) -> Document:
    spec = tenant.spec
    labels = {
        LABEL_MANAGED: "true",
        LABEL_MODELS: "enforced",
        LABEL_ISOLATION: spec.isolation.value,
    }
    if spec.virtual_machine is not None:
        # KubeVirt's own pods need capabilities that Pod Security forbids; only KubeVirt may make pods here.
        labels |= {"pod-security.kubernetes.io/enforce": "privileged", LABEL_PODS: "virtual-machines"}
    else:
        for mode in ("enforce", "audit", "warn"):
            labels[f"pod-security.kubernetes.io/{mode}"] = "restricted"
    if spec.queue is not None:
        labels[LABEL_QUEUE] = tenant.name
    runtime_class = runtime_class_of(tenant)
    if runtime_class is not None:
        labels[LABEL_RUNTIME_CLASS] = runtime_class[0]
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": tenant.home, "labels": _labels(tenant, **labels)},
    }


def _runtime_class(tenant: Tenant, name: str, handler: str) -> Document:
    document: Document = {
        "apiVersion": "node.k8s.io/v1",
        "kind": "RuntimeClass",
        # Several tenants may share one, so it is nobody's own.
        "metadata": {"name": name, "labels": {"app.kubernetes.io/managed-by": "aliquot"}},
        "handler": handler,
    }
    if tenant.spec.runtime_class.node_selector:
        document["scheduling"] = {"nodeSelector": dict(tenant.spec.runtime_class.node_selector)}
    return document


def _network(tenant: Tenant) -> list[Document]:
    gateway = tenant.spec.gateway
    out = [
        {
            "to": [
                {
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": gateway.namespace}},
                    "podSelector": {"matchLabels": dict(gateway.pod_labels)},
                }
            ],
            "ports": [{"protocol": "TCP", "port": gateway.port}],
        }
    ]
    if tenant.spec.dns:
        out.append(
            {
                "to": [
                    {
                        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
                        "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
                    }
                ],
                "ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}],
            }
        )
    kind = ("networking.k8s.io/v1", "NetworkPolicy")
    closed = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    opened = {"podSelector": {}, "policyTypes": ["Egress"], "egress": out}
    return [
        _object(tenant, *kind, "deny-everything", spec=closed),
        _object(tenant, *kind, "gateway-only", spec=opened),
    ]


def _quota(tenant: Tenant) -> list[Document]:
    hard = {name: str(amount) for name, amount in sorted(tenant.spec.quota.items())}
    # A way in or out that NetworkPolicy does not see is not given out at all.
    hard = {"services.loadbalancers": "0", "services.nodeports": "0", **hard}
    documents = [_object(tenant, "v1", "ResourceQuota", "tenant", spec={"hard": hard})]
    # Where a quota counts requests, pods without any are refused; these are for those that name none.
    default = {
        resource: amount
        for resource, amount in (("cpu", "100m"), ("memory", "256Mi"))
        if {resource, f"requests.{resource}", f"limits.{resource}"} & tenant.spec.quota.keys()
    }
    if default:
        item = {"type": "Container", "default": dict(default), "defaultRequest": default}
        documents.append(_object(tenant, "v1", "LimitRange", "tenant", spec={"limits": [item]}))
    return documents


def _agents(tenant: Tenant) -> list[Document]:
    documents = [
        # No token for the Kubernetes API: agents mount one for the gateway, with its audience.
        _object(tenant, "v1", "ServiceAccount", agent.name, automountServiceAccountToken=False)
        for agent in tenant.spec.agents
    ]
    # "default" is the account of every pod that names none.
    documents.append(_object(tenant, "v1", "ServiceAccount", "default", automountServiceAccountToken=False))
    if tenant.spec.gateway.url:
        data = {"OPENAI_BASE_URL": tenant.spec.gateway.url}
        documents.append(_object(tenant, "v1", "ConfigMap", "aliquot-gateway", data=data))
    return documents


def _queue(tenant: Tenant) -> Document:
    queue = tenant.spec.queue
    assert queue is not None
    spec: Document = {}
    if queue.parent:
        spec["parent"] = queue.parent
    if queue.priority is not None:
        spec["priority"] = queue.priority
    gpu: Document = {"name": "gpu"}
    if queue.gpu_quota is not None:
        gpu["quota"] = str(queue.gpu_quota)
    if queue.gpu_limit is not None:
        gpu["limit"] = str(queue.gpu_limit)
    spec["resources"] = [gpu]
    metadata = {"name": tenant.name, "labels": _labels(tenant)}
    return {"apiVersion": "aliquot.dev/v1alpha1", "kind": "Queue", "metadata": metadata, "spec": spec}


def _budget(tenant: Tenant) -> Document:
    spec = {**(tenant.spec.budget or {}), "subject": {"namespace": tenant.home}}
    metadata = {"name": tenant.name, "labels": _labels(tenant)}
    return {"apiVersion": "aliquot.dev/v1alpha1", "kind": "TokenBudget", "metadata": metadata, "spec": spec}


def _machines(tenant: Tenant) -> list[Document]:
    spec, machine = tenant.spec, tenant.spec.virtual_machine
    if machine is None:
        return []
    documents: list[Document] = []
    devices: list[Document] = []
    claims: list[Document] = []
    given = spec.devices
    if given.mode is not DeviceMode.CLAIM:
        if given.device_class_name:
            request = {
                "name": "gpu",
                "exactly": {"deviceClassName": given.device_class_name, "count": given.count},
            }
            template = {"spec": {"devices": {"requests": [request]}}}
            documents.append(
                _object(tenant, "resource.k8s.io/v1", "ResourceClaimTemplate", "devices", spec=template)
            )
            claims = [{"name": "devices", "resourceClaimTemplateName": "devices"}]
            devices = [{"name": "gpu", "claimName": "devices", "requestName": "gpu"}]
        else:
            devices = [
                {"name": f"gpu-{number}", "deviceName": given.device_name} for number in range(given.count)
            ]
    for number in range(machine.replicas):
        documents.append(_machine(tenant, f"{tenant.name}-{number}", devices, claims))
    return documents


def _machine(tenant: Tenant, name: str, devices: list[Document], claims: list[Document]) -> Document:
    machine = tenant.spec.virtual_machine
    assert machine is not None
    domain: Document = {
        "cpu": {"cores": machine.cores},
        "memory": {"guest": str(machine.memory)},
        "devices": {
            "disks": [{"name": "root", "disk": {"bus": "virtio"}}],
            "interfaces": [{"name": "default", "masquerade": {}}],
        },
    }
    if devices:
        domain["devices"]["gpus"] = devices
    pod: Document = {
        "domain": domain,
        "networks": [{"name": "default", "pod": {}}],
        "volumes": [{"name": "root", "containerDisk": {"image": machine.image}}],
    }
    if claims:
        pod["resourceClaims"] = claims
    template = {"metadata": {"labels": _labels(tenant)}, "spec": pod}
    spec = {"runStrategy": "Always", "template": template}
    return _object(tenant, "kubevirt.io/v1", "VirtualMachine", name, spec=spec)
