"""Ways to log in to a cluster: a token, a token file, a client certificate, an exec plugin.

Secrets never appear in `repr`, in errors or in logs.
"""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

import msgspec

from aliquot.kube.clock import Clock

TOKEN_AGE_SECONDS = 60.0
"""A token file is read again when what was read is older: bound tokens are renewed well before they end."""

EXEC_SECONDS = 60.0
EXEC_OUTPUT_BYTES = 1 << 20


class CredentialError(Exception):
    """No credential could be had. source: the file or the command; problem: why and what to do."""

    def __init__(self, source: str, problem: str) -> None:
        super().__init__(f"{source}: {problem}")
        self.source = source
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Credential:
    """A bearer token ("" for none), and a client certificate with its key (PEM text, both or neither)."""

    token: str = field(default="", repr=False)
    certificate: str | None = field(default=None, repr=False)
    key: str | None = field(default=None, repr=False)


class Credentials(Protocol):
    """A source of credentials that may change over time."""

    async def current(self, clock: Clock) -> Credential:
        """The credential to use now. Raises CredentialError."""

    def reject(self) -> bool:
        """The server refused the credential (401). True if `current` may give another one now."""


class Anonymous:
    """No credential."""

    async def current(self, clock: Clock) -> Credential:
        return Credential()

    def reject(self) -> bool:
        return False


ANONYMOUS = Anonymous()


class StaticCredential:
    """A credential that never changes."""

    def __init__(self, token: str, certificate: str | None = None, key: str | None = None) -> None:
        self._credential = Credential(token, certificate, key)

    async def current(self, clock: Clock) -> Credential:
        return self._credential

    def reject(self) -> bool:
        return False


class FileToken:
    """A token in a file that somebody renews."""

    def __init__(self, path: Path, certificate: str | None = None, key: str | None = None) -> None:
        self._path = path
        self._certificate = certificate
        self._key = key
        self._read_at: float | None = None
        self._token = ""

    async def current(self, clock: Clock) -> Credential:
        now = clock.monotonic()
        if self._read_at is None or now - self._read_at >= TOKEN_AGE_SECONDS:
            try:
                with self._path.open("rb") as stream:
                    self._token = stream.read(EXEC_OUTPUT_BYTES).decode("ascii").strip()
            except (OSError, UnicodeDecodeError) as error:
                if self._read_at is None:
                    raise CredentialError(str(self._path), "the token cannot be read") from error
            self._read_at = now
        return Credential(self._token, self._certificate, self._key)

    def reject(self) -> bool:
        had = self._read_at is not None
        self._read_at = None
        return had


class _ExecStatus(msgspec.Struct, rename="camel"):
    token: str = ""
    expiration_timestamp: datetime | None = None
    client_certificate_data: str | None = None
    client_key_data: str | None = None


class _ExecCredential(msgspec.Struct, rename="camel"):
    api_version: str
    kind: str
    status: _ExecStatus


class ExecPlugin:
    """A command that prints an ExecCredential (client.authentication.k8s.io/v1 or v1beta1).

    It runs without a terminal, for at most EXEC_SECONDS, and its answer is kept until it expires. Several
    requests that need it at once share one run.
    """

    def __init__(
        self,
        *,
        command: str,
        arguments: tuple[str, ...] = (),
        variables: Mapping[str, str] | None = None,
        api_version: str = "client.authentication.k8s.io/v1",
        directory: Path,
        environment: Mapping[str, str],
        cluster: Mapping[str, str] | None = None,
        seconds: float = EXEC_SECONDS,
    ) -> None:
        # As in kubectl, a command with a separator is relative to the kubeconfig, any other is looked up in
        # PATH.
        self._command = str(directory / command) if os.sep in command else command
        self._arguments = arguments
        self._api_version = api_version
        info = {
            "apiVersion": api_version,
            "kind": "ExecCredential",
            "spec": {"interactive": False} | ({"cluster": dict(cluster)} if cluster else {}),
        }
        self._environment = {
            **environment,
            **(variables or {}),
            "KUBERNETES_EXEC_INFO": msgspec.json.encode(info).decode(),
        }
        self._seconds = seconds
        self._lock = asyncio.Lock()
        self._held: Credential | None = None
        self._expires: datetime | None = None

    async def current(self, clock: Clock) -> Credential:
        async with self._lock:
            if self._held is None or (
                self._expires is not None and clock.now() >= self._expires - timedelta(seconds=10)
            ):
                self._held, self._expires = await self._run()
            return self._held

    def reject(self) -> bool:
        had = self._held is not None
        self._held = None
        return had

    async def _run(self) -> tuple[Credential, datetime | None]:
        try:
            process = await asyncio.create_subprocess_exec(
                self._command,
                *self._arguments,
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
        except OSError as error:
            raise CredentialError(
                self._command, f"the exec plugin cannot be run: {error.strerror}"
            ) from error
        try:
            async with asyncio.timeout(self._seconds):
                assert process.stdout is not None
                output = await _read_bounded(process.stdout, self._command)
                code = await process.wait()
        except TimeoutError as error:
            problem = f"the exec plugin gave no answer in {self._seconds:g} s"
            raise CredentialError(self._command, problem) from error
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if code != 0:
            raise CredentialError(
                self._command, f"the exec plugin ended with code {code}; run it by hand to see why"
            )
        return self._parse(output)

    def _parse(self, output: bytes) -> tuple[Credential, datetime | None]:
        try:
            answer = msgspec.json.decode(output, type=_ExecCredential)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise CredentialError(self._command, "the exec plugin printed no ExecCredential") from error
        if answer.kind != "ExecCredential" or answer.api_version != self._api_version:
            got = f"{answer.api_version} {answer.kind}"
            problem = f"the exec plugin printed {got}, not {self._api_version} ExecCredential"
            raise CredentialError(self._command, problem)
        status = answer.status
        if not status.token and not status.client_certificate_data:
            raise CredentialError(
                self._command, "the exec plugin printed neither token nor client certificate"
            )
        held = Credential(status.token, status.client_certificate_data, status.client_key_data)
        return held, status.expiration_timestamp


async def _read_bounded(stream: asyncio.StreamReader, source: str) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while chunk := await stream.read(65_536):
        size += len(chunk)
        if size > EXEC_OUTPUT_BYTES:
            raise CredentialError(source, f"the exec plugin printed more than {EXEC_OUTPUT_BYTES} bytes")
        chunks.append(chunk)
    return b"".join(chunks)
