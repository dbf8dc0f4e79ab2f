"""`aliquot agents list|stop|resume`; `contain` is in `agents_contain`."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
import msgspec

from aliquot.agents.containment import LABEL_AGENT
from aliquot.agents.guards import Switch
from aliquot.agents.switches import NAME, entry, key_of, parse
from aliquot.agents.tenant import KIND, Tenant
from aliquot.agents.tenant import parse as parse_tenant
from aliquot.audit.record import Kind
from aliquot.cli.agents_contain import contain, plan_table
from aliquot.cli.cluster import Target, target_options
from aliquot.cli.failures import Failure
from aliquot.cli.governed import (
    API_VERSION,
    NAMESPACE,
    Json,
    audit_option,
    confirmed,
    recorded,
    run,
)
from aliquot.cli.output import FORMS, Column, Row, Table, note, say, write
from aliquot.install.cluster import Cluster
from aliquot.kube.errors import ApiError
from aliquot.model.kinds import ObjectError
from aliquot.store.switches import SwitchError, SwitchFile

_COLUMNS = (
    Column(title="AGENT", key="agent", least=14),
    Column(title="TENANT", key="tenant", drop=3),
    Column(title="ISOLATION", key="isolation", drop=1),
    Column(title="PODS", key="pods", right=True),
    Column(title="STATE", key="state"),
    Column(title="LIMITS", key="limits", drop=2),
    Column(title="STOPPED BY", key="by", wide=True),
    Column(title="REASON", key="reason", least=12),
)

_switches_option = click.option(
    "--switches",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="ALIQUOT_SWITCHES",
    default=None,
    help="The file of stopped agents of a gateway on this machine (or ALIQUOT_SWITCHES).",
)
_cluster_option = click.option(
    "--no-cluster", is_flag=True, help="Only the gateway of --switches; there is no cluster."
)


@click.group(short_help="List agents, contain them, and stop one at once.")
def agents() -> None:
    """Agents: what they are kept in, how far they may go, and the switch that stops one.

    An agent is called NAMESPACE/SERVICEACCOUNT, or by the name that its key or token gives it.
    """


agents.add_command(contain)


@agents.command("list", epilog="Exit status: 0 shown, 2 error.")
@_switches_option
@_cluster_option
@click.option("-o", "--output", type=click.Choice(FORMS), default="table", show_default=True)
@click.option("--no-headers", is_flag=True, help="Leave out the line of titles.")
@target_options
def list_(
    file: Path | None, no_cluster: bool, output: str, no_headers: bool, kubeconfig: str, context: str
) -> int:
    """List agents, with their pods, and who of them is stopped."""
    stopped = {switch.agent: switch for switch in _read(file)}
    tenants: list[Tenant] = []
    pods: list[Json] = []
    if not no_cluster:

        async def work(cluster: Cluster) -> tuple[list[Tenant], list[Json], tuple[Switch, ...]]:
            await cluster.resource(API_VERSION, KIND)
            documents = await cluster.list(API_VERSION, KIND)
            return _tenants(documents), await cluster.list("v1", "Pod"), await _stored(cluster)

        tenants, pods, kept = run(Target(kubeconfig, context), work)
        stopped = {switch.agent: switch for switch in kept} | stopped
    table = _table(tenants, pods, stopped)
    if not table.rows:
        note("no agents found; contain a tenant with: aliquot agents contain -f tenant.yaml")
    write(table, output, headers=not no_headers)
    return 0


@agents.command(epilog="Exit status: 0 stopped, 1 stopped, but pods stay, 2 error.")
@click.argument("agent")
@click.option("--reason", required=True, help="Why; the agent's callers are told.")
@click.option("--by", default="", help="Who stops it, for the record.")
@click.option("--keep-pods", is_flag=True, help="Cut its calls; leave its pods.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@audit_option
@_switches_option
@_cluster_option
@target_options
def stop(
    agent: str,
    reason: str,
    by: str,
    keep_pods: bool,
    yes: bool,
    audit_log: Path | None,
    file: Path | None,
    no_cluster: bool,
    kubeconfig: str,
    context: str,
) -> int:
    """Stop an agent: cut its calls at once, and evict its pods.

    The plan is shown first. Calls stay refused until `aliquot agents resume`. Pods leave through the Eviction
    API, so disruption budgets hold; those that may not leave are named.
    """
    _named(agent)
    if no_cluster and file is None:
        raise Failure("--no-cluster needs --switches, the file that the gateway reads")
    target = Target(kubeconfig, context)
    pods = [] if no_cluster or keep_pods else run(target, lambda cluster: _pods_of(cluster, agent))
    steps = [("cut calls", agent, "and refuse all new ones")]
    steps += [
        ("evict", f"pod/{pod['metadata']['namespace']}/{pod['metadata']['name']}", _phase(pod))
        for pod in pods
    ]
    write(plan_table(steps), "table")
    if not confirmed(f"Stop {agent}?", yes=yes):
        note("nothing was changed")
        return 2
    switch = Switch(agent=agent, by=by, reason=reason, at_us=time.time_ns() // 1000)
    if file is not None:
        try:
            SwitchFile(file).stop(switch)
        except SwitchError as error:
            raise Failure(str(error)) from None
    if no_cluster:
        recorded(audit_log, Kind.AGENT, "stop", agent, reason, by)
        note(f"{agent} is stopped")
        return 0

    async def work(cluster: Cluster) -> list[str]:
        await _keep(cluster, {key_of(agent): entry(switch)})
        return await _evict(cluster, pods)

    left = run(target, work)
    recorded(audit_log, Kind.AGENT, "stop", agent, reason, by)
    note(f"{agent} is stopped; {len(pods) - len(left)} of {len(pods)} pods leave")
    for problem in left:
        say(problem)
    return 1 if left else 0


def _named(agent: str) -> None:
    """Nobody is stopped by an empty name, such as that of a variable which is not set. Raises Failure."""
    if not agent.strip("/ "):
        raise Failure(
            f"{agent!r} names no agent; write NAMESPACE/SERVICEACCOUNT, or what its key or token says"
        )


@agents.command(epilog="Exit status: 0 it may call again, 1 it was not stopped, 2 error.")
@click.argument("agent")
@audit_option
@_switches_option
@_cluster_option
@target_options
def resume(
    agent: str,
    audit_log: Path | None,
    file: Path | None,
    no_cluster: bool,
    kubeconfig: str,
    context: str,
) -> int:
    """Let a stopped agent call again."""
    if no_cluster and file is None:
        raise Failure("--no-cluster needs --switches, the file that the gateway reads")
    was = False
    if file is not None:
        try:
            was = SwitchFile(file).resume(agent)
        except SwitchError as error:
            raise Failure(str(error)) from None
    if not no_cluster:

        async def work(cluster: Cluster) -> bool:
            if agent not in {switch.agent for switch in await _stored(cluster)}:
                return False
            await _keep(cluster, {key_of(agent): None})
            return True

        was = run(Target(kubeconfig, context), work) or was
    if was:
        recorded(audit_log, Kind.AGENT, "resume", agent, "")
    note(f"{agent} may call again" if was else f"{agent} was not stopped")
    return 0 if was else 1


def _read(file: Path | None) -> tuple[Switch, ...]:
    if file is None:
        return ()
    try:
        return SwitchFile(file).read()
    except SwitchError as error:
        raise Failure(str(error)) from None


async def _stored(cluster: Cluster) -> tuple[Switch, ...]:
    document = await cluster.get("v1", "ConfigMap", NAME, NAMESPACE)
    return parse((document or {}).get("data") or {})


async def _keep(cluster: Cluster, data: Mapping[str, str | None]) -> None:
    """Change entries of the ConfigMap of stopped agents, which is made if it is not there."""
    resource = await cluster.resource("v1", "ConfigMap")
    try:
        await cluster.client.patch(resource, NAME, {"data": dict(data)}, NAMESPACE)
    except ApiError as error:
        if not error.not_found:
            raise
        metadata = {"name": NAME, "namespace": NAMESPACE}
        kept = {key: text for key, text in data.items() if text is not None}
        document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": kept}
        await cluster.client.create(resource, document, NAMESPACE)


async def _pods_of(cluster: Cluster, agent: str) -> list[Json]:
    """The agent's pods: those under its service account, or with its name as label."""
    namespace, slash, _ = agent.partition("/")
    if not slash:
        return []
    pods = await cluster.list("v1", "Pod", namespace)
    return [pod for pod in pods if agent in _agents_of(pod) and _phase(pod) not in ("Succeeded", "Failed")]


