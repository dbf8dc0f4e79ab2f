"""Splitting a watch stream into its lines."""

from aliquot.kube.errors import OversizeError


class Lines:
    """Collects chunks of a stream and gives back the complete lines; a line is at most `limit` bytes long."""

    def __init__(self, request: str, limit: int) -> None:
        self._request = request
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0

    @property
    def rest(self) -> bool:
        """A line has begun and not ended."""
        return self._size > 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that this chunk completes, without their ends; empty lines are left out."""
        *complete, tail = chunk.split(b"\n")
        if complete and self._parts:
            complete[0] = b"".join((*self._parts, complete[0]))
            self._parts = []
            self._size = 0
        if tail:
            self._parts.append(tail)
            self._size += len(tail)
            if self._size > self._limit:
                raise OversizeError(self._request, self._limit)
        return [line for line in complete if line.strip()]
