"""The gRPC service `envoy.service.ext_proc.v3.ExternalProcessor`."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

import grpc  # type: ignore[import-untyped]

from aliquot.gateway.envoy.call import EnvoyCall
from aliquot.gateway.envoy.messages import METHOD, SERVICE, ProcessingRequest, ProcessingResponse
from aliquot.gateway.reception import Reception

_log = logging.getLogger(__name__)

GRACE_SECONDS = 10.0
FRAME_BYTES = 64 * 1024
"""What a message may be larger than the largest body."""


class ExternalProcessor:
    """Answers Envoy: one stream for each HTTP request, one response for each message."""

    def __init__(self, reception: Reception) -> None:
        self._reception = reception

    async def process(self, messages: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        call = EnvoyCall(self._reception)
        try:
            async for message in messages:
                if message.observability_mode:
                    continue
                yield await call.answer(message)
        except Exception:
            _log.exception("external processing failed")
            raise
        finally:
            # Envoy may cancel the stream at any point; what was held is settled all the same.
            await asyncio.shield(call.end())


@contextlib.asynccontextmanager
async def serving(reception: Reception, host: str, port: int) -> AsyncIterator[int]:
    """Serve until the block ends; gives the port. Raises OSError if the address is in use."""
    largest = reception.settings.bounds.body_bytes + FRAME_BYTES
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", largest),
            ("grpc.max_send_message_length", largest),
            ("grpc.so_reuseport", 0),
        ],
        maximum_concurrent_rpcs=reception.settings.bounds.calls,
    )
    handler = grpc.stream_stream_rpc_method_handler(
        ExternalProcessor(reception).process,
        request_deserializer=ProcessingRequest.FromString,
        response_serializer=ProcessingResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),))
    try:
        found = server.add_insecure_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    except RuntimeError as error:
        raise OSError(f"the external-processing service cannot listen on {host}:{port}: {error}") from None
    await server.start()
    try:
        yield found
    finally:
        await server.stop(GRACE_SECONDS)
