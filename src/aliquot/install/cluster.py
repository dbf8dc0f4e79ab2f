"""A cluster as whoever installs, checks and removes sees it: documents in and out, by apiVersion and kind."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from aliquot.kube.client import Client, PatchType
from aliquot.kube.errors import ApiError
from aliquot.kube.resources import Resource

Json = dict[str, Any]

FIELD_MANAGER = "aliquot-install"
AT_ONCE = 8
"""How many requests are under way at a time."""

decode = msgspec.json.decode


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """What a server calls itself. minor: 36 for 1.36 and 1.36+; text: v1.36.2."""

    major: int
    minor: int
    text: str


class NotServedError(Exception):
    """The cluster does not serve this kind."""

    def __init__(self, api_version: str, kind: str) -> None:
        super().__init__(f"{kind} is not served as {api_version}")
        self.api_version = api_version
        self.kind = kind


class Cluster:
    """One cluster. What it serves is asked once."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._served: dict[str, Mapping[str, Resource]] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def version(self) -> Version:
        found = decode(await self.client.request("GET", "/version"))
        minor = "".join(character for character in str(found.get("minor", "")) if character.isdigit())
        major = str(found.get("major", ""))
        return Version(
            int(major) if major.isdigit() else 0, int(minor or 0), str(found.get("gitVersion", ""))[:64]
        )

    async def served(self, api_version: str) -> Mapping[str, Resource]:
        """The resources of a group and version by kind; none if it is not served."""
        if api_version not in self._served:
            self._served[api_version] = await self.client.discover(api_version)
        return self._served[api_version]

    async def serves(self, api_version: str, kind: str) -> bool:
        return kind in await self.served(api_version)

    def forget(self) -> None:
        """Ask anew what is served: custom resources came."""
        self._served.clear()

    async def resource(self, api_version: str, kind: str) -> Resource:
        """Raises NotServedError."""
        found = (await self.served(api_version)).get(kind)
        if found is None:
            raise NotServedError(api_version, kind)
        return found

    async def get(self, api_version: str, kind: str, name: str, namespace: str = "") -> Json | None:
        """One object; None if there is none, or the kind is not served."""
        resource = (await self.served(api_version)).get(kind)
        if resource is None:
            return None
        async with self._slots:
            try:
                found: Json = decode(await self.client.get(resource, name, namespace))
            except ApiError as error:
                if error.not_found:
                    return None
                raise
        return found

    async def stored(self, document: Json) -> Json | None:
        """The object that a document speaks of, as the cluster has it."""
        metadata = document["metadata"]
        return await self.get(
            document["apiVersion"], document["kind"], metadata["name"], metadata.get("namespace", "")
        )

    async def items(
        self, api_version: str, kind: str, namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> AsyncIterator[Json]:
        """All objects of a kind; none where it is not served."""
        resource = (await self.served(api_version)).get(kind)
        if resource is None:
            return
        async for page in self.client.pages(
            resource, namespace, label_selector=labels, field_selector=fields
        ):
            for item in decode(page).get("items") or ():
                item.setdefault("apiVersion", api_version)
                item.setdefault("kind", kind)
                yield item

    async def list(
        self, api_version: str, kind: str, namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> list[Json]:
        return [item async for item in self.items(api_version, kind, namespace, labels=labels, fields=fields)]

    async def apply(self, document: Json, *, dry_run: bool = False) -> Json:
        """Server-side apply, taking over fields of others. Raises NotServedError and the client's errors."""
        resource = await self.resource(document["apiVersion"], document["kind"])
        metadata = document["metadata"]
        query = {"fieldManager": FIELD_MANAGER, "force": "true", "fieldValidation": "Strict"}
        if dry_run:
            query["dryRun"] = "All"
        path = resource.path(metadata.get("namespace", ""), metadata["name"])
        async with self._slots:
            answer: Json = decode(
                await self.client.request(
                    "PATCH", path, query=query, body=document, content_type=PatchType.APPLY.value
                )
            )
        return answer

    async def create_dry(self, document: Json) -> Json:
        """What creating the object would give; nothing is stored."""
        resource = await self.resource(document["apiVersion"], document["kind"])
        path = resource.path(document["metadata"].get("namespace", ""))
        async with self._slots:
            answer: Json = decode(
                await self.client.request("POST", path, query={"dryRun": "All"}, body=document, attempts=2)
            )
        return answer

    async def review(self, kind: str, spec: Json, group: str = "authorization.k8s.io") -> Json:
        """The status of a review such as SelfSubjectAccessReview."""
        resource = await self.resource(f"{group}/v1", kind)
        body: Json = {"apiVersion": f"{group}/v1", "kind": kind, **({"spec": spec} if spec else {})}
        async with self._slots:
            answer = decode(await self.client.request("POST", resource.path(), body=body, attempts=2))
        status: Json = answer.get("status") or {}
        return status

    async def delete(self, document: Json) -> bool:
        """Delete the object; False if it is not there."""
        resource = (await self.served(document["apiVersion"])).get(document["kind"])
        if resource is None:
            return False
        metadata = document["metadata"]
        try:
            await self.client.delete(
                resource, metadata["name"], metadata.get("namespace", ""), propagation="Background"
            )
        except ApiError as error:
            if error.not_found:
                return False
            raise
        return True


def moment(text: str | None) -> datetime | None:
    """An RFC 3339 time of an object; None if there is none or it is not one."""
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def subject(document: Json) -> str:
    """`Kind namespace/name` for people."""
    metadata = document["metadata"]
    namespace = metadata.get("namespace", "")
    name = f"{namespace}/{metadata['name']}" if namespace else metadata["name"]
    return f"{document['kind']} {name}"
