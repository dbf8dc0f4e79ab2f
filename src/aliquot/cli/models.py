"""`aliquot models list|show|propose|approve|deprecate|revoke|sync`."""

from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from aliquot.approvals.documents import KIND, ServingWorkload, model_of, parse_all
from aliquot.approvals.documents import decoded as decoded_model
from aliquot.approvals.model import ApprovedModel, State
from aliquot.approvals.references import workloads_of
from aliquot.approvals.roster import NAME, changed, roster
from aliquot.audit.record import Kind
from aliquot.cli import manifests as files
from aliquot.cli import models_tables as tables
from aliquot.cli.cluster import Target, target_options
from aliquot.cli.failures import Failure
from aliquot.cli.governed import (
    API_VERSION,
    NAMESPACE,
    Json,
    audit_option,
    confirmed,
    found,
    now_text,
    patched,
    recorded,
    run,
)
from aliquot.cli.models_cost import cost
from aliquot.cli.models_page import page
from aliquot.cli.output import FORMS, note, say, write, write_document, yaml_text
from aliquot.install.cluster import Cluster
from aliquot.kube.errors import ApiError
from aliquot.model.kinds import ObjectError

Answer = TypeVar("Answer")


@click.group(short_help="List, approve and revoke models.")
def models() -> None:
    """The registry of models: which may run and be called, by whom, and what they cost.

    A model is proposed, approved, perhaps deprecated, and revoked. Revoking takes effect on new calls and new
    pods within seconds; what still runs is listed.
    """


models.add_command(cost)
models.add_command(page)


@models.command("list", epilog="Exit status: 0 shown, 2 error.")
@click.option("-f", "--file", "sources", multiple=True, help="Manifests instead of a cluster.")
@click.option(
    "--state", type=click.Choice([state.value for state in State], case_sensitive=False), default=None
)
@click.option("-o", "--output", type=click.Choice(FORMS), default="table", show_default=True)
@click.option("--no-headers", is_flag=True, help="Leave out the line of titles.")
@target_options
def list_(
    sources: tuple[str, ...],
    state: str | None,
    output: str,
    no_headers: bool,
    kubeconfig: str,
    context: str,
) -> int:
    """List models, with the pods that serve them now."""
    registered, running = _registry(sources, Target(kubeconfig, context))
    kept = [model for model in registered if state is None or model.state.value.lower() == state.lower()]
    if not kept:
        note("no models found; propose one with: aliquot models propose")
    write(tables.models(kept, running), output, headers=not no_headers)
    return 0


@models.command(short_help="Show one model.", epilog="Exit status: 0 shown, 2 error.")
@click.argument("name")
@click.option("-f", "--file", "sources", multiple=True, help="Manifests instead of a cluster.")
@click.option("-o", "--output", type=click.Choice(("table", "json", "yaml")), default="table")
@target_options
def show(name: str, sources: tuple[str, ...], output: str, kubeconfig: str, context: str) -> int:
    """Show one model: its weights, who may use it, what it costs, what serves it now."""
    registered, running = _registry(sources, Target(kubeconfig, context))
    model = next((model for model in registered if model.name == name), None)
    if model is None:
        known = ", ".join(model.name for model in registered[:10]) or "none"
        raise Failure(f"there is no model {name!r}; known are {known}")
    workloads = None if running is None else running[model.name]
    if output != "table":
        write_document({"apiVersion": API_VERSION, "kind": "Model", **tables.item(model, workloads)}, output)
        return 0
    for line in tables.description(model, workloads):
        say(line)
    return 0


