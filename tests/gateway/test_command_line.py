"""`aliquot gateway` and `aliquot budgets`, as somebody who is new would use them."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from openai import OpenAI
from tests.gateway.upstream import Server, serving

from aliquot.cli.main import main
from aliquot.gateway.configuration import ConfigurationError, load

BUDGETS = [
    {
        "name": "company",
        "limits": [
            {"measure": "totalTokens", "per": "day", "amount": 100_000},
            {"measure": "money", "per": "month", "amount": "12.50"},
        ],
    },
    {
        "name": "research",
        "parent": "company",
        "subject": {"namespace": "research"},
        "each": "user",
        "limits": [{"measure": "requests", "per": "day", "amount": 2}],
    },
]


def aliquot(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "aliquot", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "NO_COLOR": "1"},
    )


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.yaml"
    path.write_text(yaml.safe_dump(document("http://127.0.0.1:9/v1")))
    return path


def document(url: str) -> dict[str, object]:
    upstream = {"name": "tiny", "url": url, "kind": "vllm", "models": {"tiny": "t"}, "healthPath": ""}
    return {
        "listen": {"port": 0},
        "store": {"sqlite": "budgets.db"},
        "upstreams": [upstream],
        "models": [{"name": "tiny", "inputPrice": "0.15", "outputPrice": "0.60", "maxOutput": 100}],
        "budgets": BUDGETS,
    }


def test_a_key_is_made_used_counted_and_revoked(tmp_path: Path) -> None:
    config = tmp_path / "gateway.yaml"
    upstream = Server(continuous=True)
    with serving(upstream) as url:
        config.write_text(yaml.safe_dump(document(url)))
        gateway = subprocess.Popen(
            [sys.executable, "-m", "aliquot", "gateway", "--config", str(config)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert gateway.stdout is not None
            address = gateway.stdout.readline().strip()
            options = ("--config", str(config))
            made = aliquot("budgets", "keys", "create", *options, "-n", "research", "--user", "ada")
            key = made.stdout.strip()
            with OpenAI(base_url=address, api_key=key, max_retries=8) as client:
                client.chat.completions.create(
                    model="tiny", messages=[{"role": "user", "content": "hi"}], max_tokens=5
                )
            listed = aliquot("budgets", "list", *options)
            shown = aliquot("budgets", "show", "research", *options, "-o", "json")
            keys = aliquot("budgets", "keys", "list", *options, "-o", "json")
            identity = json.loads(keys.stdout)["items"][0]["key"]
            revoked = aliquot("budgets", "keys", "revoke", identity, *options)
            again = aliquot("budgets", "keys", "revoke", "nobody", *options)
        finally:
            gateway.send_signal(signal.SIGTERM)
            _, errors = gateway.communicate(timeout=60)

    assert gateway.returncode == 0
    assert made.returncode == 0
    assert key.startswith("alq_")
    assert key not in keys.stdout + listed.stdout + errors
    assert listed.returncode == 0
    lines = listed.stdout.splitlines()
    assert lines[0].split()[:4] == ["BUDGET", "MEMBER", "MEASURE", "PER"]
    assert lines[1].split()[:4] == ["company", "<none>", "totalTokens", "day"]
    assert lines[3].lstrip().startswith("research   ada")
    assert all(len(line) <= 100 for line in lines)
    (item,) = json.loads(shown.stdout)["items"]
    assert (item["member"], item["spent"], item["left"]) == ("ada", "1", "1")
    assert (revoked.returncode, again.returncode) == (0, 1)


def test_the_configuration_is_checked_without_running(config: Path) -> None:
    checked = aliquot("gateway", "--config", str(config), "--check")

    assert checked.returncode == 0
    assert "2 budgets" in checked.stderr
    assert "nobody" not in checked.stderr


def test_a_budget_that_is_about_nobody_is_told(config: Path) -> None:
    config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), "budgets": BUDGETS[:1]}))
    checked = aliquot("gateway", "--config", str(config), "--check")

    assert checked.returncode == 0
    assert "budget company is about nobody: give it a subject (everyone: true), or children" in checked.stderr


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"store": {}}, "store: name one of sqlite and postgresqlFile"),
        ({"listen": {"host": "0.0.0.0"}}, "listen.host: beyond loopback credentials need TLS"),
        ({"color": "red"}, "color"),
        ({"budgets": [{"name": "a", "parent": "b"}]}, "there is no budget 'b'"),
        ({"models": [{"name": "huge"}]}, "is served by no upstream"),
        ({"upstreams": [{"name": "u", "url": "ftp://x"}]}, "upstreams[0].url"),
        ({"upstreams": [{"name": "u", "url": "http://u:p@x/v1"}]}, "must not hold a password"),
        (
            {"callers": {"oidc": [{"issuer": "i", "audience": "", "jwksFile": "f"}]}},
            "callers.oidc[0].audience",
        ),
        (
            {
                "callers": {
                    "oidc": [{"issuer": "i", "audience": "a", "jwksFile": "f", "algorithms": ["HS256"]}]
                }
            },
            "algorithms",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_place(config: Path, change: dict[str, object], place: str) -> None:
    base = document("http://127.0.0.1:9/v1")
    if "upstreams" in change:
        del base["models"]
    config.write_text(yaml.safe_dump(base | change))

    with pytest.raises(ConfigurationError) as caught:
        load(config)

    assert place in str(caught.value)
    assert str(config) in str(caught.value)


def test_a_second_gateway_on_one_file_is_refused(config: Path) -> None:
    first = subprocess.Popen(
        [sys.executable, "-m", "aliquot", "gateway", "--config", str(config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert first.stdout is not None
        first.stdout.readline()
        second = aliquot("gateway", "--config", str(config))
    finally:
        first.terminate()
        first.wait(60)
        assert first.stdout is not None
        first.stdout.close()

    assert second.returncode == 2
    assert "in use by another gateway" in second.stderr


@pytest.mark.parametrize("option", ["--namespace", "--agent", "--user", "--queue", "--note"])
@pytest.mark.parametrize("value", ["a\x1b[31m", "a\nb", "\u202ea", "a" * 513])
def test_what_a_key_stands_for_is_printable(
    option: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "gateway.yaml"
    config.write_text(yaml.safe_dump(document("http://127.0.0.1:9/v1")))
    with pytest.raises(SystemExit) as ended:
        main(["budgets", "keys", "create", "--config", str(config), option, value])
    told = capsys.readouterr()
    assert (ended.value.code, told.out) == (2, "")
    assert told.err == f"error: {option}: write 512 printable characters at most, in one line\n"
