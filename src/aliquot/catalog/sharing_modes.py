"""Ways to share or partition an accelerator: what each isolates, what changing it costs, and its limits."""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, Literal

import msgspec

from aliquot.catalog.data_files import index_by_id, load_document

FILE = "sharing_modes.yaml"


class SharingMode(msgspec.Struct, frozen=True, kw_only=True):
    """One mode. isolation and reconfigure: facts by aspect (memory, fault ...; cost, drain ...)."""

    mode: str
    vendor: str
    isolation: dict[str, Any]
    granularity: str = ""
    reconfigure: dict[str, Any] = {}
    limits: Any = None
    gpus: Any = None
    not_gpus: Any = None
    use_when: tuple[str, ...] = ()
    figures: tuple[dict[str, Any], ...] = ()
    dra: Any = None
    kubernetes: dict[str, str] = {}
    source: str = ""
    unverified: bool = False
    unverified_fields: tuple[str, ...] = ()


class _Document(msgspec.Struct, frozen=True):
    schema: Literal["aliquot.dev/sharing-modes/v1"]
    sources: dict[str, str]
    modes: tuple[SharingMode, ...]


@cache
def sharing_modes() -> Mapping[str, SharingMode]:
    """All modes by name. Raises CatalogError."""
    document = load_document(FILE, _Document)
    return MappingProxyType(index_by_id(FILE, "modes", document.modes, "mode"))