@models.command(epilog="Exit status: 0 proposed, 2 error.")
@click.argument("name")
@click.option("--model", "model_name", required=True, help="What people call it, such as llama-3.1-8b.")
@click.option("--version", required=True, help="Its version.")
@click.option("--source", required=True, help="URI of the weights, such as hf://org/model.")
@click.option("--revision", default="", help="Commit of the weights (hf://: 40 hexadecimal digits).")
@click.option("--digest", default="", help="Digest of the weights, sha256:...")
@click.option("--owner", required=True, help="Who answers for it.")
@click.option("--licence", default="", help="Its licence.")
@click.option("--call-from", multiple=True, help="A namespace that may call it; again for more; * for all.")
@click.option("--run-in", multiple=True, help="A namespace that may run it; again for more; * for all.")
@click.option("--price", nargs=3, default=None, metavar="CURRENCY IN OUT", help="Per million tokens.")
@click.option("--dry-run", is_flag=True, help="Print the manifest; change nothing.")
@target_options
def propose(
    name: str,
    model_name: str,
    version: str,
    source: str,
    revision: str,
    digest: str,
    owner: str,
    licence: str,
    call_from: tuple[str, ...],
    run_in: tuple[str, ...],
    price: tuple[str, str, str] | None,
    dry_run: bool,
    kubeconfig: str,
    context: str,
) -> int:
    """Propose a model, for somebody else to approve."""
    weights = {"source": source, "revision": revision, "digest": digest}
    spec: Json = {
        "model": model_name,
        "version": version,
        "owner": owner,
        "weights": {key: value for key, value in weights.items() if value},
    }
    if licence:
        spec["licence"] = licence
    if call_from:
        spec["call"] = {"namespaces": list(call_from)}
    if run_in:
        spec["run"] = {"namespaces": list(run_in)}
    if price:
        spec["price"] = dict(zip(("currency", "input", "output"), price, strict=True))
    document: Json = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name},
        "spec": spec,
    }
    _parsed(document, "proposal")
    if dry_run:
        click.echo(yaml_text(document), nl=False)
        return 0

    async def work(cluster: Cluster) -> None:
        await cluster.client.create(await cluster.resource(API_VERSION, KIND), document)

    run(Target(kubeconfig, context), work)
    note(f"model {name} is proposed; approve it with: aliquot models approve {name}")
    return 0


@models.command(short_help="Let a model run and be called.", epilog="Exit status: 0 approved, 2 error.")
@click.argument("name")
@click.option("--reason", default="", help="Why, for whoever looks later.")
@audit_option
@target_options
def approve(name: str, reason: str, audit_log: Path | None, kubeconfig: str, context: str) -> int:
    """Approve a model (proposed or deprecated): it may run and be called from now on."""
    return _decide(name, State.APPROVED, reason, "", Target(kubeconfig, context), audit_log)


@models.command(
    short_help="Say that another model is to be used.", epilog="Exit status: 0 deprecated, 2 error."
)
@click.argument("name")
@click.option("--reason", default="", help="Why.")
@click.option("--replaced-by", default="", help="The model to use instead.")
@audit_option
@target_options
def deprecate(
    name: str, reason: str, replaced_by: str, audit_log: Path | None, kubeconfig: str, context: str
) -> int:
    """Deprecate a model: it still runs and answers, and says what to use instead."""
    return _decide(name, State.DEPRECATED, reason, replaced_by, Target(kubeconfig, context), audit_log)


