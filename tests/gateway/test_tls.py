"""TLS on both sides: callers to the gateway, and one gateway as the upstream of another."""

import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
from openai import AsyncOpenAI
from tests.gateway.conftest import Start

from aliquot.embedded.http.tls import Certificates, ensure

MESSAGES: Any = [{"role": "user", "content": "hello"}]


def secured(folder: Path) -> tuple[Certificates, dict[str, Any]]:
    made = ensure(folder, "127.0.0.1", datetime.now(UTC))
    return made, {"port": 0, "tls": {"certificateFile": str(made.certificate), "keyFile": str(made.key)}}


async def test_calls_and_streams_go_over_tls_to_an_upstream_behind_tls(start: Start, tmp_path: Path) -> None:
    made, listen = secured(tmp_path)
    async with start(listen=listen) as inner:
        host, port = inner.gateway.address
        (tmp_path / "inner.key").write_text(inner.key)
        behind = {
            "name": "inner",
            "url": f"https://{host}:{port}/v1",
            "kind": "vllm",
            "models": {"tiny": "tiny"},
            "keyFile": "inner.key",
            "caFile": str(made.authority),
            "healthPath": "/models",
        }
        async with start(
            listen=listen, upstreams=[behind], models=[{"name": "tiny"}], store={"sqlite": "outer.db"}
        ) as outer:
            trusted = ssl.create_default_context(cafile=str(made.authority))
            address = outer.gateway.address
            async with AsyncOpenAI(
                base_url=f"https://{address[0]}:{address[1]}/v1",
                api_key=outer.key,
                http_client=httpx2.AsyncClient(verify=trusted),
            ) as client:
                whole = await client.chat.completions.create(model="tiny", messages=MESSAGES, max_tokens=4)
                stream = await client.chat.completions.create(model="tiny", messages=MESSAGES, stream=True)
                pieces = [chunk async for chunk in stream]
            counts = [[use.output_tokens for use in await one.uses()] for one in (inner, outer)]

    assert whole.usage is not None
    assert whole.usage.completion_tokens == 4
    assert len(pieces) > 10
    assert counts[0] == counts[1]
