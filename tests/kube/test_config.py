"""Kubeconfig files in, connections out; what is wrong is named by file and field."""

import base64
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.kube.times import VirtualClock

from aliquot.kube.config import (
    MAX_FILE_BYTES,
    ConfigError,
    default_paths,
    in_cluster,
    load_kubeconfig,
)
from aliquot.kube.credentials import CredentialError, ExecPlugin, FileToken

PEM = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def document(user: dict[str, Any] | None = None, cluster: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "one", "cluster": {"server": "https://one.example:6443", **(cluster or {})}}],
        "users": [{"name": "me", "user": user or {"token": "secret-token"}}],
        "contexts": [{"name": "here", "context": {"cluster": "one", "user": "me", "namespace": "ml"}}],
    }


def write(folder: Path, content: dict[str, Any], name: str = "config") -> Path:
    path = folder / name
    path.write_text(yaml.safe_dump(content))
    return path


async def test_the_current_context_names_server_namespace_and_token(tmp_path: Path) -> None:
    found = load_kubeconfig([write(tmp_path, document())])
    assert (found.server, found.namespace, found.ca) == ("https://one.example:6443", "ml", None)
    assert (await found.credentials.current(VirtualClock())).token == "secret-token"


async def test_secrets_do_not_show(tmp_path: Path) -> None:
    found = load_kubeconfig([write(tmp_path, document())])
    credential = await found.credentials.current(VirtualClock())
    assert "secret-token" not in repr(found) + repr(credential)


async def test_certificates_come_from_data_and_from_files_beside_the_kubeconfig(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text(PEM)
    user = {"client-certificate-data": encoded("cert"), "client-key-data": encoded("key")}
    found = load_kubeconfig([write(tmp_path, document(user, {"certificate-authority": "ca.pem"}))])
    assert found.ca == PEM
    credential = await found.credentials.current(VirtualClock())
    assert (credential.certificate, credential.key) == ("cert", "key")


def test_another_context_can_be_named(tmp_path: Path) -> None:
    content = document()
    content["clusters"].append({"name": "two", "cluster": {"server": "https://two.example"}})
    content["contexts"].append({"name": "there", "context": {"cluster": "two", "user": "me"}})
    found = load_kubeconfig([write(tmp_path, content)], context="there")
    assert found.server == "https://two.example"


def test_files_are_merged_and_the_first_counts(tmp_path: Path) -> None:
    first = write(tmp_path, {"current-context": "here", "users": [{"name": "me", "user": {}}]}, "first")
    second = write(tmp_path, document(), "second")
    missing = tmp_path / "missing"
    found = load_kubeconfig([first, missing, second])
    assert found.server == "https://one.example:6443"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"current-context": ""}, "current-context"),
        ({"current-context": "nowhere"}, "current-context"),
        ({"contexts": [{"name": "here", "context": {"cluster": "gone"}}]}, "contexts[0].context.cluster"),
        (
            {"contexts": [{"name": "here", "context": {"cluster": "one", "user": "gone"}}]},
            "contexts[0].context.user",
        ),
        ({"clusters": [{"name": "one", "cluster": {"server": "one"}}]}, "clusters[0].cluster.server"),
        ({"clusters": [{"name": "one", "cluster": {"server": 7}}]}, "clusters[0].cluster.server"),
        (
            {
                "clusters": [
                    {"name": "one", "cluster": {"server": "https://x", "certificate-authority-data": "%%"}}
                ]
            },
            "clusters[0].cluster.certificate-authority-data",
        ),
        (
            {
                "clusters": [
                    {"name": "one", "cluster": {"server": "https://x", "certificate-authority": "gone.pem"}}
                ]
            },
            "clusters[0].cluster.certificate-authority",
        ),
        ({"users": [{"name": "me", "user": {"username": "x"}}]}, "users[0].user.username"),
        ({"users": [{"name": "me", "user": {"auth-provider": {}}}]}, "users[0].user.auth-provider"),
        ({"users": [{"name": "me", "user": {"as": "root"}}]}, "users[0].user.as"),
        ({"users": [{"name": "me", "user": {"tokenFile": "gone"}}]}, "users[0].user.tokenFile"),
        (
            {"users": [{"name": "me", "user": {"client-certificate-data": encoded("x")}}]},
            "users[0].user.client-key",
        ),
        ({"users": [{"name": "me", "user": {"exec": {"args": []}}}]}, "users[0].user.exec"),
        ({"users": "me"}, "users"),
    ],
)
def test_what_is_wrong_is_named_by_file_and_field(tmp_path: Path, change: dict[str, Any], field: str) -> None:
    path = write(tmp_path, document() | change)
    with pytest.raises(ConfigError) as caught:
        load_kubeconfig([path])
    assert caught.value.file == str(path)
    assert caught.value.field == field


