"""Pages that leave loopback need a login, and nothing gets around it."""

from http.cookies import SimpleCookie

import aiohttp
import pytest
from tests.governance.serving import TOKEN, Clock, Fixed, application, served

from aliquot.web.governance.login import ATTEMPTS, HOURS, digest_of, leaves_loopback, new_token

SOURCE = Fixed(budgets={"budgets": []})
PATHS = ["", "governance", "api/governance/budgets", "governance/static/governance.js", "events", "nothing"]


async def ask(
    url: str, method: str = "GET", data: dict[str, str] | bytes | None = None, **headers: str
) -> aiohttp.ClientResponse:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        answer = await session.request(method, url, data=data, headers=headers, allow_redirects=False)
        await answer.read()
        return answer


async def cookie_of(url: str, token: str = TOKEN) -> str:
    answer = await ask(f"{url}login", "POST", {"token": token})
    assert answer.status == 303
    found = SimpleCookie(answer.headers["Set-Cookie"])
    return "; ".join(f"{name}={morsel.value}" for name, morsel in found.items())


@pytest.mark.parametrize(
    ("host", "leaves"),
    [
        ("127.0.0.1", False),
        ("127.0.0.7", False),
        ("localhost", False),
        ("::1", False),
        ("0.0.0.0", True),
        ("::", True),
        ("10.0.0.1", True),
        ("example.org", True),
    ],
)
def test_only_loopback_needs_no_login(host: str, leaves: bool) -> None:
    assert leaves_loopback(host) is leaves


@pytest.mark.parametrize("path", PATHS)
async def test_nothing_is_told_without_a_login(path: str) -> None:
    async with served(application(SOURCE, login=True)) as url:
        for cookie in (
            "",
            "aliquot=",
            "aliquot=9999999999.",
            f"aliquot=9999999999.{'0' * 64}",
            "aliquot=x.y",
        ):
            answer = await ask(url + path, Cookie=cookie)
            assert answer.status == 401
            assert await answer.text() == "Log in first.\n"
        page = await ask(url + path, Accept="text/html")
        assert (page.status, page.headers["Location"]) == (303, "/login")


async def test_the_token_opens_the_pages_until_it_is_time() -> None:
    clock = Clock()
    async with served(application(SOURCE, login=True, clock=clock)) as url:
        cookie = await cookie_of(url)
        assert (await ask(f"{url}governance", Cookie=cookie)).status == 200
        clock.now += HOURS * 3600 - 1
        assert (await ask(f"{url}api/governance/budgets", Cookie=cookie)).status == 200
        clock.now += 1
        assert (await ask(f"{url}api/governance/budgets", Cookie=cookie)).status == 401


async def test_after_a_logout_the_cookie_is_worth_nothing() -> None:
    async with served(application(SOURCE, login=True)) as url:
        cookie = await cookie_of(url)
        assert (await ask(f"{url}logout", "POST", Cookie=cookie)).status == 303
        assert (await ask(f"{url}governance", Cookie=cookie)).status == 401


async def test_a_changed_end_is_not_signed() -> None:
    async with served(application(SOURCE, login=True)) as url:
        cookie = await cookie_of(url)
        name, _, value = cookie.partition("=")
        ends, _, signature = value.partition(".")
        later = f"{name}={int(ends) + 1}.{signature}"
        assert (await ask(f"{url}governance", Cookie=later)).status == 401


@pytest.mark.parametrize("secure", [True, False])
async def test_the_cookie_is_kept_from_scripts_and_other_sites(secure: bool) -> None:
    async with served(application(SOURCE, login=True, secure=secure)) as url:
        answer = await ask(f"{url}login", "POST", {"token": TOKEN})

    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert ("Secure" in cookie) is secure
    assert cookie.startswith("__Host-aliquot=" if secure else "aliquot=")
    assert TOKEN not in cookie


async def test_wrong_tokens_are_counted_and_stopped() -> None:
    clock = Clock()
    async with served(application(SOURCE, login=True, clock=clock)) as url:
        for _ in range(ATTEMPTS):
            assert (await ask(f"{url}login", "POST", {"token": "guess"})).status == 401
        stopped = await ask(f"{url}login", "POST", {"token": TOKEN})
        assert (stopped.status, stopped.headers["Retry-After"]) == (429, "60")
        clock.now += 61
        assert (await ask(f"{url}login", "POST", {"token": TOKEN})).status == 303


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
    ],
)
async def test_forms_of_other_sites_are_refused(headers: dict[str, str]) -> None:
    async with served(application(SOURCE, login=True)) as url:
        cookie = await cookie_of(url)
        assert (await ask(f"{url}login", "POST", {"token": TOKEN}, **headers)).status == 403
        assert (await ask(f"{url}logout", "POST", Cookie=cookie, **headers)).status == 403
        assert (await ask(f"{url}governance", Cookie=cookie)).status == 200


@pytest.mark.parametrize(
    ("body", "status"), [(b"x" * 5000, 413), (b"\xff\xfe", 401), (b"", 401), (b"token", 401)]
)
async def test_odd_forms_are_answered(body: bytes, status: int) -> None:
    async with served(application(SOURCE, login=True)) as url:
        assert (await ask(f"{url}login", "POST", body)).status == status


async def test_the_login_itself_is_protected_and_the_probe_open() -> None:
    async with served(application(SOURCE, login=True)) as url:
        page = await ask(f"{url}login")
        assert page.status == 200
        assert "form-action 'self'" in page.headers["Content-Security-Policy"]
        assert page.headers["X-Frame-Options"] == "DENY"
        assert (await ask(f"{url}healthz")).status == 200


def test_tokens_are_long_and_only_their_digest_is_kept() -> None:
    tokens = {new_token() for _ in range(100)}

    assert len(tokens) == 100
    assert all(len(token) >= 43 for token in tokens)
    assert all(token not in digest_of(token) for token in tokens)
