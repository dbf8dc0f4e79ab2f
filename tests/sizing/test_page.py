"""The page of sizes in a real browser."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import aiohttp
import pytest
from tests.sizing.clusters import cluster, used
from tests.sizing.histories import MINUTE, START, profile, waves, whole
from tests.web.browser import Page, tab

from aliquot.catalog.accelerators import accelerators
from aliquot.cli.serving import PageServer, address, listen
from aliquot.controller.live import Live
from aliquot.model.snapshot import Snapshot
from aliquot.scheduling.plan import Plan
from aliquot.sizing.choosing import Offer, recommend
from aliquot.sizing.policy import SizingPolicy
from aliquot.store.usage import UsageHistory
from aliquot.web.app import create_app
from aliquot.web.sizing.page import Sized, render
from aliquot.web.sizing.routes import routes
from aliquot.web.sizing.sizes import Sizes

POLICY = SizingPolicy()


def sized() -> Sized:
    """Five workloads for two fleets; one of them needs more than an A10 has."""
    histories = [
        profile(waves(8.0, 10.0, 48), [5.0] * 2880, had=whole(), name="chat"),
        profile(waves(30.0, 33.0, 48), [10.0] * 2880, had=whole(), name="rank"),
        profile([5.0] * 2880, [90.0] * 2880, had=whole(), name="train"),
        profile([5.0] * 2880, None, had=whole(), name="unmeasured"),
        profile([3.0] * 100, [1.0] * 100, had=whole(), name="new<b>"),
    ]
    fleets = {
        name: [recommend(item, offers(name), POLICY) for item in histories]
        for name in ("A100-SXM4-80GB", "A10")
    }
    return Sized.of(fleets, POLICY, {"A100-SXM4-80GB": (2, 5)})


def offers(name: str) -> Sequence[Offer]:
    return [Offer(accelerators()[name], micros_hour=2_000_000)]


@contextlib.asynccontextmanager
async def served(found: Sized | None) -> AsyncIterator[str]:
    async def source() -> Sized | None:
        return found

    live = Live()
    live.publish(Snapshot(), Plan())
    app = create_app(live)
    app.router.routes.extend(routes(source))
    listener = listen("127.0.0.1", 0)
    server = PageServer(app)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield address(listener)
    finally:
        server.should_exit = True
        await task


@pytest.fixture
async def page(browser: str) -> AsyncIterator[Page]:
    async with tab(browser) as opened:
        await opened.size(1280, 900)
        yield opened


async def test_sizes_of_every_fleet_are_shown_under_the_policy_of_the_page(page: Page) -> None:
    async with served(sized()) as url:
        await page.go(f"{url}sizing")
        await page.until("document.querySelectorAll('tbody tr').length === 5")
        names = await page.run("[...document.querySelectorAll('tbody th')].map((cell) => cell.innerText)")
        assert names == ["team/rank", "team/chat", "team/train", "team/unmeasured", "team/new<b>"]
        heads = await page.run("[...document.querySelectorAll('.card h3')].map((item) => item.innerText)")
        assert heads == ["A100-SXM4-80GB", "A10", "A100-SXM4-80GB, together"]
        row = await page.run("[...document.querySelectorAll('tbody tr')[0].cells].map((c) => c.innerText)")
        assert "peak 33.0 GiB" in row[2]
        assert row[5] == "none"
        # The style sheet came and was allowed, and the drawings have their places.
        colour = "getComputedStyle(document.querySelector('.range .inner-span')).stroke"
        await page.until(f"!['', 'none'].includes({colour})")
        span = "document.querySelector('.range .need').getBoundingClientRect().left"
        rail = "document.querySelector('.range .rail').getBoundingClientRect()"
        assert await page.run(f"{span} > {rail}.left && {span} < {rail}.right")
        wide = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        assert await page.run(wide)
        await page.size(390, 800)
        assert await page.run(wide)
        assert page.problems == []


async def test_without_a_history_it_says_how_to_give_one() -> None:
    async with served(None) as url, aiohttp.ClientSession() as session:
        answer = await session.get(f"{url}sizing")
        assert answer.status == 503
        assert "`aliquot recommend` tells how" in await answer.text()


async def test_a_controller_sizes_by_the_history_that_it_keeps(tmp_path: Path) -> None:
    snapshot, live = cluster(2), Live()
    live.publish(snapshot, Plan())
    with UsageHistory.open(tmp_path / "usage.db") as history:
        sizes = Sizes(live, history)
        assert await sizes.get() is None
        history.write(used(snapshot, 8.0, 5.0), START + 49 * 60 * MINUTE)
        found = await Sizes(live, history).get()
    assert found is not None
    parts = [item.part.name for item in found.first if item.part is not None]
    assert parts == ["1g.10gb", "1g.10gb"]


def test_the_same_page_is_one_file_that_asks_for_nothing() -> None:
    text = render(sized())
    assert "new&lt;b&gt;" in text
    assert "<link" not in text
    assert "default-src 'none'" in text
    assert render(sized()) == text