@pytest.mark.parametrize(
    "content", [b"a: [", b"\xff\xfe", b"- just\n- a list", b"{" * 5000, b"x" * (MAX_FILE_BYTES + 1)]
)
def test_files_that_are_no_kubeconfig_are_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=str(path)):
        load_kubeconfig([path])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config: cannot be read: "):
        load_kubeconfig([tmp_path / "config"])


def test_paths_are_looked_for_as_kubectl_does() -> None:
    assert default_paths({"KUBECONFIG": "/a:/b", "HOME": "/h"}) == [Path("/a"), Path("/b")]
    assert default_paths({"HOME": "/h"}) == [Path("/h/.kube/config")]


async def test_a_pod_uses_its_service_account_and_reads_its_token_again(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text(PEM)
    (tmp_path / "namespace").write_text("aliquot-system\n")
    (tmp_path / "token").write_text("first\n")
    environment = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    found = in_cluster(environment, tmp_path)
    assert (found.server, found.namespace, found.ca) == ("https://[fd00::1]:443", "aliquot-system", PEM)
    clock = VirtualClock()
    assert (await found.credentials.current(clock)).token == "first"
    (tmp_path / "token").write_text("second")
    assert (await found.credentials.current(clock)).token == "first"
    clock.advance(61)
    assert (await found.credentials.current(clock)).token == "second"


def test_outside_of_a_cluster_there_is_no_service_account(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="KUBERNETES_SERVICE_HOST"):
        in_cluster({}, tmp_path)


async def test_a_refused_token_is_read_again_at_once(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("old")
    source, clock = FileToken(path), VirtualClock()
    assert (await source.current(clock)).token == "old"
    path.write_text("new")
    assert source.reject()
    assert (await source.current(clock)).token == "new"


def plugin(folder: Path, script: str, seconds: float = 20.0) -> ExecPlugin:
    path = folder / "plugin.py"
    path.write_text(script)
    return ExecPlugin(
        command=sys.executable,
        arguments=(str(path),),
        directory=folder,
        environment={"COUNT": str(folder / "count")},
        seconds=seconds,
    )


def answer(expires: datetime | None = None, **status: Any) -> str:
    if expires is not None:
        status["expirationTimestamp"] = expires.isoformat()
    content = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}
    return f"""
import os
with open(os.environ["COUNT"], "a") as file:
    file.write("x")
assert "ExecCredential" in os.environ["KUBERNETES_EXEC_INFO"]
print({json.dumps(content)!r})
"""


async def test_an_exec_plugin_is_asked_once_until_its_token_expires(tmp_path: Path) -> None:
    clock = VirtualClock(datetime(2026, 1, 1, tzinfo=UTC))
    source = plugin(tmp_path, answer(clock.now() + timedelta(hours=1), token="t"))
    for _ in range(3):
        assert (await source.current(clock)).token == "t"
    assert (tmp_path / "count").read_text() == "x"
    clock.advance(3595)
    await source.current(clock)
    assert (tmp_path / "count").read_text() == "xx"


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("import time; time.sleep(60)", "no answer"),
        ("print('hello')", "no ExecCredential"),
        ("raise SystemExit(3)", "code 3"),
        (answer(), "neither token nor client certificate"),
        ("print('x' * 2_000_000)", "more than"),
    ],
)
async def test_an_exec_plugin_that_fails_is_named(tmp_path: Path, script: str, problem: str) -> None:
    source = plugin(tmp_path, script, seconds=1.0 if "sleep" in script else 20.0)
    with pytest.raises(CredentialError, match=problem):
        await source.current(VirtualClock())
