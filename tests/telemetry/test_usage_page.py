"""The page of usage and waste in a real browser, over a real Prometheus."""

import contextlib
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.telemetry.cluster import an_hour, small
from tests.telemetry.prometheus_server import load, prometheus
from tests.web.browser import Page
from tests.web.serving import listening

from aliquot.controller.live import Live
from aliquot.scheduling.decide import decide
from aliquot.scheduling.policy import Policy
from aliquot.telemetry.endpoint import Endpoint
from aliquot.telemetry.settings import Settings
from aliquot.web.app import create_app
from aliquot.web.usage.routes import routes


@contextlib.asynccontextmanager
async def served(settings: Settings) -> AsyncIterator[str]:
    """The page over the small cluster."""
    live, cluster = Live(), small()
    live.publish(cluster.after, decide(cluster.after, Policy(), datetime.now(UTC)))
    app = create_app(live)
    app.router.routes.extend(routes(live, settings))
    async with listening(app) as url:
        yield url


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("usage")
    load(folder, an_hour(small(), int(time.time()) * 1000).text())
    return folder


async def rows(page: Page) -> list[list[str]]:
    """The cells of the table as text."""
    cells = "[...row.cells].map((cell) => cell.innerText)"
    script = f"[...document.querySelectorAll('#rows tbody tr')].map((row) => {cells})"
    found: list[list[str]] = await page.run(script)
    return found


async def text(page: Page, identifier: str) -> str:
    found: str = await page.run(f"document.getElementById('{identifier}').innerText")
    return found


async def test_the_page_shows_who_wastes_what(page: Page, recorded: Path) -> None:
    async with prometheus(recorded) as url, served(Settings(prometheus=Endpoint(url))) as here:
        await page.go(f"{here}usage")
        await page.until("document.documentElement.dataset.seen == '1h'")
        assert "/24" in await text(page, "held")
        assert "device-time" in await text(page, "utilisation-definition")
        states = await text(page, "states")
        for state in ("idle", "inefficient", "unknown", "productive", "unoccupied"):
            assert state in states
        found = await rows(page)
        assert found[0][:2] == ["plain-0/gpu-1", "idle"]
        slices = [row for row in found if "3g20gb" in row[0] and row[2] != "0"]
        assert slices[0][3].split() == ["50%"]

        await page.run("document.querySelector('[data-name=workloads]').click()")
        found = await rows(page)
        assert found[0][0] == "blue/pod/lazy"
        shared = {row[0]: row[3].strip() for row in found}
        assert shared["red/pod/busy"] == "83%"
        assert shared["red/pod/left"].startswith("~")
        assert shared["blue/pod/silent"] == "?"

        await page.run("document.querySelector('[data-name=nodes]').click()")
        assert next(row[0] for row in await rows(page)) == "plain-0"

        await page.run("document.querySelector('[data-name=devices]').click()")
        await page.run("document.getElementById('filter').focus()")
        await page.run("document.getElementById('filter').value = 'shared-0'")
        await page.run("document.getElementById('filter').dispatchEvent(new Event('input'))")
        await page.until("document.documentElement.dataset.seen == '1h shared-0'")
        assert {row[0].split("/")[0] for row in await rows(page)} == {"shared-0"}
        await page.run("document.querySelector('#windows [data-name=\"15m\"]').click()")
        await page.until("document.documentElement.dataset.seen == '15m shared-0'")

        await page.run("document.querySelector('#rows th:nth-child(3) button').click()")
        first = await page.run("document.querySelector('#rows th[aria-sort]').getAttribute('aria-sort')")
        assert first == "descending"


async def test_without_sources_the_page_says_that_nobody_measures(page: Page) -> None:
    async with served(Settings()) as here:
        await page.go(f"{here}usage")
        await page.until("document.documentElement.dataset.seen == '1h'")
        assert "Nobody measures use" in await text(page, "notes")
        assert await text(page, "utilisation") == "?"
        assert await text(page, "measured") == "0%"
        assert await text(page, "of-held") == "?"


async def test_a_source_that_cannot_be_reached_is_told_with_its_address(page: Page) -> None:
    settings = Settings(prometheus=Endpoint("http://127.0.0.1:1"))
    async with served(settings) as here:
        await page.go(f"{here}usage")
        await page.until("document.documentElement.dataset.seen == '1h'")
        assert "http://127.0.0.1:1: cannot be reached" in await text(page, "notes")


async def test_a_window_that_is_not_offered_is_refused() -> None:
    import aiohttp

    async with (
        served(Settings()) as here,
        aiohttp.ClientSession() as session,
        session.get(f"{here}usage/data", params={"window": "9y"}) as answer,
    ):
        assert answer.status == 400
        assert "choose from 15m" in (await answer.json())["error"]
