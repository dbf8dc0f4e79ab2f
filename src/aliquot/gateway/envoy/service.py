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
STOP_SECONDS = 0.5
"""A stopped call is told so with its next piece, if one comes so soon."""
FRAME_BYTES = 64 * 1024
"""What a message may be larger than the largest body."""


class _Waiting:
    """For the next message of Envoy; not longer than STOP_SECONDS once the call is stopped."""

    def __init__(self) -> None:
        self._until: float | None = None
        self._deadline: asyncio.Timeout | None = None

    def shorten(self) -> None:
        """The call is stopped."""
        self._until = asyncio.get_running_loop().time() + STOP_SECONDS
        if self._deadline is not None:
            self._deadline.reschedule(self._until)

    async def next(self, messages: AsyncIterator[Any]) -> Any:
        """The next message, None at the end. Raises TimeoutError."""
        try:
            async with asyncio.timeout_at(self._until) as self._deadline:
                return await anext(messages)
        except StopAsyncIteration:
            return None
        finally:
            self._deadline = None


class ExternalProcessor:
    """Answers Envoy: one stream for each HTTP request, one response for each message."""

    def __init__(self, reception: Reception) -> None:
        self._reception = reception

    async def process(self, messages: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        call = EnvoyCall(self._reception)
        waiting = _Waiting()
        call.on_stop = waiting.shorten
        try:
            while (message := await waiting.next(messages)) is not None:
                if message.observability_mode:
                    continue
                yield await call.answer(message)
        except TimeoutError:
            # A stopped call of which nothing comes: Envoy resets it when the service fails.
            await asyncio.shield(call.end())
            await context.abort(grpc.StatusCode.ABORTED, "the call was stopped")
        except grpc.aio.AbortError:
            raise
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
