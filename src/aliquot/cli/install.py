"""`aliquot install`."""

import asyncio
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import click

from aliquot.cli.cluster import Target, target_options
from aliquot.cli.failures import Failure
from aliquot.cli.output import Column, Row, Table, document, lines, note, say, write_document, yaml_text
from aliquot.install.cluster import Cluster, NotServedError, Version
from aliquot.install.objects import IMAGE, SUPPORTED, Gates, Options, gates_of, wanted
from aliquot.install.plan import Action, Step, carry_out, documents, plan
from aliquot.kube.client import Client
from aliquot.kube.credentials import CredentialError
from aliquot.kube.errors import ApiError, TransportError

_ADMISSION = "admissionregistration.k8s.io"

_COLUMNS = (
    Column(title="ACTION", key="action"),
    Column(title="OBJECT", key="object"),
    Column(title="CHANGES", key="changes", wide=True),
)


@click.command(
    short_help="Install Aliquot on a cluster, or print what that would apply.",
    epilog="Exit status: 0 done, 1 with --plan: something would change, 2 error.",
)
@target_options
@click.option("--dry-run", is_flag=True, help="Print the manifests instead of applying them.")
@click.option("--plan", "only_plan", is_flag=True, help="Show what would change, and change nothing.")
@click.option(
    "--kubernetes-version",
    default="",
    metavar="1.N",
    help="With --dry-run: print for this version, without asking a cluster.",
)
@click.option("--image", default=IMAGE, show_default=True, help="The controller's image, in your registry.")
@click.option("--replicas", type=click.IntRange(1, 5), default=None, help="Of the controller.  [default: 2]")
@click.option(
    "--driver",
    "drivers",
    multiple=True,
    metavar="NAME[=RESOURCE,...]",
    help="A DRA driver to manage, with the extended resources it stands for; again for more. "
    "Replaces the cluster's list; left out, the list stays.",
)
@click.option("--no-drivers", is_flag=True, help="Manage no driver yet.")
@click.option("--no-deployment", is_flag=True, help="Without the controller's own Deployment.")
@click.option("--monitoring", is_flag=True, help="With ServiceMonitor, alerts and Grafana dashboard.")
@click.option(
    "--automation", is_flag=True, help="With the rights to suspend idle work and to change sizes by a policy."
)
@click.option("--no-gates", is_flag=True, help="Without the policies that put gates on pods.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option(
    "--output",
    "-o",
    "form",
    type=click.Choice(("table", "wide", "yaml", "json")),
    default=None,
    help="Form of the output.",
)
def install(
    kubeconfig: str,
    context: str,
    dry_run: bool,
    only_plan: bool,
    kubernetes_version: str,
    image: str,
    replicas: int | None,
    drivers: tuple[str, ...],
    no_drivers: bool,
    no_deployment: bool,
    monitoring: bool,
    automation: bool,
    no_gates: bool,
    yes: bool,
    form: str | None,
) -> None:
    """Install Aliquot, or bring an installation up to this version: show the plan, ask, apply.

    Everything is applied by the server (server-side apply, field manager aliquot-install). What somebody
    changed in the list of drivers and in the policy file stays. Custom resources, admission policies and
    roles come first; the controller starts when nobody else can allocate any more.
    """
    if no_drivers and drivers:
        raise Failure("--no-drivers and --driver exclude each other; leave one out")
    if kubernetes_version and not dry_run:
        raise Failure("--kubernetes-version goes with --dry-run; a cluster says its version itself")
    if not _IMAGE.fullmatch(image):
        raise Failure(f"--image: {image!r} is no name of an image; write REGISTRY/aliquot:0.1.0")
    chosen = Options(
        image=image,
        replicas=replicas,
        drivers={} if no_drivers else _drivers(drivers),
        deployment=not no_deployment,
        monitoring=monitoring,
        automation=automation,
    )
    if kubernetes_version:
        minor = _minor(kubernetes_version)
        gates = Gates.NONE if no_gates else gates_of(minor)
        if gates is Gates.NONE and not no_gates:
            note(f"1.{minor} serves no MutatingAdmissionPolicy by default; `aliquot gate -f` puts gates on.")
        _print(wanted(_with(chosen, minor, gates)), form or "yaml")
        return
    status = asyncio.run(
        _install(
            Target(kubeconfig, context),
            chosen,
            gates=not no_gates,
            printing=(form or "yaml") if dry_run else "",
            planning=(form or "table") if only_plan else "",
            yes=yes,
        )
    )
    if status:
        raise click.exceptions.Exit(status)


def _with(options: Options, minor: int, gates: Gates) -> Options:
    return replace(options, minor=minor, gates=gates)


def _minor(text: str) -> int:
    major, _, minor = text.removeprefix("v").partition(".")
    number = minor.partition(".")[0]
    if major != "1" or not number.isdigit():
        raise Failure(f"--kubernetes-version: {text!r} is not a version; write 1.36")
    _check(Version(1, int(number), text))
    return int(number)


def _check(version: Version) -> None:
    oldest, newest = SUPPORTED
    if version.major != 1 or version.minor < oldest:
        raise Failure(
            f"Kubernetes {version.text} is too old: resource.k8s.io/v1 came with 1.{oldest}; upgrade first"
        )
    if version.minor > newest:
        note(f"Kubernetes {version.text} is newer than 1.{newest}, the newest that was tried.")


