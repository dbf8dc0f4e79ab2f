"""Saved snapshots: one file that holds a cluster as a decision sees it, with the decision that was made.

The file is JSON, plain, gzip (`.gz`) or Zstandard (`.zst`); which it is, its first bytes tell. See
docs/what-if.md for its fields. Reading checks that it is whole and unchanged, and every error names the place
and the fix.
"""

import gzip
import importlib
import os
import tempfile
import zlib
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from aliquot import __version__
from aliquot.cli.manifests import InputError
from aliquot.model.kinds import decoder, encode, encode_json, kind_of, plain
from aliquot.model.meta import KubernetesObject
from aliquot.model.snapshot import Snapshot
from aliquot.scheduling.plan import Plan
from aliquot.scheduling.policy import Policy
from aliquot.store.digests import snapshot_digest

API_VERSION = "aliquot.dev/v1alpha1"
KIND = "Snapshot"
FORMAT = 1
"""The number of this format; files with a higher one are not read."""

MAX_FILE_BYTES = 512 << 20
MAX_BYTES = 2 << 30
"""Unpacked."""

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_PIECE = 1 << 20
_SAVE_AGAIN = "copy it again, or save it again with `aliquot snapshot save`"


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """A saved snapshot. time: the moment that its plan was made at; aliquot: the version that wrote it;
    policy: by which it was decided. plan: what was decided, None where the file does not hold it."""

    snapshot: Snapshot
    time: datetime
    policy: Policy
    plan: Plan | None = None
    aliquot: str = __version__

    @property
    def digest(self) -> str:
        """Of the snapshot, as the journal has it, in hexadecimal."""
        return snapshot_digest(self.snapshot).hex()

    def kinds(self) -> dict[str, int]:
        """How many objects there are of each kind, the most first."""
        return dict(Counter(item.kind() for item in self.snapshot.objects()).most_common())


