"""`aliquot recommend`."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from aliquot.cli import cluster, cluster_input, recommend_diff, recommend_idle, snapshot_files
from aliquot.cli.cluster import Target, files_option, target_options
from aliquot.cli.failures import Failure
from aliquot.cli.fleet_prices import told
from aliquot.cli.manifests import InputError
from aliquot.cli.output import document, note, say, write, write_document
from aliquot.cli.ranges import Numbers
from aliquot.cli.recommend_input import ISOLATIONS, model_of, models_of, policy_of, prices_given
from aliquot.cli.recommend_plans import backtest_table, repartition_table
from aliquot.cli.recommend_prices import Prices
from aliquot.cli.recommend_sources import Sources, read
from aliquot.cli.recommend_tables import detail_lines, recommendation_table, total_saving
from aliquot.model.snapshot import Snapshot
from aliquot.sizing.backtest import Backtest, History, backtest
from aliquot.sizing.choosing import Advice, Offer, Recommendation
from aliquot.sizing.choosing import recommend as recommended
from aliquot.sizing.cluster import Fleet, InForce, fleet_of, fleet_report, profiles_of
from aliquot.sizing.demand import repartition_of
from aliquot.sizing.effect import effect
from aliquot.sizing.layouts import LayoutError
from aliquot.sizing.parts import Isolation, Part, exclusive
from aliquot.sizing.policy import SizingPolicy, isolation_of_word
from aliquot.sizing.pooling import pools_of
from aliquot.sizing.profiles import Profile, Use
from aliquot.sizing.repartition import DemandError, Repartition
from aliquot.usage.metrics import BUSY, Metric
from aliquot.usage.series import Series
from aliquot.web.sizing.page import Sized, render

FILE = click.Path(path_type=Path, dir_okay=False)
FORMS = ("table", "wide", "json", "yaml", "csv", "name", "html", "patch")


@click.command(
    short_help="Say which part of a device each workload needs.",
    epilog="Exit status: 0 all have what they need, 1 something should change, 2 error. "
    "docs/right-sizing.md tells the rules and how they were tested.",
)
@click.argument("names", nargs=-1)
@click.option(
    "--history",
    "histories",
    multiple=True,
    type=FILE,
    help="Use from a file: a table (time, pod, memory_bytes, busy_percent ...), or a kept history.",
)
@click.option("--prometheus", default="", metavar="URL", help="Read use from this Prometheus.")
@click.option("--sources", default="", metavar="FILE", help="File of sources, as of `aliquot top`.")
@click.option("--since", default="7d", show_default=True, help="How far to look back.")
@click.option("--at", default="", metavar="TIME", help="Until when (RFC 3339); now if left out.")
@click.option("--token-file", default="", type=click.Path(dir_okay=False), help="Token for Prometheus.")
@files_option
@click.option("-n", "--namespace", default="", help="Only workloads of this namespace.")
@click.option(
    "--fleet", default="", metavar="MODELS", help="Size for these models (A10,A100,H100), not the cluster's."
)
@click.option("--each", is_flag=True, help="With --fleet: size for each model by itself, too.")
@click.option("--had", default="", metavar="MODEL", help="With --history: the model that all had, whole.")
@click.option(
    "--prices",
    "price_file",
    type=FILE,
    default=None,
    envvar="ALIQUOT_PRICES",
    help="The ledger's price book (or ALIQUOT_PRICES); else published prices.",
)
@click.option(
    "--price", "price_texts", multiple=True, metavar="MODEL=AMOUNT", help="Of a device and hour, instead."
)
@click.option("--policy", "policy_file", type=FILE, default=None, help="A policy for sizes (YAML).")
@click.option("--modes", default="", help="Ways of giving out devices: exclusive,mig,mps,time-slicing ...")
@click.option(
    "--risk", type=float, default=None, help="Accepted probability that an hour needs more memory.  [0.001]"
)
@click.option("--isolation", type=click.Choice(ISOLATIONS), default=None, help="Where workloads say nothing.")
@click.option("--backtest", "back", is_flag=True, help="Size by the first half, and judge by the second.")
@click.option("--split", type=Numbers(0.05, 0.95), default=0.5, help="Where to split.  [0.5]")
@click.option(
    "--together", is_flag=True, help="With --backtest and html: also several containers on a device."
)
@click.option(
    "--simulate/--no-simulate",
    default=True,
    help="Try the changes on the cluster with the real decisions, in virtual time.  [simulate]",
)
@click.option("--repartition", "layouts", is_flag=True, help="Show which MIG layouts serve the demand.")
@click.option(
    "--idle", "idle_file", type=FILE, default=None, help="Show what this policy on idle workloads would do."
)
@click.option(
    "--diff",
    "folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=None,
    help="Show what to change in the manifests of this folder, as a unified diff.",
)
@click.option("-o", "--output", type=click.Choice(FORMS), default="table", show_default=True)
@target_options
def recommend(
    names: tuple[str, ...],
    histories: tuple[Path, ...],
    prometheus: str,
    sources: str,
    since: str,
    at: str,
    token_file: str,
    files: tuple[str, ...],
    namespace: str,
    fleet: str,
    each: bool,
    had: str,
    price_file: Path | None,
    price_texts: tuple[str, ...],
    policy_file: Path | None,
    modes: str,
    risk: float | None,
    isolation: str | None,
    back: bool,
    split: float,
    together: bool,
    simulate: bool,
    layouts: bool,
    idle_file: Path | None,
    folder: Path | None,
    output: str,
    kubeconfig: str,
    context: str,
) -> int:
    """Read how workloads used their devices, and say which part of which device each needs.

    Every recommendation was tried on the workload's own history. Nothing is changed: `-o patch` writes
    patches, `--diff FOLDER` a diff for manifests. NAMES are workloads; then each is told in full.
    """
    policy = policy_of(policy_file, modes=modes, risk=risk, isolation=isolation or "")
    given = prices_given(price_texts)
    target = Target(kubeconfig, context)
    wanted_sources = Sources(histories, prometheus, sources, token_file, since, at)
    snapshot = _cluster(files, target, live=not (histories or fleet))
    series, servers = read(wanted_sources, snapshot or Snapshot())
    if idle_file is not None:
        if output in ("html", "patch"):
            raise Failure(f"--idle: is not shown as {output}; leave -o out, or write json, yaml or csv")
        return recommend_idle.show(
            snapshot or Snapshot(), series, recommend_idle.read_policy(idle_file), output
        )
    report = fleet_report(snapshot or Snapshot())
    prices = Prices.of(price_file, given, None if snapshot is None else report)
    there = fleet_of(report, modes=frozenset(policy.modes) if modes or policy_file else None)
    if had:
        model = model_of(had)
        force = InForce("exclusive", exclusive(model))
        pods = {
            (item.owner.namespace, item.owner.pod.name)
            for item in (*series, *servers)
            if item.owner.pod is not None
        }
        there = Fleet(there.offers, there.devices, there.unknown, {**dict.fromkeys(pods, force)})
    fleets = _fleets(fleet, there, prices, each=each)
    if back:
        past = histories_of((*series, *servers), exclusive(model_of(had)) if had else None)
        return _backtest(past, split, fleets, policy, together=together, output=output)
    profiles = profiles_of(snapshot or Snapshot(), there, report, series, policy, servers)
    wanted = [item for item in profiles if _named(item, names, namespace)]
    if not wanted:
        note("no workload with measured memory was found" + (f" named {', '.join(names)}" if names else ""))
        return 0
    offers = next(iter(fleets.values()))
    found = [recommended(item, offers, policy) for item in wanted]
    in_force = [_in_force(item, there) for item in found]
    for product, count in sorted(there.unknown.items()):
        note(f"note: {count} x {product!r} are not in the catalogue, and nothing is recommended for them")
    if layouts:
        try:
            return _layouts(repartition_of(report, there, found), output)
        except (DemandError, LayoutError) as error:
            raise Failure(f"--repartition: {error}") from None
    if folder is not None:
        return recommend_diff.show(folder, found)
    if output == "html":
        others = {name: [recommended(item, own, policy) for item in wanted] for name, own in fleets.items()}
        shared = _together(wanted, offers, policy) if together else {}
        click.echo(render(Sized.of(others, policy, shared, told(prices.book, prices.used))), nl=False)
    elif output == "patch":
        return recommend_diff.patches(found, snapshot or Snapshot())
    elif names and output in ("table", "wide"):
        for item, force_now in zip(found, in_force, strict=True):
            for line in detail_lines(item, force_now):
                say(line)
    else:
        table = recommendation_table(found, in_force, {**total_saving(found), **prices.document()})
        write(table, output)
        if output in ("table", "wide"):
            _sums(found, prices.book.currency)
            prices.tell()
    if simulate and snapshot is not None and output in ("table", "wide"):
        _simulated(snapshot, found)
    return 1 if any(item.advice in (Advice.CHANGE, Advice.GROW) for item in found) else 0


def _cluster(files: Sequence[str], target: Target, *, live: bool) -> Snapshot | None:
    if files:
        try:
            if len(files) == 1 and files[0] != "-" and snapshot_files.recognised(Path(files[0])):
                return snapshot_files.read(Path(files[0])).snapshot
            return cluster_input.load(files, datetime.now(UTC)).snapshot
        except InputError as error:
            raise Failure(str(error)) from None
    return asyncio.run(cluster.snapshot(target)) if live else None


def _fleets(text: str, there: Fleet, prices: Prices, *, each: bool) -> dict[str, tuple[Offer, ...]]:
    """What to size for, by name; the first is what is recommended."""
    if not text:
        if not there.offers:
            raise Failure("there are no devices to size for; name models with --fleet, as A10,A100,H100")
        offers = prices.offers(
            [offer.accelerator for offer in there.offers],
            {offer.accelerator.id: offer.devices for offer in there.offers},
            {offer.accelerator.id: offer.modes for offer in there.offers},
        )
        return {"cluster": offers}
    models = models_of(text)
    offers = prices.offers(models, {}, {})
    found = {"+".join(model.id.partition("-")[0] for model in models): offers}
    if len(models) > 1 and each:
        found.update({offer.accelerator.id: (offer,) for offer in offers})
    return found


def _named(profile: Profile, names: Sequence[str], namespace: str) -> bool:
    ref = profile.workload
    known = {ref.name, f"{ref.kind.lower()}/{ref.name}", profile.name}
    return namespace in ("", ref.namespace) and (not names or bool(known.intersection(names)))


def _in_force(item: Recommendation, there: Fleet) -> InForce | None:
    namespace = item.profile.workload.namespace
    for use in item.profile.uses:
        pod = use.memory.owner.pod
        if pod is not None and (found := there.in_force.get((namespace, pod.name))):
            return found
    return None


def _sums(found: Sequence[Recommendation], currency: str) -> None:
    sums = total_saving(found)
    parts = ", ".join(f"{count} {advice}" for advice, count in sums["advice"].items())
    click.echo(f"\n{len(found)} workloads: {parts}")
    money = sums["microsPerHour"]
    if money is not None:
        click.echo(f"saves {money / 1_000_000:,.2f} {currency} an hour")


def _simulated(snapshot: Snapshot, found: Sequence[Recommendation]) -> None:
    """What the changes would do to the cluster, where it has pods that claims could be changed of."""
    if not any(item.advice in (Advice.CHANGE, Advice.GROW) for item in found) or not snapshot.pods:
        return
    seen = effect(snapshot, found, _newest(snapshot))
    if seen.changed:
        click.echo(
            f"simulated: {seen.changed} pods get other parts; devices that nobody holds: {seen.idle_before} "
            f"before, {seen.idle} after"
        )
    for item in seen.stuck:
        say(f"simulated: {item.namespace}/{item.name} would wait ({item.reason}); see --repartition")
    reasons: dict[str, list[str]] = {}
    for name, why in seen.left_out:
        reasons.setdefault(why, []).append(name)
    for why, names in reasons.items():
        others = f" and {len(names) - 1} more" if len(names) > 1 else ""
        note(f"note: not simulated: {names[0]}{others}: {why}")


def _together(
    profiles: Sequence[Profile], offers: Sequence[Offer], policy: SizingPolicy
) -> dict[str, tuple[int, int]]:
    """Devices that workloads take when they share them by their joint history, and how many these are."""
    found = {}
    for offer in offers:
        groups = pools_of(profiles, exclusive(offer.accelerator), policy)
        members = sum(len(group.members) for group in groups)
        if members:
            found[offer.accelerator.id] = (len(groups), members)
    return found


def _newest(snapshot: Snapshot) -> datetime:
    """A moment after everything that the cluster speaks of."""
    known = (item.metadata.creation_timestamp for item in snapshot.objects())
    return max((time for time in known if time is not None), default=datetime.now(UTC)) + timedelta(hours=1)


def _layouts(plan: Repartition, output: str) -> int:
    table = repartition_table(plan)
    if output in ("json", "yaml"):
        write_document(document(table), output)
    else:
        write(table, "wide" if output == "wide" else "table")
        proven = "no plan is better" if plan.proven else "the effort was spent; a better plan may exist"
        click.echo(f"\n{plan.used} GPUs in use afterwards, {plan.pods} pods have to leave; {proven}")
        for name, count in sorted(plan.unserved.items()):
            say(f"not served: {count} x {name}")
    return 1 if any(not item.quiet for item in plan.changes) else 0


def _backtest(
    histories: Sequence[History],
    split: float,
    fleets: Mapping[str, tuple[Offer, ...]],
    policy: SizingPolicy,
    *,
    together: bool,
    output: str,
) -> int:
    if not histories:
        raise Failure("--backtest: there is no history of memory")
    first = min(item.use.memory.start for item in histories)
    last = max(item.use.memory.end for item in histories)
    middle = first + round((last - first) * split)
    isolation = isolation_of_word(policy.isolation)
    results: list[tuple[str, Sequence[Offer], Backtest]] = []
    for name, fleet in fleets.items():
        pool = together and len(fleet) == 1
        found = backtest(histories, middle, fleet, policy, isolation=Isolation(isolation), pool=pool)
        results.append((name, fleet, found))
    table = backtest_table(results)
    if output in ("html", "patch"):
        raise Failure(f"--backtest: is not shown as {output}; leave -o out, or write json, yaml or csv")
    write(table, output)
    if output in ("table", "wide"):
        short = max(found.short for _, _, found in results)
        click.echo(
            f"\nsized by the first {split:.0%} of the time, judged by the rest; "
            f"{short} containers had too little history to be sized"
        )
    return 0


def histories_of(series: Sequence[Series], had: Part | None = None) -> list[History]:
    """One history for each pod and device that has samples of memory. had: the part that all had."""
    grouped: dict[tuple[str, str, str], dict[Metric, Series]] = {}
    for item in series:
        pod = item.owner.pod
        if pod is not None:
            grouped.setdefault((pod.namespace, pod.name, item.subject.device), {})[item.metric] = item
    found = []
    for metrics in grouped.values():
        memory = metrics.get(Metric.MEMORY_USED)
        if memory is not None and memory.owner.pod is not None:
            busy = next((metrics[metric] for metric in BUSY if metric in metrics), None)
            use = Use(memory, busy, metrics.get(Metric.DRAM_BUSY), had=had)
            found.append(History(memory.owner.pod, use))
    return found
