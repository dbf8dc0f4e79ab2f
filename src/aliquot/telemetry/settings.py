"""Where telemetry comes from: a file, or what the command line says.

prometheus:
  url: https://prometheus.example:9090
  match: cluster="a"
  tokenFile: /var/run/secrets/token      # or user, passwordFile; caFile, certFile, keyFile; tenant
exporters:
- url: http://node-1:9400/metrics
metrics:                                  # names of your own exporters
  my_gpu_duty_cycle: {metric: kernel-busy, unit: percent}
teamLabels: [team]
containers: false                         # also CPU and memory of every container
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import msgspec

from aliquot.telemetry.endpoint import Endpoint
from aliquot.telemetry.holdings import TEAM_LABELS
from aliquot.telemetry.vocabulary import MIB, MILLI, ONE, PERCENT, RATIO, Term, Vocabulary
from aliquot.usage.metrics import Metric, Unit

MOST_EXPORTERS = 4096
MOST_FILE_BYTES = 1 << 20

_SCALES: Mapping[Unit, Mapping[str, Fraction]] = {
    Unit.PPM: {"percent": PERCENT, "ratio": RATIO, "ppm": ONE},
    Unit.BYTES: {"B": ONE, "MiB": MIB, "MB": Fraction(1_000_000), "GiB": Fraction(1 << 30)},
    Unit.BYTES_PER_SECOND: {"B/s": ONE, "MiB/s": MIB},
    Unit.MILLIWATTS: {"W": MILLI, "mW": ONE},
    Unit.MILLIJOULES: {"J": MILLI, "mJ": ONE, "uJ": Fraction(1, 1000)},
    Unit.MILLISECONDS: {"s": MILLI, "ms": ONE},
    Unit.COUNT: {"1": ONE},
}


class SettingsError(Exception):
    """A setting cannot be used: `place`, `problem` and `fix`."""

    def __init__(self, place: str, problem: str, fix: str) -> None:
        super().__init__(f"{place}: {problem}; {fix}")
        self.place = place
        self.problem = problem
        self.fix = fix


class _Endpoint(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    url: str
    match: str = ""
    token_file: str = ""
    user: str = ""
    password_file: str = ""
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    insecure: bool = False
    tenant: str = ""

    def endpoint(self) -> Endpoint:
        return Endpoint(
            self.url,
            self.token_file,
            self.user,
            self.password_file,
            self.ca_file,
            self.cert_file,
            self.key_file,
            self.insecure,
            self.tenant,
        )


class _Term(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    metric: str
    unit: str


class _File(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    prometheus: _Endpoint | None = None
    exporters: tuple[_Endpoint, ...] = ()
    metrics: dict[str, _Term] = {}
    team_labels: tuple[str, ...] = TEAM_LABELS
    containers: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """prometheus: with `match`, label matchers that every series has to meet. exporters: read directly."""

    prometheus: Endpoint | None = None
    match: str = ""
    exporters: tuple[Endpoint, ...] = ()
    terms: Mapping[str, Term] | None = None
    team_labels: tuple[str, ...] = TEAM_LABELS
    containers: bool = False

    @property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary(self.terms, containers=self.containers)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to read from."""
        return self.prometheus is None and not self.exporters


def parse(text: bytes, name: str) -> Settings:
    """The settings of a file in YAML or JSON. Raises SettingsError and SourceError."""
    if len(text) > MOST_FILE_BYTES:
        raise SettingsError(name, "is larger than 1 MiB", "is this the right file?")
    try:
        found = msgspec.yaml.decode(text, type=_File) if text.strip() else _File()
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise SettingsError(
            name, " ".join(str(error).split())[:300], "see docs/telemetry.md for the fields"
        ) from None
    if len(found.exporters) > MOST_EXPORTERS:
        raise SettingsError(name, f"names more than {MOST_EXPORTERS} exporters", "use a Prometheus")
    return Settings(
        prometheus=found.prometheus.endpoint().checked() if found.prometheus is not None else None,
        match=found.prometheus.match if found.prometheus is not None else "",
        exporters=tuple(item.endpoint().checked() for item in found.exporters),
        terms={key: _term(f"{name}: metrics.{key}", item) for key, item in found.metrics.items()},
        team_labels=found.team_labels,
        containers=found.containers,
    )


def _term(place: str, item: _Term) -> Term:
    try:
        metric = Metric(item.metric)
    except ValueError:
        known = ", ".join(Metric)
        raise SettingsError(place, f"there is no metric {item.metric!r}", f"choose from {known}") from None
    scales = _SCALES[metric.unit]
    if item.unit not in scales:
        raise SettingsError(
            place, f"{metric} is not given in {item.unit!r}", f"choose from {', '.join(scales)}"
        )
    return Term(metric, scales[item.unit])
