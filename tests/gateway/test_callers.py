"""Callers by tokens: OIDC issuers and Kubernetes service accounts."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
import uvicorn
import yaml
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from tests.gateway.conftest import Running, Start
from tests.gateway.raw import exchange, request, statuses

from aliquot.embedded.http.prompt import PromptServer

ISSUER = "https://issuer.example"
OIDC = {
    "issuer": ISSUER,
    "audience": "gateway",
    "jwksFile": "keys.json",
    "claims": {"user": "sub", "namespace": "team", "agent": "agent"},
}


class Issuer:
    """An issuer with two keys of different kinds."""

    def __init__(self, folder: Path) -> None:
        self.rsa = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.ec = ec.generate_private_key(ec.SECP256R1())
        keys = [
            json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.rsa.public_key()))
            | {"kid": "r", "use": "sig"},
            json.loads(jwt.algorithms.ECAlgorithm.to_jwk(self.ec.public_key())) | {"kid": "e", "use": "sig"},
        ]
        (folder / "keys.json").write_text(json.dumps({"keys": keys}))

    def token(self, kid: str = "r", key: Any = None, algorithm: str = "", **claims: Any) -> str:
        now = int(time.time())
        payload = {
            "iss": ISSUER,
            "aud": "gateway",
            "sub": "ada",
            "team": "research",
            "exp": now + 600,
            **claims,
        }
        signing = key or (self.rsa if kid == "r" else self.ec)
        return jwt.encode(payload, signing, algorithm or ("RS256" if kid == "r" else "ES256"), {"kid": kid})


async def status_of(running: Running, token: str) -> int:
    return statuses(await exchange(running.gateway.address, request(token)))[0]


async def test_a_token_of_an_issuer_says_who_calls(start: Start, tmp_path: Path) -> None:
    issuer = Issuer(tmp_path)
    async with start(callers={"oidc": [OIDC]}) as running:
        found = [
            await status_of(running, issuer.token(sid="s1", agent="robot")),
            await status_of(running, issuer.token("e")),
            await status_of(running, issuer.token("e")),
        ]
        uses = await running.uses()

    assert found == [200, 200, 200]
    assert [use.caller.session for use in uses] == ["oidc:s1", "oidc:ada", "oidc:ada"]
    assert (uses[0].caller.user, uses[0].caller.namespace, uses[0].caller.agent) == (
        "ada",
        "research",
        "robot",
    )


async def test_forged_tokens_are_refused(start: Start, tmp_path: Path) -> None:
    issuer = Issuer(tmp_path)
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = issuer.rsa.public_key()
    good = issuer.token()
    head, payload, signature = good.split(".")
    forged = {
        "another key": issuer.token(key=other),
        "an unknown key": issuer.token("r", key=other).replace(head, head),
        "another audience": issuer.token(aud="other"),
        "another issuer": issuer.token(iss="https://other.example"),
        "expired": issuer.token(exp=int(time.time()) - 120),
        "not yet": issuer.token(nbf=int(time.time()) + 600),
        "no subject": issuer.token(sub=""),
        "no signature": f"{head}.{payload}.",
        "another payload": f"{head}.{issuer.token(team='finance').split('.')[1]}.{signature}",
        "none": jwt.encode({"iss": ISSUER, "aud": "gateway", "sub": "ada"}, None, "none", {"kid": "r"}),
        "the public key as a secret": jwt.encode(
            {"iss": ISSUER, "aud": "gateway", "sub": "ada", "exp": int(time.time()) + 60},
            str(public.public_numbers().n) * 2,
            "HS256",
            {"kid": "r"},
        ),
    }
    async with start(callers={"oidc": [OIDC]}) as running:
        assert await status_of(running, good) == 200
        found = {name: await status_of(running, token) for name, token in forged.items()}

    assert found == dict.fromkeys(forged, 401)


class ReviewServer:
    """An API server that knows one token, bound to a pod and an audience."""

    def __init__(self) -> None:
        self.asked = 0
        self.audiences = ["aliquot-gateway"]
        self.username = "system:serviceaccount:research:robot"

    async def review(self, request: Request) -> Response:
        self.asked += 1
        spec = (await request.json())["spec"]
        status: dict[str, Any] = {"authenticated": False}
        if spec["token"] == GOOD and set(spec["audiences"]) & set(self.audiences):
            status = {
                "authenticated": True,
                "audiences": self.audiences,
                "user": {
                    "username": self.username,
                    "extra": {"authentication.kubernetes.io/pod-uid": ["0b5e"]},
                },
            }
        return JSONResponse({"kind": "TokenReview", "status": status}, 201)

    def app(self) -> Starlette:
        return Starlette(
            routes=[Route("/apis/authentication.k8s.io/v1/tokenreviews", self.review, methods=["POST"])]
        )


GOOD = jwt.encode({"iss": "https://kubernetes.default.svc", "sub": "x"}, "k" * 32, "HS256")
BAD = jwt.encode({"iss": "https://kubernetes.default.svc", "sub": "y"}, "k" * 32, "HS256")


@pytest.fixture
def accounts(tmp_path: Path) -> dict[str, Any]:
    return {
        "keys": False,
        "serviceAccounts": {
            "audiences": ["aliquot-gateway"],
            "kubeconfig": "kubeconfig",
            "agents": {"research/robot": "robot"},
            "queues": {"research": "team-r"},
        },
    }


class Api:
    """The review server on a port."""

    def __init__(self, folder: Path) -> None:
        self.reviews = ReviewServer()
        self._server = PromptServer(
            uvicorn.Config(self.reviews.app(), host="127.0.0.1", port=0, log_level="critical", lifespan="off")
        )
        self._folder = folder

    async def __aenter__(self) -> ReviewServer:
        self._task = asyncio.create_task(self._server.serve())
        async with asyncio.timeout(20):
            while not self._server.started:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        document = {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
            "users": [{"name": "u", "user": {}}],
        }
        (self._folder / "kubeconfig").write_text(yaml.safe_dump(document))
        return self.reviews

    async def __aexit__(self, *_: object) -> None:
        self._server.end()
        await self._task


async def test_a_service_account_is_known_by_its_token_and_its_pod_is_its_session(
    start: Start, tmp_path: Path, accounts: dict[str, Any]
) -> None:
    async with Api(tmp_path) as reviews, start(callers=accounts) as running:
        found = [await status_of(running, token) for token in (GOOD, GOOD, BAD)]
        uses = await running.uses()

    assert found == [200, 200, 401]
    caller = uses[0].caller
    assert (caller.namespace, caller.service_account, caller.agent, caller.queue, caller.session) == (
        "research",
        "robot",
        "robot",
        "team-r",
        "pod:0b5e",
    )
    assert reviews.asked == 2


async def test_a_token_for_another_audience_or_of_a_person_is_refused(
    start: Start, tmp_path: Path, accounts: dict[str, Any]
) -> None:
    async with Api(tmp_path) as reviews, start(callers=accounts) as running:
        reviews.audiences = []
        without = await status_of(running, GOOD)
        reviews.audiences = ["aliquot-gateway"]
        reviews.username = "ada"
        person = await status_of(running, GOOD)

    assert (without, person) == (401, 401)


async def test_callers_are_told_when_the_cluster_cannot_check_tokens(
    start: Start, tmp_path: Path, accounts: dict[str, Any]
) -> None:
    async with Api(tmp_path):
        pass
    async with start(callers=accounts) as running:
        assert await status_of(running, GOOD) == 503