_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,499}")
_DRIVER = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")
_RESOURCE = re.compile(r"[a-z0-9.-]{1,253}/[A-Za-z0-9._-]{1,63}")


def _drivers(given: Sequence[str]) -> dict[str, str] | None:
    if not given:
        return None
    found: dict[str, str] = {}
    for text in given:
        name, _, resources = text.partition("=")
        named = tuple(part for part in resources.split(",") if part)
        if not _DRIVER.fullmatch(name) or not all(map(_RESOURCE.fullmatch, named)):
            raise Failure(
                f"--driver: {text!r} is not NAME or NAME=RESOURCE,...; write gpu.nvidia.com=nvidia.com/gpu"
            )
        found[name] = " ".join(named)
    return found


def _print(objects: Sequence[dict[str, Any]], form: str) -> None:
    if form == "json":
        write_document({"apiVersion": "v1", "kind": "List", "items": list(objects)}, "json")
    else:
        click.echo("---\n".join(yaml_text(one) for one in objects), nl=False)


async def _install(
    target: Target, chosen: Options, *, gates: bool, printing: str, planning: str, yes: bool
) -> int:
    connection = target.connection()
    async with Client(connection) as client:
        cluster = Cluster(client)
        try:
            version = await cluster.version()
            _check(version)
            served = await served_gates(cluster) if gates else Gates.NONE
            if served is Gates.NONE and gates:
                note(
                    "This cluster serves no MutatingAdmissionPolicy: pods are not gated by themselves. "
                    "Use `aliquot gate -f` for workloads whose pods must start together."
                )
            objects = await documents(cluster, _with(chosen, version.minor, served))
            if printing:
                _print(objects, printing)
                return 0
            steps = await plan(cluster, objects)
            todo = [step for step in steps if step.action in (Action.CREATE, Action.CHANGE)]
            if planning:
                _show(steps, planning)
                return 1 if todo else 0
            for line in _lines(steps):
                note(line)
            if not todo:
                note("Nothing to do.")
                return 0
            confirm(f"Apply these {len(todo)} objects to {connection.server}?", yes=yes)
            await carry_out(cluster, steps, _tell, asyncio.sleep)
            note("Installed. `aliquot doctor` checks the cluster; label namespaces aliquot.dev/managed=true.")
        except NotServedError as error:
            raise Failure(f"{connection.server}: {error}; Aliquot needs it") from None
        except (ApiError, TransportError, CredentialError) as error:
            raise Failure(f"{connection.server}: {error}") from None
    return 0


async def served_gates(cluster: Cluster) -> Gates:
    """The version in which the cluster serves MutatingAdmissionPolicy."""
    for version in (Gates.V1, Gates.V1BETA1):
        if await cluster.serves(f"{_ADMISSION}/{version.value}", "MutatingAdmissionPolicy"):
            return version
    return Gates.NONE


def confirm(question: str, *, yes: bool) -> None:
    """Ask on the terminal. Raises Failure where there is none to ask on, Abort for anything but yes."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Failure("there is no terminal to ask on; read the plan (--plan) and give --yes")
    if not click.confirm(question, err=True):
        raise click.Abort


def _tell(step: Step) -> None:
    if step.action in (Action.CREATE, Action.CHANGE):
        done = "created" if step.action is Action.CREATE else "changed"
        click.echo(f"{step.subject} {done}")


def _show(steps: Sequence[Step], form: str) -> None:
    if form == "table":
        for line in _lines(steps):
            say(line)
    elif form == "wide":
        for line in lines(_table(steps), wide=True, headers=True, colour=False):
            click.echo(line)
    else:
        write_document(document(_table(steps)), form)


def _lines(steps: Sequence[Step]) -> Iterator[str]:
    """What is to be done, with what changes below it; what stays is only counted."""
    for step in steps:
        if step.action is Action.KEEP:
            continue
        yield f"{step.action.value:<8}{step.subject}" + (f" ({step.why})" if step.why else "")
        for one in step.changes:
            yield f"          {one.path}: {one.before or '-'} -> {one.after or '-'}"
    kept = sum(1 for step in steps if step.action is Action.KEEP)
    if kept:
        yield f"keep    {kept} objects as they are"


def _table(steps: Sequence[Step]) -> Table:
    return Table(
        kind="InstallPlan",
        columns=_COLUMNS,
        rows=tuple(_row(step) for step in steps),
        summary={action.value: sum(1 for step in steps if step.action is action) for action in Action},
    )


def _row(step: Step) -> Row:
    metadata, kind = step.document["metadata"], step.document["kind"]
    changes = [f"{one.path}: {one.before or '-'} -> {one.after or '-'}" for one in step.changes]
    return Row(
        cells=(step.action.value, step.subject, step.why or "; ".join(changes)),
        item={
            "action": step.action.value,
            "apiVersion": step.document["apiVersion"],
            "kind": kind,
            "namespace": metadata.get("namespace", ""),
            "name": metadata["name"],
            "why": step.why,
            "changes": [{"path": one.path, "before": one.before, "after": one.after} for one in step.changes],
        },
        name=f"{kind.lower()}/{metadata['name']}",
    )
