"""`aliquot dra`."""

import json
from collections.abc import Sequence

import click

from aliquot.cel.environment import Environment
from aliquot.cel.errors import CompileError
from aliquot.cel.program import DEFAULT_COST_LIMIT
from aliquot.cli import dra_input, dra_matching, dra_report
from aliquot.cli.dra_attempts import Attempt, attempts
from aliquot.cli.failures import Failure
from aliquot.cli.fleet import kubernetes_version
from aliquot.cli.manifests import InputError
from aliquot.cli.output import note, write, write_document
from aliquot.dra.allocator import Mode
from aliquot.dra.cases import AllocationCase, SelectorCase, is_allocation_case, is_selector_case
from aliquot.dra.features import Features, KubernetesVersion
from aliquot.dra.fleet import Fleet
from aliquot.dra.outcome import Allocated


@click.group(short_help="Allocate devices and test selectors offline (Dynamic Resource Allocation).")
def dra() -> None:
    """Try Dynamic Resource Allocation on files; no cluster is asked or changed."""


_NO_EXPRESSION = "give an EXPRESSION, such as 'device.driver == \"gpu.nvidia.com\"'"

_FILES = click.option(
    "-f",
    "--filename",
    "files",
    multiple=True,
    help="Manifests: YAML or JSON, Lists, fleet files, folders, - for standard input. May be repeated.",
)
_KUBERNETES = click.option(
    "--kubernetes", default="1.36", show_default=True, help="Version whose rules and defaults count."
)


@dra.command(
    "allocate",
    epilog="Exit status: 0 every claim is served (of recorded cases: all were run), 1 some claim is not, "
    "2 error.",
)
@click.argument("more", nargs=-1, metavar="FILES...")
@_FILES
@click.option("--node", default="", metavar="NAME", help="Allocate on this node only.")
@click.option(
    "--mode",
    type=click.Choice(["best", "strict"]),
    default=None,
    help="best: a solution whenever there is one, and a good one. strict: what kube-scheduler's allocator "
    "gives. Default: best; for recorded cases strict.",
)
@_KUBERNETES
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "wide", "json"]),
    default=None,
    help="Default: table; for recorded cases json.",
)
def allocate_command(
    more: tuple[str, ...],
    files: tuple[str, ...],
    node: str,
    mode: Mode | None,
    kubernetes: str,
    output: str | None,
) -> int:
    """Say which devices each claim would get, or why it gets none.

    FILES hold ResourceSlices, DeviceClasses, claims, and if need be Nodes, Pods and DeviceTaintRules; or a
    fleet. Claims without devices are allocated in the order of their pods' and their own names, the claims
    of a pod together on one node, and each sees what those before it took. Nodes are tried fullest first in
    mode best, by name in mode strict. Without Nodes in FILES, the names in the slices stand for them.

    Files may instead be recorded cases: objects with name, features, node, claimsToAllocate, deviceClasses,
    resourceSlices and allocatedState. Nothing is filled in as the API server would: requests say
    allocationMode and count. Each gives one line of JSON with name, outcome (allocated, unallocatable,
    error), results and error.
    """
    names = _names((*files, *more))
    version = kubernetes_version(kubernetes)
    try:
        cases = dra_input.cases(names, is_allocation_case, AllocationCase.of, version)
        if cases:
            return _run_cases(cases, mode or "strict", node, output or "json")
        read = dra_input.objects(names, version)
    except InputError as error:
        raise Failure(str(error)) from None
    nodes = read.nodes
    if node:
        nodes = tuple(each for each in nodes if each.name == node)
        if not nodes:
            known = ", ".join(each.name for each in read.nodes[:5]) or "none"
            raise Failure(f"--node: there is no node {node!r} in the files; they have {known}")
    if not nodes:
        raise Failure("there is no node in the files; add Nodes, a fleet, or slices with spec.nodeName")
    if read.named_only:
        note("note: no Nodes in the files; nodes are those that slices name, without labels")
    found = list(attempts(read.snapshot, nodes, mode or "best", version))
    if not found:
        note("note: no claim in the files waits for devices")
    return _show_attempts(found, output or "table")


