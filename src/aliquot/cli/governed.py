"""What commands on models and agents share: a connection, Aliquot's own resources, errors as failures."""

import asyncio
import getpass
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from aliquot import manifests
from aliquot.audit.record import Event, Kind, Outcome
from aliquot.cli.cluster import Target
from aliquot.cli.failures import Failure
from aliquot.install.cluster import Cluster, NotServedError
from aliquot.kube.client import Client
from aliquot.kube.credentials import CredentialError
from aliquot.kube.errors import ApiError, TransportError
from aliquot.store.audit import AuditLog
from aliquot.store.audit_file import AuditError

API_VERSION = "aliquot.dev/v1alpha1"
NAMESPACE = manifests.NAMESPACE

Json = dict[str, Any]
Answer = TypeVar("Answer")


@asynccontextmanager
async def connected(target: Target) -> AsyncIterator[Cluster]:
    """The cluster; what it refuses is a Failure with the fix."""
    connection = target.connection()
    try:
        async with Client(connection) as client:
            yield Cluster(client)
    except NotServedError as error:
        raise Failure(
            f"{connection.server}: {error.kind} is not served; install Aliquot there (aliquot install)"
        ) from None
    except (ApiError, TransportError, CredentialError) as error:
        raise Failure(f"{connection.server}: {error}") from None


def run(target: Target, work: Callable[[Cluster], Awaitable[Answer]]) -> Answer:
    """Do something with the cluster and return what it gives."""

    async def whole() -> Answer:
        async with connected(target) as cluster:
            return await work(cluster)

    return asyncio.run(whole())


async def found(cluster: Cluster, kind: str, name: str) -> Json:
    """One of Aliquot's cluster-wide objects. Raises Failure if there is none of that name."""
    await cluster.resource(API_VERSION, kind)
    document = await cluster.get(API_VERSION, kind, name)
    if document is None:
        known = sorted(item["metadata"]["name"] for item in await cluster.list(API_VERSION, kind))
        hint = f"there are {', '.join(known[:10])}" if known else "there is none yet"
        raise Failure(f"there is no {kind} {name!r}; {hint}")
    return document


async def patched(cluster: Cluster, kind: str, document: Json, spec: Json) -> Json:
    """Change fields of the spec of an object that is still as `document` has it."""
    resource = await cluster.resource(API_VERSION, kind)
    metadata = {"resourceVersion": document["metadata"]["resourceVersion"]}
    body = await cluster.client.patch(
        resource, document["metadata"]["name"], {"metadata": metadata, "spec": spec}
    )
    answer: Json = msgspec.json.decode(body)
    return answer


def confirmed(question: str, *, yes: bool) -> bool:
    """Ask before something is done, unless --yes was given. Raises Failure where nobody can be asked."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise Failure("nobody can be asked here; give --yes to go on without")
    return click.confirm(question, default=False, err=True)


audit_option = click.option(
    "--audit-log",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="ALIQUOT_AUDIT_LOG",
    default=None,
    help="Record it in this audit log, too (or ALIQUOT_AUDIT_LOG).",
)


def recorded(path: Path | None, kind: Kind, action: str, subject: str, reason: str, by: str = "") -> None:
    """Record what a person did in an audit log, if one was named. Raises Failure."""
    if path is None:
        return
    now_us = time.time_ns() // 1000
    event = Event(
        event=f"{kind.value}/{action}/{subject}/{now_us}",
        time_us=now_us,
        kind=kind,
        outcome=Outcome.DONE,
        action=action,
        agent=subject if kind is Kind.AGENT else "",
        model=subject if kind is Kind.MODEL else "",
        reason=reason,
        private={"user": by or getpass.getuser()},
    )
    try:
        with AuditLog.open(path) as log:
            log.record([event])
    except AuditError as error:
        raise Failure(f"it was done, but not recorded: {error}") from None


def now_text() -> str:
    """The time now, as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