class _Header(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What stands before the objects."""

    api_version: str = ""
    kind: str = ""
    format: int = FORMAT
    aliquot: str = ""
    time: datetime | None = None
    objects: int | None = None
    digest: str | None = None
    policy: Policy = Policy()
    items: list[msgspec.Raw] | None = None
    plan: Plan | None = None


class _Kind(msgspec.Struct, frozen=True, rename="camel"):
    api_version: str = ""
    kind: str = ""


def text(saved: Saved) -> bytes:
    """The content of the file, unpacked: the header on one line, then each object on one of its own."""
    items = [msgspec.json.encode(encode(item)) for item in saved.snapshot.objects()]
    header: dict[str, Any] = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "format": FORMAT,
        "aliquot": saved.aliquot,
        "time": saved.time.isoformat(),
        "objects": len(items),
        "digest": saved.digest,
        "policy": plain(saved.policy),
    }
    head = msgspec.json.encode(header)[:-1]
    plan = b"" if saved.plan is None else b',\n"plan":' + encode_json(saved.plan)
    return head + b',"items":[\n' + b",\n".join(items) + b"\n]" + plan + b"}\n"


def write(saved: Saved, path: Path) -> int:
    """Write the file, packed as its name says; how many bytes it has. Raises InputError.

    The file is there whole or not at all.
    """
    content = _pack(text(saved), path)
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as stream:
            made = Path(stream.name)
            try:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
                made.replace(path)
            except BaseException:
                made.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise InputError(
            str(path), "", f"cannot be written: {error.strerror}", "check the folder and its permissions"
        ) from None
    return len(content)


def _pack(content: bytes, path: Path) -> bytes:
    if path.suffix == ".gz":
        # Without a time of its own in the header, equal snapshots give equal files.
        return gzip.compress(content, 6, mtime=0)
    if path.suffix == ".zst":
        found: bytes = _zstd(str(path)).compress(content)
        return found
    return content


def _zstd(place: str) -> Any:
    """Python's own Zstandard (3.14 and later), or the package of that name. Raises InputError."""
    for name in ("compression.zstd", "zstandard"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise InputError(
        place,
        "",
        "is Zstandard, which this Python cannot pack or unpack",
        "use Python 3.14 or later, install `zstandard`, or use a name that ends in .json.gz",
    )


def recognised(path: Path) -> bool:
    """Whether a file looks like a saved snapshot: packed, or JSON that begins with this kind of header."""
    try:
        with path.open("rb") as stream:
            head = stream.read(4096)
    except OSError:
        return False
    if head.startswith((_GZIP, _ZSTD)):
        return True
    return head[:1] == b"{" and f'"{API_VERSION}"'.encode() in head and f'"{KIND}"'.encode() in head


def read(path: Path) -> Saved:
    """Read and check a file. Raises InputError."""
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise InputError(
                str(path), "", f"is larger than {MAX_FILE_BYTES >> 20} MiB", "save one part of the cluster"
            )
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            str(path), "", f"cannot be read: {error.strerror}", "check the path and its permissions"
        ) from None
    return parse(_unpack(content, str(path)), str(path))


def _unpack(content: bytes, place: str) -> bytes:
    if content.startswith(_GZIP):
        return _gunzip(content, place)
    if content.startswith(_ZSTD):
        module = _zstd(place)
        try:
            if module.__name__ == "zstandard":
                found: bytes = module.ZstdDecompressor().decompress(content, max_output_size=MAX_BYTES)
            else:
                stream = module.ZstdDecompressor()
                found = stream.decompress(content, MAX_BYTES)
                if not stream.eof:
                    raise InputError(place, "", "is cut off inside its Zstandard data", _SAVE_AGAIN)
        except InputError:
            raise
        except Exception as error:
            raise InputError(place, "", f"is damaged Zstandard data ({error})", _SAVE_AGAIN) from None
        return found
    return content


def _gunzip(content: bytes, place: str) -> bytes:
    stream = zlib.decompressobj(wbits=31)
    pieces: list[bytes] = []
    total = 0
    data = content
    try:
        while not stream.eof:
            piece = stream.decompress(data, _PIECE)
            data = stream.unconsumed_tail
            total += len(piece)
            if total > MAX_BYTES:
                raise InputError(
                    place, "", f"unpacks to more than {MAX_BYTES >> 30} GiB", "save a part of the cluster"
                )
            if not piece and not data and not stream.eof:
                raise InputError(
                    place, "", f"is cut off after {len(content)} bytes of gzip data", _SAVE_AGAIN
                )
            pieces.append(piece)
    except zlib.error as error:
        raise InputError(place, "", f"is damaged gzip data ({error})", _SAVE_AGAIN) from None
    return b"".join(pieces)


def parse(content: bytes, place: str) -> Saved:
    """The saved snapshot of an unpacked file. place: its name, for errors. Raises InputError."""
    header = _header(content, place)
    items = header.items
    if items is None:
        raise InputError(place, "items", "there are no objects", _SAVE_AGAIN)
    if header.time is None or header.time.tzinfo is None:
        raise InputError(place, "time", "is missing or without a zone", "write 2026-01-31T12:00:00Z")
    if header.objects is not None and header.objects != len(items):
        problem = f"there are {len(items)} objects where the header says {header.objects}"
        raise InputError(place, "items", problem, "save it again, or remove `objects` from an edited file")
    objects = [_object(item, content, place, number) for number, item in enumerate(items)]
    saved = Saved(
        snapshot=Snapshot.of(objects),
        time=header.time,
        policy=header.policy,
        plan=header.plan,
        aliquot=header.aliquot,
    )
    if header.digest is not None and header.digest != saved.digest:
        raise InputError(
            place,
            "digest",
            "the objects are not those that were saved",
            "save it again, or remove `digest` and `plan` from an edited file",
        )
    return saved


def _header(content: bytes, place: str) -> _Header:
    if content[:1] != b"{":
        shown = content[:24].decode("utf-8", "backslashreplace").splitlines()
        begins = repr(shown[0]) if shown else "nothing"
        raise InputError(
            f"{place}:1",
            "",
            f"is no saved snapshot: it begins with {begins}",
            "give a file written by `aliquot snapshot save`, or manifests with -f",
        )
    try:
        kind = msgspec.json.decode(content, type=_Kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _broken(content, place, error) from None
    if (kind.api_version, kind.kind) != (API_VERSION, KIND):
        found = f"{kind.api_version or 'no apiVersion'}, {kind.kind or 'no kind'}"
        raise InputError(
            f"{place}:1",
            "kind",
            f"is no saved snapshot but {found}",
            "give a file written by `aliquot snapshot save`, or manifests with -f",
        )
    try:
        number = msgspec.json.decode(content, type=_Format).format
        if number > FORMAT:
            raise InputError(
                f"{place}:1", "format", f"is {number}; this version reads up to {FORMAT}", "update Aliquot"
            )
        return msgspec.json.decode(content, type=_Header)
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at `$")
        raise InputError(f"{place}:1", path.strip("`."), problem, _SAVE_AGAIN) from None


class _Format(msgspec.Struct, frozen=True):
    format: int = 0


def _broken(content: bytes, place: str, error: Exception) -> InputError:
    """What is wrong with a file that is no JSON: mostly, that its end is missing."""
    lines = content.count(b"\n") + 1
    if not content.rstrip().endswith(b"}") or "truncated" in str(error):
        whole = max(0, lines - 2)
        problem = f"is cut off at line {lines}, after {whole} object{'s' if whole != 1 else ''}"
        return InputError(f"{place}:{lines}", "", problem, _SAVE_AGAIN)
    _, _, byte = str(error).rpartition("(byte ")
    offset = int(byte.rstrip(")")) if byte.rstrip(")").isdigit() else 0
    line = content[:offset].count(b"\n") + 1
    column = offset - content.rfind(b"\n", 0, offset)
    return InputError(f"{place}:{line}:{column}", "", f"is not valid JSON: {error}", _SAVE_AGAIN)


def _object(item: msgspec.Raw, content: bytes, place: str, number: int) -> KubernetesObject:
    body = bytes(item)
    try:
        named = msgspec.json.decode(body, type=_Kind)
        kind = kind_of(named.api_version, named.kind)
        if kind is not None:
            found: KubernetesObject = decoder(kind).decode(body)
            return found
        path, problem = "kind", f"{named.api_version} {named.kind} is not read"
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at `$")
        path = path.strip("`.")
    line = content[: max(0, content.find(body))].count(b"\n") + 1
    where = f"items[{number}]" + (f".{path}" if path else "")
    raise InputError(f"{place}:{line}", where, problem, _SAVE_AGAIN)
