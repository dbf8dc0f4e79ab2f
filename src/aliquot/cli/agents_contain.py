"""`aliquot agents contain`: from a Tenant to the objects that hold it in."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from aliquot.agents.containment import contain as contained
from aliquot.agents.tenant import KIND, Tenant
from aliquot.agents.tenant import parse as parse_tenant
from aliquot.cli import manifests as files
from aliquot.cli.cluster import Target, target_options
from aliquot.cli.failures import Failure
from aliquot.cli.governed import Json, confirmed, found, run
from aliquot.cli.output import Column, Row, Table, note, write, yaml_text
from aliquot.install.cluster import Cluster, NotServedError
from aliquot.model.kinds import ObjectError

_STEPS = (
    Column(title="ACTION", key="action"),
    Column(title="OBJECT", key="object"),
    Column(title="WHY", key="why"),
)


@click.command(
    "contain",
    short_help="Make what a Tenant stands for.",
    epilog="Exit status: 0 done (or the same already), 1 with --plan: would change, 2 error.",
)
@click.argument("name", default="")
@click.option("-f", "--file", "sources", multiple=True, help="Manifests of Tenants.")
@click.option("--dry-run", is_flag=True, help="Print the objects as YAML; ask no cluster.")
@click.option("--plan", "only_plan", is_flag=True, help="Show what would change, and change nothing.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@target_options
def contain(
    name: str,
    sources: tuple[str, ...],
    dry_run: bool,
    only_plan: bool,
    yes: bool,
    kubeconfig: str,
    context: str,
) -> int:
    """Make everything that a Tenant stands for: namespace, runtime class, network policies, quota, queue,
    budget, accounts.

    NAME is a Tenant of the cluster; -f takes Tenants from files.
    """
    if bool(name) == bool(sources):
        raise Failure("name a Tenant of the cluster, or give files with -f")
    target = Target(kubeconfig, context)
    given = _documents(sources)
    if dry_run:
        documents = given or [run(target, lambda cluster: found(cluster, KIND, name))]
        objects = [one for document in documents for one in contained(_tenant(document))]
        click.echo("---\n".join(yaml_text(one) for one in objects), nl=False)
        return 0

    async def plan(cluster: Cluster) -> tuple[list[tuple[str, Json, str]], list[str]]:
        documents = given or [await found(cluster, KIND, name)]
        wanted = [one for document in documents for one in (document, *contained(_tenant(document)))]
        return await _steps(cluster, wanted if given else wanted[1:])

    steps, missing = run(target, plan)
    for problem in missing:
        note(f"note: {problem}")
    changes = [step for step in steps if step[0] != "keep"]
    write(plan_table([(action, _named(document), why) for action, document, why in steps]), "table")
    if only_plan:
        return 1 if changes else 0
    if not changes:
        note("everything is there already")
        return 2 if missing else 0
    if not confirmed(f"Apply {len(changes)} objects?", yes=yes):
        note("nothing was changed")
        return 2

    async def apply(cluster: Cluster) -> None:
        for _, document, _ in changes:
            await cluster.apply(document)

    run(target, apply)
    note(f"{len(changes)} objects were applied")
    return 0


def _documents(sources: Sequence[str]) -> list[Json]:
    if not sources:
        return []
    try:
        read = [one.value for one in files.read(list(sources)) if one.value.get("kind") == KIND]
    except files.InputError as error:
        raise Failure(str(error)) from None
    if not read:
        raise Failure(f"{', '.join(sources)}: there is no Tenant in it")
    return read


def _tenant(document: Json) -> Tenant:
    try:
        return parse_tenant(document)
    except ObjectError as error:
        raise Failure(f"Tenant {error.name}: {error.path}: {error.problem}") from None


async def _steps(
    cluster: Cluster, documents: Sequence[Json]
) -> tuple[list[tuple[str, Json, str]], list[str]]:
    """What has to be done, and what cannot be, as the cluster does not serve it."""
    steps: list[tuple[str, Json, str]] = []
    missing = []
    for document in documents:
        try:
            await cluster.resource(document["apiVersion"], document["kind"])
        except NotServedError:
            missing.append(f"{document['kind']} ({document['apiVersion']}) is not served there")
            continue
        stored = await cluster.stored(document)
        if stored is None:
            steps.append(("create", document, ""))
        elif _covers(stored, document):
            steps.append(("keep", document, "as it should be"))
        else:
            steps.append(("change", document, ""))
    return steps, missing


def _covers(stored: Any, wanted: Any) -> bool:
    """Whether an object has everything that is wanted of it."""
    if isinstance(wanted, Mapping):
        return isinstance(stored, Mapping) and all(
            key in stored and _covers(stored[key], value)
            for key, value in wanted.items()
            # An empty pod selector is left out by some servers.
            if value != {} or key in stored
        )
    if isinstance(wanted, list):
        return (
            isinstance(stored, list)
            and len(stored) == len(wanted)
            and all(_covers(one, other) for one, other in zip(stored, wanted, strict=True))
        )
    return bool(stored == wanted)


def _named(document: Json) -> str:
    metadata = document["metadata"]
    place = f"{metadata['namespace']}/" if "namespace" in metadata else ""
    return f"{document['kind'].lower()}/{place}{metadata['name']}"


def plan_table(steps: Sequence[tuple[str, str, str]]) -> Table:
    """What will be done: action, object and why."""
    rows = tuple(
        Row(cells=step, item=dict(zip(("action", "object", "why"), step, strict=True)), name=step[1])
        for step in steps
    )
    return Table(kind="Plan", columns=_STEPS, rows=rows)
