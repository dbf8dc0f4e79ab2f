"""Where commands read how devices are used: a file of sources, a Prometheus, exporters, or what the
environment names."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from aliquot.cli.failures import Failure
from aliquot.telemetry.endpoint import Endpoint
from aliquot.telemetry.errors import SourceError
from aliquot.telemetry.settings import MOST_FILE_BYTES, Settings, SettingsError, parse

SETTINGS_VARIABLE = "ALIQUOT_TELEMETRY"
PROMETHEUS_VARIABLE = "ALIQUOT_PROMETHEUS"


def telemetry_settings(
    file: str, prometheus: str, exporters: Sequence[str] = (), *, token_file: str = ""
) -> Settings:
    """The sources that options name ("" where left out); if they name none, those of the environment.

    token_file: of the Prometheus. Raises Failure.
    """
    environment = os.environ if not (file or prometheus or exporters) else {}
    path = file or environment.get(SETTINGS_VARIABLE, "")
    url = prometheus or ("" if path else environment.get(PROMETHEUS_VARIABLE, ""))
    try:
        found = parse(_content(path), path) if path else Settings()
        if url:
            found = replace(found, prometheus=Endpoint(url, bearer_file=token_file).checked())
        if exporters:
            found = replace(found, exporters=tuple(Endpoint(item).checked() for item in exporters))
    except (SettingsError, SourceError) as error:
        raise Failure(str(error)) from None
    return found


def _content(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(MOST_FILE_BYTES + 1)
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}; name the file of sources") from None
