"""From the openb trace's two files to a Snapshot."""

from datetime import datetime
from pathlib import Path
from typing import Any

from aliquot.catalog import openb
from aliquot.cli.expansion import expand
from aliquot.cli.manifests import InputError
from aliquot.model.kinds import KINDS, decode
from aliquot.model.snapshot import Snapshot


def load(nodes_file: Path, pods_file: Path, now: datetime) -> Snapshot:
    """The trace's nodes, and its pods waiting in their order of arrival. Raises InputError."""
    try:
        nodes = openb.parse_nodes(_text(nodes_file), str(nodes_file))
        pods = openb.parse_pods(_text(pods_file), str(pods_file))
    except openb.OpenbError as error:
        raise InputError(f"{error.source}:{error.line}", error.column, error.problem, error.fix) from None
    documents: list[dict[str, Any]] = openb.device_classes()
    for node in nodes:
        documents += openb.node_objects(node)
    for position, pod in enumerate(pods):
        documents += openb.pod_objects(pod, position)
    return Snapshot.of(decode(item) for item in expand(documents, now) if item["kind"] in KINDS)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            content = stream.read(openb.MAX_BYTES + 1)
        if len(content) > openb.MAX_BYTES:
            raise InputError(str(path), "", f"is larger than {openb.MAX_BYTES >> 20} MiB", "split it")
        return content.decode("utf-8")
    except OSError as error:
        raise InputError(
            str(path), "", f"cannot be read: {error.strerror}", "check the path and its permissions"
        ) from None
    except UnicodeDecodeError:
        raise InputError(str(path), "", "is not UTF-8 text", "save the file as UTF-8") from None
