"""Agents that were stopped, in a file beside a gateway: written by the command line, read by the gateway.

The file is replaced as a whole, under a lock, so a reader sees it before or after a change and a look at its
state (`changed`) is enough to know whether to read it again. Content: `agents.switches`.
"""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from aliquot.agents.guards import Switch
from aliquot.agents.switches import data_of, parse

MAX_BYTES = 16 << 20


class SwitchError(Exception):
    """The file at `path` cannot be used: `problem`, and `fix`, what to do about it."""

    def __init__(self, path: Path, problem: str, fix: str) -> None:
        super().__init__(f"switches {path}: {problem}; {fix}")
        self.path = path
        self.problem = problem
        self.fix = fix


class SwitchFile:
    """The agents that are stopped, in the file at `path`; no file: none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int, int] | None = None

    def read(self) -> tuple[Switch, ...]:
        """Who is stopped. Raises SwitchError; a caller that cannot know has to stop everybody."""
        try:
            with self.path.open("rb") as file:
                state = os.fstat(file.fileno())
                content = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            self._seen = (0, 0, 0)
            return ()
        except OSError as error:
            raise SwitchError(self.path, f"cannot be read: {error.strerror}", "check permissions") from None
        if len(content) > MAX_BYTES:
            raise SwitchError(self.path, f"is larger than {MAX_BYTES >> 20} MiB", "resume agents")
        try:
            data = msgspec.json.decode(content, type=dict[str, str])
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise SwitchError(self.path, "is damaged", "write it anew: stop the agents again") from None
        self._seen = (state.st_ino, state.st_mtime_ns, state.st_size)
        return parse(data)

    def changed(self) -> bool:
        """Whether the file is another one than was read last; costs one stat."""
        try:
            state = self.path.stat()
        except FileNotFoundError:
            return self._seen != (0, 0, 0)
        except OSError:
            return True
        return self._seen != (state.st_ino, state.st_mtime_ns, state.st_size)

    def stop(self, switch: Switch) -> None:
        """Stop an agent. Raises SwitchError."""
        with self._lock():
            kept = [one for one in self.read() if one.agent != switch.agent]
            self._write([*kept, switch])

    def resume(self, agent: str) -> bool:
        """Let an agent go on; False if it was not stopped. Raises SwitchError."""
        with self._lock():
            found = self.read()
            kept = [one for one in found if one.agent != agent]
            if len(kept) == len(found):
                return False
            self._write(kept)
        return True

    def _write(self, switches: list[Switch]) -> None:
        content = msgspec.json.encode(data_of(switches))
        try:
            handle, name = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self.path)
        except OSError as error:
            raise SwitchError(
                self.path, f"cannot be written: {error.strerror}", "check the folder's permissions"
            ) from None

    @contextmanager
    def _lock(self) -> Iterator[None]:
        lock = self.path.with_name(f"{self.path.name}.lock")
        try:
            handle = os.open(lock, os.O_CREAT | os.O_RDWR, 0o600)
        except OSError as error:
            raise SwitchError(
                self.path, f"cannot be locked: {error.strerror}", "check the folder's permissions"
            ) from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)
