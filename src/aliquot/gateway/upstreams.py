"""The upstreams: which serve a model, which of those are up, and which is next."""

import asyncio
import logging
import ssl

from aliquot.gateway.configuration import Configuration, Upstream
from aliquot.gateway.exchange import ExchangeError, Pool

_log = logging.getLogger(__name__)

HEALTH_SECONDS = 5.0
MAX_HEALTH_BYTES = 4 << 20
FAILURES_TO_FALL = 2
"""An upstream counts as down after so many failures in a row; one success brings it back."""


class Server:
    """One upstream at run time. healthy: whether calls are sent to it while others are up."""

    def __init__(self, settings: Upstream, pool: Pool) -> None:
        self.settings = settings
        self.pool = pool
        self.healthy = True
        self.open = 0
        self._failures = 0

    @property
    def name(self) -> str:
        return self.settings.name

    def succeeded(self) -> None:
        self._failures = 0
        if not self.healthy:
            self.healthy = True
            _log.warning("upstream %s is up again", self.name)

    def failed(self, problem: str) -> None:
        self._failures += 1
        if self.healthy and self._failures >= FAILURES_TO_FALL:
            self.healthy = False
            _log.warning("upstream %s counts as down: %s", self.name, problem)

    async def check(self) -> None:
        """Ask for the health path, once."""
        try:
            async with asyncio.timeout(HEALTH_SECONDS):
                answer, _ = await self.pool.send(
                    "GET", self.settings.health_path, accept="application/json", seconds=HEALTH_SECONDS
                )
                try:
                    await answer.read(MAX_HEALTH_BYTES)
                finally:
                    answer.close()
        except (ExchangeError, TimeoutError) as error:
            self.failed(str(error) or "no answer in time")
        else:
            if answer.status < 500:
                self.succeeded()
            else:
                self.failed(f"health check answered {answer.status}")

    async def keep_checking(self) -> None:
        """Check until cancelled."""
        while True:
            await self.check()
            await asyncio.sleep(max(1, self.settings.health_seconds))


class Upstreams:
    """All upstreams of a configuration. Raises OSError if a key or certificate cannot be read."""

    def __init__(self, configuration: Configuration) -> None:
        self.servers: list[Server] = []
        self._by_model: dict[str, list[Server]] = {}
        for settings in configuration.file.upstreams:
            key = (
                configuration.path(settings.key_file).read_text("utf-8").strip() if settings.key_file else ""
            )
            tls = None
            if settings.url.startswith("https://"):
                ca = str(configuration.path(settings.ca_file)) if settings.ca_file else None
                tls = ssl.create_default_context(cafile=ca)
            pool = Pool(settings.name, settings.url, key=key, tls=tls, most=settings.connections)
            server = Server(settings, pool)
            self.servers.append(server)
            for model in settings.models:
                self._by_model.setdefault(model, []).append(server)

    def choose(self, model: str) -> list[Server]:
        """The servers of a model in the order in which to try them: up before down, least busy first."""
        return sorted(self._by_model.get(model, ()), key=lambda server: (not server.healthy, server.open))

    @property
    def models(self) -> list[str]:
        return sorted(self._by_model)

    def close(self) -> None:
        for server in self.servers:
            server.pool.close()
