"""What can be seen of the gateway: metrics for Prometheus, and log lines without prompts or credentials."""

import logging
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from aliquot.budgets.spending import Call, Caller, TokenUse
from aliquot.gateway.admission import Desk
from aliquot.gateway.auditing import Auditor
from aliquot.gateway.upstreams import Server, Upstreams
from aliquot.gateway.verdicts import Alert

_log = logging.getLogger(__name__)


class Observation:
    """Counts calls. Labels are only names of the configuration, so their number is bounded by it.

    auditor: is told of refusals, if there is one.
    """

    def __init__(self) -> None:
        self.auditor: Auditor | None = None
        self.registry = CollectorRegistry()
        self._calls = Counter(
            "aliquot_gateway_calls_total",
            "Calls that were let through, by how they ended",
            ("model", "upstream", "outcome"),
            registry=self.registry,
        )
        self._tokens = Counter(
            "aliquot_gateway_tokens_total",
            "Tokens of settled calls; cached ones are part of input",
            ("model", "direction"),
            registry=self.registry,
        )
        self._refused = Counter(
            "aliquot_gateway_refused_total", "Calls that were refused", ("reason",), registry=self.registry
        )
        self._alerts = Counter(
            "aliquot_gateway_budget_alerts_total",
            "Times that a limit was used up to an alert threshold",
            ("budget", "measure", "per", "percent"),
            registry=self.registry,
        )
        self._prefill = Histogram(
            "aliquot_gateway_time_to_first_token_seconds",
            "From sending a call to an upstream to its first output, of streams",
            ("model",),
            registry=self.registry,
        )

    def used(self, use: TokenUse) -> None:
        self._calls.labels(use.model, use.upstream, use.outcome.value).inc()
        self._tokens.labels(use.model, "input").inc(use.input_tokens)
        self._tokens.labels(use.model, "output").inc(use.output_tokens)
        if use.cached_tokens:
            self._tokens.labels(use.model, "cached").inc(use.cached_tokens)
        if use.prefill_us is not None:
            self._prefill.labels(use.model).observe(use.prefill_us / 1_000_000)

    def refused(self, call: Call | None, caller: Caller | None, reason: str) -> None:
        self._refused.labels(reason).inc()
        if self.auditor is not None:
            self.auditor.refused(call, caller, reason)

    def alert(self, alert: Alert) -> None:
        """A budget came near its limit."""
        self._alerts.labels(alert.budget, alert.measure.value, alert.window.value, str(alert.percent)).inc()
        _log.warning(
            "budget %s: %d%% of %s per %s reached", alert.budget, alert.percent, alert.measure, alert.window
        )

    def watch(self, desk: Desk, upstreams: Upstreams) -> None:
        """Show open calls and which upstreams are up."""
        open_calls = Gauge("aliquot_gateway_open_calls", "Calls under way", registry=self.registry)
        open_calls.set_function(lambda: desk.open_calls)
        up = Gauge(
            "aliquot_gateway_upstream_up", "Upstreams that are up", ("upstream",), registry=self.registry
        )
        for server in upstreams.servers:
            up.labels(server.name).set_function(partial(_up, server))

    def exposition(self) -> bytes:
        """The metrics as Prometheus reads them."""
        return generate_latest(self.registry)


def _up(server: Server) -> float:
    return float(server.healthy)