def _agents_of(pod: Json) -> set[str]:
    metadata = pod["metadata"]
    namespace = metadata.get("namespace", "")
    names = {
        (metadata.get("labels") or {}).get(LABEL_AGENT),
        (pod.get("spec") or {}).get("serviceAccountName"),
    }
    return {f"{namespace}/{name}" for name in names if name}


async def _evict(cluster: Cluster, pods: Sequence[Json]) -> list[str]:
    """Ask each pod to leave; those that may not, with the reason."""
    left = []
    for pod in pods:
        metadata = pod["metadata"]
        try:
            await cluster.client.evict(metadata["name"], metadata["namespace"], uid=metadata.get("uid", ""))
        except ApiError as error:
            if not error.not_found:
                left.append(f"pod/{metadata['namespace']}/{metadata['name']} stays: {error.message}")
    return left


def _phase(pod: Json) -> str:
    return str((pod.get("status") or {}).get("phase", ""))


def _tenants(documents: Sequence[Json]) -> list[Tenant]:
    tenants = []
    for document in documents:
        try:
            tenants.append(parse_tenant(document))
        except ObjectError as error:
            note(f"note: {error}")
    return tenants


def _table(tenants: Sequence[Tenant], pods: Sequence[Json], stopped: Mapping[str, Switch]) -> Table:
    running: dict[str, int] = {}
    for pod in pods:
        if _phase(pod) not in ("Succeeded", "Failed"):
            for agent in _agents_of(pod):
                running[agent] = running.get(agent, 0) + 1
    rows = []
    declared: set[str] = set()
    for tenant in sorted(tenants, key=lambda one: one.name):
        for agent, limits in sorted(tenant.guard_limits().items()):
            declared.add(agent)
            chosen = msgspec.to_builtins(limits)
            default = msgspec.to_builtins(type(limits)())
            told = {key: value for key, value in chosen.items() if value != default[key]}
            rows.append(
                _row(agent, tenant.name, tenant.spec.isolation.value, running, stopped.get(agent), told)
            )
    # Who was stopped without being declared anywhere is still to be seen.
    rows += [_row(agent, "", "", running, stopped[agent], {}) for agent in sorted(stopped.keys() - declared)]
    return Table(kind="AgentTable", columns=_COLUMNS, rows=tuple(rows), summary={"agents": len(rows)})


def _row(
    agent: str,
    tenant: str,
    isolation: str,
    running: Mapping[str, int],
    switch: Switch | None,
    limits: Mapping[str, int],
) -> Row:
    pods = running.get(agent, 0)
    state = "Stopped" if switch else "Running" if pods else "Idle"
    shown = [f"{name.replace('_', ' ')} {amount}" for name, amount in limits.items()]
    return Row(
        name=f"agent/{agent}",
        cells=(
            agent,
            tenant,
            isolation,
            str(pods),
            state,
            "; ".join(shown[:2]) + (f"; +{len(shown) - 2}" if len(shown) > 2 else ""),
            switch.by if switch else "",
            switch.reason if switch else "",
        ),
        item={
            "agent": agent,
            "tenant": tenant,
            "isolation": isolation,
            "pods": pods,
            "state": state,
            "limits": dict(limits),
            "stopped": None
            if switch is None
            else {"by": switch.by, "reason": switch.reason, "atMicroseconds": switch.at_us},
        },
    )
