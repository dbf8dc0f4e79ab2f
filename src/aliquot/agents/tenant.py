"""Tenant (aliquot.dev/v1alpha1): one declaration of who works apart from others, and under which limits."""

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

import msgspec

from aliquot.agents.guards import Limits
from aliquot.cel.quantity import Quantity
from aliquot.model.kinds import ObjectError, convert
from aliquot.model.meta import KubernetesObject, Record

API_VERSION = "aliquot.dev/v1alpha1"
KIND = "Tenant"
MICRO = 10**6

Money = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,12}(\.[0-9]{1,6})?$")]
Count = Annotated[int, msgspec.Meta(ge=0)]


class Isolation(StrEnum):
    """What keeps the tenant's processes from the kernel of the node."""

    NONE = "None"
    SANDBOX = "Sandbox"
    VIRTUAL_MACHINE = "VirtualMachine"


class DeviceMode(StrEnum):
    """How accelerators come to a machine."""

    CLAIM = "Claim"
    PASSTHROUGH = "Passthrough"
    VGPU = "VGPU"


class RuntimeClass(Record, frozen=True):
    """name and handler of a RuntimeClass (node.k8s.io/v1); "": as the isolation has them."""

    name: str = ""
    handler: str = ""
    node_selector: dict[str, str] = msgspec.field(default_factory=dict)


class VirtualMachine(Record, frozen=True):
    """KubeVirt machines. image: a container disk."""

    image: str = ""
    cores: int = 2
    memory: Quantity = Quantity(0)
    replicas: int = 1


class Devices(Record, frozen=True):
    """device_class_name: of a DRA driver. device_name: among KubeVirt's permittedHostDevices."""

    mode: DeviceMode = DeviceMode.CLAIM
    device_class_name: str = ""
    device_name: str = ""
    count: int = 1


class GuardLimits(Record, frozen=True):
    """Limits of agents, money as decimals; see `agents.guards.Limits`."""

    calls_per_minute: Count | None = None
    open_calls: Count | None = None
    tokens_per_minute: Count | None = None
    spend_per_minute: Money | None = None
    calls_per_task: Count | None = None
    rounds_per_task: Count | None = None
    spend_per_task: Money | None = None
    tasks: Count | None = None
    depth: Count | None = None
    repeats: Count | None = None


class Agent(Record, frozen=True):
    """name: of its service account, too. guards: instead of the tenant's."""

    name: str = ""
    guards: GuardLimits | None = None


class Gateway(Record, frozen=True):
    """Where the gateway is. url: what agents call."""

    namespace: str = "aliquot-system"
    pod_labels: dict[str, str] = msgspec.field(
        default_factory=lambda: {"app.kubernetes.io/name": "aliquot-gateway"}
    )
    port: int = 8088
    url: str = ""


class TenantQueue(Record, frozen=True):
    """The tenant's Queue; None: not said."""

    parent: str = ""
    priority: int | None = None
    gpu_quota: Quantity | None = None
    gpu_limit: Quantity | None = None


class TenantSpec(Record, frozen=True):
    """budget: the fields of a TokenBudget without its subject, which is the tenant's namespace."""

    namespace: str = ""
    isolation: Isolation = Isolation.SANDBOX
    runtime_class: RuntimeClass = RuntimeClass()
    virtual_machine: VirtualMachine | None = None
    devices: Devices = Devices()
    agents: tuple[Agent, ...] = ()
    guards: GuardLimits = GuardLimits()
    gateway: Gateway = Gateway()
    dns: bool = False
    quota: dict[str, Quantity] = msgspec.field(default_factory=dict)
    queue: TenantQueue | None = None
    budget: dict[str, Any] | None = None


class Tenant(KubernetesObject, frozen=True, tag_field="kind", tag=KIND):
    spec: TenantSpec = TenantSpec()

    @property
    def home(self) -> str:
        """The tenant's namespace."""
        return self.spec.namespace or self.name

    def agent_names(self) -> tuple[str, ...]:
        """The agents as the gateway knows them: `namespace/name`."""
        return tuple(f"{self.home}/{agent.name}" for agent in self.spec.agents)

    def guard_limits(self) -> dict[str, Limits]:
        """The limits of each agent, by the name that the gateway knows."""
        return {
            f"{self.home}/{agent.name}": limits(agent.guards or self.spec.guards)
            for agent in self.spec.agents
        }


def parse(document: Mapping[str, Any]) -> Tenant:
    """The tenant of a JSON document. Raises ObjectError with the field, the problem and the fix."""
    metadata = document.get("metadata")
    name = str(metadata.get("name", "")) if isinstance(metadata, Mapping) else ""
    if document.get("apiVersion") != API_VERSION:
        raise ObjectError(
            KIND, name, "apiVersion", f"is {document.get('apiVersion')!r}, must be {API_VERSION}"
        )
    try:
        found: Tenant = convert(document, Tenant)
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at `$")
        raise ObjectError(KIND, name, path.strip("`."), problem) from None
    _check(found)
    return found


def _check(tenant: Tenant) -> None:
    spec = tenant.spec
    machines = spec.virtual_machine is not None
    if machines and spec.isolation is not Isolation.VIRTUAL_MACHINE:
        raise ObjectError(
            KIND, tenant.name, "spec.isolation", "is not VirtualMachine, as spec.virtualMachine needs"
        )
    if spec.devices.mode is not DeviceMode.CLAIM:
        if not machines:
            raise ObjectError(
                KIND, tenant.name, "spec.devices.mode", "needs spec.virtualMachine; or write Claim"
            )
        if bool(spec.devices.device_class_name) == bool(spec.devices.device_name):
            raise ObjectError(
                KIND, tenant.name, "spec.devices", "needs one of deviceClassName and deviceName"
            )
    if not spec.dns and spec.agents and not spec.gateway.url:
        raise ObjectError(
            KIND,
            tenant.name,
            "spec.gateway.url",
            "is needed where dns is not allowed; give the address of the gateway's Service",
        )


def limits(found: GuardLimits) -> Limits:
    """Limits as the guards count: money in micro-units."""
    return Limits(
        calls_per_minute=found.calls_per_minute,
        open_calls=found.open_calls,
        tokens_per_minute=found.tokens_per_minute,
        spend_per_minute=_micro(found.spend_per_minute),
        calls_per_task=found.calls_per_task,
        rounds_per_task=found.rounds_per_task,
        spend_per_task=_micro(found.spend_per_task),
        tasks=Limits().tasks if found.tasks is None else found.tasks,
        depth=found.depth,
        repeats=found.repeats,
    )


def _micro(text: str | None) -> int | None:
    return None if text is None else int(Decimal(text) * MICRO)
