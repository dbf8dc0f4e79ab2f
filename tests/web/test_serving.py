"""The page answers its own names and GET only, carries its protections, and details are bounded."""

import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.inventory.world import NOW
from tests.web.world import plan_of, scene, served

from aliquot.controller.live import Live
from aliquot.scheduling.policy import Policy
from aliquot.store.journal import Journal
from aliquot.web.app import STATIC
from aliquot.web.security import host_name


async def ask(url: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, url, headers=headers, allow_redirects=False) as answer,
    ):
        return answer.status, dict(answer.headers), await answer.text()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:80", "[::1]:8080", "LOCALHOST:1"])
async def test_its_own_names_are_answered(host: str) -> None:
    async with served(Live()) as url:
        assert (await ask(url, Host=host))[0] == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "0.0.0.0"]
)
async def test_other_names_are_refused(host: str) -> None:
    async with served(Live()) as url:
        for path in ("", "events", "api/devices", "static/main.js"):
            assert (await ask(url + path, Host=host))[0] == 421


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_only_reading_is_possible(method: str) -> None:
    async with served(Live()) as url:
        status, headers, _ = await ask(url, method)

    assert status == 405
    assert headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    "path", ["", "static/main.js", "api/devices", "healthz", "nothing", "static/../app.py"]
)
async def test_every_answer_carries_the_protections(path: str) -> None:
    async with served(Live()) as url:
        _, headers, text = await ask(url + path)

    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["X-Frame-Options"] == "DENY"
    assert "Access-Control-Allow-Origin" not in headers
    assert "create_app" not in text


def test_the_page_loads_nothing_from_elsewhere_and_has_no_inline_script() -> None:
    for path in STATIC.iterdir():
        text = path.read_text(encoding="utf-8")
        assert "http://" not in text.replace("http://www.w3.org/2000/svg", ""), path.name
        assert "https://" not in text, path.name
        assert "innerHTML" not in text, path.name
    page = (STATIC / "index.html").read_text()
    assert page.count("<script") == 1
    assert " style=" not in page
    assert " on" + "click=" not in page


@pytest.mark.parametrize(
    ("header", "name"),
    [("a:80", "a"), ("A", "a"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]"), ("", ""), ("a:b:c", "a")],
)
def test_the_name_in_a_host_header(header: str, name: str) -> None:
    assert host_name(header) == name


@pytest.fixture
def live() -> Live:
    live, world = Live(), scene()
    live.publish(world.after, plan_of(world.after))
    return live


async def get(url: str) -> Any:
    status, _, text = await ask(url)
    assert status == 200, text
    return json.loads(text)


async def test_devices_page_by_page_and_filtered(live: Live) -> None:
    async with served(live) as url:
        first = await get(f"{url}api/devices?limit=10")
        rest = await get(f"{url}api/devices?limit=10&offset=20")
        held = await get(f"{url}api/devices?text=TRAIN")
        node = await get(f"{url}api/devices?node=split-0")

    assert (first["total"], len(first["rows"]), len(rest["rows"])) == (24, 10, 4)
    assert held["total"] == 4
    assert {row["parts"][0]["holders"][0]["workload"] for row in held["rows"]} == {"red/train"}
    assert {row["node"] for row in node["rows"]} == {"split-0"}


@pytest.mark.parametrize(
    "query", ["limit=999999", "offset=-1", "limit=abc", "offset=99999999999999999999", "text=%00"]
)
async def test_strange_queries_are_bounded(live: Live, query: str) -> None:
    async with served(live) as url:
        assert len((await get(f"{url}api/devices?{query}"))["rows"]) <= 200


async def test_a_workload_with_its_history(live: Live, tmp_path: Path) -> None:
    world = scene()
    with Journal.open(tmp_path / "journal.db") as journal:
        journal.record(NOW, world.before, Policy(), world.plan)
        async with served(live, journal) as url:
            found = await get(f"{url}api/workload?kind=job&namespace=red&name=huge")
            status, _, _ = await ask(f"{url}api/workload?kind=Job&namespace=red&name=none")

    assert found["status"] == "Waiting"
    assert found["reason"] == "OverLimit"
    assert len(found["history"]) == 1
    assert status == 404
