"""Tokens of Kubernetes service accounts, judged by the API server (TokenReview, authentication.k8s.io/v1)."""

import asyncio

import msgspec

from aliquot.budgets.spending import Caller
from aliquot.gateway.callers import CallerError, Known
from aliquot.gateway.configuration import ServiceAccounts
from aliquot.kube.client import Client
from aliquot.kube.errors import ApiError, TransportError
from aliquot.kube.resources import Resource

TOKEN_REVIEWS = Resource("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", namespaced=False)
_PREFIX = "system:serviceaccount:"
_POD_UID = "authentication.kubernetes.io/pod-uid"
MAX_REVIEWS = 16
"""How many reviews may be under way: callers without a valid token must not overload the API server."""


class _User(msgspec.Struct):
    username: str = ""
    uid: str = ""
    extra: dict[str, list[str]] = {}


class _Status(msgspec.Struct):
    authenticated: bool = False
    user: _User = msgspec.field(default_factory=_User)
    audiences: list[str] = []


class _Review(msgspec.Struct):
    status: _Status = msgspec.field(default_factory=_Status)


class ServiceAccountVerifier:
    """Asks one cluster's API server. Takes every token that no other verifier claims."""

    def __init__(self, settings: ServiceAccounts, client: Client) -> None:
        self._settings = settings
        self._client = client
        self._turns = asyncio.Semaphore(MAX_REVIEWS)

    def claims(self, issuer: str) -> bool:
        return True

    async def verify(self, token: str, now: int) -> tuple[Known, int]:
        document = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": list(self._settings.audiences)},
        }
        if self._turns.locked():
            raise CallerError("too many tokens are being checked; try again", unavailable=True)
        async with self._turns:
            try:
                answer = await self._client.create(TOKEN_REVIEWS, document)
                status = msgspec.json.decode(answer, type=_Review).status
            except (ApiError, TransportError, msgspec.DecodeError) as error:
                raise CallerError(
                    f"the cluster cannot check tokens now: {type(error).__name__}", unavailable=True
                ) from None
        # A server that does not know audiences answers without them; its word does not count then.
        if not status.authenticated or not set(status.audiences) & set(self._settings.audiences):
            raise CallerError("the cluster does not take this token for this gateway")
        if not status.user.username.startswith(_PREFIX):
            raise CallerError("the token is not of a service account")
        namespace, _, name = status.user.username.removeprefix(_PREFIX).partition(":")
        pods = status.user.extra.get(_POD_UID, [])
        caller = Caller(
            namespace=namespace,
            service_account=name,
            queue=self._of(self._settings.queues, namespace, name),
            agent=self._of(self._settings.agents, namespace, name) or f"{namespace}/{name}",
            session=f"pod:{pods[0]}" if pods else f"account:{namespace}/{name}",
        )
        return Known(caller), now + self._settings.cache_seconds * 1_000_000

    @staticmethod
    def _of(names: dict[str, str], namespace: str, name: str) -> str:
        return names.get(f"{namespace}/{name}") or names.get(namespace, "")
