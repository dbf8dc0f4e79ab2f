"""How SQLite files are opened that are only read."""

import os
from pathlib import Path


def read_only_address(path: Path) -> str:
    """The address (SQLite URI) of a file to read.

    To read a file in WAL mode SQLite writes beside it, or needs the `-wal` and `-shm` that a writer has made
    (sqlite.org/wal.html#readonly). Of a file in a folder that may not be written, such as a copy that an
    auditor was given, without a `-wal`, nobody is writing: it is read as one that does not change.
    """
    address = f"{path.absolute().as_uri()}?mode=ro"
    written = path.with_name(f"{path.name}-wal").exists()
    return address if written or os.access(path.absolute().parent, os.W_OK) else f"{address}&immutable=1"
