"""`aliquot uninstall`."""

import asyncio
import json

import click

from aliquot.cli.cluster import Target, target_options
from aliquot.cli.failures import Failure
from aliquot.cli.install import confirm
from aliquot.cli.output import API_VERSION, note, say
from aliquot.install.cluster import Cluster, subject
from aliquot.install.removing import Removal, StillRunningError, carry_out_removal, plan_removal
from aliquot.kube.client import Client
from aliquot.kube.credentials import CredentialError
from aliquot.kube.errors import ApiError, TransportError


@click.command(
    short_help="Take Aliquot off a cluster; no pod stays behind a gate.",
    epilog="Exit status: 0 done, 1 workloads hold the gate in their templates, 2 error.",
)
@target_options
@click.option("--dry-run", is_flag=True, help="Show the plan, and change nothing.")
@click.option("--with-resources", is_flag=True, help="Delete custom resources (queues, budgets ...), too.")
@click.option("--force", is_flag=True, help="Do not wait for a controller that goes on renewing its lease.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option(
    "--output", "-o", "form", type=click.Choice(("table", "json")), default="table", help="Form of the plan."
)
def uninstall(
    kubeconfig: str, context: str, dry_run: bool, with_resources: bool, force: bool, yes: bool, form: str
) -> None:
    """Take Aliquot off a cluster: show the plan, ask, do it.

    First no new pod is gated, then the controller stops, then others may allocate again, then all gates are
    lifted. Running pods keep their devices; pods that wait are placed by kube-scheduler. It can be run again
    if it was broken off.
    """
    status = asyncio.run(
        _uninstall(
            Target(kubeconfig, context),
            resources=with_resources,
            dry_run=dry_run,
            force=force,
            yes=yes,
            form=form,
        )
    )
    if status:
        raise click.exceptions.Exit(status)


async def _uninstall(
    target: Target, *, resources: bool, dry_run: bool, force: bool, yes: bool, form: str
) -> int:
    connection = target.connection()
    async with Client(connection) as client:
        cluster = Cluster(client)
        try:
            removal = await plan_removal(cluster, resources=resources)
            if dry_run:
                say(json.dumps(_document(removal), indent=2) if form == "json" else _plan(removal))
                return 1 if removal.templates else 0
            note(_plan(removal))
            confirm(f"Take Aliquot off {connection.server}?", yes=yes)
            await carry_out_removal(cluster, removal, click.echo, asyncio.sleep, force=force)
        except StillRunningError as error:
            raise Failure(
                f"{connection.server}: controller {error.holder} goes on renewing its lease, and there must "
                "not be two allocators; stop it and run this again, or give --force"
            ) from None
        except (ApiError, TransportError, CredentialError) as error:
            raise Failure(f"{connection.server}: {error}; run this again to go on") from None
    for text in removal.templates:
        note(f"{text} has the gate in its template: take it out, or its next pods wait for ever.")
    return 1 if removal.templates else 0


def _plan(removal: Removal) -> str:
    lines = []
    for title, objects in (
        ("No new gates:", removal.gates),
        ("Stop the controller:", removal.controller),
        ("Let others allocate and lift gates:", removal.guards),
    ):
        lines += [title, *(f"  delete {subject(one)}" for one in objects)]
        if not objects:
            lines.append("  nothing there")
    lines.append(f"Lift the gates of {len(removal.pods)} pods:")
    lines += [f"  let go Pod {namespace}/{name}" for namespace, name in removal.pods[:20]]
    if len(removal.pods) > 20:
        lines.append(f"  and {len(removal.pods) - 20} more")
    lines += ["The rest:", *(f"  delete {subject(one)}" for one in removal.rest)]
    if removal.namespace:
        lines.append("  delete Namespace aliquot-system")
    elif removal.others:
        lines.append(f"  keep Namespace aliquot-system: it holds {', '.join(removal.others[:5])}")
    lines.append(f"{removal.kept} allocated claims keep their devices.")
    lines += [f"{text} has the gate in its template; its next pods would wait." for text in removal.templates]
    return "\n".join(lines)


def _document(removal: Removal) -> dict[str, object]:
    return {
        "apiVersion": API_VERSION,
        "kind": "RemovalPlan",
        "delete": [
            {"apiVersion": one["apiVersion"], "kind": one["kind"], **one["metadata"]}
            for one in removal.objects()
        ],
        "letGo": [{"namespace": namespace, "name": name} for namespace, name in removal.pods],
        "keptAllocations": removal.kept,
        "deleteNamespace": removal.namespace,
        "othersInNamespace": list(removal.others),
        "gatedTemplates": list(removal.templates),
    }