def _names(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names:
        raise Failure("give files, for example `aliquot dra allocate slices.yaml claims.yaml`")
    return names


def _run_cases(cases: Sequence[AllocationCase], mode: Mode, node: str, output: str) -> int:
    if node:
        raise Failure("--node: every recorded case names its node; leave --node out")
    if output == "json":
        for case in cases:
            click.echo(json.dumps(case.result(mode)))
        return 0
    _show_attempts([_attempt(case, mode) for case in cases], output)
    return 0


def _attempt(case: AllocationCase, mode: Mode) -> Attempt:
    outcome = case.outcome(mode)
    served = case.node.name if isinstance(outcome, Allocated) else ""
    return Attempt(claims=case.claims, pod=case.name, node=served, outcome=outcome, nodes=1)


def _show_attempts(found: Sequence[Attempt], output: str) -> int:
    failed = [each for each in found if not isinstance(each.outcome, Allocated)]
    if output == "json":
        write_document(dra_report.allocation_document(found), "json")
    else:
        table = dra_report.allocation_table(found)
        if table.rows:
            write(table, output)
        for number, each in enumerate(failed):
            if number or table.rows:
                click.echo()
            for line in dra_report.paragraphs(each):
                click.echo(line)
    return 1 if failed else 0


@dra.command(
    "match",
    epilog="Exit status: 0 some device matches and the selector can be evaluated on all (of recorded "
    "cases: all were run), 1 otherwise, 2 error, also one of the expression.",
)
@click.argument("arguments", nargs=-1, metavar="[EXPRESSION] [FILES...]")
@_FILES
@_KUBERNETES
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def match_command(arguments: tuple[str, ...], files: tuple[str, ...], kubernetes: str, output: str) -> int:
    """List the devices of FILES that the device selector EXPRESSION matches, and what it costs.

    An expression that does not compile is answered with a caret under each place that is wrong. Costs are
    those of Kubernetes, whose API server admits an estimate of 1,000,000 at most. Example:

    \b
      aliquot dra match -f fleet.yaml \\
        'device.capacity["gpu.nvidia.com"].memory.isGreaterThan(quantity("40Gi"))'

    Without EXPRESSION, FILES are recorded cases: objects with name, features, envType, device and
    expression. Each gives one line of JSON with name, outcome (match, no-match, match-error,
    compile-error), error, maxCost and actualCost.
    """
    expressions = [text for text in arguments if not dra_input.is_file_name(text)]
    names = (*files, *(text for text in arguments if dra_input.is_file_name(text)))
    if not names:
        raise Failure("give files with devices: -f slices.yaml, or -f fleet.yaml")
    if len(expressions) > 1:
        raise Failure("give one EXPRESSION in quotes; files end in .yaml, .yml, .json or follow -f")
    if expressions and not expressions[0].strip():
        raise Failure(_NO_EXPRESSION)
    version = kubernetes_version(kubernetes)
    try:
        if not expressions:
            return _match_cases(names, version)
        return _match(expressions[0], names, version, output)
    except InputError as error:
        raise Failure(str(error)) from None


def _match_cases(names: Sequence[str], version: KubernetesVersion) -> int:
    cases = dra_input.cases(names, is_selector_case, SelectorCase.of, version)
    if not cases:
        raise Failure(_NO_EXPRESSION)
    for case in cases:
        click.echo(json.dumps(case.result()))
    return 0


def _match(expression: str, names: Sequence[str], version: KubernetesVersion, output: str) -> int:
    features = Features.of(version)
    environment = Environment.for_devices(
        version,
        consumable_capacity=features.consumable_capacity,
        list_attributes=features.list_attributes,
        stored=False,
    )
    try:
        program = environment.compile(expression)
    except CompileError as error:
        raise Failure(dra_report.compile_failure(error, expression)) from None
    snapshot = dra_input.objects(names, version).snapshot
    fleet = Fleet.of(snapshot.resource_slices, (), kubernetes=version)
    found = dra_matching.matches(program, fleet.pools.values())
    for text in found.unusable[: dra_report.MOST_POOLS]:
        note(f"note: unusable pool {text}")
    if output == "json":
        write_document(dra_matching.match_document(expression, program, found), "json")
    else:
        if found.matched:
            write(dra_matching.match_table(found), "table")
            click.echo()
        for line in _summary(expression, program.cost, found):
            click.echo(line)
    return 0 if found.matched and not found.troubles else 1


def _summary(expression: str, estimate: int, found: dra_matching.Matches) -> list[str]:
    lines = [
        f"devices   {len(found.matched)} of {found.tested} match",
        f"cost      {found.highest} at most here; estimated worst case {estimate}",
    ]
    if estimate > DEFAULT_COST_LIMIT:
        lines.append(f"          the API server refuses it: the limit is {DEFAULT_COST_LIMIT}")
    for trouble in found.troubles:
        which = f"{trouble.count} devices, such as" if trouble.count > 1 else "one device,"
        lines += ["", f"cannot be evaluated on {which} {trouble.example}:"]
        lines += dra_report.wrapped(trouble.message, 2)
        if trouble.position is not None:
            lines += dra_report.excerpt(expression, trouble.position)
    return lines
