"""A served page over a cluster that the test publishes."""

import asyncio
import contextlib
import functools
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import aiohttp
import msgspec
from tests.cli.world import ROOT
from tests.inventory.world import NOW, QUEUES, World, world

from aliquot.cli import cluster_input
from aliquot.cli.serving import PageServer, address, listen
from aliquot.controller.live import Live
from aliquot.model.snapshot import Snapshot
from aliquot.scheduling.decide import decide
from aliquot.scheduling.plan import Plan
from aliquot.scheduling.policy import Policy
from aliquot.store.journal import Journal
from aliquot.web.app import create_app

FLEET = """
apiVersion: aliquot.dev/v1alpha1
kind: Fleet
nodes:
  - {count: 2, type: dgx-h100, name: plain, zone: a}
  - {count: 1, type: dgx-h100, name: split, zone: b, mig: {dynamic: true}}
"""

JOBS = "".join(
    f"""
---
apiVersion: resource.k8s.io/v1
kind: ResourceClaimTemplate
metadata: {{name: {name}, namespace: {queue}}}
spec:
  spec: {{devices: {{requests: [{{name: r, exactly: {{deviceClassName: {device}, count: {count}}}}}]}}}}
---
apiVersion: batch/v1
kind: Job
metadata: {{name: {name}, namespace: {queue}}}
spec:
  template:
    spec:
      containers: [{{name: main, image: x, resources: {{claims: [{{name: c}}]}}}}]
      resourceClaims: [{{name: c, resourceClaimTemplateName: {name}}}]
"""
    for name, queue, device, count in (
        ("train", "red", "gpu.nvidia.com", 4),
        ("tune", "blue", "gpu.nvidia.com", 2),
        ("slice", "blue", "mig.nvidia.com", 1),
        ("huge", "red", "gpu.nvidia.com", 6),
    )
)


@functools.cache
def scene() -> World:
    """Three nodes; three jobs run, and huge waits for its queue's limit."""
    return world(QUEUES + JOBS, FLEET)


@functools.cache
def two_teams() -> Snapshot:
    """Research runs on all GPUs of a node, of which half are serving's by quota; serving wants four."""
    return cluster_input.load([str(ROOT / "examples/saved/two-teams.yaml")], NOW).snapshot


def without(snapshot: Snapshot, job: str) -> Snapshot:
    """The snapshot after a job and everything of it is gone."""
    return msgspec.structs.replace(
        snapshot,
        jobs=tuple(item for item in snapshot.jobs if item.name != job),
        pods=tuple(item for item in snapshot.pods if not item.name.startswith(f"{job}-")),
        resource_claims=tuple(
            item for item in snapshot.resource_claims if not item.name.startswith(f"{job}-")
        ),
    )


def plan_of(snapshot: Snapshot, seconds: int = 1) -> Plan:
    return decide(snapshot, Policy(), NOW + timedelta(seconds=seconds))


@contextlib.asynccontextmanager
async def served(live: Live, journal: Journal | None = None) -> AsyncIterator[str]:
    """The address of the page."""
    listener: socket.socket = listen("127.0.0.1", 0)
    server = PageServer(create_app(live, journal))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield address(listener)
    finally:
        server.should_exit = True
        await task


@dataclass
class Reader:
    """What a page knows after the events so far; applies them as the page's script does."""

    layout: dict[str, Any] = field(default_factory=dict)
    cells: list[Any] = field(default_factory=list)
    queues: dict[str, Any] = field(default_factory=dict)
    waiting: dict[str, Any] = field(default_factory=dict)
    leaving: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    decisions: list[Any] = field(default_factory=list)
    seen: list[tuple[str, int]] = field(default_factory=list)

    def apply(self, name: str, data: Any) -> None:
        match name:
            case "layout":
                self.layout = {key: data[key] for key in ("products", "shapes", "nodes")}
                self.cells = data["cells"]
            case "cells":
                for place, cell in data:
                    self.cells[place] = cell
            case "queues" | "waiting" | "leaving":
                held: dict[str, Any] = getattr(self, name)
                if data["all"]:
                    held.clear()
                for key in data["gone"]:
                    held.pop(key, None)
                for item in data["set"]:
                    held[item["key"]] = item
            case "summary":
                self.summary = data
            case "decisions":
                before = [] if data["all"] else self.decisions
                known = {item["entry"] for item in before}
                self.decisions = [*before, *(item for item in data["new"] if item["entry"] not in known)]

    @property
    def known(self) -> tuple[Any, ...]:
        """Everything but the decisions, comparable."""
        return (self.layout, self.cells, self.queues, self.waiting, self.leaving, self.summary)


@contextlib.asynccontextmanager
async def stream(url: str) -> AsyncIterator["Stream"]:
    async with aiohttp.ClientSession(read_bufsize=1 << 20) as session, session.get(f"{url}events") as answer:
        assert answer.status == 200, await answer.text()
        assert answer.content_type == "text/event-stream"
        yield Stream(answer)


class Stream:
    """An open event stream, and what its reader knows."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer
        self.reader = Reader()

    async def next(self) -> tuple[str, Any]:
        """Read and apply one event."""
        name, data = "", ""
        async with asyncio.timeout(20):
            while True:
                line = (await self._answer.content.readuntil(b"\n")).decode().rstrip("\n")
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    data = line.removeprefix("data: ")
                elif not line and name:
                    break
        value = json.loads(data)
        self.reader.seen.append((name, len(data)))
        self.reader.apply(name, value)
        return name, value

    async def until(self, version: int) -> Reader:
        """Read on until the summary is that of a version (summaries come last)."""
        while self.reader.summary.get("version", -1) < version:
            await self.next()
        return self.reader
