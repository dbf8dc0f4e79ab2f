"""Reading a cluster for commands that show it: options that name it, one Snapshot, and changes to it."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import click
import msgspec

from aliquot.cli.failures import Failure
from aliquot.kube.client import Client, cancel_and_wait
from aliquot.kube.config import ConfigError, Connection, default_paths, in_cluster, load_kubeconfig
from aliquot.kube.errors import ApiError, TransportError
from aliquot.kube.mirror import Mirror
from aliquot.kube.resources import CONFIG_MAPS
from aliquot.manifests import NAMESPACE
from aliquot.model.funds import CONFIG_MAP, Funds
from aliquot.model.funds import read as read_funds
from aliquot.model.snapshot import Snapshot

SYNC_SECONDS = 60.0
LOOK_SECONDS = 0.25
REFUSED_SECONDS = 2.0
"""A server that answers nothing but errors for so long is given up."""

Command = TypeVar("Command", bound=Callable[..., object])


class Target(msgspec.Struct, frozen=True):
    """Which cluster: kubeconfig file ("": as kubectl finds it) and context ("": the current one)."""

    kubeconfig: str = ""
    context: str = ""

    def connection(self) -> Connection:
        """How to reach it. Raises Failure."""
        paths: Sequence[Path] = [Path(self.kubeconfig)] if self.kubeconfig else default_paths(os.environ)
        try:
            if not self.kubeconfig and not self.context and "KUBERNETES_SERVICE_HOST" in os.environ:
                return in_cluster(os.environ)
            return load_kubeconfig(paths, context=self.context)
        except ConfigError as error:
            raise Failure(f"{error}; give --kubeconfig or set KUBECONFIG (`aliquot up` prints how)") from None


def target_options(command: Command) -> Command:
    """The options --kubeconfig and --context."""
    command = click.option("--context", default="", help="The kubeconfig's context to use.")(command)
    return click.option(
        "--kubeconfig", default="", type=click.Path(dir_okay=False), help="Path of the kubeconfig file."
    )(command)


def files_option(command: Command) -> Command:
    """The option --filename of commands that read a cluster from files or, without any, the live one."""
    return click.option(
        "-f",
        "--filename",
        "files",
        multiple=True,
        help="The cluster: a saved snapshot, manifests, a fleet file; the live one without. May be repeated.",
    )(command)


@asynccontextmanager
async def mirrored(target: Target) -> AsyncIterator[Mirror]:
    """A mirror of the cluster, once everything was listed. Raises Failure."""
    connection = target.connection()
    async with Client(connection) as client:
        try:
            mirror = Mirror(client)
            running = asyncio.create_task(mirror.run(), name="mirror")
            try:
                await _synced(mirror, running, connection)
                _report(mirror, connection)
                mirror.have(await _funds(client))
                yield mirror
            finally:
                await cancel_and_wait(running)
        except (ApiError, TransportError) as error:
            raise Failure(f"{connection.server}: {error}") from None


async def _funds(client: Client) -> tuple[Funds, ...]:
    """What the controller says of the money that there is for devices; none where it says nothing."""
    try:
        content = await client.get(CONFIG_MAPS, CONFIG_MAP, NAMESPACE)
    except ApiError as error:
        if not error.not_found:
            click.echo(f"note: money for devices could not be read: {error}", err=True)
        return ()
    data = (msgspec.json.decode(content).get("data")) or {}
    found = read_funds(data, datetime.now(UTC))
    return () if found is None else (found,)


async def _synced(mirror: Mirror, running: "asyncio.Task[None]", connection: Connection) -> None:
    """Return once every kind was listed. Raises Failure when nothing can be read, or not in time."""
    synced = asyncio.create_task(mirror.wait_synced(), name="synced")
    try:
        for waited in range(round(SYNC_SECONDS / LOOK_SECONDS)):
            done, _ = await asyncio.wait(
                {running, synced}, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                task.result()
            if done:
                return
            troubles = [problem.message for problem in mirror.problems if not problem.subject]
            patient = waited * LOOK_SECONDS < REFUSED_SECONDS
            if troubles and not patient and not any(mirror.snapshot().objects()):
                raise Failure(f"{connection.server}: {troubles[0]}; is the cluster up, and may you read it?")
        raise Failure(f"{connection.server} did not answer within {SYNC_SECONDS:.0f} s; is the cluster up?")
    finally:
        await cancel_and_wait(synced)


def _report(mirror: Mirror, connection: Connection) -> None:
    """Kinds that could not be read: all of them is a failure, some are worth a note."""
    problems = mirror.problems
    whole = [problem for problem in problems if not problem.subject]
    if whole and not any(mirror.snapshot().objects()):
        raise Failure(f"{connection.server}: {whole[0].message}; is the cluster up, and may you read it?")
    for problem in problems:
        subject = f"{problem.kind} {problem.subject}".strip()
        click.echo(f"note: {subject} could not be read: {problem.message}", err=True)


async def snapshot(target: Target) -> Snapshot:
    """The cluster's objects now. Raises Failure."""
    async with mirrored(target) as mirror:
        return mirror.snapshot()
