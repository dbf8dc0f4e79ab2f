"""The page of governance in a real browser, from login to each of its tabs."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.accounting.test_tokens import call, entry
from tests.agents.test_containment import tenant
from tests.approvals.admission import MODELS
from tests.governance.serving import TOKEN, Fixed, application, served
from tests.web.browser import Page, tab

from aliquot.accounting.tokens import Server, join
from aliquot.agents.guards import Switch
from aliquot.agents.tenant import parse
from aliquot.approvals.documents import ServingWorkload
from aliquot.budgets.definition import parse_budget
from aliquot.budgets.holding import Gauge
from aliquot.budgets.tree import BudgetTree
from aliquot.web.governance import views
from aliquot.web.governance.pages import UnavailableError

HOUR_MS = 3_600_000


def facts() -> dict[str, Any]:
    """What the pages show of a small organisation."""
    tree = BudgetTree(
        [
            parse_budget(
                "company",
                {
                    "subject": {"everyone": True},
                    "limits": [{"measure": "money", "amount": "200", "per": "day"}],
                },
            ),
            parse_budget(
                "team-a",
                {
                    "parent": "company",
                    "subject": {"namespace": "team-a"},
                    "limits": [
                        {"measure": "totalTokens", "amount": 1_000_000, "per": "hour"},
                        {"measure": "concurrency", "amount": 8},
                    ],
                    "onLimit": {"action": "fallback", "model": "small"},
                },
            ),
            parse_budget(
                "agents",
                {
                    "parent": "company",
                    "each": "agent",
                    "subject": {"namespace": "lab"},
                    "limits": [{"measure": "money", "amount": "5", "per": "day"}],
                },
            ),
        ]
    )
    gauges = {
        "company|money|day|": Gauge(61_250_000_000, 1_500_000_000),
        "team-a|totalTokens|hour|": Gauge(870_000, 12_000),
        "team-a|concurrency|now|": Gauge(0, 3),
        "agents|money|day||agent|lab/coder": Gauge(5_000_000_000, 0),
        "agents|money|day||agent|lab/reviewer": Gauge(40_000_000, 0),
    }
    running = {
        "llama-3.1-8b": [ServingWorkload(kind="ReplicaSet", namespace="serving", name="llama", pods=4)],
        "revoked": [ServingWorkload(kind="Pod", namespace="lab", name="old", pods=1)],
    }
    uses = [
        call(0, HOUR_MS // 2, 800_000, 120_000, namespace="team-a", model="llama-3.1-8b"),
        call(0, HOUR_MS // 3, 90_000, 60_000, namespace="lab", model="llama-3.1-8b"),
    ]
    server = Server(key="llama-3.1-8b", entries=(entry(cost_micros=9_980_000, energy_mj=1_800_000_000),))
    chain = join([server], uses, lambda use: use.model)
    stopped = [Switch(agent="lab/coder", by="ann", reason="called the same tool 400 times", at_us=1)]
    return {
        "budgets": views.budgets(tree, gauges, "EUR"),
        "models": views.models(MODELS, running),
        "agents": views.agents([parse(tenant())], {"lab/reviewer": 2}, stopped),
        "spend": views.spend(uses, chain, "EUR"),
    }


@pytest.fixture
async def page(browser: str) -> AsyncIterator[Page]:
    async with tab(browser) as opened:
        await opened.size(1280, 860)
        yield opened
        assert opened.problems == []


async def shown(page: Page, url: str, tab: str) -> str:
    """The text of a tab once it is drawn."""
    await page.go(f"{url}governance#{tab}")
    await page.until(f"document.documentElement.dataset.shown === '{tab}'")
    found: str = await page.run("document.getElementById('content').innerText")
    return found


async def test_each_tab_shows_what_people_ask(page: Page) -> None:
    async with served(application(Fixed(**facts()), login=False)) as url:
        budgets = await shown(page, url, "budgets")
        assert "61.25 of 200" in budgets
        assert "870,000 of 1,000,000" in budgets
        assert await page.run("document.querySelectorAll('.limit.full').length") == 1
        assert await page.run("document.querySelectorAll('.limit.near').length") == 1
        assert "lab/coder" in budgets

        models = await shown(page, url, "models")
        assert "1 still run" in models
        assert "hf://meta-llama/Llama-3.1-8B" in models

        agents = await shown(page, url, "agents")
        assert "Stopped" in agents
        assert "by ann: called the same tool 400 times" in agents
        assert "60 calls per minute" in agents

        spend = await shown(page, url, "spend")
        assert "1,070,000" in spend
        assert "Servers idle" in spend
        assert "4.99 EUR" in spend


async def test_other_pages_are_linked_to_where_they_are_served(page: Page) -> None:
    for beside in (True, False):
        app = application(Fixed(**facts()), login=False, beside=beside)
        async with served(app) as url:
            await shown(page, url, "budgets")
            await page.until(f"document.getElementById('title').hidden === {str(beside).lower()}")
            assert await page.run("document.getElementById('pages').checkVisibility()") is beside


async def test_tabs_are_used_by_keyboard_and_mouse(page: Page) -> None:
    source = Fixed(**facts())
    async with served(application(source, login=False)) as url:
        await shown(page, url, "budgets")
        await page.run("document.getElementById('tab-budgets').focus()")
        await page.key("ArrowRight")
        await page.until("document.documentElement.dataset.shown === 'models'")
        assert await page.run("document.activeElement.id") == "tab-models"
        await page.key("ArrowLeft")
        await page.until("document.documentElement.dataset.shown === 'budgets'")
        await page.run("document.getElementById('tab-spend').click()")
        await page.until("document.documentElement.dataset.shown === 'spend'")
        await page.run("document.getElementById('days-30').click()")
        await page.until("document.getElementById('days-30').getAttribute('aria-pressed') === 'true'")

    assert source.days[0] == 7
    assert source.days[-1] == 30


async def test_what_is_not_there_says_what_to_do(page: Page) -> None:
    gone = Fixed(
        budgets={"budgets": []},
        models={"models": []},
        agents={"agents": []},
        spend=facts()["spend"] | {"rows": []},
    )
    async with served(application(gone, login=False)) as url:
        assert "aliquot models propose" in await shown(page, url, "models")
        assert "aliquot agents contain" in await shown(page, url, "agents")
        assert "Nobody called" in await shown(page, url, "spend")
        gone.facts["models"] = UnavailableError("no registry is known", "give a kubeconfig")
        await page.go("about:blank")
        text = await shown(page, url, "models")
    # The browser tells of the 503 as an error of its own.
    page.problems[:] = [problem for problem in page.problems if "503" not in problem]
    assert "no registry is known; give a kubeconfig." in text


async def test_a_person_logs_in_and_out(page: Page) -> None:
    async with served(application(Fixed(**facts()), login=True)) as url:
        await page.go(f"{url}governance")
        await page.until("document.querySelector('form input[name=token]')")
        await page.run(
            "document.querySelector('input').value = 'wrong'; document.querySelector('form').submit()"
        )
        await page.until("document.querySelector('input[aria-invalid=true]')")
        page.problems.clear()
        script = f"document.querySelector('input').value = '{TOKEN}'; document.querySelector('form').submit()"
        await page.run(script)
        await page.until("location.pathname === '/'")
        page.problems.clear()
        assert "61.25" in await shown(page, url, "budgets")
        await page.until("!document.getElementById('logout').hidden")
        await page.run("document.getElementById('logout').click()")
        await page.until("document.querySelector('form input[name=token]')")
        await page.go(f"{url}governance")
        await page.until("location.pathname === '/login' && document.readyState === 'complete'")


async def test_text_of_others_is_never_markup(page: Page) -> None:
    evil = "<img src=x onerror=alert(1)>"
    found = facts()
    found["models"]["models"][0] |= {"name": evil, "reason": evil, "owner": evil}
    async with served(application(Fixed(**found), login=False)) as url:
        text = await shown(page, url, "models")

        assert evil in text
        assert await page.run("document.querySelectorAll('img').length") == 0


@pytest.mark.parametrize("days", ["0", "367", "x", "-1", "99999999999999999999", ""])
async def test_days_out_of_bounds_are_refused(days: str) -> None:
    import aiohttp

    async with (
        served(application(Fixed(**facts()), login=False)) as url,
        aiohttp.ClientSession() as session,
        session.get(f"{url}api/governance/spend?days={days}") as answer,
    ):
        assert answer.status == 400


async def pictures(browser: str, folder: Path) -> None:
    """Pictures of each tab in both colour schemes, for people to look at; `browser` as of the fixture."""
    async with tab(browser) as page, served(application(Fixed(**facts()), login=True)) as url:
        for scheme in ("light", "dark"):
            await page.media(prefers_color_scheme=scheme)
            await page.size(1280, 860)
            await page.go(f"{url}login")
            await page.until("document.querySelector('form input[name=token]')")
            (folder / f"login-{scheme}.png").write_bytes(await page.screenshot())
            await page.run(f"document.querySelector('input').value = '{TOKEN}'; document.forms[0].submit()")
            await page.until("location.pathname === '/'")
            for name in ("budgets", "models", "agents", "spend"):
                await shown(page, url, name)
                (folder / f"{name}-{scheme}.png").write_bytes(await page.screenshot())
        await page.size(420, 860)
        await shown(page, url, "budgets")
        (folder / "narrow.png").write_bytes(await page.screenshot())


@pytest.mark.parametrize(
    ("nano", "shown"),
    [
        (0, "0.00"),
        (1, "<0.0001"),
        (27_200, "<0.0001"),
        (50_000, "0.0001"),
        (99_999, "0.0001"),
        (10**9, "1.00"),
    ],
)
def test_money_that_was_spent_is_never_shown_as_nothing(nano: int, shown: str) -> None:
    use = msgspec.structs.replace(call(0, 1, 1, 1), cost_nano=nano)
    assert views.spend([use], None, "EUR")["price"] == shown