@models.command(
    short_help="Revoke a model for good.",
    epilog="Exit status: 0 revoked, 1 revoked, but something still serves it, 2 error.",
)
@click.argument("name")
@click.option("--reason", required=True, help="Why; callers are told.")
@click.option("--replaced-by", default="", help="The model to use instead.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@audit_option
@target_options
def revoke(
    name: str,
    reason: str,
    replaced_by: str,
    yes: bool,
    audit_log: Path | None,
    kubeconfig: str,
    context: str,
) -> int:
    """Revoke a model for good, and list what still serves it."""
    if not confirmed(f"Revoke {name}? New calls and pods are refused at once, for good.", yes=yes):
        note("nothing was changed")
        return 2
    return _decide(name, State.REVOKED, reason, replaced_by, Target(kubeconfig, context), audit_log)


@models.command(
    short_help="Write again what the policies read.",
    epilog="Exit status: 0 nothing to do, 1 written, 2 error.",
)
@target_options
def sync(kubeconfig: str, context: str) -> int:
    """Write what the admission policies read (ConfigMap aliquot-models) from the approved models.

    Only needed after somebody changed that ConfigMap, or an ApprovedModel where no controller runs.
    """

    async def work(cluster: Cluster) -> int:
        registered = await _registered(cluster)
        return await _published(cluster, registered)

    count = run(Target(kubeconfig, context), work)
    note(f"{count} entries of ConfigMap {NAMESPACE}/{NAME} were changed" if count else "nothing to do")
    return 1 if count else 0


def _decide(
    name: str, state: State, reason: str, replaced_by: str, target: Target, audit_log: Path | None
) -> int:
    async def work(cluster: Cluster) -> tuple[ApprovedModel, tuple[ServingWorkload, ...] | None]:
        document = await found(cluster, KIND, name)
        spec: Json = {"state": state.value, "decision": {"by": None, "reason": reason, "at": now_text()}}
        if replaced_by:
            await found(cluster, KIND, replaced_by)
            spec["replacedBy"] = replaced_by
        stored = _parsed(await patched(cluster, KIND, document, spec), name)
        # Whoever decides need not be able to write what the policies read: the controller does.
        if not await _permitted(_published_now(cluster)):
            note("what the admission policies read is the controller's to write, within seconds")
        if state is not State.REVOKED:
            return stored, ()
        pods = await _permitted(cluster.list("v1", "Pod"))
        return stored, None if pods is None else workloads_of(stored, pods)

    model, workloads = run(target, work)
    recorded(audit_log, Kind.MODEL, state.value.lower(), name, reason)
    note(f"model {name} is {model.state.value.lower()}")
    if state is not State.REVOKED:
        return 0
    if workloads is None:
        note("pods may not be listed, so it is not known what still serves it")
        return 0
    if not workloads:
        note("no pod serves it")
        return 0
    note("what still serves it, until somebody ends it:")
    for one in workloads:
        say(f"{one.namespace}/{one.kind.lower()}/{one.name}\t{one.pods} pods")
    return 1


async def _permitted(work: Awaitable[Answer]) -> Answer | None:
    """What it gives; None if that is not this user's to do."""
    try:
        return await work
    except ApiError as error:
        if error.status != 403:
            raise
        return None


async def _published_now(cluster: Cluster) -> bool:
    await _published(cluster, await _registered(cluster))
    return True


async def _registered(cluster: Cluster) -> list[ApprovedModel]:
    await cluster.resource(API_VERSION, KIND)
    return _models(await cluster.list(API_VERSION, KIND))


async def _published(cluster: Cluster, registered: Sequence[ApprovedModel]) -> int:
    """Bring the ConfigMap of the admission policies up to date; how many entries changed."""
    stored = await cluster.get("v1", "ConfigMap", NAME, NAMESPACE)
    if stored is None:
        raise Failure(
            f"there is no ConfigMap {NAMESPACE}/{NAME}, so nothing that serves a model is admitted; "
            "install Aliquot (aliquot install), then: aliquot models sync"
        )
    patch: dict[str, Any] = changed(stored.get("data") or {}, roster(registered))
    if patch:
        resource = await cluster.resource("v1", "ConfigMap")
        await cluster.client.patch(resource, NAME, {"data": patch}, NAMESPACE)
    return len(patch)


def _registry(
    sources: Sequence[str], target: Target
) -> tuple[list[ApprovedModel], dict[str, tuple[ServingWorkload, ...]] | None]:
    """The models of files, or of the cluster with what serves each."""
    if sources:
        try:
            read = files.read(list(sources))
        except files.InputError as error:
            raise Failure(str(error)) from None
        return _models([one.value for one in read if one.value.get("kind") == KIND]), None

    async def work(cluster: Cluster) -> tuple[list[ApprovedModel], list[Json]]:
        return await _registered(cluster), await cluster.list("v1", "Pod")

    registered, pods = run(target, work)
    return registered, {model.name: workloads_of(model, pods) for model in registered}


def _models(documents: Sequence[Json]) -> list[ApprovedModel]:
    registered, problems = parse_all(documents)
    for problem in problems:
        note(f"note: {problem}")
    return sorted(registered, key=lambda model: model.name)


def _parsed(document: Json, name: str) -> ApprovedModel:
    try:
        return model_of(decoded_model(document))
    except ObjectError as error:
        raise Failure(f"{name}: {error.path}: {error.problem}") from None
