"""The page of spending in a real browser: the identity, the course, going deeper, hostile names, both
schemes."""

import contextlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from tests.accounting.histories import DEVICES, holding, occupancy
from tests.web.browser import Page
from tests.web.serving import listening

from aliquot.accounting.amounts import HOUR_MS
from aliquot.accounting.closing import entries_of
from aliquot.accounting.columns import Columns
from aliquot.accounting.entries import Category, Holding, Span
from aliquot.accounting.price_files import milliseconds
from aliquot.accounting.prices import PriceBook
from aliquot.store.ledger import Ledger
from aliquot.web import app as web_app
from aliquot.web.security import Guard
from aliquot.web.spending.routes import routes

NOW = datetime(2026, 10, 15, 12, tzinfo=UTC)
HOSTILE = "<img src=x onerror=document.title='broken'>"


def named(name: str, share: Fraction = Fraction(1)) -> Holding:
    made = holding("a", share)
    account = msgspec.structs.replace(
        made.account, queue=name, queue_path=f"/{name}/", workload=f"job/of-{name}", labels=(("team", name),)
    )
    return msgspec.structs.replace(made, account=account)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three days: research holds a device, serving half of one, hostile one now and then."""
    path = tmp_path_factory.mktemp("spending") / "ledger.db"
    start = milliseconds(NOW - timedelta(days=3))
    spans = []
    for hour in range(72):
        begin, end = start + hour * HOUR_MS, start + (hour + 1) * HOUR_MS
        other = [named(HOSTILE)] if hour % 4 == 0 else []
        spans += [
            Span(occupancy(DEVICES[0], named("research")), begin, end),
            Span(
                occupancy(DEVICES[1], named("serving", Fraction(1, 2)), category=Category.STRANDED),
                begin,
                end,
            ),
            Span(occupancy(DEVICES[2], *other), begin, end),
            Span(occupancy(DEVICES[3], category=Category.SYSTEM, reason="NodeNotReady"), begin, end),
        ]
    with Ledger.open(path) as ledger:
        columns = Columns.of(entries_of(spans, PriceBook()))
        ledger.append(columns, sequence=1, currency="USD", seen_ms=milliseconds(NOW))
    return path


@contextlib.asynccontextmanager
async def served(path: Path) -> AsyncIterator[str]:
    static = Path(web_app.__file__).with_name("static")
    app = Starlette(
        routes=[
            *routes(lambda: Ledger.open(path, read_only=True), now=lambda: NOW),
            Mount("/static", StaticFiles(directory=static)),
        ],
        middleware=[Middleware(Guard)],
    )
    app.state.close_streams = lambda: None
    async with listening(app) as url:
        yield url


async def get(url: str) -> tuple[int, dict[str, Any]]:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, json.loads(await answer.read())


READY = "document.documentElement.dataset.shown >= %d"
ROWS = "[...document.querySelectorAll('#rows tbody tr td:first-child')].map((cell) => cell.textContent)"


async def press(page: Page, selector: str, text: str) -> None:
    """Press what has this text, with the keyboard."""
    await page.run(
        f"[...document.querySelectorAll({selector!r})].find((one) => one.textContent === {text!r}).focus()"
    )
    await page.key("Enter", "\r")


async def test_the_page_shows_what_everything_went_to_and_goes_deeper(page: Page, kept: Path) -> None:
    async with served(kept) as url:
        await page.go(f"{url}spending/")
        await page.until(READY % 1)
        await page.until("document.querySelectorAll('#rows tbody tr').length == 4")

        names = await page.run(ROWS)
        assert names[0] == "research"
        assert HOSTILE in names, "shown as it is written"
        assert await page.run("document.title") == "Spending · Aliquot"
        widths: list[float] = await page.run(
            "[...document.querySelectorAll('#identity i')].map((one) => one.getBoundingClientRect().width)"
        )
        whole: float = await page.run("document.getElementById('identity').getBoundingClientRect().width")
        assert len(widths) == 5
        assert sum(widths) == pytest.approx(whole, abs=6)
        columns = await page.run("document.querySelectorAll('#course .hit').length")
        assert columns == 30
        await page.run("document.querySelectorAll('#course .hit')[28].focus()")
        assert "research" in await page.run("document.getElementById('reading').textContent")

        await press(page, "#rows tbody button", "research")
        await page.until(READY % 2)
        await page.until(f"{ROWS}[0] == 'job/of-research'")
        assert "where=queue%3Dresearch" in await page.run("location.hash")
        await press(page, "#path button", "Everything")
        await page.until(f"{ROWS}.length == 4")
        await page.run("history.back()")
        await page.until(f"{ROWS}[0] == 'job/of-research'")


async def test_columns_of_the_course_are_one_stop_and_arrows_go_through_them(page: Page, kept: Path) -> None:
    place = "[...document.querySelectorAll('#course .hit')].indexOf(document.activeElement)"
    async with served(kept) as url:
        await page.go(f"{url}spending/")
        await page.until(READY % 1)
        await page.until("document.querySelectorAll('#course .hit').length > 3")
        last = await page.run("document.querySelectorAll('#course .hit').length - 1")
        await page.run("document.querySelector('#course .hit[tabindex=\"0\"]').focus()")
        for key, expected in (
            ("", last),
            ("ArrowLeft", last - 1),
            ("Home", 0),
            ("ArrowLeft", 0),
            ("End", last),
        ):
            if key:
                await page.key(key)
            assert await page.run(place) == expected
            assert await page.run("document.querySelectorAll('#course .hit[tabindex=\"0\"]').length") == 1
        assert await page.run("document.getElementById('reading').textContent") != ""


async def test_topics_and_dimensions_are_chosen_and_kept_in_the_address(page: Page, kept: Path) -> None:
    async with served(kept) as url:
        await page.go(f"{url}spending/#window=7d&topic=usage&by=label:team")
        await page.until(READY % 1)
        await page.until(f"{ROWS}.length == 4")
        assert "GPU-hours" in await page.run("document.getElementById('total').textContent")
        assert (await page.run("document.getElementById('total').textContent")).startswith("288.0")
        await press(page, "#windows button", "24 hours")
        await page.until("document.querySelectorAll('#course .hit').length == 25")
        await press(page, "#topics button", "Energy")
        await page.until("document.querySelector('#topics [aria-pressed=true]').textContent == 'Energy'")
        assert "unknown" in await page.run("document.querySelector('#rows tbody').textContent")
        assert "topic=energy" in await page.run("location.hash")
        assert (await page.run("document.getElementById('total').textContent")).startswith("≥ ")
        await press(page, "#topics button", "Carbon")
        await page.until("document.getElementById('total').textContent == 'unknown'")


async def test_money_is_shown_with_what_has_no_price(page: Page, kept: Path, tmp_path: Path) -> None:
    async with served(kept) as url:
        await page.go(f"{url}spending/")
        await page.until(READY % 1)
        assert await page.run("document.getElementById('unpriced').hidden")
    end = milliseconds(NOW)
    place = msgspec.structs.replace(DEVICES[0].place, price_label="")
    bare = msgspec.structs.replace(
        occupancy(DEVICES[0]), device=msgspec.structs.replace(DEVICES[0], place=place)
    )
    columns = Columns.of(entries_of([Span(bare, end - 288 * HOUR_MS, end)], PriceBook()))
    with Ledger.open(tmp_path / "free.db") as ledger:
        ledger.append(columns, sequence=1, currency="USD", seen_ms=end)
    async with served(tmp_path / "free.db") as url:
        await page.go(f"{url}spending/")
        await page.until(READY % 1)
        told = await page.run("document.getElementById('unpriced').textContent")
        assert told.startswith("GPU-hours without a price, which count as 0: 288 of NVIDIA H100")
        assert "aliquot report prices --starter" in told
        await press(page, "#topics button", "GPU-hours")
        await page.until("document.getElementById('unpriced').hidden")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_text_stands_out_and_nothing_is_wider_than_a_phone(page: Page, kept: Path, scheme: str) -> None:
    await page.media(prefers_color_scheme=scheme)
    await page.size(400, 800)
    async with served(kept) as url:
        await page.go(f"{url}spending/")
        await page.until(READY % 1)
        await page.until(f"{ROWS}.length == 4")
        assert await page.run("document.documentElement.scrollWidth") <= 400
        assert len(await page.screenshot()) > 10_000
        names = await page.run(
            "[...document.querySelectorAll('button, select, .hit')].filter((one) => !(one.textContent ||"
            " one.getAttribute('aria-label') || one.labels?.length)).length"
        )
        assert names == 0


async def test_questions_that_make_no_sense_are_answered_with_what_would(kept: Path, tmp_path: Path) -> None:
    async with served(kept) as url:
        for query in (
            "window=1y",
            "by=colour",
            "by=day",
            "where=queue",
            "where=x=y",
            "&".join(["where=node=a"] * 7),
        ):
            status, found = await get(f"{url}spending/api?{query}")
            assert status == 400, query
            assert found["error"]
        status, found = await get(f"{url}spending/api?window=30d&by=queue&where=label:team%3Dresearch")
        assert status == 200
        assert [group["name"] for group in found["groups"]] == ["research"]
        assert found["groups"][0]["amounts"]["exclusive"]["device_ms"] == 72 * HOUR_MS
    async with served(tmp_path / "none.db") as url:
        status, found = await get(f"{url}spending/api")
        assert status == 503
        assert "does not exist" in found["error"]
