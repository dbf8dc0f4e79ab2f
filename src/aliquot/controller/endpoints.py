"""/metrics, /healthz and /readyz over HTTP.

They show no names of pods or users beyond queues and priority classes, need no token and change nothing, so
that probes and Prometheus reach them; who may connect is said by the addresses and the NetworkPolicy.
"""

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from aliquot.controller.health import Health, Pulse, alive, ready
from aliquot.controller.live import Live
from aliquot.kube.mirror import Mirror


class Probes:
    """What probes are answered from; `mirror` is None until the controller has begun."""

    def __init__(self, live: Live, pulse: Pulse) -> None:
        self.live = live
        self.pulse = pulse
        self.mirror: Mirror | None = None

    def alive(self) -> Health:
        return alive(self.live, self.pulse)

    def ready(self) -> Health:
        if self.mirror is None:
            return Health(False, "starting")
        return ready(self.live, self.mirror)


def health_routes(probes: Probes) -> list[Route]:
    """/healthz and /readyz: 200 or 503 with the reason as text."""

    async def healthz(request: Request) -> Response:
        return _answer(probes.alive())

    async def readyz(request: Request) -> Response:
        return _answer(probes.ready())

    return [Route("/healthz", healthz), Route("/readyz", readyz)]


def metrics_routes(registry: CollectorRegistry) -> list[Route]:
    """/metrics in the text format that the Accept header asks for."""

    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), media_type=None, headers={"Content-Type": content_type})

    return [Route("/metrics", metrics)]


def create_endpoints(routes: list[Route]) -> Starlette:
    """An application with these routes and nothing else."""
    app = Starlette(routes=routes)
    app.state.close_streams = lambda: None
    return app


def _answer(health: Health) -> Response:
    return PlainTextResponse(f"{health.why}\n", status_code=200 if health.good else 503)
